//! Two processes on one store.

use std::thread;

use engines::Engine;

use crate::{
    load::PATIENT,
    support::{Probe, Visitor, in_parallel},
};

const WRITERS: usize = 50;

pub(crate) fn run<E: Engine>() {
    let engine = E::start();
    let probes = [Probe::start_at(&engine.url(), PATIENT), Probe::start_at(&engine.url(), PATIENT)];
    let [first, second] = &probes;

    // Fifty writers over both: each on a key of its own, and all on one counter.
    let mut visitor = first.visitor();
    visitor.log_in("ada");
    let token = visitor.token();
    in_parallel(WRITERS, |number, start| {
        let mut tab = probes[number % 2].visitor_with(&token);
        start.wait();
        tab.get(&format!("/set?k=key-{number}&v=x")).expect(200).expect_no_cookie();
        tab.get("/incr?k=count").expect(200).expect_no_cookie();
    });
    for probe in &probes {
        let view = probe.visitor_with(&token).view();
        assert_eq!(view.data.len(), WRITERS + 1, "{:?}", view.data.keys());
        assert_eq!(view.data["count"], WRITERS);
    }

    // A logout in one is final in the other at the next request, and for what is under way there.
    let mut other = second.visitor_with(&token);
    assert_eq!(other.view().subject.as_deref(), Some("ada"));
    thread::scope(|scope| {
        let slow = scope.spawn(|| second.visitor_with(&token).get("/set?k=late&v=x&ms=500"));
        thread::sleep(std::time::Duration::from_millis(200));
        visitor.get("/logout").expect(200);
        assert!(other.view().is_nobody());
        slow.join().unwrap().expect_problem(409);
    });
    assert!(is_dead(first, &token) && is_dead(second, &token));

    // So is the end of all of a subject's sessions.
    let mut devices: Vec<Visitor> = probes.iter().map(Probe::visitor).collect();
    devices.iter_mut().for_each(|device| drop(device.log_in("bob")));
    devices[0].get("/logout-all").expect(200);
    assert!(devices.iter_mut().all(|device| device.view().is_nobody()));
}

fn is_dead(probe: &Probe, token: &str) -> bool {
    let mut visitor = probe.visitor_with(token);
    visitor.get("/set?k=a&v=revived").expect_problem(409);
    visitor.view().is_nobody()
}
