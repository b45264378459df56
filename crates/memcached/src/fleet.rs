//! All servers of the ring, as one place to keep sessions and subjects in.

use cloakroom::{Error, SessionId, Subject, Timestamp, store::Revocation};
use futures_util::FutureExt as _;

use crate::{
    entry::{self, Entry, State},
    key::Key,
    memory::Memory,
    meta::{If, Number, Response},
    ring::Ring,
    server::Server,
    time::ttl,
};

pub(crate) struct Fleet {
    pub(crate) servers: Box<[Server]>,
    pub(crate) ring: Ring,
    pub(crate) memory: Memory,
}

/// What stands under a key, with the server's number of it.
pub(crate) struct Stored<T> {
    pub(crate) value: T,
    pub(crate) cas: u64,
}

/// What became of a change.
pub(crate) enum Change {
    /// Made; the number of what is stored now.
    Made(u64),
    /// Not made: something else is under the key.
    Refused,
    /// Not made: there is nothing under the key.
    Missing,
}

/// How often a change is tried again that others overtook. Each time, one of the others got ahead.
pub(crate) const ATTEMPTS_MAX: u32 = 1_000;

impl Fleet {
    /// How often the connections to a session's server were made so far.
    pub(crate) fn connected(&self, id: SessionId) -> u64 {
        self.server(Key::Session(id)).connected()
    }

    pub(crate) fn server(&self, key: Key) -> &Server {
        &self.servers[self.ring.place(key.point())]
    }

    /// What stands under a session's key. It is asked for at once, if there is room, and awaited when it is needed.
    pub(crate) fn entry(&self, id: SessionId) -> impl Future<Output = Result<Option<Stored<Entry>>, Error>> {
        self.stored(Key::Session(id), move |bytes| entry::read(bytes, id))
    }

    pub(crate) async fn put_entry(
        &self,
        id: SessionId,
        bytes: Vec<u8>,
        ttl: i32,
        condition: If,
    ) -> Result<Change, Error> {
        let key = Key::Session(id);
        let server = self.server(key);
        change(server, server.set(key, bytes, ttl, condition).await?)
    }

    /// The subject's state, without which none of its sessions counts. It is asked for likewise.
    pub(crate) fn state(&self, subject: Key) -> impl Future<Output = Result<Option<Stored<State>>, Error>> {
        self.stored(subject, State::read)
    }

    /// The subject's state, begun if there is none, and sure to last until its session ends.
    pub(crate) async fn state_until(
        &self,
        subject: Key,
        end: Timestamp,
        now: Timestamp,
    ) -> Result<State, Error> {
        // Twice as long, so that not every login has to write it.
        let longer = end + end.since(now);
        self.change_state(subject, now, |state| {
            if state.lasts_until(end) {
                return Ok(false);
            }
            state.last_until(longer);
            Ok(true)
        })
        .await
    }

    /// Ends all sessions of the subject and notes it, in one change of one key: nothing is ever between the two.
    pub(crate) async fn revoke(
        &self,
        subject: &Subject,
        revocation: &Revocation,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.change_state(Key::of(subject), now, |state| state.revoke(revocation).map(|()| true))
            .await
            .map(drop)
    }

    /// Changes the subject's state until no other change comes between. Without one, it begins anew: with that, all
    /// sessions end that the subject may still have somewhere.
    async fn change_state(
        &self,
        subject: Key,
        now: Timestamp,
        mut apply: impl FnMut(&mut State) -> Result<bool, Error>,
    ) -> Result<State, Error> {
        let server = self.server(subject);
        for _ in 0..ATTEMPTS_MAX {
            let connected = server.connected();
            let (mut state, condition) = match self.state(subject).await? {
                Some(Stored { value, cas }) => (value, If::Unchanged(Number { cas, connected })),
                None => (State::begun()?, If::Free),
            };
            if !apply(&mut state)? {
                return Ok(state);
            }
            let answer = server.set(subject, state.encode()?, ttl(state.expires(), now), condition).await?;
            if let Change::Made(_) = change(server, answer)? {
                return Ok(state);
            }
        }
        Err(server.failed("a subject was changed by others again and again"))
    }

    fn stored<T>(
        &self,
        key: Key,
        read: impl FnOnce(&[u8]) -> Result<T, Error>,
    ) -> impl Future<Output = Result<Option<Stored<T>>, Error>> {
        let server = self.server(key);
        server.get(key).map(move |answer| match answer? {
            Response::Value(bytes, cas) => Ok(Some(Stored { value: read(&bytes)?, cas })),
            Response::Missing => Ok(None),
            strange => Err(server.strange(&strange)),
        })
    }
}

fn change(server: &Server, answer: Response) -> Result<Change, Error> {
    match answer {
        Response::Done(cas) => Ok(Change::Made(cas)),
        Response::NotStored | Response::Exists => Ok(Change::Refused),
        Response::Missing => Ok(Change::Missing),
        strange => Err(server.strange(&strange)),
    }
}
