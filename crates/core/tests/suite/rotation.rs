//! The traces that broke earlier drafts of the rotation, one test each. A header tells what happens, what went wrong,
//! and the rule that mends it.
//!
//! S0 → S1 → S2 are successors by rotation, R0 is the secret before a login, L1 the login's. The jar is what the
//! browser holds. The traces in which authority changes hands, at a login or a step-up, are in [`crate::authority`].

use std::time::Duration;

use cloakroom_core::{Lifetime, Policy, SessionId, Token, exchange::Standing};

use crate::{
    model::Observed,
    world::{Ask, Browser, COUNT, Done, World},
};

pub(crate) const GRACE: Duration = Duration::from_secs(60);
pub(crate) const PERIOD: Duration = Duration::from_secs(300);
pub(crate) const INSTANT: Duration = Duration::from_millis(1);

pub(crate) fn policy() -> Policy {
    Policy { rotation_period: Some(PERIOD), grace: GRACE, ..Policy::default() }
}

/// A world with a browser that has just logged in.
pub(crate) fn logged_in() -> (World, Browser) {
    let mut world = World::new(policy());
    let owner = world.browser();
    world.visit(owner, Ask::login("ann"));
    (world, owner)
}

/// Waits until a rotation is due, makes it, and has the successor seen: the jar goes one secret on.
pub(crate) fn rotate(world: &mut World, browser: Browser) {
    world.wait(PERIOD);
    assert_eq!(world.visit(browser, Ask::read()).done, Done::Replaced);
    assert_eq!(world.visit(browser, Ask::read()).done, Done::Replaced);
}

pub(crate) fn id(world: &World, browser: Browser) -> SessionId {
    world.jar(browser).unwrap().id()
}

pub(crate) fn text(token: Option<Token>) -> Option<String> {
    token.map(|token| token.expose())
}

/// Two requests leave with S0; one returns S1; S1 is presented; the grace ends; the other arrives.
///
/// A false alarm, if requests take longer to arrive than the grace. The grace exceeds the longest way in, so the other
/// arrives within it: it is served, its write is stored, and it is sent no cookie that would take S1 away again.
#[test]
fn cs_renew_a_request_that_left_with_the_old_secret_is_served() {
    let (mut world, owner) = logged_in();
    world.wait(PERIOD);
    let (slow, slower) = (world.send(owner, Ask::write()), world.send(owner, Ask::write()));
    rotate(&mut world, owner);
    world.wait(GRACE);
    assert_eq!(world.load(slow), Observed::Previous);
    let answer = world.commit(slow);
    assert!(answer.done == Done::Replaced && answer.leaves_the_cookie(), "{answer:?}");

    world.wait(INSTANT);
    assert_eq!(world.load(slower), Observed::Reused, "slower than the grace bears: taken for a thief");
}

/// S1 is sent twice; the jar goes on to S2, S2 is seen; the late S1 resets the jar; the grace ends.
///
/// A false alarm, if a secret can be replaced while responses that carry it are still under way. The period exceeds the
/// longest way out: when S2 is made, every S1 has arrived or never will.
#[test]
fn cs_renew_a_late_response_finds_its_token_still_current() {
    let (mut world, owner) = logged_in();
    world.wait(PERIOD);
    let (first, second) = (world.send(owner, Ask::read()), world.send(owner, Ask::read()));
    for request in [first, second] {
        world.load(request);
        world.commit(request);
    }
    world.arrive(first);
    world.visit(owner, Ask::read());
    let s1 = text(world.jar(owner));

    world.wait(PERIOD - INSTANT);
    let answer = world.visit(owner, Ask::read());
    assert!(answer.leaves_the_cookie(), "S2 before the period is over");
    world.arrive(second);
    assert_eq!(text(world.jar(owner)), s1);
    world.wait(GRACE + INSTANT);
    assert_eq!(world.visit(owner, Ask::write()).done, Done::Replaced);
    assert_eq!(world.model.alarms, 0);
}

/// As above, with a rotation that a handler asks for: a secret that came from a rotation less than a grace ago stays,
/// or the late S1 would come back to a jar whose S1 is long rotated out.
#[test]
fn cs_renew_a_secret_is_not_rotated_twice_within_a_grace() {
    let (mut world, owner) = logged_in();
    world.visit(owner, Ask::rotate());
    world.visit(owner, Ask::rotate());
    let id = id(&world, owner);
    assert_eq!(world.model.retired(id), 1);
    world.wait(GRACE - INSTANT);
    assert!(world.visit(owner, Ask::rotate()).leaves_the_cookie());
    world.wait(INSTANT);
    assert!(world.visit(owner, Ask::rotate()).token().is_some());
    assert_eq!(world.model.retired(id), 1, "S2 is out, but wasn't seen");
}

