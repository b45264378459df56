//! What a handler gets: the visitor's session.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use cloakroom_core::{
    Key, Lifetime, SessionId, Subject, Timestamp, delta::Delta, exchange::EndReason, lifetime::Times,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Detached, Error, Exchange,
    exchange::{Carried, Changing, Opened, Seen, Shared},
};

/// The visitor's session, loaded.
///
/// Reading and changing it waits for nothing: what a handler reads is the session as it was loaded, with the
/// handler's own changes on top. They are stored in one write when the response's head is ready; if another request
/// changed the session meanwhile, they are merged into what that one stored.
///
/// ```
/// use cloakroom::{Error, Key, Session};
///
/// const VISITS: Key<u32> = Key::new("visits");
///
/// fn greet(session: &Session) -> Result<String, Error> {
///     // Counted right, however many of the visitor's requests run at once.
///     session.update(VISITS, |visits| *visits += 1)?;
///     let visits = session.get(VISITS)?.unwrap_or_default();
///     Ok(format!("visit {visits}"))
/// }
/// ```
pub struct Session {
    pub(crate) shared: Arc<Shared>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The value of a key, if there is one.
    ///
    /// # Errors
    /// [`Error::is_value`] if it was written as another type, [`Error::is_key_clash`] if the key's name is in use with
    /// another type.
    pub fn get<T: DeserializeOwned + 'static>(&self, key: Key<T>) -> Result<Option<T>, Error> {
        self.shared.engine.keys.check(&key)?;
        self.shared.see(|seen| {
            let (loaded, intent) = seen.split();
            // Plainly, so that the value is moved no more than once.
            let Some(json) = intent.delta.get(loaded, key.name()) else { return Ok(None) };
            match key.decode(json) {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Sets a key's value.
    ///
    /// # Errors
    /// [`Error::is_too_large`] if the session would be, [`Error::is_value`] if the value can't be written as JSON,
    /// [`Error::is_refused`] by the data guard, [`Error::is_key_clash`], [`Error::is_committed`];
    /// [`Error::is_unavailable`] if the session is degraded. Nothing is changed then.
    pub fn insert<T: Serialize + 'static>(&self, key: Key<T>, value: &T) -> Result<(), Error> {
        let json = self.admit(&key, value)?;
        let mut state = self.open()?;
        let subject_bytes = state.seen().subject_bytes();
        let (loaded, intent) = state.split();
        self.shared.engine.check_entry(subject_bytes, loaded, &intent.delta, key.name(), &json)?;
        Ok(intent.delta.insert_json(loaded, key, json)?)
    }

    /// Sets the value of a key that has none; `false` if it has one. Of several requests that do this at once one
    /// succeeds, and the others answer 409.
    ///
    /// # Errors
    /// As for [`Session::insert`].
    pub fn insert_new<T: Serialize + 'static>(&self, key: Key<T>, value: &T) -> Result<bool, Error> {
        let json = self.admit(&key, value)?;
        let mut state = self.open()?;
        let subject_bytes = state.seen().subject_bytes();
        let (loaded, intent) = state.split();
        if intent.delta.get(loaded, key.name()).is_none() {
            self.shared.engine.check_entry(subject_bytes, loaded, &intent.delta, key.name(), &json)?;
        }
        Ok(intent.delta.insert_new_json(loaded, key, json)?)
    }

    /// Removes a key's value.
    ///
    /// # Errors
    /// [`Error::is_committed`]; [`Error::is_unavailable`] if the session is degraded.
    pub fn remove<T: 'static>(&self, key: Key<T>) -> Result<(), Error> {
        self.shared.engine.keys.check(&key)?;
        self.open()?.split().1.delta.remove(key);
        Ok(())
    }

