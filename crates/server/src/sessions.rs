//! From settings to sessions: the rules they live by and the store they are kept in.

use std::time::Duration;

use cloakroom::cookie::CookiePolicy;
use cloakroom::keyring::{LiveRing, Schedule};
use cloakroom::{Lifetime, Policy, Sessions};

use crate::keys;
use crate::settings::{self, Fault, Faults, Key, LIFETIME_MAX_S, Problem, Setting, Settings, Transport};

/// Rules that were found to hold together.
#[derive(Debug)]
pub(crate) struct Rules {
    policy: Policy,
    cookie: CookiePolicy,
    /// When keys change; none if that is left to people.
    schedule: Option<Schedule>,
}

impl Rules {
    /// What the library refuses, with the setting at fault.
    pub(crate) fn of(settings: &Settings) -> Result<Self, Faults> {
        let idle = Duration::from_secs(settings.idle_timeout_s.value);
        let absolute = Duration::from_secs(settings.absolute_timeout_s.value);
        let lifetime = Lifetime::new(idle, absolute)
            .map_err(|error| fault(&settings::IDLE_TIMEOUT_S, &settings.idle_timeout_s, error))?;
        let standard = Policy::default();
        let policy = Policy {
            lifetime,
            rotation_period: settings.rotation_period_s.value.map(Duration::from_secs),
            // A session that lives shorter than the standard grace needs none that long.
            grace: standard.grace.min(idle),
            ..standard
        };
        policy
            .check()
            .map_err(|error| fault(&settings::ROTATION_PERIOD_S, &settings.rotation_period_s, error))?;
        let cookie = cookie(settings);
        cookie.check().map_err(|error| fault(&settings::COOKIE_NAME, &settings.cookie_name, error))?;
        let schedule = schedule(settings, absolute)?;
        Ok(Self { policy, cookie, schedule })
    }
}

/// Opens the store. It may wait for a disk or a lock, so this is for the start, before anybody is served.
pub(crate) async fn open(settings: &Settings, rules: Rules) -> Result<Sessions, cloakroom::Error> {
    let deadline = Duration::from_millis(settings.store_deadline_ms.value);
    let store = settings.store.value.open().await?;
    let is_carried = store.carrier().is_some();
    let builder = Sessions::builder(store).policy(rules.policy).cookie(rules.cookie).deadline(deadline);
    let builder = match ring(settings, is_carried, rules.schedule).await? {
        Some(ring) => builder.keys(ring),
        None => builder,
    };
    match settings.keys_accept_unkeyed_until.value {
        Some(time) => builder.accept_unkeyed_until(time).build(),
        None => builder.build(),
    }
}

/// How often the ring is looked at: well under the time for which a key is published before it is used.
const FOLLOW_PERIOD: Duration = Duration::from_secs(10);

/// The ring that stored sessions are bound with, from its file or store or the environment. Sealed sessions have theirs in the
/// store's URL.
async fn ring(
    settings: &Settings,
    is_carried: bool,
    schedule: Option<Schedule>,
) -> Result<Option<LiveRing>, cloakroom::Error> {
    let Some(place) = settings.keys_file()? else {
        let is_given = std::env::var_os(keys::VARIABLE).is_some() && !is_carried;
        return if is_given { LiveRing::from_environment(keys::VARIABLE).map(Some) } else { Ok(None) };
    };
    let ring = LiveRing::open(place.open().await?).await?;
    ring.follow(FOLLOW_PERIOD);
    if let Some(schedule) = schedule {
        ring.rotate(schedule);
    }
    Ok(Some(ring))
}

fn schedule(settings: &Settings, lifetime: Duration) -> Result<Option<Schedule>, Faults> {
    let days = &settings.keys_rotate_days;
    let ring = settings.keys_file.value.as_ref().filter(|_| days.value != 0);
    let Some(ring) = ring else { return Ok(None) };
    // What others let live that share the ring isn't known here.
    let longest = Duration::from_secs(LIFETIME_MAX_S);
    let lifetime = if ring.is_shared() { longest } else { lifetime };
    let every = Duration::from_secs(days.value * 24 * 60 * 60);
    let schedule = Schedule::new(every, Schedule::PUBLISH_DELAY_DEFAULT, lifetime);
    schedule.map(Some).map_err(|error| fault(&settings::KEYS_ROTATE_DAYS, days, error))
}

fn cookie(settings: &Settings) -> CookiePolicy {
    let standard = match settings.transport() {
        Transport::Https => CookiePolicy::default(),
        Transport::LoopbackHttp | Transport::InsecureHttp => {
            CookiePolicy::default().insecure_for_plain_http_on_loopback()
        }
    };
    match &settings.cookie_name.value {
        // After the switch, which would strip a `__Host-` that was asked for and can't be had: that is to be refused.
        Some(name) => standard.name(name.clone()),
        None => standard,
    }
}

fn fault<T>(key: &'static Key, setting: &Setting<T>, error: impl std::fmt::Display) -> Faults {
    let problem = Problem::new(format!("can't be used: {error}"), "Change it, or leave it out.");
    Faults(vec![Fault::new(setting.origin.clone(), key, problem)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime_of(ring: &str) -> Duration {
        let environment = [("CLOAKROOM_KEYS_FILE".to_owned(), ring.to_owned())];
        let settings = Settings::load(settings::Flags::default(), &environment).unwrap();
        Rules::of(&settings).unwrap().schedule.unwrap().lifetime_max()
    }

    /// Bug: of programs that share a ring, the one with the shortest timeouts removed keys that the others' sessions rested
    /// on. Cause: it took its own for everybody's. Mend: a key of a ring in a store stays for as long as any session can
    /// live.
    #[test]
    fn keys_of_a_shared_ring_are_kept_for_the_longest_that_any_session_lives() {
        assert_eq!(lifetime_of("cloakroom.keys"), Duration::from_secs(24 * 60 * 60));
        assert_eq!(lifetime_of("sqlite:fleet.db#shop"), Duration::from_secs(LIFETIME_MAX_S));
    }
}
