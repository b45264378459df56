//! The traces that broke earlier drafts of the rotation, one test each. A header tells what happens, what went wrong,
//! and the rule that mends it.
//!
//! S0 → S1 → S2 are successors by rotation, R0 is the secret before a login, L1 the login's. The jar is what the
//! browser holds.

use std::time::Duration;

use cloakroom_core::{Lifetime, Policy, Token, exchange::Standing, record::Presented};

use crate::{
    model::Observed,
    world::{Ask, Browser, COUNT, Done, World},
};

const GRACE: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_secs(300);
const INSTANT: Duration = Duration::from_millis(1);

fn policy() -> Policy {
    Policy { rotation_period: Some(PERIOD), grace: GRACE, ..Policy::default() }
}

/// A world with a browser that has just logged in.
fn logged_in() -> (World, Browser) {
    let mut world = World::new(policy());
    let owner = world.browser();
    world.visit(owner, Ask::login("ann"));
    (world, owner)
}

/// Waits until a rotation is due, makes it, and has the successor seen: the jar goes one secret on.
fn rotate(world: &mut World, browser: Browser) {
    world.wait(PERIOD);
    assert_eq!(world.visit(browser, Ask::read()).done, Done::Replaced);
    assert_eq!(world.visit(browser, Ask::read()).done, Done::Replaced);
}

fn id(world: &World, browser: Browser) -> cloakroom_core::SessionId {
    world.jar(browser).unwrap().id()
}

