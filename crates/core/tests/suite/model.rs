//! What the rules say of every session and of every token that was handed out, kept apart from the code under test.
//!
//! The model learns only what can be seen from outside: who asked for what with which token, what was stored and what
//! was sent. From that it foretells what each token is worth, how long each session lives and what its data holds,
//! and panics where the record tells otherwise.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cloakroom_core::{
    AuthorityKeys, Lifetime, Policy, Record, SessionId, Subject, Timestamp, Token,
    exchange::{Action, CookieChange, Standing},
    lifetime::Times,
    record::Presented,
};

use crate::world::{Ask, COUNT};

pub(crate) struct Model {
    policy: Policy,
    sessions: BTreeMap<SessionId, Session>,
    /// How far the nodes' clocks may be apart.
    pub(crate) skew: Duration,
    /// Sessions that ended because a secret was presented that had been rotated out.
    pub(crate) alarms: usize,
    /// A browser that must have no part in a subject's sessions.
    pub(crate) kept_out: Option<(usize, &'static str)>,
    pub(crate) keys: Option<Arc<AuthorityKeys>>,
}

/// What a request met with when it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    Absent,
    Current,
    Successor,
    SteppedUp,
    Previous,
    Superseded,
    Reused,
    Ended,
}

pub(crate) struct Event<'a> {
    pub(crate) number: usize,
    pub(crate) browser: usize,
    pub(crate) ask: &'a Ask,
    pub(crate) token: Option<&'a Token>,
    pub(crate) arrived: Timestamp,
    pub(crate) now: Timestamp,
}

struct Session {
    subject: Option<&'static str>,
    current: String,
    pending: Option<String>,
    step_ups: Vec<StepUp>,
    retired: BTreeMap<String, Timestamp>,
    superseded: BTreeSet<String>,
    started: Timestamp,
    used: Timestamp,
    lifetime: Lifetime,
    ended: Option<Timestamp>,
    count: u32,
    names: BTreeSet<String>,
}

struct StepUp {
    token: String,
    started: Timestamp,
}

/// How many secrets from step-ups are honoured that weren't seen.
const STEP_UPS_MAX: usize = 4;

