//! The table of settings. A key's name gives its variable's and its flag's name, so the three can't disagree.

/// One setting: `session.idle_timeout_s` in the file, `CLOAKROOM_SESSION_IDLE_TIMEOUT_S` in the environment,
/// `--session-idle-timeout-s` on the command line.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// What the flag's value is called in `--help`; none for a switch, whose flag takes no value.
    pub(crate) value_name: Option<&'static str>,
    pub(crate) help: &'static str,
}

/// What every variable of ours begins with.
pub(crate) const VARIABLE_PREFIX: &str = "CLOAKROOM_";

pub(crate) const LISTEN: Key = Key::value(
    "listen",
    "ADDRESS:PORT",
    "Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]",
);
pub(crate) const PUBLIC_URL: Key =
    Key::value("public_url", "URL", "The address browsers use, https://…, when a proxy ends TLS in front");
pub(crate) const INSECURE_PLAIN_HTTP: Key = Key::switch(
    "insecure_plain_http",
    "Serve plain HTTP beyond this machine: cookies without Secure, readable on the network",
);
pub(crate) const STORE: Key = Key::value(
    "store",
    "URL",
    "Where sessions are kept: sqlite:PATH, memory: or another store's URL [default: sqlite:cloakroom.db]",
);
pub(crate) const STORE_DEADLINE_MS: Key =
    Key::value("store_deadline_ms", "MS", "How long a call to the store may take [default: 5000]");
pub(crate) const IDLE_TIMEOUT_S: Key =
    Key::value("session.idle_timeout_s", "S", "A session ends after this long unused [default: 1800]");
pub(crate) const ABSOLUTE_TIMEOUT_S: Key = Key::value(
    "session.absolute_timeout_s",
    "S",
    "A session ends this long after its login [default: 86400]",
);
pub(crate) const ROTATION_PERIOD_S: Key = Key::value(
    "session.rotation_period_s",
    "S",
    "Give signed-in sessions a new token this often [default: never]",
);
pub(crate) const COOKIE_NAME: Key =
    Key::value("cookie.name", "NAME", "The session cookie's name [default: the library's]");
pub(crate) const KEYS_FILE: Key = Key::value(
    "keys.file",
    "FILE|URL",
    "The key ring that stored sessions are bound with, as `cloakroom keys new` makes it, in a file or a store that the \
     fleet shares; or its text in CLOAKROOM_KEYS [default: none]",
);
pub(crate) const KEYS_OUTER_FILE: Key = Key::value(
    "keys.outer_file",
    "FILE",
    "The ring that a key ring in a store is sealed under [default: its text in CLOAKROOM_KEYS]",
);
pub(crate) const KEYS_ROTATE_DAYS: Key = Key::value(
    "keys.rotate_days",
    "DAYS",
    "Rotate the keys of the ring this often; 0 is never [default: 30]",
);
pub(crate) const KEYS_ACCEPT_UNKEYED_UNTIL: Key = Key::value(
    "keys.accept_unkeyed_until",
    "TIME",
    "Honour sessions stored without keys until then, as 2026-10-01T00:00:00Z [default: never]",
);
pub(crate) const LOG: Key =
    Key::value("log", "FILTER", "What to log, as info or cloakroom=debug,info [default: info]");
pub(crate) const SHUTDOWN_GRACE_S: Key = Key::value(
    "shutdown_grace_s",
    "S",
    "How long requests in flight may take to finish at a stop [default: 10]",
);

/// Every setting, in the order in which they are shown.
pub(crate) const ALL: [&Key; 15] = [
    &LISTEN,
    &PUBLIC_URL,
    &INSECURE_PLAIN_HTTP,
    &STORE,
    &STORE_DEADLINE_MS,
    &IDLE_TIMEOUT_S,
    &ABSOLUTE_TIMEOUT_S,
    &ROTATION_PERIOD_S,
    &COOKIE_NAME,
    &KEYS_FILE,
    &KEYS_OUTER_FILE,
    &KEYS_ROTATE_DAYS,
    &KEYS_ACCEPT_UNKEYED_UNTIL,
    &LOG,
    &SHUTDOWN_GRACE_S,
];

impl Key {
    pub(crate) fn named(name: &str) -> Option<&'static Key> {
        ALL.into_iter().find(|key| key.name == name)
    }

    pub(crate) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// The flag's long name, without its two dashes.
    pub(crate) fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    const fn value(name: &'static str, value_name: &'static str, help: &'static str) -> Self {
        Self { name, value_name: Some(value_name), help }
    }

    const fn switch(name: &'static str, help: &'static str) -> Self {
        Self { name, value_name: None, help }
    }
}

/// The candidate nearest to what was written, if it is near enough to have been meant.
pub(crate) fn nearest(written: &str, candidates: impl IntoIterator<Item = String>) -> Option<String> {
    const EDITS_MAX: usize = 2;
    candidates
        .into_iter()
        .map(|candidate| (edits(written, &candidate), candidate))
        .filter(|(distance, _)| *distance <= EDITS_MAX)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in bytes: names are ASCII.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, from_byte) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, to_byte) in to.bytes().enumerate() {
            let substituted = diagonal + usize::from(from_byte != to_byte);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_key() {
        assert_eq!(IDLE_TIMEOUT_S.variable(), "CLOAKROOM_SESSION_IDLE_TIMEOUT_S");
        assert_eq!(IDLE_TIMEOUT_S.flag(), "session-idle-timeout-s");
        let variables: std::collections::BTreeSet<_> = ALL.iter().map(|key| key.variable()).collect();
        assert_eq!(variables.len(), ALL.len());
    }

    #[test]
    fn a_slip_of_the_pen_finds_its_name() {
        let names = || ALL.into_iter().map(|key| key.name.to_owned());
        assert_eq!(nearest("listn", names()), Some("listen".to_owned()));
        assert_eq!(nearest("session.idle_timeout", names()), Some("session.idle_timeout_s".to_owned()));
        assert_eq!(nearest("colour", names()), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
