//! `sealed:?keys=FILE&rotate_days=30&follow_s=SECONDS&cookies=1&compressed=false&list=NAME&revocations=URL`, or with a
//! store's URL for the keys, and `outer=FILE`.

use std::{path::PathBuf, time::Duration};

use cloakroom::{
    Error,
    keyring::{LiveRing, Schedule},
    store::{Answer, Store},
};
use cloakroom_sealed::{ListSettings, SealedSessions};

use crate::{RingPlace, StoreUrl, ring::VARIABLE};

/// How often a ring is looked at, unless it is said: well under the time for which a key is published before it is used.
const FOLLOW_PERIOD: Duration = Duration::from_secs(5);

/// A sixth of the time for which a key is published before it is used.
const FOLLOW_PERIOD_MAX_S: u64 = Schedule::PUBLISH_DELAY_DEFAULT.as_secs() / 6;

/// A key that retired is kept for as long: browsers keep no cookie longer (RFC 6265bis, section 5.5).
const LIFETIME_MAX: Duration = Duration::from_secs(400 * DAY_S);
const DAY_S: u64 = 86_400;

pub(crate) fn check(url: &str) -> Result<(), Error> {
    Options::parse(url).map(|_| ())
}

/// Where the ring of a URL is, if it says so.
pub(crate) fn ring(url: &str) -> Result<Option<RingPlace>, Error> {
    Ok(Options::parse(url)?.keys)
}

pub(crate) fn open(url: &str) -> Answer<'_, Box<dyn Store>> {
    Answer::later(open_or_inspect(url, false))
}

/// To look at it: no keys are rotated, and no tables made.
pub(crate) fn inspect(url: &str) -> Answer<'_, Box<dyn Store>> {
    Answer::later(open_or_inspect(url, true))
}

async fn open_or_inspect(url: &str, is_looking: bool) -> Result<Box<dyn Store>, Error> {
    let options = Options::parse(url)?;
    let ring = match options.keys {
        Some(place) => {
            let kept =
                Box::pin(async { if is_looking { place.inspect().await } else { place.open().await } });
            LiveRing::open(kept.await?).await?
        }
        None => LiveRing::from_environment(VARIABLE)?,
    };
    ring.follow(options.follow_period);
    if let Some(schedule) = options.schedule.filter(|_| !is_looking) {
        ring.rotate(schedule);
    }
    let mut sealed = match options.revocations {
        Some(url) => {
            let list = Box::pin(async { if is_looking { url.inspect().await } else { url.open().await } });
            let list = list.await?;
            let standard = ListSettings::default();
            let name = options.list.map_or(standard.name, Into::into);
            SealedSessions::with_list(ring, list, ListSettings { name, ..standard }).await?
        }
        None => SealedSessions::insecure_without_revocation(ring),
    };
    if options.is_compressed {
        sealed = sealed.compressed();
    }
    Ok(Box::new(sealed.split_over(options.cookies_max)) as _)
}

/// What a URL says.
#[derive(Debug)]
struct Options {
    keys: Option<RingPlace>,
    follow_period: Duration,
    /// None: somebody else rotates the keys.
    schedule: Option<Schedule>,
    cookies_max: usize,
    is_compressed: bool,
    /// The name of the list, among several in one store.
    list: Option<String>,
    /// None: nothing can be taken back, and that was asked for.
    revocations: Option<StoreUrl>,
}

impl Options {
    /// Options can't be left out by mistake: without a word on revocations, logout would end nothing.
    fn parse(url: &str) -> Result<Self, Error> {
        let options = url.strip_prefix("sealed:?").unwrap_or_default();
        // The last option, and a URL of its own.
        let at = options
            .find("revocations=")
            .filter(|at| options[..*at].is_empty() || options[..*at].ends_with('&'));
        let Some((before, list)) = at.map(|at| (&options[..at], &options[at + "revocations=".len()..]))
        else {
            return Err(Error::invalid(
                "sealed sessions need a place for revocations, or logout would end nothing: add \
                 `revocations=` and the URL of a store that all nodes share, as in \
                 `sealed:?keys=cloakroom.keys&revocations=sqlite:revoked.db`; or `revocations=none`, if cookies that \
                 can't be taken back will do",
            ));
        };
        let (mut keys, mut outer, mut name, mut follow_period, mut days) =
            (None, None, None, FOLLOW_PERIOD, None);
        let (mut cookies_max, mut is_compressed) = (1, false);
        for option in before.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("keys", ring)) if !ring.is_empty() && keys.is_none() => {
                    keys = Some(RingPlace::of_option(ring)?)
                }
                Some(("outer", path)) if !path.is_empty() && outer.is_none() => {
                    outer = Some(PathBuf::from(path))
                }
                Some(("list", list)) if !list.is_empty() && name.is_none() => name = Some(list.to_owned()),
                Some(("follow_s", text)) => follow_period = seconds(text)?,
                Some(("rotate_days", text)) => days = Some(text),
                Some(("cookies", text)) => cookies_max = count(text)?,
                Some(("compressed", "true")) => is_compressed = true,
                Some(("compressed", "false")) => is_compressed = false,
                _ => {
                    return Err(Error::invalid(
                        "a sealed URL has the options `keys=FILE` or a store's URL with `%26` for `&`, `outer=FILE`, \
                         `rotate_days=DAYS`, `follow_s=SECONDS`, `cookies=1` to 4, `compressed=true` and `list=NAME`, and \
                         behind them `revocations=URL`",
                    ));
                }
            }
        }
        if list.starts_with("sealed:") {
            return Err(Error::invalid("revocations of sealed sessions are kept in a store, not in cookies"));
        }
        let revocations = if list == "none" { None } else { Some(StoreUrl::parse(list)?) };
        let schedule = schedule(days, keys.is_some())?;
        let keys = match (keys, outer) {
            (None, Some(_)) => {
                return Err(Error::invalid(
                    "`outer` is for a key ring in a store: name that with `keys=URL`",
                ));
            }
            (Some(ring), Some(outer)) => Some(ring.under(outer)?),
            (keys, None) => keys,
        };
        Ok(Self { keys, follow_period, schedule, cookies_max, is_compressed, list: name, revocations })
    }
}