impl Model {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            sessions: BTreeMap::new(),
            skew: Duration::ZERO,
            alarms: 0,
            kept_out: None,
            keys: None,
        }
    }

    pub(crate) fn loaded(
        &mut self,
        browser: usize,
        token: Option<&Token>,
        [arrived, now]: [Timestamp; 2],
        observed: Observed,
        times: Option<Times>,
    ) {
        self.alarms += usize::from(observed == Observed::Reused);
        let expected = self.expected(token, arrived, now);
        assert!(expected.contains(&observed), "{observed:?}, but the rules say {expected:?}");
        if let (Some(times), Some(token)) = (times, token) {
            self.assert_admitted(browser, token.id());
            assert_eq!(times.started, self.sessions[&token.id()].started_for(&token.expose()));
        }
    }

    /// What a request is about to do is within its rights, and no weaker than what it asked for.
    pub(crate) fn decided(
        &self,
        event: &Event<'_>,
        standing: &Standing,
        action: &Action,
        cookie: Option<&CookieChange>,
    ) {
        let Event { ask, .. } = event;
        let is_new = matches!(action, Action::Create(_) | Action::EndThenCreate(..));
        let is_login = ask.logs_in.is_some() || ask.then.as_ref().is_some_and(|then| then.logs_in.is_some());
        if !matches!(standing, Standing::Absent) {
            assert!(!is_new || is_login || ask.ends, "a session was created by {ask:?}");
        }
        if matches!(standing, Standing::Superseded | Standing::Ended) {
            let is_idle = matches!(action, Action::Nothing | Action::Refuse) && cookie.is_none();
            assert!(
                is_idle || (is_login && matches!(action, Action::Create(_))),
                "{action:?} by {standing:?}"
            );
        }
        if ask.ends {
            let is_weaker = matches!(action, Action::Replace { .. } | Action::Touch);
            assert!(!is_weaker, "an end became {action:?}");
        } else if ask.logs_in.is_some() {
            assert!(matches!(cookie, Some(CookieChange::Set(..))), "a login sent {cookie:?}");
        }
        if ask.writes && !ask.ends {
            let is_dropped = matches!(action, Action::Nothing | Action::Touch);
            assert!(!is_dropped, "a write was answered and not stored");
        }
        if matches!(cookie, Some(CookieChange::Clear)) {
            assert!(matches!(action, Action::End(_)), "{action:?} cleared the cookie");
        }
    }

    pub(crate) fn created(
        &mut self,
        event: &Event<'_>,
        ask: &Ask,
        record: &Record,
        cookie: Option<&CookieChange>,
    ) {
        let Some(CookieChange::Set(token, _)) = cookie else {
            panic!("nobody holds the new session's token")
        };
        let session = Session {
            subject: ask.logs_in,
            current: token.expose(),
            pending: None,
            step_ups: Vec::new(),
            retired: BTreeMap::new(),
            superseded: BTreeSet::new(),
            started: if ask.logs_in.is_some() { event.arrived } else { event.now },
            used: event.now,
            lifetime: ask.lifetime.unwrap_or(self.policy.lifetime),
            ended: None,
            count: 0,
            names: BTreeSet::new(),
        };
        assert!(self.sessions.insert(record.id, session).is_none(), "{} lives a second time", record.id);
        let prefix = if std::ptr::eq(ask, event.ask) { "k" } else { "then" };
        self.wrote(event, ask, record, prefix);
    }

    pub(crate) fn replaced(
        &mut self,
        event: &Event<'_>,
        before: &Record,
        record: &Record,
        cookie: Option<&CookieChange>,
    ) {
        self.assert_admitted(event.browser, record.id);
        let (ask, presented) = (event.ask, event.token.map(Token::expose).unwrap_or_default());
        let sent = match cookie {
            Some(CookieChange::Set(token, _)) => Some(token.expose()),
            _ => None,
        };
        let session = self.sessions.get_mut(&record.id).expect("only what was created is replaced");
        assert_eq!(session.ended, None, "an ended session was changed");
        assert!(!session.is_surely_dead(event.now), "a change brought a session back");
        session.used = event.now;
        if let Some(subject) = ask.logs_in {
            assert!(before.authority.epoch() < record.authority.epoch());
            session.supersede_all(sent.expect("a login sends its secret"));
            let is_first = session.subject.replace(subject).is_none();
            let lifetime = if is_first { self.policy.lifetime } else { session.lifetime };
            (session.started, session.lifetime) = (event.arrived, ask.lifetime.unwrap_or(lifetime));
        } else {
            session.see(&presented, event.now);
            session.lifetime = ask.lifetime.unwrap_or(session.lifetime);
            if ask.steps_up {
                assert!(before.authority.epoch() < record.authority.epoch());
                let token = sent.expect("a step-up sends its secret");
                if session.step_ups.len() == STEP_UPS_MAX {
                    session.superseded.insert(session.step_ups.remove(0).token);
                }
                session.step_ups.push(StepUp { token, started: event.arrived });
            } else if let Some(sent) = sent {
                session.hand_out(sent, &presented);
            }
        }
        self.wrote(event, ask, record, "k");
    }

    pub(crate) fn ended(&mut self, browser: usize, id: SessionId, now: Timestamp) {
        self.assert_admitted(browser, id);
        let session = self.sessions.get_mut(&id).expect("only what was created is ended");
        assert_eq!(session.ended.replace(now), None, "a session ended twice");
    }

    /// A request was served by the session at this time and changed nothing. All it may be sent is a successor that is
    /// out.
    pub(crate) fn used(
        &mut self,
        event: &Event<'_>,
        id: SessionId,
        at: Timestamp,
        is_noted: bool,
        cookie: Option<&CookieChange>,
    ) {
        let session = self.sessions.get_mut(&id).expect("only what was created is used");
        assert!(!is_noted || !session.is_surely_dead(event.now), "activity brought a session back");
        session.used = session.used.max(at);
        if let Some(CookieChange::Set(token, _)) = cookie {
            assert_eq!(session.pending.as_ref(), Some(&token.expose()));
            session.hand_out(token.expose(), &event.token.map(Token::expose).unwrap_or_default());
        }
    }

    /// What the session has handed out as the successor of its current secret.
    pub(crate) fn pending(&self, id: SessionId) -> Option<String> {
        self.sessions[&id].pending.clone()
    }

    /// Whether this secret is the one that was rotated out last.
    pub(crate) fn is_retired_last(&self, token: &Token) -> bool {
        let retired = &self.sessions[&token.id()].retired;
        retired.get(&token.expose()) == retired.values().max()
    }

    /// How many of a session's secrets were rotated out since its subject authenticated.
    pub(crate) fn retired(&self, id: SessionId) -> usize {
        self.sessions[&id].retired.len()
    }

    pub(crate) fn subject(&self, id: SessionId) -> Option<&'static str> {
        self.sessions[&id].subject
    }

    fn assert_admitted(&self, browser: usize, id: SessionId) {
        let is_kept_out =
            self.kept_out.is_some_and(|kept_out| Some(kept_out) == self.subject(id).map(|s| (browser, s)));
        assert!(!is_kept_out, "browser {browser} got hold of somebody else's session");
    }

    fn expected(&self, token: Option<&Token>, arrived: Timestamp, now: Timestamp) -> Vec<Observed> {
        let Some((session, token)) =
            token.and_then(|token| Some((self.sessions.get(&token.id())?, token.expose())))
        else {
            return vec![Observed::Absent];
        };
        match session.ended {
            Some(at) if now < at + self.policy.grace => return vec![Observed::Ended],
            Some(_) => return vec![Observed::Absent],
            None => {}
        }
        let alive = match session.worth(&token, arrived, self.policy.grace) {
            Presented::Current => Observed::Current,
            Presented::Successor => Observed::Successor,
            Presented::SteppedUp(_) => Observed::SteppedUp,
            Presented::Previous => Observed::Previous,
            Presented::Reused => Observed::Reused,
            Presented::Superseded => Observed::Superseded,
            Presented::Unknown => Observed::Absent,
        };
        if session.is_surely_dead(now) {
            vec![Observed::Absent]
        } else if session.is_surely_alive(now, self.skew) {
            vec![alive]
        } else {
            vec![alive, Observed::Absent]
        }
    }

    /// Notes what a stored record must hold, and looks whether it does.
    fn wrote(&mut self, event: &Event<'_>, ask: &Ask, record: &Record, prefix: &str) {
        let session = self.sessions.get_mut(&record.id).expect("it was created or replaced");
        if ask.writes {
            session.count += 1;
            session.names.insert(format!("{prefix}{}", event.number));
        }
        let count = record.data.get(COUNT.name()).map_or(0, |count| COUNT.decode(count).unwrap());
        assert_eq!(count, session.count, "a count was lost, or made twice, or came from another session");
        let mut names: BTreeSet<_> = record.data.iter().map(|(name, _)| name.to_owned()).collect();
        names.remove(COUNT.name());
        assert_eq!(names, session.names);
        assert_eq!(record.subject.as_ref().map(Subject::as_str), session.subject);
        assert!(record.expires() <= session.latest_end(), "the record outlives its timeouts");
        session.assert_authority(record, self.keys.as_deref(), event.now, self.policy.grace);
        let bytes = record.encode().unwrap();
        assert_eq!(Record::decode(&bytes).unwrap().encode().unwrap(), bytes);
    }
}

