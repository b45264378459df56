//! `cloakroom keys`: making, showing and changing a key ring. Keys themselves are never printed, but for a new ring that
//! was asked for on standard output.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloakroom::Error;
use cloakroom::clock::{Clock as _, OsEntropy, SystemClock};
use cloakroom::keyring::{self, KeyId, KeyRing, LiveRing, RingFile, Schedule, State, Step};

use crate::run::Failure;
use crate::settings::Settings;

/// Holds a ring where there is no file for one.
pub(crate) const VARIABLE: &str = "CLOAKROOM_KEYS";
/// The ring's file, unless another is named, here or in the settings.
pub(crate) const FILE_DEFAULT: &str = "cloakroom.keys";
/// Names standard output in the place of a file.
const STANDARD_OUTPUT: &str = "-";

/// What is to be done with a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    /// `None`: the default file, or the environment's ring.
    pub(crate) ring: Option<PathBuf>,
    pub(crate) is_dry_run: bool,
    pub(crate) publish_delay_s: u64,
    /// `None`: the absolute timeout of the settings.
    pub(crate) lifetime_max_s: Option<u64>,
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
    let request = &Request {
        ring: request.ring.clone().or_else(|| settings.keys_file.value.clone()),
        ..request.clone()
    };
    let lifetime = Duration::from_secs(request.lifetime_max_s.unwrap_or(settings.absolute_timeout_s.value));
    let delay = Duration::from_secs(request.publish_delay_s);
    let every = Schedule::EVERY_DEFAULT.max(delay.saturating_mul(2)).max(lifetime / 8);
    let schedule = Schedule::new(every, delay, lifetime).map_err(Error::from)?;
    let text = match &request.verb {
        Verb::New => new(request)?,
        Verb::List => list(&read(request)?, &schedule),
        Verb::Rotate => change(request, |ring| rotate(ring, &schedule, request.is_dry_run))?,
        Verb::Retire { id, is_compromised } => {
            change(request, |ring| retire(ring, *id, *is_compromised, &schedule))?
        }
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn file(request: &Request) -> RingFile {
    RingFile::new(request.ring.as_deref().unwrap_or(Path::new(FILE_DEFAULT)))
}

fn new(request: &Request) -> Result<String, Failure> {
    let file = file(request);
    if file.path() == Path::new(STANDARD_OUTPUT) {
        let (id, material) = keyring::fresh_key(&OsEntropy)?;
        let ring = KeyRing::new(id, material, SystemClock.now()).map_err(Error::from)?;
        return Ok(ring.expose());
    }
    let shown = file.path().display();
    if request.is_dry_run {
        return match file.path().exists() {
            true => Err(Error::invalid(format!("{shown} exists: keys are never overwritten")).into()),
            false => Ok(format!("would make a ring of one key in {shown}\n")),
        };
    }
    let ring = file.create()?;
    Ok(format!("made a ring in {shown} with the primary key {}\n", ring.primary().id()))
}

fn read(request: &Request) -> Result<KeyRing, Error> {
    if request.ring.is_none() && std::env::var_os(VARIABLE).is_some() {
        return LiveRing::from_environment(VARIABLE).map(|ring| KeyRing::clone(&ring.now()));
    }
    file(request).read()
}

fn list(ring: &KeyRing, schedule: &Schedule) -> String {
    let mut text = format!("{:<8}  {:<8}  {:<20}  {:<20}  next\n", "id", "state", "created", "since");
    for key in ring.keys() {
        let next = match key.state() {
            State::Pending => format!("may seal from {}", key.since() + schedule.publish_delay()),
            State::Primary => "seals".to_owned(),
            State::Retiring => format!("may be removed from {}", schedule.removal(key)),
        };
        text += &format!("{}  {:<8}  {}  {}  {next}\n", key.id(), key.state(), key.created(), key.since());
    }
    text
}

/// One change of the ring's file: read, changed, and kept if nobody else changed it meanwhile.
fn change(
    request: &Request,
    step: impl FnOnce(&mut KeyRing) -> Result<String, Error>,
) -> Result<String, Failure> {
    if request.ring.is_none() && std::env::var_os(VARIABLE).is_some() {
        let message = format!(
            "the ring in {VARIABLE} can't be changed from here: write it to a file, change it there with --ring, and put \
             the file's text into the variable"
        );
        return Err(Error::invalid(message).into());
    }
    let file = file(request);
    let before = file.read()?;
    let mut after = before.clone();
    let done = step(&mut after)?;
    if request.is_dry_run {
        return Ok(format!("would have {done}\n"));
    }
    if !file.replace(&before, &after)? {
        return Err(
            Error::invalid("another program changed the ring meanwhile: look at it, and try again").into()
        );
    }
    Ok(format!("{done}\n"))
}

/// The next step of a rotation: publish a key; or, once every node has it, promote it.
fn rotate(ring: &mut KeyRing, schedule: &Schedule, is_dry_run: bool) -> Result<String, Error> {
    let now = SystemClock.now();
    let pending = ring.keys().find(|key| key.state() == State::Pending).map(keyring::Key::id);
    let mut done = match pending {
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
    };
    for step in ring.plan(now, schedule).steps {
        if let Step::Remove(id) = step {
            ring.remove(id, now, schedule)?;
            done += &format!("; removed {id}, which had retired");
        }
    }
    Ok(done)
}

fn retire(ring: &mut KeyRing, id: KeyId, is_compromised: bool, schedule: &Schedule) -> Result<String, Error> {
    let now = SystemClock.now();
    if !is_compromised {
        ring.remove(id, now, schedule)?;
        return Ok(format!("removed the key {id}"));
    }
    ring.remove_compromised(id, keyring::fresh_key(&OsEntropy)?, now)?;
    let primary = ring.primary().id();
    Ok(format!("removed the key {id} at once: what rests on it is worthless now; the primary is {primary}"))
}
