//! What every store owes: nothing is lost, nothing revived, nothing adopted.

use std::{thread, time::Duration};

use engines::Engine;

use crate::{
    load::PATIENT,
    support::{Probe, in_parallel},
};

pub(crate) fn run<E: Engine>() {
    let engine = E::start();
    let probe = &Probe::start_at(&engine.url(), PATIENT);

    // 50 parallel writes of distinct keys, and 200 increments of one.
    let mut user = probe.visitor();
    user.log_in("ada");
    let token = user.token();
    in_parallel(50, |number, start| {
        let mut tab = probe.visitor_with(&token);
        start.wait();
        tab.get(&format!("/set?k=key-{number}&v=x&ms=20")).expect(200);
        for _ in 0..4 {
            tab.get("/incr?k=count").expect(200);
        }
    });
    let view = user.view();
    assert_eq!((view.data.len(), &view.data["count"]), (51, &200.into()));

    // A write under way at a logout revives nothing.
    thread::scope(|scope| {
        let slow = scope.spawn(|| probe.visitor_with(&token).get("/set?k=late&v=x&ms=500"));
        thread::sleep(Duration::from_millis(200));
        user.get("/logout").expect(200);
        slow.join().unwrap().expect_problem(409);
    });
    assert!(probe.visitor_with(&token).view().is_nobody());

    // A made-up token is adopted by nobody; a login makes the one before it worthless.
    let made_up = "A".repeat(43);
    let mut attacker = probe.visitor_with(&made_up);
    assert!(attacker.view().is_nobody());
    attacker.log_in("eve");
    assert_ne!(attacker.token(), made_up);
    assert!(probe.visitor_with(&made_up).view().is_nobody());
    let mut visitor = probe.visitor();
    visitor.get("/set?k=a&v=b").expect(200);
    let planted = visitor.token();
    visitor.log_in("bob");
    assert_eq!(visitor.view().text("a"), Some("b"));
    assert!(probe.visitor_with(&planted).view().is_nobody());
    probe.visitor_with(&planted).get("/set?k=a&v=c").expect_problem(409);

    // Nobody gets a cookie for looking.
    let mut stranger = probe.visitor();
    for target in ["/bare", "/get", "/slowread", "/logout"] {
        stranger.get(target).expect(200).expect_no_cookie();
    }
    assert!(!stranger.has_cookie());
}