/// A change of the timeouts sends S0 again; its response is slow; S1 is made and seen meanwhile; S0 arrives; the grace
/// ends.
///
/// Bug: the owner presented S0 and was taken for a thief. Cause: the period counted from when a secret took its place,
/// but a response with it may leave later than that. Mend: sending a token again starts the period anew, so the
/// session isn't rotated before that response has arrived.
#[test]
fn cs_renew_a_token_sent_again_is_not_rotated_out_before_it_arrives() {
    let (mut world, owner) = logged_in();
    let remembered = Ask::lifetime(Lifetime::NIST_AAL1);
    let stricter = Ask::lifetime(Lifetime::NIST_AAL2);
    for ask in [remembered, stricter] {
        world.wait(PERIOD - INSTANT);
        let resent = world.send(owner, ask);
        world.load(resent);
        let token = world.commit(resent).token();
        assert_eq!(text(token), text(world.jar(owner)));
        world.wait(PERIOD - INSTANT);
        assert!(world.visit(owner, Ask::read()).leaves_the_cookie(), "S1 while S0 is on its way");
        world.arrive(resent);
        world.wait(INSTANT);
        rotate(&mut world, owner);
    }
    assert_eq!(world.model.alarms, 0);
}

/// A "remember me" asks for the same timeouts with each request.
///
/// Bug: such a session was never rotated, by period or by hand, so that a stolen S0 worked to its end and raised no alarm.
/// Cause: each of them sent S0 again, which starts the period anew. Mend: the same token is sent again only where the
/// timeouts are others than before, or with its successor.
#[test]
fn cs_renew_the_same_timeouts_again_and_again_keep_no_rotation_away() {
    let (mut world, owner) = logged_in();
    let remembered = || Ask::lifetime(Lifetime::NIST_AAL1);
    assert!(world.visit(owner, remembered()).token().is_some(), "the cookie lives longer now");
    let s0 = text(world.jar(owner));
    for _ in 0..PERIOD.as_secs() / 10 {
        assert_eq!(text(world.jar(owner)), s0);
        world.wait(Duration::from_secs(10));
        world.visit(owner, remembered());
    }
    assert_ne!(text(world.jar(owner)), s0, "a period later");
    world.visit(owner, remembered());
    world.wait(GRACE);
    let s1 = text(world.jar(owner));
    world.visit(owner, Ask { rotates: true, ..remembered() });
    assert_ne!(text(world.jar(owner)), s1, "by hand");
    assert_eq!(world.model.alarms, 0);
}

/// A slow reader decides its Set-Cookie from the snapshot it began with, and sends S1 two rotations later.
///
/// A false alarm, once the jar presents S1. What is sent is decided from the record as it is at the end of the request,
/// and only if the presented secret is current then and its successor unseen.
#[test]
fn cs_renew_a_slow_reader_is_sent_no_successor_of_long_ago() {
    let (mut world, owner) = logged_in();
    world.wait(PERIOD);
    let maker = world.send(owner, Ask::read());
    world.load(maker);
    world.commit(maker);
    let slow = world.send(owner, Ask::read());
    assert_eq!(world.load(slow), Observed::Current);
    world.arrive(maker);
    world.visit(owner, Ask::read());
    rotate(&mut world, owner);
    let answer = world.commit(slow);
    assert!(answer.is_served() && answer.leaves_the_cookie(), "{answer:?}");
}

/// A reader is sent S1; a login is sent L1; L1 arrives, then S1: the jar holds a superseded secret.
///
/// An anonymous session isn't rotated, so that at a first login there is no such S1: neither the period nor a handler
/// brings it about.
#[test]
fn cs_renew_an_anonymous_session_is_not_rotated() {
    let mut world = World::new(policy());
    let visitor = world.browser();
    world.visit(visitor, Ask::write());
    let r0 = text(world.jar(visitor));
    world.wait(PERIOD);
    assert!(world.visit(visitor, Ask::read()).leaves_the_cookie());
    assert!(world.visit(visitor, Ask::write()).leaves_the_cookie());
    assert_eq!(world.visit(visitor, Ask::rotate()).done, Done::Failed);
    assert_eq!(text(world.jar(visitor)), r0);
}

