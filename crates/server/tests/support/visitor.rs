//! A browser as far as HTTP goes: a cookie jar, a User-Agent, and forms that say where they come from.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, Response};

/// Safe to share between threads, as a browser's jar is between its tabs.
pub struct Visitor {
    agent: Agent,
    user_agent: &'static str,
    jar: Mutex<BTreeMap<String, String>>,
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

pub const CHROME_ON_LINUX: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
pub const SAFARI_ON_IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 \
                                    (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1";

impl Visitor {
    pub fn new() -> Self {
        Self::with(CHROME_ON_LINUX)
    }

    pub fn with(user_agent: &'static str) -> Self {
        let config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build();
        Self { agent: config.into(), user_agent, jar: Mutex::default() }
    }

    /// Somebody who got hold of this visitor's cookies.
    pub fn copy(&self) -> Self {
        let copy = Self::with(self.user_agent);
        *copy.jar.lock().expect("no test panicked") = self.jar.lock().expect("no test panicked").clone();
        copy
    }

    pub fn get(&self, url: &str) -> Reply {
        self.get_with(url, &[])
    }

    pub fn get_with(&self, url: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request =
            self.agent.get(url).header("user-agent", self.user_agent).header("accept", "text/html");
        for (name, value) in
            self.cookies().iter().map(|cookies| ("cookie", cookies.as_str())).chain(headers.iter().copied())
        {
            request = request.header(name, value);
        }
        self.take_in(request.call().expect("the server answers"))
    }

    /// Sends a form from one of the site's own pages.
    pub fn post(&self, url: &str, form: &[(&str, &str)]) -> Reply {
        self.post_with(url, form, &[("sec-fetch-site", "same-origin")])
    }

    pub fn post_with(&self, url: &str, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Reply {
        let mut request =
            self.agent.post(url).header("user-agent", self.user_agent).header("accept", "text/html");
        for (name, value) in
            self.cookies().iter().map(|cookies| ("cookie", cookies.as_str())).chain(headers.iter().copied())
        {
            request = request.header(name, value);
        }
        self.take_in(request.send_form(form.iter().copied()).expect("the server answers"))
    }

    /// The value of the only cookie there is.
    pub fn token(&self) -> Option<String> {
        let jar = self.jar.lock().expect("no test panicked");
        assert!(jar.len() <= 1, "one cookie is all a session needs");
        jar.values().next().cloned()
    }

    fn cookies(&self) -> Option<String> {
        let jar = self.jar.lock().expect("no test panicked");
        let pairs: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn take_in(&self, mut response: Response<ureq::Body>) -> Reply {
        let mut jar = self.jar.lock().expect("no test panicked");
        for cookie in response.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().expect("a cookie is text");
            let (name, value) =
                cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            if cookie.contains("Max-Age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.body_mut().read_to_string().expect("a page is text"),
        }
    }
}

impl Reply {
    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn has(&self, text: &str) -> bool {
        self.body.contains(text)
    }

    /// Fails unless this sends the visitor on to `path`.
    pub fn leads_to(&self, path: &str) {
        assert_eq!((self.status, self.header("location")), (303, path), "{}", self.body);
    }
}
