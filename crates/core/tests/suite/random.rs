//! Properties of the whole lifecycle, over random sequences of events in a small [`World`](crate::world::World).
//!
//! The [model](crate::model) behind the world foretells at each step what every token is worth, when a session has
//! timed out, what its data holds and who may have changed it; so each property here is about a kind of world, and
//! asserts only what the model doesn't know.

use cloakroom_core::{
    Lifetime, Policy, Secret, SessionId, Token,
    exchange::{Seat, Standing},
    record::Presented,
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::{
    model::Observed,
    parallel::{Parallel, turn},
    runs::{PERIOD, Run, any_ask, daily_ask, events, fixation, policy, remember, without_rotation},
    world::{Ask, Done},
};

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

    /// Requests run in parallel, rotate and step up, and any response is lost: what the browser is left with is always
    /// good, as long as responses don't overtake each other.
    #[test]
    fn cs_renew_a_lost_response_logs_nobody_out(
        turns in proptest::collection::vec(turn(), 1..120),
        is_periodic: bool,
    ) {
        let mut parallel = Parallel::new(is_periodic);
        for turn in turns {
            parallel.take(&turn);
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
        Observed::SteppedUp,
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
