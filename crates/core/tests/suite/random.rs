//! Properties of the whole lifecycle, over random sequences of events in a small [`World`].
//!
//! The [model](crate::model) behind the world foretells at each step what every token is worth, when a session has
//! timed out, what its data holds and who may have changed it; so each property here is about a kind of world, and
//! asserts only what the model doesn't know.

use std::time::Duration;

use cloakroom_core::{
    Lifetime, Policy, Secret, SessionId, Token,
    exchange::{Seat, Standing},
    record::Presented,
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::{
    model::Observed,
    world::{Answer, Ask, Browser, Done, Progress, World},
};

const PERIOD: Duration = seconds(300);

/// The nodes' clocks differ by this much at most.
const SKEW: Duration = Duration::from_millis(1_500);

fn policy(rotation_period: Option<Duration>) -> Policy {
    Policy {
        lifetime: Lifetime::new(seconds(900), seconds(7_200)).unwrap(),
        rotation_period,
        grace: seconds(60),
        ..Policy::default()
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[derive(Clone, Debug)]
enum Event {
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

struct Run {
    world: World,
    browsers: [Browser; 2],
    names: [&'static str; 2],
    way_in: Duration,
    way_out: Duration,
    observed: Vec<Observed>,
    answers: Vec<Answer>,
}

impl Run {
    fn new(policy: Policy) -> Self {
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
    fn in_time(mut self, way_out: Duration) -> Self {
        (self.way_in, self.way_out) = (self.world.policy.grace - SKEW, way_out - SKEW);
        self
    }

    fn begin_with_a_theft(&mut self) {
        let [owner, thief] = self.browsers;
        self.world.visit(owner, Ask::login("ann"));
        self.world.plant(thief, self.world.jar(owner));
    }

    fn all(&mut self, events: &[Event]) {
        for event in events {
            self.happen(event);
        }
    }

    fn happen(&mut self, event: &Event) {
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
                Some(Progress::MetAConflict | Progress::Arrived) | None => {}
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

fn wait() -> impl Strategy<Value = Duration> {
    let millis = prop_oneof![
        12 => 0..3_000_u64,
        4 => 55_000..62_000_u64,
        2 => 290_000..310_000_u64,
        1 => 850_000..910_000_u64,
    ];
    millis.prop_map(Duration::from_millis)
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    (900..1_000_u64, 7_200..9_000_u64)
        .prop_map(|(idle, absolute)| Lifetime::new(seconds(idle), seconds(absolute)).unwrap())
}

/// Reads, writes, rotations and changed timeouts: what leaves the session to who has it.
fn daily_ask() -> impl Strategy<Value = Ask> {
    let lifetime = proptest::option::weighted(0.15, lifetime());
    (any::<bool>(), proptest::bool::weighted(0.3), lifetime).prop_map(|(writes, rotates, lifetime)| Ask {
        writes,
        rotates,
        lifetime,
        ..Ask::default()
    })
}

/// Everything a handler can do at once, except for an end.
fn living_ask() -> impl Strategy<Value = Ask> {
    let subject = proptest::option::weighted(0.05, prop_oneof![4 => Just("ann"), 1 => Just("bob")]);
    (daily_ask(), proptest::bool::weighted(0.05), subject).prop_map(|(ask, steps_up, logs_in)| Ask {
        steps_up,
        logs_in,
        ..ask
    })
}

fn any_ask() -> impl Strategy<Value = Ask> {
    let then = proptest::option::weighted(0.5, living_ask().prop_map(Box::new));
    (living_ask(), proptest::bool::weighted(0.04), then).prop_map(|(ask, ends, then)| Ask {
        ends,
        then: then.filter(|_| ends),
        ..ask
    })
}

fn events<A: Strategy<Value = Ask>>(
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Everything at once: two browsers that get hold of each other's cookies, and no bound on any delay. At every
    /// step the model foretells each token's worth, the end of each session and what its data holds.
    #[test]
    fn cs_renew_every_token_is_worth_what_the_rules_say(
        events in events(any_ask(), 2, 120),
        is_periodic: bool,
    ) {
        let mut run = Run::new(policy(is_periodic.then_some(PERIOD)));
        run.begin_with_a_theft();
        run.all(&events);
    }

    /// While delays stay below what the settings promise to bear, an owner is never taken for a thief: whatever is
    /// late, lost or out of order, and whatever handlers ask for.
    #[test]
    fn cs_renew_an_owner_is_never_taken_for_a_thief(events in events(any_ask(), 1, 160), is_periodic: bool) {
        let policy = policy(is_periodic.then_some(PERIOD));
        let way_out = policy.grace;
        let mut run = Run::new(policy).in_time(way_out);
        run.world.visit(run.browsers[0], Ask::login("ann"));
        run.all(&events);
        prop_assert_eq!(run.world.model.alarms, 0);
    }

    /// The same where only the period rotates: then responses may be as late as the period is long.
    #[test]
    fn cs_renew_the_period_is_all_the_time_that_a_response_needs(events in events(any_ask(), 1, 160)) {
        let mut run = Run::new(policy(Some(PERIOD))).in_time(PERIOD);
        run.world.visit(run.browsers[0], Ask::login("ann"));
        run.all(&events.into_iter().map(without_rotation).collect::<Vec<_>>());
        prop_assert_eq!(run.world.model.alarms, 0);
    }

    /// Rotations alone lose nobody: every request of a browser is served by its session, every write is stored, and
    /// the browser still holds a good token at the end. (That all requests with one secret are handed the same
    /// successor is for the model to say.)
    #[test]
    fn cs_renew_rotation_loses_no_one(events in events(daily_ask(), 1, 160), is_periodic: bool) {
        let lifetime = Lifetime::NIST_AAL1;
        let policy = Policy { lifetime, ..policy(is_periodic.then_some(PERIOD)) };
        let way_out = policy.grace;
        let mut run = Run::new(policy).in_time(way_out);
        let owner = run.browsers[0];
        run.world.visit(owner, Ask::login("ann"));
        run.all(&events.into_iter().map(remember).collect::<Vec<_>>());
        for observed in &run.observed {
            let is_served = matches!(observed, Observed::Current | Observed::Successor | Observed::Previous);
            prop_assert!(is_served, "a request met with {observed:?}");
        }
        for answer in &run.answers {
            let is_kept = matches!(answer.done, Done::Nothing | Done::Touched | Done::Replaced);
            prop_assert!(is_kept, "{answer:?}");
        }
        prop_assert_eq!(run.world.store.ids().count(), 1);
        let standing = run.world.peek(owner);
        let is_good = matches!(standing, Some(Standing::Held { seat: Seat::Current | Seat::Successor, .. }));
        prop_assert!(is_good, "the browser is left with {standing:?}");
    }

    /// Of requests made one after the other, whose responses may all be lost, rotations and step-ups included, each is
    /// served: what the browser is left with is always good.
    #[test]
    fn cs_renew_a_lost_response_logs_nobody_out(
        visits in proptest::collection::vec((daily_ask(), proptest::bool::weighted(0.2), any::<bool>(), wait()), 1..25),
        is_periodic: bool,
    ) {
        let lifetime = Lifetime::NIST_AAL1;
        let mut world = World::new(Policy { lifetime, ..policy(is_periodic.then_some(PERIOD)) });
        let owner = world.browser();
        world.visit(owner, Ask::login("ann"));
        for (ask, steps_up, is_lost, wait) in visits {
            let lifetime = ask.lifetime.map(|_| lifetime);
            let request = world.send(owner, Ask { steps_up, lifetime, ..ask });
            let observed = world.load(request);
            prop_assert!(matches!(observed, Observed::Current | Observed::Successor), "{observed:?}");
            prop_assert!(world.commit(request).is_served());
            if is_lost {
                world.lose(request);
            } else {
                world.arrive(request);
            }
            world.wait(wait);
        }
    }

    /// Session fixation: whatever an attacker does who planted the cookie of a session of his own, before and after
    /// the victim logs in, no request of his is served by the victim's session, changes it or ends it; nor does
    /// his cookie raise an alarm that would.
    #[test]
    fn w_03_a_fixation_attacker_has_no_part_in_the_victims_session(
        events in events(any_ask(), 2, 120),
        is_periodic: bool,
    ) {
        let mut run = Run::new(policy(is_periodic.then_some(PERIOD)));
        let [victim, attacker] = run.browsers;
        run.names = ["ann", "mallory"];
        run.world.model.kept_out = Some((1, "ann"));
        run.world.visit(attacker, Ask::write());
        run.world.plant(victim, run.world.jar(attacker));
        run.all(&events.into_iter().map(fixation).collect::<Vec<_>>());
    }

    /// A made-up token matches nothing, however many secrets a session has gone through; with it a request reads as
    /// anonymous, and is given a session with another id if it begins one.
    #[test]
    fn cs_strict_made_up_tokens_match_nothing(
        events in events(any_ask(), 2, 80),
        made_up: [u8; 16],
        is_known_id: bool,
        ask in any_ask(),
    ) {
        let mut run = Run::new(policy(Some(PERIOD)));
        run.world.visit(run.browsers[0], Ask::login("ann"));
        run.all(&events);
        let world = &mut run.world;
        let known: Vec<_> = world.store.ids().filter(|id| world.is_alive(*id)).collect();
        let id = known.first().copied().filter(|_| is_known_id).unwrap_or(SessionId::from_bytes(made_up));
        let token = Token::new(id, Secret::from_bytes(made_up));
        if known.contains(&id) {
            prop_assert_eq!(world.examine(&token), Presented::Unknown);
        }
        let stranger = world.browser();
        world.plant(stranger, Some(token));
        let answer = world.visit(stranger, ask);
        prop_assert!(matches!(answer.done, Done::Nothing | Done::Created | Done::Failed), "{answer:?}");
        let begun = answer.token().map(|token| token.id());
        prop_assert!(begun.is_none_or(|id| !known.contains(&id) && id.as_bytes() != &made_up));
        prop_assert!(known.iter().all(|id| world.is_alive(*id)));
    }
}

/// The properties above are worth what their worlds are: these reach every standing and every outcome, often.
#[test]
fn the_random_worlds_reach_every_standing_and_outcome() {
    let mut runner = TestRunner::deterministic();
    let (mut observed, mut done) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        let events = events(any_ask(), 2, 120).new_tree(&mut runner).unwrap().current();
        let mut run = Run::new(policy(Some(PERIOD)));
        run.begin_with_a_theft();
        run.all(&events);
        observed.extend(run.observed);
        done.extend(run.answers.into_iter().map(|answer| answer.done));
    }
    for kind in [
        Observed::Absent,
        Observed::Current,
        Observed::Successor,
        Observed::Previous,
        Observed::Superseded,
        Observed::Reused,
        Observed::Ended,
    ] {
        let count = observed.iter().filter(|observed| **observed == kind).count();
        assert!(count >= 20, "{kind:?}: {count}");
    }
    for kind in [
        Done::Nothing,
        Done::Touched,
        Done::Created,
        Done::Replaced,
        Done::Ended,
        Done::EndedAndCreated,
        Done::Refused,
        Done::Failed,
    ] {
        let count = done.iter().filter(|done| **done == kind).count();
        assert!(count >= 20, "{kind:?}: {count}");
    }
}

/// No handler asks for a rotation.
fn without_rotation(event: Event) -> Event {
    match event {
        Event::Send(browser, ask, is_ahead) => {
            let then = ask.then.map(|then| Box::new(Ask { rotates: false, ..*then }));
            Event::Send(browser, Ask { rotates: false, then, ..ask }, is_ahead)
        }
        event => event,
    }
}

/// Timeouts that no run reaches.
fn remember(event: Event) -> Event {
    match event {
        Event::Send(browser, ask, is_ahead) => {
            let lifetime = ask.lifetime.map(|_| Lifetime::NIST_AAL1);
            Event::Send(browser, Ask { lifetime, ..ask }, is_ahead)
        }
        event => event,
    }
}

/// The victim logs in as herself, the attacker as himself, and only the attacker's cookie gets around.
fn fixation(event: Event) -> Event {
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