impl Session {
    fn worth(&self, token: &str, now: Timestamp, grace: Duration) -> Presented {
        if self.current == token {
            Presented::Current
        } else if self.pending.as_deref() == Some(token) {
            Presented::Successor
        } else if let Some(place) = self.step_up(token) {
            Presented::SteppedUp(u8::try_from(place).unwrap())
        } else if let Some(at) = self.retired.get(token) {
            if now.since(*at) <= grace { Presented::Previous } else { Presented::Reused }
        } else if self.superseded.contains(token) {
            Presented::Superseded
        } else {
            Presented::Unknown
        }
    }

    fn step_up(&self, token: &str) -> Option<usize> {
        self.step_ups.iter().position(|step_up| step_up.token == token)
    }

    /// When the subject authenticated, to who presents this.
    fn started_for(&self, token: &str) -> Timestamp {
        self.step_up(token).map_or(self.started, |place| self.step_ups[place].started)
    }

    fn supersede_all(&mut self, current: String) {
        let before = std::mem::replace(&mut self.current, current);
        let retired = std::mem::take(&mut self.retired).into_keys();
        let step_ups = std::mem::take(&mut self.step_ups).into_iter().map(|step_up| step_up.token);
        self.superseded.extend(retired.chain(self.pending.take()).chain(step_ups).chain([before]));
    }

    /// A secret that was handed out and is seen for the first time takes its place; what was handed out later stays.
    fn see(&mut self, token: &str, now: Timestamp) {
        if self.pending.as_deref() == Some(token) {
            self.pending = None;
            self.retired.insert(std::mem::replace(&mut self.current, token.to_owned()), now);
        } else if let Some(place) = self.step_up(token) {
            let newer = self.step_ups.split_off(place + 1);
            self.started = self.step_ups[place].started;
            self.step_ups.truncate(place);
            self.supersede_all(token.to_owned());
            self.step_ups = newer;
        }
    }

    /// A request was sent its own token again, or its successor: then everybody is sent the same one.
    fn hand_out(&mut self, sent: String, presented: &str) {
        if sent == presented {
            assert!(self.pending.is_none(), "a token was sent again whose successor is out");
            return;
        }
        assert_eq!(self.current, presented, "a successor was sent to who presented no current secret");
        assert!(self.subject.is_some(), "an anonymous session's secret was rotated");
        let pending = self.pending.get_or_insert(sent.clone());
        assert_eq!(*pending, sent, "two successors of one secret are out");
    }

    fn latest_end(&self) -> Timestamp {
        (self.used + self.lifetime.idle()).min(self.started + self.lifetime.absolute())
    }

    fn is_surely_dead(&self, now: Timestamp) -> bool {
        now >= self.latest_end()
    }

    /// Activity is noted once in a thirtieth of the idle timeout.
    fn is_surely_alive(&self, now: Timestamp, skew: Duration) -> bool {
        let idle = self.lifetime.idle() - self.lifetime.idle() / 30;
        now + skew < self.used + idle && now < self.started + self.lifetime.absolute()
    }

    fn assert_authority(
        &self,
        record: &Record,
        keys: Option<&AuthorityKeys>,
        now: Timestamp,
        grace: Duration,
    ) {
        let step_ups = self.step_ups.iter().map(|step_up| &step_up.token);
        let out = self.pending.iter().chain(step_ups);
        let known = self.retired.keys().chain(&self.superseded).chain(out).chain([&self.current]);
        for text in known {
            let token = Token::parse(text.as_bytes()).unwrap();
            let found = record.authority.examine_under(keys, &record.id, token.secret(), grace, now);
            assert_eq!(found, self.worth(text, now, grace));
        }
    }
}
