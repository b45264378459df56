//! A world in small: one store, browsers, and requests that load at one time and commit at another, on nodes whose
//! clocks differ. Responses may be late, overtake each other or be lost. Plans are carried out as
//! `cloakroom_core::exchange` says. Everything that happens is held against the [`Model`].

use std::{collections::BTreeSet, mem, sync::Arc, time::Duration};

use cloakroom_core::{
    Data, Error, Policy, Record, Secret, SessionId, Timestamp, Token,
    exchange::{Action, Circumstances, CookieChange, Intent, Plan, Seat, Standing, is_settled, plan},
    record::Presented,
};

pub(crate) use crate::ask::{Answer, Ask, COUNT, Cookie, Done};
use crate::keys::Keys;
use crate::mistakes::mistaken;
use crate::model::{Event, Model, Observed};
use crate::rules::Rule;
pub(crate) use crate::store::{Entropy, Found, Store};

pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) now: Timestamp,
    pub(crate) model: Model,
    pub(crate) store: Store,
    /// In worlds that rotate secrets, keys rotate, too.
    keys: Option<Keys>,
    entropy: Entropy,
    jars: Vec<Option<Token>>,
    requests: Vec<InFlight>,
    /// Secrets that a broken rule took the authority from.
    pub(crate) robbed: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Browser(usize);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Request(usize);

/// One thing that happened to a request.
#[derive(Debug)]
pub(crate) enum Progress {
    Reached,
    Loaded(Observed),
    MetAConflict,
    Answered(Answer),
    Arrived,
}

struct InFlight {
    browser: usize,
    ask: Ask,
    token: Option<Token>,
    clock_ahead: Duration,
    sent: Timestamp,
    stage: Stage,
}

enum Stage {
    Sent,
    /// At a node since this time, where nobody has asked for the session yet.
    Arrived(Timestamp),
    Working(Box<Work>),
    Answered(Answer, Timestamp),
    Over,
}

pub(crate) struct Work {
    pub(crate) standing: Standing,
    began: Option<Arc<Record>>,
    pub(crate) intent: Intent,
    arrived: Timestamp,
    loaded: Timestamp,
    is_fresh: bool,
}

pub(crate) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

impl World {
    pub(crate) fn new(policy: Policy) -> Self {
        policy.check().unwrap();
        let keys = policy.rotation_period.map(|_| Keys::new(START));
        let mut model = Model::new(policy.clone());
        model.keys = keys.as_ref().map(Keys::made);
        Self {
            model,
            keys,
            policy,
            now: START,
            store: Store::default(),
            entropy: Entropy(0),
            jars: Vec::new(),
            requests: Vec::new(),
            robbed: BTreeSet::new(),
        }
    }

    pub(crate) fn browser(&mut self) -> Browser {
        self.jars.push(None);
        Browser(self.jars.len() - 1)
    }

    pub(crate) fn jar(&self, browser: Browser) -> Option<Token> {
        self.jars[browser.0].clone()
    }

    /// Puts a cookie into a browser: stolen from another one, or planted by an attacker.
    pub(crate) fn plant(&mut self, browser: Browser, token: Option<Token>) {
        self.jars[browser.0] = token;
    }

