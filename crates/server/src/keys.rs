//! `cloakroom keys`: making, showing and changing a key ring. Keys themselves are never printed, but for a new ring that
//! was asked for on standard output.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use cloakroom::Error;
use cloakroom::clock::{Clock as _, OsEntropy, SystemClock};
use cloakroom::keyring::{self, KeyId, KeyRing, LiveRing, RingSource as _, Schedule, State};
use cloakroom_stores::{RingPlace, StoreUrl};

use crate::run::Failure;
use crate::settings::{LIFETIME_MAX_S, Settings};

/// Holds a ring where there is no file for one.
pub(crate) const VARIABLE: &str = "CLOAKROOM_KEYS";
/// The ring's file, unless another is named, here or in the settings.
pub(crate) const FILE_DEFAULT: &str = "cloakroom.keys";
/// Names standard output in the place of a file.
const STANDARD_OUTPUT: &str = "-";
/// How long a store that holds a ring may take for all that is asked of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be done with a ring. It can't be shown: a URL is in it as it was written, with its password.
pub(crate) struct Request {
    pub(crate) verb: Verb,
    /// As it was written. `None`: the one of the settings, the environment's ring, or the default file.
    pub(crate) ring: Option<String>,
    /// What a ring in a store is sealed under.
    pub(crate) outer: Option<PathBuf>,
    pub(crate) is_dry_run: bool,
    pub(crate) publish_delay_s: u64,
    /// `None`: the absolute timeout of the settings, where those are of the ring's sessions.
    pub(crate) lifetime_max_s: Option<u64>,
}