/// A thief goes S0 → S1 → S2; the owner presents S0, two back.
///
/// It was unknown, raised no alarm, and the thief went on. Every rotated-out verifier since authentication is
/// remembered, however many there are.
#[test]
fn cs_renew_a_secret_rotated_out_many_times_ago_raises_the_alarm() {
    for rotations in [1, 2, 40] {
        let (mut world, owner) = logged_in();
        let thief = world.browser();
        world.plant(thief, world.jar(owner));
        for _ in 0..rotations {
            rotate(&mut world, thief);
        }
        world.wait(GRACE + INSTANT);
        let request = world.send(owner, Ask::write());
        assert_eq!(world.load(request), Observed::Reused);
        let answer = world.commit(request);
        assert!(answer.done == Done::Refused && answer.leaves_the_cookie(), "{answer:?}");
        assert!(!world.is_alive(id(&world, owner)));
        assert_eq!(world.visit(thief, Ask::write()).done, Done::Refused);
    }
}

/// Rotations happen while a slow handler works; its write rechecks the secret, and an honest write was refused.
///
/// What is rechecked is the authority's epoch, and rotations leave that alone: the write is stored, merged, however
/// far the jar has gone on. It gets no cookie.
#[test]
fn cs_renew_a_slow_write_survives_rotations() {
    let (mut world, owner) = logged_in();
    let slow = world.send(owner, Ask::write());
    world.load(slow);
    for _ in 0..3 {
        rotate(&mut world, owner);
        world.visit(owner, Ask::write());
    }
    world.wait(GRACE + INSTANT);
    let answer = world.commit(slow);
    assert!(answer.done == Done::Replaced && answer.leaves_the_cookie(), "{answer:?}");
    let record = world.record(id(&world, owner));
    assert_eq!(COUNT.decode(record.data.get(COUNT.name()).unwrap()).unwrap(), 4);
    assert_eq!(world.model.alarms, 0);
}

/// Whoever presents the rotated-out secret is caught: the thief, if the owner moved on first.
#[test]
fn cs_renew_a_thief_behind_the_owner_is_caught() {
    let (mut world, owner) = logged_in();
    let thief = world.browser();
    world.plant(thief, world.jar(owner));
    rotate(&mut world, owner);
    world.wait(GRACE);
    assert!(
        world.visit(thief, Ask::read()).leaves_the_cookie(),
        "within the grace: served, and sent nothing"
    );
    world.wait(INSTANT);
    assert!(world.peek(thief).is_none());
    world.visit(thief, Ask::read());
    assert!(
        matches!(world.peek(owner), Some(Standing::Ended)),
        "the owner logs in again, and the thief can't"
    );
}

/// Loss alone never did harm: S0 stays good until S1 is seen, and seeing S1 proves that the jar had it.
#[test]
fn cs_renew_lost_responses_harm_nobody() {
    let (mut world, owner) = logged_in();
    let s0 = text(world.jar(owner));
    world.wait(PERIOD);
    let mut offered = Vec::new();
    for _ in 0..5 {
        let request = world.send(owner, Ask::read());
        assert_eq!(world.load(request), Observed::Current);
        offered.push(text(world.commit(request).token()).unwrap());
        world.lose(request);
        world.wait(GRACE + INSTANT);
    }
    offered.dedup();
    assert_eq!(offered.len(), 1, "the same successor every time");
    assert_ne!(offered.first(), s0.as_ref());
    assert_eq!(text(world.jar(owner)), s0);
}

/// A hundred parallel requests around a rotation, half of which write: all are served, and all that are sent a token
/// are sent the same one.
#[test]
fn cs_renew_a_hundred_parallel_requests_get_the_same_successor() {
    let (mut world, owner) = logged_in();
    world.wait(PERIOD);
    let requests: Vec<_> = (0..100)
        .map(|number| world.send(owner, if number % 2 == 0 { Ask::read() } else { Ask::write() }))
        .collect();
    for request in &requests {
        assert_eq!(world.load(*request), Observed::Current);
    }
    let mut tokens = Vec::new();
    for request in requests {
        let answer = world.commit(request);
        assert!(answer.is_served());
        tokens.push(text(answer.token()).unwrap());
        world.arrive(request);
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(world.visit(owner, Ask::read()).done, Done::Replaced);
    let count = world.record(id(&world, owner));
    assert_eq!(COUNT.decode(count.data.get(COUNT.name()).unwrap()).unwrap(), 50);
}
