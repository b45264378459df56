//! A change that the engine made, and whose answer never arrived.

use std::{
    thread,
    time::{Duration, Instant},
};

use engines::{Breakable, Proxy};

use crate::{load::time_to_recover, support::Probe};

pub(crate) fn run<E: Breakable>() {
    let engine = E::start();
    let proxy = Proxy::start(engine.address());
    let probe = Probe::start_at(&engine.url_at(proxy.address()), &["--deadline-ms", "3000"]);
    let mut visitor = probe.visitor();
    visitor.log_in("ada");
    let (mut counted, mut refused) = (0_u64, 0_u64);
    let connections = proxy.connections();
    for _ in 0..20 {
        // It has loaded the session by then, and has yet to store it.
        visitor.ask("GET", "/incr?k=n&ms=150");
        thread::sleep(Duration::from_millis(75));
        proxy.lose_answers(1);
        let reply = visitor.answer("GET").expect_no_cookie();
        proxy.resume();
        match reply.status {
            200 => counted += 1,
            _ => {
                // Whether it was made isn't known, and the user is told so.
                reply.expect_problem(503);
                refused += 1;
            }
        }
        time_to_recover(&mut visitor, "/get", Duration::from_secs(5));
        // Else it may be the greeting of a new connection whose answer is lost next, or there may be none to ask on. A busy
        // machine takes its time; and a pool needn't be as large again.
        let begun = Instant::now();
        while proxy.connections() < connections && begun.elapsed() < Duration::from_millis(500) {
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(proxy.lost() >= 10, "{} answers were lost", proxy.lost());
    println!("{}: {counted} of 20 were told that their change is stored", E::NAME);
    let view = visitor.view();
    assert_eq!(view.subject.as_deref(), Some("ada"));
    let count = view.data["n"].as_u64().unwrap();
    assert!((counted..=counted + refused).contains(&count), "{count}: {counted} and {refused} in doubt");
    assert!(counted >= 15, "a lost answer is looked up: {counted} of 20");
}