fn text(token: Option<Token>) -> Option<String> {
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
    let unchanged = Ask::lifetime(Lifetime::NIST_AAL1);
    for ask in [remembered, unchanged] {
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

/// The same at a login that authenticates anew: S1 was already on its way, and arrives after L1.
///
/// One cookie name can't solve this. What is left of it does no harm: the browser reads as anonymous, writes are
/// refused rather than begun somewhere else, nothing is revoked, and the next login begins a session.
#[test]
fn a_successor_that_a_login_overtook_leaves_the_browser_anonymous() {
    let (mut world, owner) = logged_in();
    world.wait(PERIOD);
    let (reader, login) = (world.send(owner, Ask::read()), world.send(owner, Ask::login("ann")));
    for request in [reader, login] {
        world.load(request);
        world.commit(request);
    }
    world.arrive(login);
    let held = world.jar(owner).unwrap();
    world.arrive(reader);
    assert_eq!(world.examine(&world.jar(owner).unwrap()), Presented::Superseded);
    assert_eq!(world.visit(owner, Ask::read()).done, Done::Nothing);
    let write = world.visit(owner, Ask::write());
    assert!(write.done == Done::Refused && write.leaves_the_cookie());
    assert_eq!(world.examine(&held), Presented::Current);
    assert_eq!(world.visit(owner, Ask::login("ann")).done, Done::Created);
    assert_ne!(id(&world, owner), held.id());
}

/// A write with R0 arrives after L1, when R0 is forgotten.
///
/// It was treated as absent: it created a session and overwrote L1 in the jar. Superseded verifiers are remembered
/// for the record's life; they never create, and never set a cookie.
#[test]
fn a7_2_4_a_write_with_the_secret_before_login_creates_nothing() {
    let mut world = World::new(policy());
    let visitor = world.browser();
    world.visit(visitor, Ask::write());
    let (at_work, on_its_way) = (world.send(visitor, Ask::write()), world.send(visitor, Ask::write()));
    assert_eq!(world.load(at_work), Observed::Current);
    world.visit(visitor, Ask::login("ann"));
    for _ in 0..20 {
        rotate(&mut world, visitor);
        world.visit(visitor, Ask::login("ann"));
    }
    assert_eq!(world.load(on_its_way), Observed::Superseded);
    for request in [at_work, on_its_way] {
        let answer = world.commit(request);
        assert!(answer.done == Done::Refused && answer.leaves_the_cookie(), "{answer:?}");
    }
    assert_eq!(world.store.ids().count(), 1);
}

/// Two first requests without a cookie, a write and a login: whichever response comes last, wins.
///
/// Documented: there is nothing yet that would tie the two together. A separate cookie name for anonymous sessions
/// closes it.
#[test]
fn two_first_requests_begin_two_sessions_and_the_last_response_wins() {
    let mut world = World::new(policy());
    let visitor = world.browser();
    let (write, login) = (world.send(visitor, Ask::write()), world.send(visitor, Ask::login("ann")));
    for request in [write, login] {
        world.load(request);
        assert_eq!(world.commit(request).done, Done::Created);
    }
    world.arrive(login);
    assert_eq!(world.model.subject(id(&world, visitor)), Some("ann"));
    world.arrive(write);
    assert_eq!(world.model.subject(id(&world, visitor)), None);
    assert_eq!(world.store.ids().count(), 2);
}

/// A step-up; its response is lost.
///
/// A logged-in user was logged out. The old secret keeps its level until the new one is seen: what the browser still
/// has stays good, and reads and writes at the old level.
#[test]
fn a7_2_4_a_lost_step_up_logs_nobody_out() {
    let (mut world, owner) = logged_in();
    let started = world.record(id(&world, owner)).times.started;
    world.wait(PERIOD - INSTANT);
    let step_up = world.send(owner, Ask::step_up());
    world.load(step_up);
    let sent = world.commit(step_up).token().unwrap();
    world.lose(step_up);
    assert_eq!(world.visit(owner, Ask::write()).done, Done::Replaced);
    assert_eq!(world.record(sent.id()).times.started, started, "the old secret is of the old level");
    assert_eq!(world.examine(&sent), Presented::Successor);
    assert!(world.visit(owner, Ask::step_up()).token().is_some(), "and may step up again");
    assert_eq!(world.examine(&sent), Presented::Superseded);
}

/// The same, with a response that arrives: from when the new secret is first seen, the old one is superseded, and
/// the session is as old as the step-up.
#[test]
fn a7_2_4_the_old_secret_is_superseded_when_the_step_up_is_seen() {
    let (mut world, owner) = logged_in();
    let s0 = world.jar(owner).unwrap();
    world.wait(PERIOD - INSTANT);
    let arrived = world.now;
    world.visit(owner, Ask::step_up());
    assert_eq!(world.examine(&s0), Presented::Current);
    let thief = world.browser();
    world.plant(thief, Some(s0.clone()));
    let at_work = world.send(thief, Ask::write());
    world.load(at_work);
    world.visit(owner, Ask::read());
    assert_eq!(world.examine(&s0), Presented::Superseded);
    assert_eq!(world.record(s0.id()).times.started, arrived);
    world.wait(GRACE + INSTANT);
    assert_eq!(world.visit(thief, Ask::write()).done, Done::Refused);
    assert_eq!(world.model.alarms, 0);
}

/// A write is under way when a step-up is stored: the epoch it began under is over, and it is refused, whereas one that
/// begins after the step-up is served.
///
/// Documented: a step-up changes who may do what, and a request can't tell under which of the two it was let in.
#[test]
fn a_write_under_way_at_a_step_up_is_refused() {
    let (mut world, owner) = logged_in();
    let (write, step_up) = (world.send(owner, Ask::write()), world.send(owner, Ask::step_up()));
    for request in [write, step_up] {
        assert_eq!(world.load(request), Observed::Current);
    }
    assert_eq!(world.commit(step_up).done, Done::Replaced);
    let answer = world.commit(write);
    assert!(answer.done == Done::Refused && answer.leaves_the_cookie(), "{answer:?}");
    assert_eq!(world.visit(owner, Ask::write()).done, Done::Replaced);
}

/// S1 has reached the jar and wasn't presented yet; a step-up that was sent with S0 is stored; its response is lost: the
/// jar holds a secret that the step-up superseded.
///
/// What is left of "a lost response logs nobody out" where two requests run in parallel. It does no harm beyond that:
/// the session lives, nothing is revoked, and the next login begins a session.
#[test]
fn a_step_up_in_parallel_to_a_rotation_supersedes_its_successor() {
    let (mut world, owner) = logged_in();
    let s0 = world.jar(owner).unwrap();
    world.wait(PERIOD);
    let (reader, step_up) = (world.send(owner, Ask::read()), world.send(owner, Ask::step_up()));
    world.load(reader);
    world.commit(reader);
    world.arrive(reader);
    world.load(step_up);
    world.commit(step_up);
    world.lose(step_up);
    assert_eq!(world.examine(&s0), Presented::Current);
    assert_eq!(world.examine(&world.jar(owner).unwrap()), Presented::Superseded);
    assert_eq!(world.visit(owner, Ask::write()).done, Done::Refused);
    assert_eq!(world.visit(owner, Ask::login("ann")).done, Done::Created);
    assert!(world.is_alive(s0.id()));
    assert_eq!(world.model.alarms, 0);
}

/// A fixation attacker presents R0 after the victim's login.
///
/// An alarm revoked the victim's session. Only secrets that were rotated out raise it, never superseded ones: not at
/// once, not after the grace, and not after rotations of the victim's own.
#[test]
fn w_03_a_fixation_attacker_raises_no_alarm() {
    let (mut world, victim, attacker) = fixated();
    for _ in 0..3 {
        assert_eq!(world.visit(attacker, Ask::read()).done, Done::Nothing);
        rotate(&mut world, victim);
        world.wait(GRACE + INSTANT);
    }
    assert_eq!(world.model.alarms, 0);
    assert!(world.is_alive(id(&world, victim)));
}

/// The same attacker logs out with R0: the victim was signed out.
///
/// Ending rechecks authority: a logout that began with R0 before the login, and one that begins after it, answer that
/// they are lost, and clear nothing.
#[test]
fn w_03_a_fixation_attacker_logs_nobody_out() {
    let mut world = World::new(policy());
    let (victim, attacker) = (world.browser(), world.browser());
    world.visit(attacker, Ask::write());
    world.plant(victim, world.jar(attacker));
    let before = world.send(attacker, Ask::logout());
    assert_eq!(world.load(before), Observed::Current);
    world.visit(victim, Ask::login("ann"));
    let after = world.send(attacker, Ask::logout());
    assert_eq!(world.load(after), Observed::Superseded);
    for request in [before, after] {
        let answer = world.commit(request);
        assert!(answer.done == Done::Refused && answer.leaves_the_cookie(), "{answer:?}");
    }
    assert!(world.is_alive(id(&world, victim)));
}

/// A logout presents a superseded S1: it was answered "done" and the cookie cleared, but the session lives.
///
/// Such a logout answers that it is lost, and clears nothing: a user who believes to be logged out must be.
#[test]
fn a7_4_1_a_logout_with_a_superseded_secret_says_that_it_is_lost() {
    let (mut world, owner) = logged_in();
    let s0 = world.jar(owner).unwrap();
    world.visit(owner, Ask::login("ann"));
    let other_tab = world.browser();
    world.plant(other_tab, Some(s0));
    let answer = world.visit(other_tab, Ask::logout());
    assert!(answer.done == Done::Refused && answer.leaves_the_cookie(), "{answer:?}");
    assert!(world.is_alive(id(&world, owner)));
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

/// A write with R0 is acknowledged; the login is stored, its response lost: the cart sits behind L1, which nobody
/// holds.
///
/// Open, and documented: the next login begins a session without the cart. R0 can't be let in to fetch it, for R0 may
/// be an attacker's.
#[test]
fn a_login_whose_response_is_lost_leaves_the_cart_behind() {
    let mut world = World::new(policy());
    let visitor = world.browser();
    assert_eq!(world.visit(visitor, Ask::write()).done, Done::Created);
    let login = world.send(visitor, Ask::login("ann"));
    world.load(login);
    assert_eq!(world.commit(login).done, Done::Replaced);
    world.lose(login);
    let behind = id(&world, visitor);
    assert_eq!(world.visit(visitor, Ask::login("ann")).done, Done::Created);
    let fresh = world.record(id(&world, visitor));
    assert!(fresh.id != behind && fresh.data.is_empty());
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

/// An attacker's anonymous session, planted in a victim's browser, and logged in to by the victim.
fn fixated() -> (World, Browser, Browser) {
    let mut world = World::new(policy());
    let (victim, attacker) = (world.browser(), world.browser());
    world.visit(attacker, Ask::write());
    world.plant(victim, world.jar(attacker));
    world.model.kept_out = Some((1, "ann"));
    world.visit(victim, Ask::login("ann"));
    (world, victim, attacker)
}
