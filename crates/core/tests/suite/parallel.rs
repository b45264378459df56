//! A browser with several requests under way at once, any of whose responses may be lost, but none of which overtakes
//! another: then what the browser holds is always good.

use std::{collections::VecDeque, time::Duration};

use cloakroom_core::{
    Lifetime, Policy, Timestamp,
    exchange::{Seat, Standing},
};
use proptest::prelude::*;

use crate::{
    runs::{PERIOD, daily_ask, policy, seconds, wait},
    world::{Ask, Browser, Request, World},
};

#[derive(Clone, Debug)]
pub(crate) enum Turn {
    Send(Ask),
    /// One of the requests under way is loaded.
    Load(usize),
    /// One of those that were loaded is committed.
    Commit(usize),
    /// The next response arrives, or is lost.
    Deliver {
        is_lost: bool,
    },
    Wait(Duration),
}

pub(crate) fn turn() -> impl Strategy<Value = Turn> {
    let ask = (daily_ask(), proptest::bool::weighted(0.25)).prop_map(|(ask, steps_up)| {
        let lifetime = ask.lifetime.map(|_| Lifetime::NIST_AAL1);
        Ask { steps_up, lifetime, ..ask }
    });
    prop_oneof![
        4 => ask.prop_map(Turn::Send),
        4 => any::<usize>().prop_map(Turn::Load),
        4 => any::<usize>().prop_map(Turn::Commit),
        4 => proptest::bool::weighted(0.4).prop_map(|is_lost| Turn::Deliver { is_lost }),
        2 => wait().prop_map(Turn::Wait),
    ]
}

pub(crate) struct Parallel {
    world: World,
    owner: Browser,
    sent: Vec<Request>,
    loaded: Vec<Request>,
    answered: VecDeque<Request>,
    /// When the first of those under way was sent.
    since: Timestamp,
}

/// As many as a browser opens at once; so no more step-ups are out than a record has room for.
const REQUESTS_MAX: usize = 4;
/// Well below what the settings promise to bear.
const DELAY_MAX: Duration = seconds(20);

impl Parallel {
    pub(crate) fn new(is_periodic: bool) -> Self {
        let lifetime = Lifetime::NIST_AAL1;
        let mut world = World::new(Policy { lifetime, ..policy(is_periodic.then_some(PERIOD)) });
        let owner = world.browser();
        world.visit(owner, Ask::login("ann"));
        let since = world.now;
        Self { world, owner, sent: Vec::new(), loaded: Vec::new(), answered: VecDeque::new(), since }
    }

    pub(crate) fn take(&mut self, turn: &Turn) {
        match turn {
            Turn::Send(ask) if self.count() < REQUESTS_MAX => {
                if self.count() == 0 {
                    self.since = self.world.now;
                }
                self.sent.push(self.world.send(self.owner, ask.clone()));
            }
            Turn::Send(_) => {}
            Turn::Load(choice) => self.load(*choice),
            Turn::Commit(choice) => self.commit(*choice),
            Turn::Deliver { is_lost } => self.deliver(*is_lost),
            Turn::Wait(duration) => {
                if self.world.now.since(self.since) + *duration > DELAY_MAX {
                    self.finish();
                }
                self.world.wait(*duration);
            }
        }
        let standing = self.world.peek(self.owner);
        let is_good = matches!(&standing, Some(Standing::Held { seat, .. }) if *seat != Seat::Previous);
        assert!(is_good, "after {turn:?}, the browser is left with {standing:?}");
    }

    fn count(&self) -> usize {
        self.sent.len() + self.loaded.len() + self.answered.len()
    }

    fn load(&mut self, choice: usize) {
        if !self.sent.is_empty() {
            let request = self.sent.remove(choice % self.sent.len());
            self.world.load(request);
            self.loaded.push(request);
        }
    }

    fn commit(&mut self, choice: usize) {
        if !self.loaded.is_empty() {
            let request = self.loaded.remove(choice % self.loaded.len());
            self.world.commit(request);
            self.answered.push_back(request);
        }
    }

    fn deliver(&mut self, is_lost: bool) {
        match self.answered.pop_front() {
            Some(request) if is_lost => self.world.lose(request),
            Some(request) => self.world.arrive(request),
            None => {}
        }
    }

    fn finish(&mut self) {
        while !self.sent.is_empty() {
            self.load(0);
        }
        while !self.loaded.is_empty() {
            self.commit(0);
        }
        while !self.answered.is_empty() {
            self.deliver(false);
        }
    }
}
