//! A coarse description of the client, for the user's list of devices.

/// A browser and an operating system, by the names people know them by. Least data: no version, no address, nothing
/// that would tell one machine from another of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    browser: &'static str,
    system: &'static str,
}

/// Marks in a `User-Agent` header, the more particular first: nearly every browser also calls itself Mozilla, Safari
/// and Chrome.
const BROWSERS: [(&str, &str); 8] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

const SYSTEMS: [(&str, &str); 7] = [
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
];

/// Beyond that, a `User-Agent` header isn't read.
const USER_AGENT_BYTES_MAX: usize = 512;

impl Client {
    /// Reads a `User-Agent` header; `None` if it names no browser or system we know.
    pub(crate) fn from_user_agent(user_agent: &[u8]) -> Option<Self> {
        let user_agent = str::from_utf8(user_agent.get(..USER_AGENT_BYTES_MAX).unwrap_or(user_agent)).ok()?;
        let name_in = |names: &[(&str, &'static str)]| {
            names.iter().find(|(mark, _)| user_agent.contains(mark)).map_or("", |(_, name)| name)
        };
        let client = Self { browser: name_in(&BROWSERS), system: name_in(&SYSTEMS) };
        (!client.browser.is_empty() || !client.system.is_empty()).then_some(client)
    }

    /// A copy of a `User-Agent` header, as much of it as is ever read.
    pub(crate) fn copy_user_agent(user_agent: &[u8]) -> Box<[u8]> {
        user_agent.get(..USER_AGENT_BYTES_MAX).unwrap_or(user_agent).into()
    }

    /// For people: `Firefox on Linux`.
    pub(crate) fn describe(self) -> String {
        match (self.browser, self.system) {
            ("", system) => system.to_owned(),
            (browser, "") => browser.to_owned(),
            (browser, system) => format!("{browser} on {system}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_known_by_their_most_particular_mark() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
        let cases = [
            (chrome.to_owned(), Some("Chrome on Linux")),
            (format!("{chrome} Edg/130.0"), Some("Edge on Linux")),
            (
                "Mozilla/5.0 (Windows NT 10.0; rv:130.0) Gecko/20100101 Firefox/130.0".to_owned(),
                Some("Firefox on Windows"),
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Mobile Safari/604.1"
                    .to_owned(),
                Some("Safari on iPhone"),
            ),
            ("curl/8.0".to_owned(), None),
        ];
        for (user_agent, expected) in cases {
            let client = Client::from_user_agent(user_agent.as_bytes()).map(Client::describe);
            assert_eq!(client.as_deref(), expected);
        }
        assert_eq!(Client::from_user_agent(b"\xff\xfe"), None);
    }
}
