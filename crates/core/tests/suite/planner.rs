//! One plan at a time, without a world: for tests of what a single decision says.

use std::{sync::Arc, time::Duration};

use cloakroom_core::{
    Data, Error, Policy, Record, Subject, Timestamp, Token,
    exchange::{Action, Circumstances, CookieChange, Intent, Plan, Standing, plan},
};

use crate::world::{Entropy, START};

pub(crate) struct Planner {
    pub(crate) policy: Policy,
    pub(crate) now: Timestamp,
    pub(crate) arrived: Timestamp,
    pub(crate) is_fresh: bool,
    /// Which draw of random bytes fails.
    pub(crate) failing_draw: Option<usize>,
    /// The random bytes handed out since the last plan began.
    pub(crate) draws: Vec<Vec<u8>>,
    entropy: Entropy,
}

impl Planner {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            now: START,
            arrived: START,
            is_fresh: false,
            failing_draw: None,
            draws: Vec::new(),
            entropy: Entropy(1),
        }
    }

    pub(crate) fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.arrived = self.now;
    }

    pub(crate) fn intent(&self) -> Intent {
        Intent::new(self.policy.record_bytes_max)
    }

    pub(crate) fn plan(
        &mut self,
        standing: &Standing,
        presented: Option<&Token>,
        intent: &Intent,
    ) -> Result<Plan, Error> {
        let Self { policy, now, arrived, is_fresh, failing_draw, draws, entropy } = self;
        draws.clear();
        let mut draw = |bytes: &mut [u8]| {
            if *failing_draw == Some(draws.len()) {
                // A source that fails may have filled the buffer with anything.
                bytes.fill(0);
                return Err(Error::entropy("out of order"));
            }
            entropy.fill(bytes);
            draws.push(bytes.to_vec());
            Ok(())
        };
        plan(
            standing,
            intent,
            &mut Circumstances {
                policy,
                presented: presented.map(Token::secret),
                keys: None,
                arrived: *arrived,
                now: *now,
                client: None,
                is_fresh: *is_fresh,
                entropy: &mut draw,
            },
        )
    }

    /// Where a token stands towards a record.
    pub(crate) fn standing(&self, record: &Record, token: &Token) -> Standing {
        let presented = record.authority.examine(&record.id, token.secret(), self.policy.grace, self.now);
        Standing::of(Arc::new(record.clone()), presented).expect("a secret that wasn't reused")
    }

    /// A session that was just created by this intent.
    pub(crate) fn create(&mut self, intent: &Intent) -> (Record, Token) {
        let Plan { action: Action::Create(record), cookie: Some(CookieChange::Set(token, _)) } =
            self.plan(&Standing::Absent, None, intent).unwrap()
        else {
            panic!("no session was created");
        };
        (Arc::unwrap_or_clone(record), token)
    }

    pub(crate) fn logged_in(&mut self, subject: &str) -> (Record, Token) {
        let intent = Intent { login: Some(self::subject(subject)), ..self.intent() };
        self.create(&intent)
    }

    /// The record as this intent leaves it, and the token that was sent.
    pub(crate) fn replace(
        &mut self,
        record: &Record,
        token: &Token,
        intent: &Intent,
    ) -> (Record, Option<Token>) {
        let standing = self.standing(record, token);
        match self.plan(&standing, Some(token), intent).unwrap() {
            Plan { action: Action::Replace { record, .. }, cookie } => {
                (Arc::unwrap_or_clone(record), cookie.and_then(set))
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

pub(crate) fn data(json: &str) -> Data {
    Data::from_json(json).unwrap()
}

pub(crate) fn set(cookie: CookieChange) -> Option<Token> {
    match cookie {
        CookieChange::Set(token, _) => Some(token),
        CookieChange::Clear => None,
    }
}
