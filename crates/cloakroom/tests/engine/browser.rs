//! A browser's side of an exchange.

use std::sync::Arc;

use cloakroom::{
    Error, Exchange, Session, SessionId, Sessions, Subject,
    event::{Event, EventKind, Subscriber},
    exchange::Outcome,
};
use parking_lot::Mutex;

/// A jar with one session cookie.
#[derive(Clone, Default)]
pub struct Browser {
    pub cookie: Option<String>,
}

impl Browser {
    /// A request that arrives now and has loaded its session.
    pub async fn request(&self, sessions: &Sessions) -> (Exchange, Session) {
        let exchange = sessions.begin();
        let session = self.load(&exchange).await.unwrap();
        (exchange, session)
    }

    pub async fn load(&self, exchange: &Exchange) -> Result<Session, Error> {
        let header = self.cookie.clone().unwrap_or_default();
        exchange.session(std::iter::once(header.as_bytes()), Some(&b"Firefox/130 (Linux)"[..])).await
    }

    /// The response arrives.
    pub fn receive(&mut self, outcome: &Outcome) {
        if let Some(set_cookie) = &outcome.set_cookie {
            let pair = set_cookie.expose().split(';').next().unwrap();
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
    }

    /// A whole request.
    pub async fn visit(
        &mut self,
        sessions: &Sessions,
        handler: impl FnOnce(&Session),
    ) -> Result<Outcome, Error> {
        let (exchange, session) = self.request(sessions).await;
        handler(&session);
        let outcome = exchange.commit().await?;
        self.receive(&outcome);
        Ok(outcome)
    }

    pub async fn login(&mut self, sessions: &Sessions, user: &str) -> SessionId {
        self.visit(sessions, |session| session.login(subject(user)).unwrap()).await.unwrap();
        self.request(sessions).await.1.id().unwrap()
    }

    pub async fn subject(&self, sessions: &Sessions) -> Option<Subject> {
        self.request(sessions).await.1.subject()
    }
}

pub fn subject(user: &str) -> Subject {
    Subject::new(user).unwrap()
}

/// A subscriber that keeps what it is told.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Recorder {
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock())
    }

    pub fn kinds(&self) -> Vec<EventKind> {
        self.take().into_iter().map(|event| event.kind).collect()
    }
}

impl Subscriber for Recorder {
    fn on_event(&self, event: &Event) {
        self.0.lock().push(event.clone());
    }
}
