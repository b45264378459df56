//! The rules of the rotation, each broken in turn: the [model](crate::model) notices every one.
//!
//! A rule is broken in the [world](crate::world), around the code under test: in what it is told, or in what is made of
//! its answer.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use cloakroom_core::{Lifetime, Policy};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use crate::{
    parallel::{Parallel, turn},
    runs::{PERIOD, Run, SKEW, any_ask, daily_ask, events, fixation, policy, remember, without_rotation},
    world::{Ask, Done},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The grace bears the time until a request arrives, not what its handler does before it asks for the session.
    TheGraceCountsUpToArrival,
    /// Whether to send a successor is decided from the record as it is at the end of the request.
    WhatIsSentIsDecidedAtTheEnd,
    /// Activity and housekeeping are decided, and stored, with the time at the end of the request.
    WhatIsDueIsDecidedAtTheEnd,
    /// Only who presents the current secret is sent its successor.
    OnlyTheCurrentIsSentAnother,
    /// The old secret stays good until the new one is first seen.
    TheOldIsGoodUntilTheNewIsSeen,
    /// What was handed out and not seen stays good until something newer is seen.
    WhatIsUnseenStaysGood,
    /// An anonymous session isn't rotated.
    AnonymousIsNotRotated,
    /// A superseded secret is remembered, and never begins a session.
    SupersededIsNotAbsent,
    /// At a step-up, the old secret keeps its level.
    AStepUpLeavesTheOldItsLevel,
    /// A superseded secret raises no alarm.
    OnlyWhatWasRotatedOutAlarms,
    /// Every secret that was rotated out raises it, however many came after.
    AllThatWasRotatedOutAlarms,
    /// An end is bound to the record that was looked at.
    AnEndIsACompareAndSwap,
    /// A logout with a superseded secret is lost, and clears no cookie.
    ASupersededLogoutIsLost,
    /// After a conflict, it is the epoch that is looked at again: a slow write survives rotations.
    TheEpochIsRecheckedNotTheSecret,
    /// After a conflict, authority is looked at again: a slow write dies at a login.
    AuthorityIsRechecked,
    /// The grace is longer than the longest time until a request arrives, and the clocks' difference.
    TheGraceExceedsTheWayIn,
    /// The period is longer than the longest time until a response arrives.
    ThePeriodExceedsTheWayOut,
}

const ALL: [Rule; 17] = [
    Rule::TheGraceCountsUpToArrival,
    Rule::WhatIsSentIsDecidedAtTheEnd,
    Rule::WhatIsDueIsDecidedAtTheEnd,
    Rule::OnlyTheCurrentIsSentAnother,
    Rule::TheOldIsGoodUntilTheNewIsSeen,
    Rule::WhatIsUnseenStaysGood,
    Rule::AnonymousIsNotRotated,
    Rule::SupersededIsNotAbsent,
    Rule::AStepUpLeavesTheOldItsLevel,
    Rule::OnlyWhatWasRotatedOutAlarms,
    Rule::AllThatWasRotatedOutAlarms,
    Rule::AnEndIsACompareAndSwap,
    Rule::ASupersededLogoutIsLost,
    Rule::TheEpochIsRecheckedNotTheSecret,
    Rule::AuthorityIsRechecked,
    Rule::TheGraceExceedsTheWayIn,
    Rule::ThePeriodExceedsTheWayOut,
];

thread_local! {
    static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
}

impl Rule {
    pub(crate) fn is_broken(self) -> bool {
        BROKEN.get() == Some(self)
    }

    /// Where it matters: a rule for delays only where they are bounded.
    fn worlds(self) -> &'static [fn(&mut TestRunner)] {
        match self {
            Self::TheGraceExceedsTheWayIn | Self::ThePeriodExceedsTheWayOut => &WORLDS_ALL[1..2],
            _ => &WORLDS_ALL,
        }
    }
}

/// How many worlds of each kind a rule is broken in, at most.
const WORLDS: usize = 3_000;

#[test]
fn the_model_notices_each_rule_that_is_broken() {
    let mut unnoticed = Vec::new();
    for rule in ALL {
        BROKEN.set(Some(rule));
        let mut runner = TestRunner::deterministic();
        let noticed = (0..WORLDS).find(|_| is_noticed(&mut runner, rule.worlds()));
        BROKEN.set(None);
        match noticed {
            Some(count) => println!("{rule:?}: noticed in world {count}"),
            None => unnoticed.push(rule),
        }
    }
    assert_eq!(unnoticed, [], "nothing shows that these rules matter");
}

/// With every rule kept, the same worlds show nothing.
#[test]
fn the_model_finds_no_fault_where_all_rules_are_kept() {
    let mut runner = TestRunner::deterministic();
    assert!((0..200).all(|_| !is_noticed(&mut runner, &WORLDS_ALL)));
}

fn is_noticed(runner: &mut TestRunner, worlds: &[fn(&mut TestRunner)]) -> bool {
    worlds.iter().any(|world| catch_unwind(AssertUnwindSafe(|| world(runner))).is_err())
}

const WORLDS_ALL: [fn(&mut TestRunner); 5] = [anything, owner, rotations, attacker, parallel];

fn draw<T>(runner: &mut TestRunner, strategy: impl Strategy<Value = T>) -> T {
    strategy.new_tree(runner).unwrap().current()
}

fn anything(runner: &mut TestRunner) {
    let events = draw(runner, events(any_ask(), 2, 120));
    let mut run = Run::new(policy(Some(PERIOD)));
    run.begin_with_a_theft();
    run.all(&events);
}

fn owner(runner: &mut TestRunner) {
    let events = draw(runner, events(any_ask(), 1, 160));
    let mut run = Run::new(policy(Some(PERIOD))).in_time(PERIOD);
    if Rule::TheGraceExceedsTheWayIn.is_broken() {
        run.way_in = 3 * run.world.policy.grace;
    }
    if Rule::ThePeriodExceedsTheWayOut.is_broken() {
        run.way_out = 3 * PERIOD;
    }
    run.world.visit(run.browsers[0], Ask::login("ann"));
    run.all(&events.into_iter().map(without_rotation).collect::<Vec<_>>());
    assert_eq!(run.world.model.alarms, 0);
}

fn rotations(runner: &mut TestRunner) {
    let events = draw(runner, events(daily_ask(), 1, 160));
    let policy = Policy { lifetime: Lifetime::NIST_AAL1, ..policy(Some(PERIOD)) };
    let way_out = policy.grace - SKEW;
    let mut run = Run::new(policy).in_time(way_out);
    run.world.visit(run.browsers[0], Ask::login("ann"));
    run.all(&events.into_iter().map(remember).collect::<Vec<_>>());
    assert!(run.answers.iter().all(|answer| !matches!(answer.done, Done::Refused | Done::Failed)));
}

fn attacker(runner: &mut TestRunner) {
    let events = draw(runner, events(any_ask(), 2, 120));
    let mut run = Run::new(policy(Some(PERIOD)));
    let [victim, attacker] = run.browsers;
    run.names = ["ann", "mallory"];
    run.world.model.kept_out = Some((1, "ann"));
    run.world.visit(attacker, Ask::write());
    run.world.plant(victim, run.world.jar(attacker));
    run.all(&events.into_iter().map(fixation).collect::<Vec<_>>());
}

fn parallel(runner: &mut TestRunner) {
    let turns = draw(runner, proptest::collection::vec(turn(), 1..120));
    let mut parallel = Parallel::new(true);
    turns.iter().for_each(|turn| parallel.take(turn));
}