    /// Removes a key's value and returns it: for what may be used once. Of several requests that take it at once one
    /// succeeds, and the others answer 409.
    ///
    /// # Errors
    /// As for [`Session::insert`]; a value of another type stays where it is.
    pub fn take<T: DeserializeOwned + 'static>(&self, key: Key<T>) -> Result<Option<T>, Error> {
        self.shared.engine.keys.check(&key)?;
        let mut state = self.open()?;
        let (loaded, intent) = state.split();
        Ok(intent.delta.take(loaded, key)?)
    }

    /// Changes a key's value by a function, starting from `T::default()` if there is none.
    ///
    /// The function is run now, and again on the stored value if another request changed it meanwhile: it must do
    /// nothing but change the value, have everything it needs in itself, and never use a session: that one is locked.
    ///
    /// # Errors
    /// As for [`Session::insert`].
    pub fn update<T>(&self, key: Key<T>, update: impl Fn(&mut T) + Send + Sync + 'static) -> Result<(), Error>
    where
        T: Default + Serialize + DeserializeOwned + 'static,
    {
        let engine = &*self.shared.engine;
        let (used, name) = (engine.keys.admit(&key)?, key.clone());
        let mut state = self.open()?;
        let subject_bytes = state.seen().subject_bytes();
        let (loaded, intent) = state.split();
        let admit = |delta: &Delta, json: &[u8]| {
            engine.look_at(used, name.name(), json)?;
            engine.check_entry(subject_bytes, loaded, delta, name.name(), json)
        };
        Ok(intent.delta.update_if(loaded, key, update, admit)?)
    }

    /// Removes all values. The visitor stays logged in.
    ///
    /// # Errors
    /// [`Error::is_committed`]; [`Error::is_unavailable`] if the session is degraded.
    pub fn clear(&self) -> Result<(), Error> {
        self.open()?.split().1.delta.clear();
        Ok(())
    }

    /// Names and JSON texts of all values, as the handler sees them; for tools and debugging.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.shared.see(|seen| {
            let (loaded, intent) = seen.split();
            intent.delta.apply_to_loaded(loaded).map_or_else(|| "{}".to_owned(), |data| data.to_json())
        })
    }

    /// Makes this the session of a subject who has just proved who they are. The token is replaced, and every earlier
    /// one is worthless at once (OWASP ASVS 5.0, 7.2.4); both timeouts begin again. An anonymous visitor's data stays,
    /// as far as [`Policy::carry_over`](crate::Policy::carry_over) says; logging in over somebody else's session ends
    /// that one and begins an empty one.
    ///
    /// The login counts from when its request arrived. If the subject's sessions are ended after that, this one is too,
    /// and the request is answered with 409, even if it ended them itself: see [`Session::login_ending_others`].
    ///
    /// # Errors
    /// [`Error::is_committed`]; [`Error::is_unavailable`] if the session is degraded; [`Error::is_too_large`] if it
    /// travels in its cookie, and has no room for so long a subject beside its data.
    pub fn login(&self, subject: Subject) -> Result<(), Error> {
        let mut state = self.open()?;
        let bytes_max = self.shared.engine.data_bytes_max;
        if state.seen().subject().is_some_and(|current| *current != subject) {
            state.intent().end(EndReason::Replaced, bytes_max);
        }
        if self.shared.engine.is_carried {
            let (loaded, intent) = state.split();
            crate::room::check_room(intent.delta.apply_to_loaded(loaded), &subject, &self.shared.engine)?;
        }
        state.split().1.login = Some(subject);
        Ok(())
    }

    /// As [`Session::login`], and ends the subject's other sessions: for a password that was reset. It does so when the
    /// response's head is ready, and before the cookie is sent. Calling [`Subjects::end`](crate::Subjects::end) first
    /// in the same request would refuse this login along with the others that were in progress.
    ///
    /// # Errors
    /// As for [`Session::login`]; [`Error::is_unsupported`] if the store can't end sessions by their subject.
    pub fn login_ending_others(&self, subject: Subject) -> Result<(), Error> {
        self.shared.engine.revoke()?;
        self.login(subject)?;
        self.open()?.split().1.ends_others = true;
        Ok(())
    }

    /// Notes that the subject has proved again who they are, before something sensitive. The response carries a new
    /// token, whose [`Session::authenticated_at`] is now; the old one stays good, at its old level, until the new
    /// one is first seen, so a lost response logs nobody out. (Where sessions travel in their cookies, it stays good for
    /// a grace.)
    ///
    /// # Errors
    /// [`Error::is_anonymous`] without an authenticated session; as for [`Session::login`].
    pub fn step_up(&self) -> Result<(), Error> {
        self.authenticated()?.split().1.step_up = true;
        Ok(())
    }

    /// Replaces the token, after a change of what its holder may do. Every request under way is served, and those
    /// with the same token are handed the same successor. A token that came from a rotation less than a grace ago
    /// stays.
    ///
    /// # Errors
    /// [`Error::is_anonymous`] without an authenticated session; as for [`Session::login`].
    pub fn rotate(&self) -> Result<(), Error> {
        self.authenticated()?.split().1.rotate = true;
        Ok(())
    }

    /// Ends the session: for good, on every node, for every request under way. What the handler does with the session
    /// after this belongs to a new one.
    ///
    /// # Errors
    /// [`Error::is_committed`]; [`Error::is_unavailable`] if the session is degraded.
    pub fn logout(&self) -> Result<(), Error> {
        self.open()?.intent().end(EndReason::Logout, self.shared.engine.data_bytes_max);
        Ok(())
    }

    /// Gives this session timeouts of its own, counted from its start: "remember me", or a stricter one. To ask again for
    /// those that it has changes nothing.
    ///
    /// # Errors
    /// [`Error::is_committed`]; [`Error::is_unavailable`] if the session is degraded.
    pub fn set_lifetime(&self, lifetime: Lifetime) -> Result<(), Error> {
        self.open()?.split().1.lifetime = Some(lifetime);
        Ok(())
    }

    /// The session's public handle; `None` before it was first stored.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.shared.see(|seen| seen.record().map(|record| record.id))
    }

    /// The stamp of the session's last stored change as it was loaded, for tools and debugging.
    #[must_use]
    pub fn version(&self) -> Option<cloakroom_core::Version> {
        self.shared.see(|seen| seen.record().map(|record| record.version))
    }

    /// Whom the session belongs to; `None` while anonymous.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        self.shared.see(|seen| seen.subject().cloned())
    }

    /// When the session began, was last used and ends, as it was loaded.
    #[must_use]
    pub fn times(&self) -> Option<Times> {
        self.shared.see(|seen| seen.times())
    }

    /// When the subject last proved who they are; `None` while anonymous, and in the request that logs in.
    #[must_use]
    pub fn authenticated_at(&self) -> Option<Timestamp> {
        self.shared.see(|seen| {
            seen.record().filter(|record| record.subject.is_some())?;
            seen.times().map(|times| times.started)
        })
    }

    /// Whether the store couldn't be asked, so that this session is empty and can't be changed. Only a route that asked
    /// to be served so ever sees this.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.shared.see(|seen| seen.opened.is_degraded())
    }

    /// The session for a stream or a WebSocket that goes on when the response's head has been sent: a handle whose
    /// changes are stored by [`Detached::commit`].
    #[must_use]
    pub fn detach(&self) -> Detached {
        let exchange = Exchange::arrived_at(&self.shared.engine, self.shared.arrived);
        self.shared.see(|Seen { opened, .. }| {
            // There is no cookie to send, so how many there were doesn't matter.
            let carried = opened.carried.as_ref().map(|carried| Box::new(Carried { parts: 1, ..**carried }));
            exchange
                .shared
                .open(|| Opened { carried, ..Opened::new(opened.claim.clone(), opened.loaded_at) });
        });
        Detached { session: Self::new(exchange.shared) }
    }

    fn admit<T: Serialize + 'static>(&self, key: &Key<T>, value: &T) -> Result<Vec<u8>, Error> {
        let engine = &*self.shared.engine;
        let used = engine.keys.admit(key)?;
        let json = key.encode(value)?;
        engine.look_at(used, key.name(), &json)?;
        Ok(json)
    }

    fn open(&self) -> Result<Changing<'_>, Error> {
        self.shared.lock().checked()
    }

    fn authenticated(&self) -> Result<Changing<'_>, Error> {
        let state = self.open()?;
        if state.seen().subject().is_none() { Err(Error::no_session()) } else { Ok(state) }
    }
}

impl<'a> Seen<'a> {
    fn times(self) -> Option<Times> {
        self.record().and_then(|_| self.opened.claim.standing.times())
    }

    fn subject_bytes(self) -> usize {
        self.subject().map_or(0, |subject| subject.as_str().len())
    }

    /// Whom the session belongs to, as the handler sees it.
    fn subject(self) -> Option<&'a Subject> {
        let login = self.split().1.login.as_ref();
        login.or_else(|| self.record().and_then(|record| record.subject.as_ref()))
    }
}

/// A panicking handler's changes are discarded, even if something between it and the adapter makes a response of the
/// panic: half of what it meant to do is not what it meant to do.
impl Drop for Session {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.is_discarded.store(true, Ordering::Relaxed);
        }
    }
}

impl Clone for Session {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("subject", &self.subject())
            .finish_non_exhaustive()
    }
}
