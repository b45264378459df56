//! How a session ends, and that it stays so: by a logout, by its timeouts, and against whatever is under way then.

use std::time::Duration;

use cloakroom_core::{Lifetime, Policy, SessionId, exchange::Standing};

use crate::{
    model::Observed,
    world::{Ask, Browser, Done, World},
};

const IDLE: Duration = seconds(900);
const ABSOLUTE: Duration = seconds(7_200);
const PERIOD: Duration = seconds(300);
const DAY: Duration = seconds(86_400);
const INSTANT: Duration = Duration::from_millis(1);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn policy(rotation_period: Option<Duration>) -> Policy {
    Policy { lifetime: Lifetime::new(IDLE, ABSOLUTE).unwrap(), rotation_period, ..Policy::default() }
}

fn logged_in(rotation_period: Option<Duration>) -> (World, Browser, SessionId) {
    let mut world = World::new(policy(rotation_period));
    let owner = world.browser();
    world.visit(owner, Ask::login("ann"));
    let id = world.jar(owner).unwrap().id();
    (world, owner, id)
}

/// A slow write, under way when the session ends, brings nothing back: it finds the session gone, however long the
/// tombstone is past, and begins none in its place (CVE-2025-46336).
#[test]
fn r_revive_a_slow_write_brings_no_session_back() {
    for late in [Duration::ZERO, seconds(61), DAY] {
        let (mut world, owner, id) = logged_in(None);
        let slow = [Ask::write(), Ask::rotate(), Ask::step_up(), Ask::logout().then(Ask::write())];
        let slow = slow.map(|ask| world.send(owner, ask));
        for request in slow {
            assert_eq!(world.load(request), Observed::Current);
        }
        assert_eq!(world.visit(owner, Ask::logout()).done, Done::Ended);
        world.wait(late);
        for request in slow {
            let answer = world.commit(request);
            assert!(answer.done == Done::Refused && answer.leaves_the_cookie(), "{answer:?}");
        }
        assert!(!world.is_alive(id));
        assert_eq!(world.store.ids().count(), 1);
    }
}

/// After a logout the token is worthless at once, for reading and for writing, and for as long as anybody keeps it.
/// A second logout that was under way counts as done, and clears no cookie: it may be another session's by then.
#[test]
fn a7_4_1_a_logged_out_token_stays_worthless() {
    let (mut world, owner, id) = logged_in(None);
    let thief = world.browser();
    world.plant(thief, world.jar(owner));
    let second = world.send(thief, Ask::logout());
    world.load(second);
    world.visit(owner, Ask::logout());
    assert!(world.jar(owner).is_none());
    let answer = world.commit(second);
    assert!(answer.done == Done::Nothing && answer.leaves_the_cookie(), "{answer:?}");
    assert_eq!(world.visit(thief, Ask::write()).done, Done::Refused);
    world.wait(DAY);
    assert_eq!(world.visit(thief, Ask::read()).done, Done::Nothing);
    assert_eq!(world.visit(thief, Ask::write()).done, Done::Created);
    assert_ne!(world.jar(thief).unwrap().id(), id);
}

/// Each touch counts as activity, and none is stored more often than once in a thirtieth of the timeout: so a session
/// that is used every `idle − idle/30` lives on, and one that wasn't used for `idle` has ended, to the millisecond.
#[test]
fn a7_3_1_a_session_ends_when_it_was_idle_for_as_long_as_stated() {
    let (mut world, owner, _) = logged_in(None);
    for _ in 0..4 {
        world.wait(IDLE / 30 - INSTANT);
        assert_eq!(world.visit(owner, Ask::read()).done, Done::Nothing);
        world.wait(IDLE - IDLE / 30);
        assert_eq!(world.visit(owner, Ask::read()).done, Done::Touched);
    }
    world.wait(IDLE - INSTANT);
    assert_eq!(world.visit(owner, Ask::read()).done, Done::Touched);
    world.wait(IDLE);
    assert_eq!(world.visit(owner, Ask::read()).done, Done::Nothing);
    assert!(matches!(world.peek(owner), Some(Standing::Absent)));
}

/// No activity whatever moves the absolute end; only authenticating anew does.
#[test]
fn a7_3_2_activity_does_not_outlast_the_absolute_timeout() {
    let (mut world, owner, id) = logged_in(Some(PERIOD));
    for minute in 1..120 {
        world.wait(seconds(60));
        let ask = [Ask::read(), Ask::write(), Ask::rotate()][minute % 3].clone();
        assert!(world.visit(owner, ask).is_served());
    }
    world.wait(seconds(60) - INSTANT);
    assert!(world.is_alive(id));
    world.wait(INSTANT);
    assert!(!world.is_alive(id));
}

/// Browsers here never forget a cookie, whatever its `Max-Age`: the timeouts are the server's.
#[test]
fn n_cookie_a_cookie_that_outlives_its_session_opens_nothing() {
    let (mut world, owner, id) = logged_in(None);
    world.wait(IDLE);
    assert_eq!(world.visit(owner, Ask::read()).done, Done::Nothing);
    assert_eq!(world.visit(owner, Ask::write()).done, Done::Created);
    assert_ne!(world.jar(owner).unwrap().id(), id);
}

/// A slow handler, whose session others keep alive meanwhile, outlasts the idle timeout that it began with: what it
/// does is decided by the session as it is at the end. A logout that counted as done would leave it alive.
#[test]
fn a_logout_slower_than_the_idle_timeout_ends_a_session_that_others_kept_alive() {
    let (mut world, owner, _) = logged_in(None);
    let (write, logout) = (world.send(owner, Ask::write()), world.send(owner, Ask::logout()));
    world.load(write);
    world.load(logout);
    for _ in 0..3 {
        world.wait(seconds(600));
        world.visit(owner, Ask::read());
    }
    assert_eq!(world.commit(write).done, Done::Replaced);
    assert_eq!(world.commit(logout).done, Done::Ended);
}

/// A visitor who does nothing leaves nothing behind.
#[test]
fn a7_6_2_reading_begins_no_session() {
    let mut world = World::new(policy(Some(PERIOD)));
    let visitor = world.browser();
    let nothing = Ask::lifetime(Lifetime::NIST_AAL1);
    for ask in [Ask::read(), nothing, Ask::logout(), Ask::logout().then(Ask::read()), Ask::rotate()] {
        let answer = world.visit(visitor, ask);
        assert!(
            matches!(answer.done, Done::Nothing | Done::Failed) && answer.leaves_the_cookie(),
            "{answer:?}"
        );
    }
    assert_eq!(world.store.ids().count(), 0);
}
