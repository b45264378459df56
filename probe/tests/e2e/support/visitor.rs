//! A browser as far as sessions go: a connection and a cookie jar.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde::Deserialize;

use super::{Connection, Probe, Reply};

/// The cookie of the default policy.
pub(crate) const COOKIE_NAME: &str = "__Host-session";

pub(crate) struct Visitor {
    connection: Connection,
    jar: Arc<Mutex<Option<String>>>,
}

/// What `/get` answers.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct View {
    /// What tells one session from another: its public handle, whatever its cookies are.
    pub(crate) id: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) data: BTreeMap<String, serde_json::Value>,
    pub(crate) version: Option<String>,
}

impl Visitor {
    pub(crate) fn new(connection: Connection, token: Option<String>) -> Self {
        Self { connection, jar: Arc::new(Mutex::new(token)) }
    }

    /// The same browser, on another connection.
    pub(crate) fn tab(&self, probe: &Probe) -> Self {
        Self { connection: probe.connection(), jar: Arc::clone(&self.jar) }
    }

    /// The same connection, with another cookie.
    pub(crate) fn holding(&mut self, token: &str) -> &mut Self {
        *self.jar.lock().expect("no test panicked") = Some(token.to_owned());
        self
    }

    pub(crate) fn get(&mut self, target: &str) -> Reply {
        self.send("GET", target)
    }

    pub(crate) fn send(&mut self, method: &str, target: &str) -> Reply {
        self.ask(method, target);
        self.answer(method)
    }

    /// Sends a request whose answer is waited for later.
    pub(crate) fn ask(&mut self, method: &str, target: &str) {
        let cookie = self.jar.lock().expect("no test panicked").as_ref().map(|token| cookie(token));
        let headers: Vec<_> = cookie.iter().map(|cookie| ("Cookie", cookie.as_str())).collect();
        self.connection.ask(method, target, &headers, "").expect("the probe listens");
    }

    /// Waits for the answer to what was asked.
    pub(crate) fn answer(&mut self, method: &str) -> Reply {
        let reply = self.connection.read_reply(method).expect("the probe answers");
        if let Some(token) = reply.token() {
            *self.jar.lock().expect("no test panicked") =
                Some(token.to_owned()).filter(|token| !token.is_empty());
        }
        reply
    }

    /// The token in the jar.
    #[track_caller]
    pub(crate) fn token(&self) -> String {
        self.jar.lock().expect("no test panicked").clone().expect("the visitor has a cookie")
    }

    pub(crate) fn has_cookie(&self) -> bool {
        self.jar.lock().expect("no test panicked").is_some()
    }

    /// The session as the probe sees it. Looking sets no cookie, unless the token was rotated.
    #[track_caller]
    pub(crate) fn view(&mut self) -> View {
        let reply = self.get("/get").expect(200);
        serde_json::from_str(&reply.body).expect("a view is JSON")
    }

    /// Logs in, and answers the new token.
    #[track_caller]
    pub(crate) fn log_in(&mut self, user: &str) -> String {
        self.get(&format!("/login?user={user}")).expect(200);
        self.token()
    }
}

/// A `Cookie` header's value.
fn cookie(token: &str) -> String {
    format!("{COOKIE_NAME}={token}")
}

impl View {
    /// A text that was set.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.data.get(key)?.as_str()
    }

    /// Nobody's session: not logged in, and nothing stored.
    pub(crate) fn is_nobody(&self) -> bool {
        self.subject.is_none() && self.data.is_empty() && self.version.is_none() && self.id.is_none()
    }
}
