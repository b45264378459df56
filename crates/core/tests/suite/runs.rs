//! Random sequences of events in a small [`World`].

use std::time::Duration;

use cloakroom_core::{Lifetime, Policy};
use proptest::prelude::*;

use crate::{
    model::Observed,
    world::{Answer, Ask, Browser, Progress, World},
};

pub(crate) const PERIOD: Duration = seconds(300);

/// The nodes' clocks differ by this much at most.
pub(crate) const SKEW: Duration = Duration::from_millis(1_500);

pub(crate) fn policy(rotation_period: Option<Duration>) -> Policy {
    Policy {
        lifetime: Lifetime::new(seconds(900), seconds(7_200)).unwrap(),
        rotation_period,
        grace: seconds(60),
        ..Policy::default()
    }
}

pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A browser sends a request, maybe to a node whose clock is ahead.
    Send(usize, Ask, bool),
    /// One of the requests under way gets further.
    Advance(usize),
    /// A request or a response is lost.
    Lose(usize),
    Wait(Duration),
    /// A browser's cookie gets into the other one: stolen, or planted.
    Copy(usize),
}

pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) browsers: [Browser; 2],
    pub(crate) names: [&'static str; 2],
    pub(crate) way_in: Duration,
    pub(crate) way_out: Duration,
    pub(crate) observed: Vec<Observed>,
    pub(crate) answers: Vec<Answer>,
}

impl Run {
    pub(crate) fn new(policy: Policy) -> Self {
        let mut world = World::new(policy);
        world.model.skew = SKEW;
        let browsers = [world.browser(), world.browser()];
        Self {
            world,
            browsers,
            names: ["ann", "ann"],
            way_in: Duration::MAX,
            way_out: Duration::MAX,
            observed: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Delays stay below what the policy's settings promise to bear: requests below the grace, responses below the
    /// time for which a secret isn't rotated again.
    pub(crate) fn in_time(mut self, way_out: Duration) -> Self {
        (self.way_in, self.way_out) = (self.world.policy.grace - SKEW, way_out - SKEW);
        self
    }

    pub(crate) fn begin_with_a_theft(&mut self) {
        let [owner, thief] = self.browsers;
        self.world.visit(owner, Ask::login("ann"));
        self.world.plant(thief, self.world.jar(owner));
    }

    pub(crate) fn all(&mut self, events: &[Event]) {
        for event in events {
            self.happen(event);
        }
    }

    pub(crate) fn happen(&mut self, event: &Event) {
        let world = &mut self.world;
        match event {
            Event::Send(browser, ask, is_ahead) => {
                let clock_ahead = if *is_ahead { SKEW } else { Duration::ZERO };
                let mut ask = ask.clone();
                // Who has no session to authenticate anew, or to rotate, logs in: or most of the time there were none.
                if world.jar(self.browsers[*browser]).is_none() && (ask.rotates || ask.steps_up) {
                    ask.logs_in = Some(self.names[*browser]);
                }
                world.send_to_node(self.browsers[*browser], ask, clock_ahead);
            }
            Event::Advance(choice) => match world.advance(*choice) {
                Some(Progress::Loaded(observed)) => self.observed.push(observed),
                Some(Progress::Answered(answer)) => self.answers.push(answer),
                Some(Progress::Reached | Progress::MetAConflict | Progress::Arrived) | None => {}
            },
            Event::Lose(choice) => {
                if let Some(request) = world.choose(*choice) {
                    world.lose(request);
                }
            }
            Event::Wait(duration) => world.wait_within(*duration, self.way_in, self.way_out),
            Event::Copy(from) => world.plant(self.browsers[1 - from], world.jar(self.browsers[*from])),
        }
    }
}

pub(crate) fn wait() -> impl Strategy<Value = Duration> {
    let millis = prop_oneof![
        12 => 0..3_000_u64,
        4 => 55_000..62_000_u64,
        2 => 290_000..310_000_u64,
        1 => 850_000..910_000_u64,
    ];
    millis.prop_map(Duration::from_millis)
}

pub(crate) fn lifetime() -> impl Strategy<Value = Lifetime> {
    (900..1_000_u64, 7_200..9_000_u64)
        .prop_map(|(idle, absolute)| Lifetime::new(seconds(idle), seconds(absolute)).unwrap())
}

/// Reads, writes, rotations and changed timeouts: what leaves the session to who has it.
pub(crate) fn daily_ask() -> impl Strategy<Value = Ask> {
    let lifetime = proptest::option::weighted(0.15, lifetime());
    (any::<bool>(), proptest::bool::weighted(0.3), lifetime).prop_map(|(writes, rotates, lifetime)| Ask {
        writes,
        rotates,
        lifetime,
        ..Ask::default()
    })
}

/// Everything a handler can do at once, except for an end.
pub(crate) fn living_ask() -> impl Strategy<Value = Ask> {
    let subject = proptest::option::weighted(0.05, prop_oneof![4 => Just("ann"), 1 => Just("bob")]);
    (daily_ask(), proptest::bool::weighted(0.05), subject).prop_map(|(ask, steps_up, logs_in)| Ask {
        steps_up,
        logs_in,
        ..ask
    })
}

pub(crate) fn any_ask() -> impl Strategy<Value = Ask> {
    let then = proptest::option::weighted(0.5, living_ask().prop_map(Box::new));
    (living_ask(), proptest::bool::weighted(0.04), then).prop_map(|(ask, ends, then)| Ask {
        ends,
        then: then.filter(|_| ends),
        ..ask
    })
}

pub(crate) fn events<A: Strategy<Value = Ask>>(
    ask: A,
    browsers: usize,
    length: usize,
) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..browsers, ask, any::<bool>()).prop_map(|(browser, ask, is_ahead)| Event::Send(browser, ask, is_ahead)),
        17 => any::<usize>().prop_map(Event::Advance),
        1 => any::<usize>().prop_map(Event::Lose),
        3 => wait().prop_map(Event::Wait),
        (browsers - 1) as u32 => (0..2_usize).prop_map(Event::Copy),
    ];
    proptest::collection::vec(event, 1..length)
}

/// No handler asks for a rotation.
pub(crate) fn without_rotation(event: Event) -> Event {
    match event {
        Event::Send(browser, ask, is_ahead) => {
            let then = ask.then.map(|then| Box::new(Ask { rotates: false, ..*then }));
            Event::Send(browser, Ask { rotates: false, then, ..ask }, is_ahead)
        }
        event => event,
    }
}

/// Timeouts that no run reaches.
pub(crate) fn remember(event: Event) -> Event {
    match event {
        Event::Send(browser, ask, is_ahead) => {
            let lifetime = ask.lifetime.map(|_| Lifetime::NIST_AAL1);
            Event::Send(browser, Ask { lifetime, ..ask }, is_ahead)
        }
        event => event,
    }
}

/// The victim logs in as herself, the attacker as himself, and only the attacker's cookie gets around.
pub(crate) fn fixation(event: Event) -> Event {
    match event {
        Event::Send(browser, ask, is_ahead) => {
            let name = ["ann", "mallory"][browser];
            let as_self = |ask: Ask| Ask { logs_in: ask.logs_in.map(|_| name), ..ask };
            let then = ask.then.clone().map(|then| Box::new(as_self(*then)));
            Event::Send(browser, as_self(Ask { then, ..ask }), is_ahead)
        }
        Event::Copy(_) => Event::Copy(1),
        event => event,
    }
}