/// Thirty days, unless it is said; never, for a ring that can't be written to from here.
fn schedule(days: Option<&str>, is_writable: bool) -> Result<Option<Schedule>, Error> {
    let days = match days {
        Some("0") => return Ok(None),
        None if !is_writable => return Ok(None),
        Some(_) if !is_writable => {
            return Err(Error::invalid("`rotate_days` is for a key ring that can be changed from here: name it with `keys=`"));
        }
        None => 30,
        Some(text) => text.parse().ok().filter(|days| (15..=3_650).contains(days)).ok_or_else(|| {
            Error::invalid("`rotate_days`, the time from one key to the next, lies between 15 and 3650, or is 0 for never")
        })?,
    };
    let every = Duration::from_secs(days * DAY_S);
    Ok(Some(Schedule::new(every, Schedule::PUBLISH_DELAY_DEFAULT, LIFETIME_MAX)?))
}

fn count(text: &str) -> Result<usize, Error> {
    let count = text.parse().ok().filter(|count| (1..=4).contains(count));
    count.ok_or_else(|| {
        Error::invalid("`cookies`, over how many cookies a session may be cut, lies between 1 and 4")
    })
}

fn seconds(text: &str) -> Result<Duration, Error> {
    let seconds = text.parse().ok().filter(|seconds| (1..=FOLLOW_PERIOD_MAX_S).contains(seconds));
    let wrong = || {
        Error::invalid(
            "`follow_s`, how often a key ring is looked at, lies between 1 and 600 seconds: a key is used an hour after it was \
             published, and one that was given away is honoured for as long",
        )
    };
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revocations_are_asked_for_or_waived_by_name() {
        for url in [
            "sealed:",
            "sealed:revocations=none",
            "sealed:?keys=k",
            "sealed:?keys=&revocations=none",
            "sealed:?keys=a&keys=b&revocations=none",
            "sealed:?x=y&revocations=none",
            "sealed:?follow_s=0&revocations=none",
            "sealed:?follow_s=601&revocations=none",
            "sealed:?keys=postgre://u&revocations=none",
            "sealed:?keys=k&rotate_days=1&revocations=none",
            "sealed:?rotate_days=30&revocations=none",
            "sealed:?cookies=5&revocations=none",
            "sealed:?compressed=yes&revocations=none",
            "sealed:?outer=o&revocations=none",
            "sealed:?keys=k&outer=o&revocations=none",
            "sealed:?keys=memory:&revocations=none",
            "sealed:?keys=sqlite:a%2&revocations=none",
        ] {
            assert!(check(url).unwrap_err().is_invalid(), "{url}");
        }
        for url in
            ["sealed:?revocations=sealed:?revocations=none", "sealed:?revocations=abacus://secret@host"]
        {
            let error = check(url).unwrap_err();
            assert!(error.is_invalid() && !error.to_string().contains("secret"), "{url}: {error}");
        }
        let options = Options::parse("sealed:?keys=/etc/k&list=shop&revocations=sqlite:a&b?c").unwrap();
        assert_eq!((options.keys, options.list.as_deref()), (Some(RingPlace::file("/etc/k")), Some("shop")));
        assert_eq!(options.revocations.unwrap().to_string(), "sqlite:a&b?c");
        let url = "sealed:?keys=sqlite:fleet%26x.db#shop&outer=/etc/o&revocations=none";
        let ring = ring(url).unwrap().unwrap();
        assert_eq!(
            (ring.to_string().as_str(), ring.outer()),
            ("sqlite:fleet&x.db#shop", Some("/etc/o".as_ref()))
        );
        let days =
            |url| Options::parse(url).unwrap().schedule.map(|schedule| schedule.every().as_secs() / DAY_S);
        assert_eq!(days("sealed:?keys=k&revocations=none"), Some(30));
        assert_eq!(days("sealed:?keys=k&rotate_days=15&revocations=none"), Some(15));
        assert_eq!(days("sealed:?keys=k&rotate_days=0&revocations=none"), None);
        assert_eq!(days("sealed:?revocations=none"), None);
        let options = Options::parse("sealed:?cookies=2&compressed=true&revocations=none").unwrap();
        assert_eq!((options.cookies_max, options.is_compressed), (2, true));
        assert!(options.revocations.is_none());
    }

    /// Bug: a ring that was looked at once a day was taken for one that is followed, and a key is used an hour after it was
    /// published. Mend: ten minutes are the most.
    #[test]
    fn a_ring_is_looked_at_before_its_keys_are_used() {
        let refused = check("sealed:?keys=k&follow_s=86400&revocations=none").unwrap_err();
        assert!(refused.to_string().contains("between 1 and 600"), "{refused}");
        let followed = Options::parse("sealed:?keys=k&follow_s=600&revocations=none").unwrap();
        assert_eq!(followed.follow_period * 6, Schedule::PUBLISH_DELAY_DEFAULT);
    }
}
