//! What is to be revoked, and the entries that say so.

use std::time::Duration;

use cloakroom::{
    SessionId, Subject, Timestamp,
    carrier::{Honour, Stamp},
};

use crate::list::{Entry, Except, List, Presented};

/// Something to be revoked.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// A session's older cookies, asked for with one of them.
    Session(Box<SessionWish>),
    /// A session, by its id.
    Id { id: SessionId, kept: Duration },
    /// A subject's sessions, but for one that begins with that, if none of them were revoked since its login arrived.
    Others { subject: Subject, arrived: Timestamp, kept: Duration },
    /// A subject's sessions.
    Subject { subject: Subject, except: Option<SessionId>, at: Timestamp, kept: Duration },
}

#[derive(Clone, Debug)]
pub(crate) struct SessionWish {
    pub(crate) id: SessionId,
    pub(crate) subject: Option<Subject>,
    pub(crate) began: Timestamp,
    pub(crate) stamp: Stamp,
    pub(crate) change: Becoming,
    /// For how long the cookies that are to be refused may live on.
    pub(crate) kept: Duration,
}

/// What becomes of the session.
#[derive(Clone, Debug)]
pub(crate) enum Becoming {
    Ended,
    Moved {
        line: u64,
        /// From when on; zero for at once.
        from: Timestamp,
        /// Whose it becomes that was nobody's, and when the request arrived that logs in.
        joins: Option<(Subject, Timestamp)>,
        /// Whose other sessions end with that, and for how long those may live on.
        ends_others: Option<(Subject, Duration)>,
    },
}

/// What came of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It is noted; a session that goes on does so with this stamp.
    Made(Stamp),
    /// Another came first.
    Superseded,
    Ended,
}

/// Entries that are noted together: each as if those before it had been noted already.
pub(crate) struct Draft<'a> {
    list: &'a List,
    added: List,
    pub(crate) entries: Vec<Entry>,
    now: Timestamp,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(list: &'a List, now: Timestamp) -> Self {
        Self { list, added: List::beyond(list), entries: Vec::new(), now }
    }

    /// Adds what is wished, if whoever wishes it still may. `epoch` is a random number, for a subject.
    pub(crate) fn add(&mut self, wish: &Wish, epoch: u64) -> Noted {
        match wish {
            Wish::Session(wish) => self.add_session(wish, epoch.max(1)),
            Wish::Others { subject, arrived, kept } => {
                if self.was_revoked_since(subject, None, *arrived) {
                    return Noted::Superseded;
                }
                let epoch = epoch.max(1);
                self.push_subject(subject, epoch, None, self.now, *kept);
                Noted::Made(Stamp { list: self.list.id, epoch, ..Stamp::default() })
            }
            Wish::Id { id, kept } => {
                self.push(Entry::Session {
                    id: *id.as_bytes(),
                    line: None,
                    from: 0,
                    at: self.now.as_millis(),
                    until: (self.now + *kept).as_millis(),
                });
                Noted::Made(Stamp::default())
            }
            Wish::Subject { subject, except, at, kept } => {
                let except = except.map(|id| self.except(subject, id));
                self.push_subject(subject, epoch.max(1), except, *at, *kept);
                Noted::Made(Stamp::default())
            }
        }
    }

    fn push_subject(
        &mut self,
        subject: &Subject,
        epoch: u64,
        except: Option<Except>,
        at: Timestamp,
        kept: Duration,
    ) {
        self.push(Entry::Subject {
            name: subject.to_string(),
            epoch,
            except,
            at: at.as_millis(),
            until: (self.now + kept).as_millis(),
        });
    }

    fn add_session(&mut self, wish: &SessionWish, epoch: u64) -> Noted {
        let SessionWish { id, subject, began, stamp, change, kept } = wish;
        let presented = Presented { id: *id, subject: subject.as_ref(), began: *began, stamp: *stamp };
        match self.honour(&presented) {
            Honour::Full | Honour::Fading(_) => {}
            Honour::Superseded => return Noted::Superseded,
            Honour::Ended | Honour::Absent => return Noted::Ended,
        }
        let mut next = *stamp;
        let (line, from) = match change {
            Becoming::Ended => (None, Timestamp::ZERO),
            Becoming::Moved { line, from, joins, ends_others } => {
                if let Some((subject, arrived)) = joins {
                    if self.was_revoked_since(subject, Some(*id), *arrived) {
                        return Noted::Superseded;
                    }
                    next.epoch = self.epoch(subject);
                }
                if let Some((subject, kept)) = ends_others {
                    // One that joins does so under the new epoch. One that was the subject's keeps its own, or the next
                    // exception that is made for it wouldn't hold.
                    let except = joins.is_none().then(|| self.except(subject, *id));
                    self.push_subject(subject, epoch, except, self.now, *kept);
                    if except.is_none() {
                        next.epoch = epoch;
                    }
                }
                next.line = *line;
                (Some(*line), *from)
            }
        };
        self.push(Entry::Session {
            id: *id.as_bytes(),
            line,
            from: from.as_millis(),
            // Never before the session began, on a node whose clock was ahead: an overflow goes by this.
            at: self.now.max(*began).as_millis(),
            until: (self.now + *kept).as_millis(),
        });
        Noted::Made(next)
    }

    /// The worse of what the list says and what was added to it. A cookie that was honoured until then may be led on.
    fn honour(&self, presented: &Presented<'_>) -> Honour {
        match (self.list.honour(presented, self.now), self.added.honour(presented, self.now)) {
            (before, Honour::Full) | (before @ (Honour::Superseded | Honour::Ended | Honour::Absent), _) => {
                before
            }
            (Honour::Full | Honour::Fading(_), after) => after,
        }
    }

    /// Unless this session was spared.
    fn was_revoked_since(&self, subject: &Subject, id: Option<SessionId>, arrived: Timestamp) -> bool {
        let is_spared = |except: Option<SessionId>| id.is_some() && except == id;
        [&self.added, self.list].iter().any(|list| {
            list.last_revocation(subject).is_some_and(|(at, except)| at >= arrived && !is_spared(except))
        })
    }

    fn epoch(&self, subject: &Subject) -> u64 {
        self.added.epoch(subject).or_else(|| self.list.epoch(subject)).unwrap_or(0)
    }

    fn except(&self, subject: &Subject, id: SessionId) -> Except {
        let known = self.added.except(subject, id).or_else(|| self.list.except(subject, id));
        known.unwrap_or(Except { id: *id.as_bytes(), epoch: None })
    }

    fn push(&mut self, entry: Entry) {
        self.added.apply(&entry);
        self.entries.push(entry);
    }
}
