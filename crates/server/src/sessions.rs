//! From settings to sessions: the rules they live by and the store they are kept in.

use std::time::Duration;

use cloakroom::cookie::CookiePolicy;
use cloakroom::{Lifetime, Policy, Sessions};

use crate::settings::{self, Fault, Faults, Key, Problem, Setting, Settings, Transport};

/// Rules that were found to hold together.
#[derive(Debug)]
pub(crate) struct Rules {
    policy: Policy,
    cookie: CookiePolicy,
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
        Ok(Self { policy, cookie })
    }
}

/// Opens the store. It may wait for a disk or a lock, so this is for the start, before anybody is served.
pub(crate) async fn open(settings: &Settings, rules: Rules) -> Result<Sessions, cloakroom::Error> {
    let deadline = Duration::from_millis(settings.store_deadline_ms.value);
    let builder = Sessions::builder(settings.store.value.open().await?);
    builder.policy(rules.policy).cookie(rules.cookie).deadline(deadline).build()
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