/// A file, a store's URL, or sealed sessions' URL, which names either.
fn parse(text: &str) -> Result<RingPlace, Error> {
    if !text.starts_with("sealed:") {
        return text.parse();
    }
    let ring = StoreUrl::parse(text)?.ring()?;
    ring.ok_or_else(|| {
        Error::invalid(format!("this URL names no key ring: the ring is the one in {VARIABLE}"))
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    New,
    List,
    Rotate,
    Retire { id: KeyId, is_compromised: bool },
}

/// Carries a request out. What was done is said on standard output.
pub(crate) fn run(request: &Request, settings: &Settings) -> Result<(), Failure> {
    let place = place(request, settings)?;
    let lifetime = Duration::from_secs(lifetime_s(request, place.as_ref(), settings));
    let delay = Duration::from_secs(request.publish_delay_s);
    let every = Schedule::EVERY_DEFAULT.max(delay.saturating_mul(2)).max(lifetime / 8);
    let schedule = Schedule::new(every, delay, lifetime).map_err(Error::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let done = tokio::time::timeout(PATIENCE, carry_out(request, place.as_ref(), &schedule)).await;
        done.unwrap_or_else(|_| {
            let message = format!("the key ring's store didn't answer within {} s", PATIENCE.as_secs());
            Err(Error::unavailable(
                message,
                "list the ring before you try again: a change may have been made",
            ))
        })
    });
    // A thread may still be in a file that hangs.
    runtime.shutdown_background();
    Ok(io::stdout().write_all(done?.as_bytes())?)
}

/// How long anything may live that a key of the ring sealed. The ring doesn't tell; and of those who share it, or whose
/// settings aren't at hand, nobody knows what the others let live: then it is as long as a browser keeps a cookie.
fn lifetime_s(request: &Request, place: Option<&RingPlace>, settings: &Settings) -> u64 {
    let is_shared = place.is_some_and(RingPlace::is_shared);
    let is_strange = request.ring.is_some() && settings.absolute_timeout_s.is_default();
    let is_known = !is_shared && !is_strange;
    request.lifetime_max_s.unwrap_or(if is_known {
        settings.absolute_timeout_s.value
    } else {
        LIFETIME_MAX_S
    })
}

async fn carry_out(
    request: &Request,
    place: Option<&RingPlace>,
    schedule: &Schedule,
) -> Result<String, Error> {
    match &request.verb {
        Verb::New if request.ring.as_deref() == Some(STANDARD_OUTPUT) => {
            let (id, material) = keyring::fresh_key(&OsEntropy)?;
            Ok(KeyRing::new(id, material, SystemClock.now())?.expose())
        }
        Verb::New => new(place.unwrap_or(&RingPlace::file(FILE_DEFAULT)), request.is_dry_run).await,
        Verb::List => {
            let (ring, sealed_under) = read(place).await?;
            Ok(list(&ring, sealed_under, schedule))
        }
        Verb::Rotate => change(request, place, |ring| rotate(ring, schedule, request.is_dry_run)).await,
        Verb::Retire { id, is_compromised } => {
            change(request, place, |ring| retire(ring, *id, *is_compromised, schedule)).await
        }
    }
}

/// Where the ring is: as the command says, or the settings; for sealed sessions they say it in the store's URL.
fn place(request: &Request, settings: &Settings) -> Result<Option<RingPlace>, Failure> {
    let place = match request.ring.as_deref() {
        Some(STANDARD_OUTPUT) if request.verb != Verb::New => {
            return Err(Error::invalid("standard output is for `new` alone: name the ring's file").into());
        }
        Some(STANDARD_OUTPUT) => None,
        Some(text) => Some(parse(text)?),
        None => match settings.keys_file()? {
            Some(place) => Some(place),
            None => settings.store.value.ring()?,
        },
    };
    match (place, &request.outer) {
        (Some(place), Some(outer)) => Ok(Some(place.under(outer)?)),
        (None, Some(_)) => {
            Err(Error::invalid("--outer is for a ring in a store: name it with --ring").into())
        }
        (place, None) => Ok(place),
    }
}

async fn new(place: &RingPlace, is_dry_run: bool) -> Result<String, Error> {
    let exists = || {
        Error::invalid(format!("{place} exists: keys are never overwritten; rotate them, or name another"))
    };
    if is_dry_run {
        return match place.exists().await? {
            true => Err(exists()),
            false => Ok(format!("would make a ring of one key in {place}\n")),
        };
    }
    let ring = place.open().await?.create().await?.ok_or_else(exists)?;
    Ok(format!("made a ring in {place} with the primary key {}\n", ring.primary().id()))
}

/// The ring, and the outer ring's key that it is sealed under, if it is in a store.
async fn read(place: Option<&RingPlace>) -> Result<(KeyRing, Option<KeyId>), Error> {
    if place.is_none() && std::env::var_os(VARIABLE).is_some() {
        return LiveRing::from_environment(VARIABLE).map(|ring| (KeyRing::clone(&ring.now()), None));
    }
    let default = RingPlace::file(FILE_DEFAULT);
    let kept = place.unwrap_or(&default).inspect().await?;
    Ok((kept.load().await?, kept.sealed_under().await?))
}

fn list(ring: &KeyRing, sealed_under: Option<KeyId>, schedule: &Schedule) -> String {
    let mut text = format!("{:<8}  {:<8}  {:<20}  {:<20}  next\n", "id", "state", "created", "since");
    for key in ring.keys() {
        let next = match key.state() {
            State::Pending => format!("may seal from {}", key.since() + schedule.publish_delay()),
            State::Primary => "seals".to_owned(),
            State::Retiring => format!("may be removed from {}", schedule.removal(key)),
        };
        text += &format!("{}  {:<8}  {}  {}  {next}\n", key.id(), key.state(), key.created(), key.since());
    }
    if let Some(outer) = sealed_under {
        text += &format!("sealed under the outer ring's key {outer}\n");
    }
    text
}

/// One change of the ring: read, changed, and kept if nobody else changed it meanwhile.
async fn change(
    request: &Request,
    place: Option<&RingPlace>,
    step: impl FnOnce(&mut KeyRing) -> Result<String, Error>,
) -> Result<String, Error> {
    if place.is_none() && std::env::var_os(VARIABLE).is_some() {
        return Err(Error::invalid(format!(
            "the ring in {VARIABLE} can't be changed from here: write it to a file, change it there with --ring, and put \
             the file's text into the variable"
        )));
    }
    let default = RingPlace::file(FILE_DEFAULT);
    let place = place.unwrap_or(&default);
    let kept = if request.is_dry_run { place.inspect().await? } else { place.open().await? };
    let before = kept.load().await?;
    let mut after = before.clone();
    let done = step(&mut after)?;
    if request.is_dry_run {
        return Ok(format!("would have {done}\n"));
    }
    if !kept.replace(&before, &after).await? {
        return Err(Error::invalid("another program changed the ring meanwhile: look at it, and try again"));
    }
    Ok(format!("{done}\n"))
}

/// The next step of a rotation: publish a key; or, once every node has it, promote it. No key is removed: in an outer ring,
/// a ring in a store may rest on it for longer than any session lives.
fn rotate(ring: &mut KeyRing, schedule: &Schedule, is_dry_run: bool) -> Result<String, Error> {
    let now = SystemClock.now();
    let pending = ring.keys().find(|key| key.state() == State::Pending).map(keyring::Key::id);
    Ok(match pending {
        None => {
            let (id, material) = keyring::fresh_key(&OsEntropy)?;
            ring.publish(id, material, now)?;
            let due = now + schedule.publish_delay();
            // The key of a dry run will never exist.
            let key = if is_dry_run { "a new key".to_owned() } else { format!("the key {id}") };
            format!("published {key}: run this again from {due} on, and it becomes the primary")
        }
        Some(id) => {
            let old = ring.primary().id();
            ring.promote(id, now, schedule)?;
            format!("made {id} the primary; {old} retires")
        }
    })
}

fn retire(ring: &mut KeyRing, id: KeyId, is_compromised: bool, schedule: &Schedule) -> Result<String, Error> {
    let now = SystemClock.now();
    if !is_compromised {
        ring.remove(id, now, schedule).map_err(|error| match schedule.lifetime_max().as_secs() {
            LIFETIME_MAX_S => Error::invalid(format!(
                "{error}, for a session may live for 400 days; say --lifetime-max-s if none does that rests on this ring"
            )),
            _ => error.into(),
        })?;
        return Ok(format!("removed the key {id}"));
    }
    ring.remove_compromised(id, keyring::fresh_key(&OsEntropy)?, now)?;
    let primary = ring.primary().id();
    Ok(format!("removed the key {id} at once: what rests on it is worthless now; the primary is {primary}"))
}