    pub(crate) fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        if let Some(keys) = &mut self.keys {
            keys.rotate(self.now);
            self.model.keys = Some(keys.made());
        }
    }

    pub(crate) fn send(&mut self, browser: Browser, ask: Ask) -> Request {
        self.send_to_node(browser, ask, Duration::ZERO)
    }

    /// Sends a request to a node whose clock is ahead.
    pub(crate) fn send_to_node(&mut self, browser: Browser, ask: Ask, clock_ahead: Duration) -> Request {
        let (token, sent) = (self.jar(browser), self.now);
        self.requests.push(InFlight {
            browser: browser.0,
            ask,
            token,
            clock_ahead,
            sent,
            stage: Stage::Sent,
        });
        Request(self.requests.len() - 1)
    }

    /// The request arrives at its node. Its session is loaded when the handler asks for it, maybe much later.
    pub(crate) fn reach(&mut self, request: Request) {
        let now = self.clock(request);
        let stage = &mut self.requests[request.0].stage;
        assert!(matches!(stage, Stage::Sent), "the request isn't on its way");
        *stage = Stage::Arrived(now);
    }

    /// The session is loaded, and the handler runs; the request arrives just before, unless it did already.
    pub(crate) fn load(&mut self, request: Request) -> Observed {
        if matches!(self.requests[request.0].stage, Stage::Sent) {
            self.reach(request);
        }
        let Stage::Arrived(arrived) = self.requests[request.0].stage else {
            panic!("the request was loaded before");
        };
        let (now, token) = (self.clock(request), self.requests[request.0].token.clone());
        let times = [if Rule::TheGraceCountsUpToArrival.is_broken() { now } else { arrived }, now];
        let standing = self.look_up(token.as_ref(), times);
        let observed = observed(standing.as_ref());
        let browser = self.requests[request.0].browser;
        let told = standing.as_ref().and_then(Standing::times);
        self.model.loaded(browser, token.as_ref(), [arrived, now], observed, told);
        if let (None, Some(token)) = (&standing, &token) {
            self.store.end(token.id(), None, now);
            self.model.ended(browser, token.id(), now);
        }
        let standing = standing.unwrap_or(Standing::Ended);
        let began = match &standing {
            Standing::Held { record, .. } => Some(Arc::clone(record)),
            _ => None,
        };
        let loaded = began.as_ref().map_or_else(Data::new, |record| record.data.clone());
        let mut intent = self.requests[request.0].ask.intent(&loaded, request.0, "k", &self.policy);
        if intent.step_up && Rule::AStepUpLeavesTheOldItsLevel.is_broken() {
            intent.login = began.as_ref().and_then(|record| record.subject.clone());
        }
        let work = Work { standing, began, intent, arrived, loaded: now, is_fresh: false };
        self.requests[request.0].stage = Stage::Working(Box::new(work));
        observed
    }

    /// Commits to the end, with nothing else happening meanwhile.
    pub(crate) fn commit(&mut self, request: Request) -> Answer {
        loop {
            if let Some(answer) = self.step(request) {
                return answer;
            }
        }
    }

    /// One attempt at the commit. `None` if it met a change by another request, and is to be tried again.
    pub(crate) fn step(&mut self, request: Request) -> Option<Answer> {
        let Stage::Working(mut work) = mem::replace(&mut self.requests[request.0].stage, Stage::Over) else {
            panic!("the request isn't at work");
        };
        let mut now = self.clock(request);
        let is_settled = is_settled(&work.standing, &work.intent, &self.policy, work.loaded);
        let is_mistaken = work.intent.is_empty() && Rule::WhatIsDueIsDecidedAtTheEnd.is_broken();
        if (is_settled || is_mistaken) && !work.is_fresh {
            // Who only read was active when the session was loaded.
            now = work.loaded;
        }
        let mut planned = self.plan(request, &work, now);
        if self.is_to_be_planned_on_the_record_as_it_is_now(&work, &planned, now) {
            self.reload(request, &mut work);
            planned = self.plan(request, &work, now);
        }
        match self.carry_out(request, &work, planned, now) {
            Some(answer) => {
                self.requests[request.0].stage = Stage::Answered(answer.clone(), self.now);
                Some(answer)
            }
            None => {
                self.reload(request, &mut work);
                self.requests[request.0].stage = Stage::Working(work);
                None
            }
        }
    }

    /// The response reaches the browser.
    pub(crate) fn arrive(&mut self, request: Request) {
        let in_flight = &mut self.requests[request.0];
        let Stage::Answered(answer, _) = mem::replace(&mut in_flight.stage, Stage::Over) else {
            panic!("the request has no response under way");
        };
        match answer.cookie {
            Cookie::Untouched => {}
            Cookie::Set(token) => self.jars[in_flight.browser] = Some(token),
            Cookie::Cleared => self.jars[in_flight.browser] = None,
        }
    }

    /// The request, or its response, never arrives.
    pub(crate) fn lose(&mut self, request: Request) {
        self.requests[request.0].stage = Stage::Over;
    }

    /// A request that nothing comes in the way of.
    pub(crate) fn visit(&mut self, browser: Browser, ask: Ask) -> Answer {
        let request = self.send(browser, ask);
        self.load(request);
        let answer = self.commit(request);
        self.arrive(request);
        answer
    }

    /// The next thing that happens to one of the requests that aren't over.
    pub(crate) fn advance(&mut self, choice: usize) -> Option<Progress> {
        let request = self.choose(choice)?;
        Some(match self.requests[request.0].stage {
            Stage::Sent if choice.is_multiple_of(2) => {
                self.reach(request);
                Progress::Reached
            }
            Stage::Sent | Stage::Arrived(_) => Progress::Loaded(self.load(request)),
            Stage::Working(_) => self.step(request).map_or(Progress::MetAConflict, Progress::Answered),
            Stage::Answered(..) | Stage::Over => {
                self.arrive(request);
                Progress::Arrived
            }
        })
    }

    /// One of the requests that aren't over.
    pub(crate) fn choose(&self, choice: usize) -> Option<Request> {
        let open: Vec<_> =
            self.requests.iter().enumerate().filter(|(_, r)| !matches!(r.stage, Stage::Over)).collect();
        open.get(choice % open.len().max(1)).map(|(number, _)| Request(*number))
    }

    /// Waits, and loses what would be under way for too long: requests for `way_in`, responses for `way_out`.
    pub(crate) fn wait_within(&mut self, duration: Duration, way_in: Duration, way_out: Duration) {
        self.wait(duration);
        for in_flight in &mut self.requests {
            let is_late = match in_flight.stage {
                Stage::Sent => self.now.since(in_flight.sent) > way_in,
                Stage::Answered(_, at) => self.now.since(at) > way_out,
                Stage::Arrived(_) | Stage::Working(_) | Stage::Over => false,
            };
            if is_late {
                in_flight.stage = Stage::Over;
            }
        }
    }

    /// Does nothing but look the browser's cookie up.
    pub(crate) fn peek(&self, browser: Browser) -> Option<Standing> {
        self.look_up(self.jars[browser.0].as_ref(), [self.now; 2])
    }

    pub(crate) fn record(&self, id: SessionId) -> Arc<Record> {
        match self.store.load(id, self.now, self.policy.grace) {
            Found::Alive(record) => record,
            Found::Absent | Found::Ended => panic!("{id} isn't alive"),
        }
    }

    pub(crate) fn is_alive(&self, id: SessionId) -> bool {
        matches!(self.store.load(id, self.now, self.policy.grace), Found::Alive(_))
    }

    /// The secret's standing in the record as it is now.
    pub(crate) fn examine(&self, token: &Token) -> Presented {
        let record = self.record(token.id());
        let keys = self.model.keys.as_deref();
        record.authority.examine_under(keys, &token.id(), token.secret(), self.policy.grace, self.now)
    }

    fn look_up(&self, token: Option<&Token>, [arrived, now]: [Timestamp; 2]) -> Option<Standing> {
        let Some(token) = token else { return Some(Standing::Absent) };
        match self.store.load(token.id(), now, self.policy.grace) {
            Found::Absent => Some(Standing::Absent),
            Found::Ended => Some(Standing::Ended),
            Found::Alive(record) => {
                if let Some(keys) = &self.keys {
                    keys.assert_sound(&record);
                }
                let (secret, grace, keys) = (token.secret(), self.policy.grace, self.model.keys.as_deref());
                let presented = record.authority.examine_under(keys, &record.id, secret, grace, arrived);
                Standing::of(record, self.taken_for(token, presented))
            }
        }
    }

    fn clock(&self, request: Request) -> Timestamp {
        self.now + self.requests[request.0].clock_ahead
    }

    fn plan(&mut self, request: Request, work: &Work, now: Timestamp) -> Result<Plan, Error> {
        let presented = self.requests[request.0].token.as_ref().map(Token::secret).cloned();
        let standing = mistaken(&work.standing);
        let planned = self.plan_as(&standing, &work.intent, presented.as_ref(), work, now);
        let does_nothing = matches!(planned, Ok(Plan { action: Action::Nothing, cookie: None }));
        let is_settled = is_settled(&standing, &work.intent, &self.policy, now);
        assert!(does_nothing || !is_settled, "a settled request came to {planned:?}");
        self.undone(work, planned?, now)
    }

    pub(crate) fn plan_as(
        &mut self,
        standing: &Standing,
        intent: &Intent,
        presented: Option<&Secret>,
        work: &Work,
        now: Timestamp,
    ) -> Result<Plan, Error> {
        let entropy = &mut self.entropy;
        plan(
            standing,
            intent,
            &mut Circumstances {
                policy: &self.policy,
                presented,
                keys: self.model.keys.as_deref(),
                arrived: work.arrived,
                now,
                client: None,
                is_fresh: work.is_fresh,
                entropy: &mut |bytes| {
                    entropy.fill(bytes);
                    Ok(())
                },
            },
        )
    }

    /// Only the record as it is at the end tells whether a cookie may be sent along with no write, and whether
    /// other requests have kept the session alive while a slow one was at work.
    fn is_to_be_planned_on_the_record_as_it_is_now(
        &self,
        work: &Work,
        planned: &Result<Plan, Error>,
        now: Timestamp,
    ) -> bool {
        let Standing::Held { record, .. } = &work.standing else { return false };
        let has_cookie_without_a_write =
            matches!(planned, Ok(Plan { action: Action::Nothing | Action::Touch, cookie: Some(_) }));
        let is_stale = has_cookie_without_a_write && !Rule::WhatIsSentIsDecidedAtTheEnd.is_broken();
        is_stale || !record.is_alive(now)
    }

    fn reload(&mut self, request: Request, work: &mut Work) {
        let (now, grace) = (self.clock(request), self.policy.grace);
        let (Some(began), Some(token)) = (&work.began, &self.requests[request.0].token) else {
            panic!("a request that holds no session met a conflict");
        };
        let keys = self.model.keys.as_deref();
        work.standing = match self.store.load(token.id(), now, grace) {
            Found::Alive(fresh) if Rule::TheEpochIsRecheckedNotTheSecret.is_broken() => {
                let found = fresh.authority.examine_under(keys, &fresh.id, token.secret(), grace, now);
                Standing::of(fresh, found).unwrap_or(Standing::Ended)
            }
            Found::Alive(fresh) if Rule::AuthorityIsRechecked.is_broken() => {
                let began = Arc::clone(&fresh);
                Standing::recheck(fresh, &began, token.secret(), keys, grace, now)
            }
            Found::Alive(fresh) => Standing::recheck(fresh, began, token.secret(), keys, grace, now),
            Found::Absent | Found::Ended => Standing::Ended,
        };
        work.is_fresh = true;
    }

    fn carry_out(
        &mut self,
        request: Request,
        work: &Work,
        planned: Result<Plan, Error>,
        now: Timestamp,
    ) -> Option<Answer> {
        let InFlight { browser, ask, token, .. } = &self.requests[request.0];
        let (browser, token) = (*browser, token.as_ref());
        let (number, arrived, at) = (request.0, work.arrived, now);
        let event = Event { number, browser, ask, token, arrived, now: self.clock(request) };
        let Ok(Plan { action, cookie }) = planned else {
            return Some(Answer { done: Done::Failed, cookie: Cookie::Untouched });
        };
        self.model.decided(&event, &work.standing, &action, cookie.as_ref());
        let began = ask.then.as_deref().filter(|_| ask.ends).unwrap_or(ask);
        let held = match &work.standing {
            Standing::Held { record, .. } => Some((record.id, record.version)),
            _ => None,
        };
        let done = match (action, held) {
            (Action::Nothing, _) => Done::Nothing,
            (Action::Touch, Some((id, _))) => {
                self.store.touch(id, now);
                Done::Touched
            }
            (Action::Create(record), _) => {
                self.model.created(&event, began, &record, cookie.as_ref());
                self.store.create(Arc::unwrap_or_clone(record));
                Done::Created
            }
            (Action::Replace { record, .. }, Some((_, version))) => {
                let before = self.store.replace(Record::clone(&record), version, now)?;
                if ask.steps_up && Rule::WhatIsUnseenStaysGood.is_broken() {
                    self.robbed.extend(self.model.pending(record.id));
                }
                self.model.replaced(&event, &before, &record, cookie.as_ref());
                Done::Replaced
            }
            (Action::End(_), Some((id, version))) => {
                let expected = Some(version).filter(|_| !Rule::AnEndIsACompareAndSwap.is_broken());
                self.store.end(id, expected, now)?;
                self.model.ended(browser, id, now);
                Done::Ended
            }
            (Action::EndThenCreate(_, record), Some((id, version))) => {
                self.store.end(id, Some(version), now)?;
                self.model.ended(browser, id, now);
                self.model.created(&event, began, &record, cookie.as_ref());
                self.store.create(Arc::unwrap_or_clone(record));
                Done::EndedAndCreated
            }
            (Action::Refuse, _) => Done::Refused,
            (action, held) => panic!("{action:?} of {held:?}"),
        };
        if let (Done::Nothing | Done::Touched, Some((id, _))) = (done, held)
            && matches!(self.store.load(id, now, self.policy.grace), Found::Alive(_))
        {
            let is_noted = done == Done::Touched;
            self.model.used(&event, id, at, is_noted, cookie.as_ref());
        }
        let cookie = match cookie {
            None => Cookie::Untouched,
            Some(CookieChange::Clear) => Cookie::Cleared,
            Some(CookieChange::Set(token, _)) => {
                self.assert_honoured(&token, now);
                Cookie::Set(token)
            }
        };
        Some(Answer { done, cookie })
    }

    /// A token that is sent is one that the stored record honours.
    fn assert_honoured(&self, token: &Token, now: Timestamp) {
        let standing = self.look_up(Some(token), [now; 2]);
        assert!(
            matches!(&standing, Some(Standing::Held { seat, .. }) if *seat != Seat::Previous),
            "a token was sent that stands as {standing:?}"
        );
    }
}

fn observed(standing: Option<&Standing>) -> Observed {
    match standing {
        None => Observed::Reused,
        Some(Standing::Absent) => Observed::Absent,
        Some(Standing::Held { seat: Seat::Current, .. }) => Observed::Current,
        Some(Standing::Held { seat: Seat::Successor, .. }) => Observed::Successor,
        Some(Standing::Held { seat: Seat::SteppedUp(_), .. }) => Observed::SteppedUp,
        Some(Standing::Held { seat: Seat::Previous, .. }) => Observed::Previous,
        Some(Standing::Superseded) => Observed::Superseded,
        Some(Standing::Ended) => Observed::Ended,
        Some(Standing::Degraded) => unreachable!("this store never fails"),
    }
}
