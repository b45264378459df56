//! How often a request goes to its store and back, counted on the wire.

use std::{thread, time::Duration};

use engines::{Breakable, Proxy};

use crate::support::{Probe, Visitor};

/// The bounds of the documentation's table.
struct Bounds {
    read: u64,
    login: u64,
}

impl Bounds {
    fn of(engine: &str) -> Self {
        match engine {
            // Who is logged in has an epoch to be looked up as well.
            "memcached" => Self { read: 2, login: 6 },
            _ => Self { read: 1, login: 4 },
        }
    }
}

pub(crate) fn run<E: Breakable>() {
    let engine = E::start();
    let proxy = Proxy::start(engine.address());
    let probe = Probe::start_at(&engine.url_at(proxy.address()), &[]);
    let Bounds { read, login } = Bounds::of(E::NAME);
    let mut stranger = probe.visitor();
    let mut user = probe.visitor();
    // Connections are opened and scripts loaded by those who come first.
    for _ in 0..3 {
        user.log_in("ada");
        user.get("/set?k=a&v=b").expect(200);
        user.get("/rotate").expect(200);
        user.get("/get").expect(200);
    }
    let count = |visitor: &mut Visitor, target: &str| {
        let before = proxy.turns();
        visitor.get(target).expect(200);
        proxy.turns() - before
    };
    // Of several tries the lowest: sweeps and the like happen in between.
    let lowest = |visitor: &mut Visitor, target: &str| (0..5).map(|_| count(visitor, target)).min().unwrap();
    let mut table = vec![
        ("untouched", lowest(&mut user, "/bare"), 0),
        ("anonymous", lowest(&mut stranger, "/get"), 0),
        ("read", lowest(&mut user, "/get"), read),
        ("write", lowest(&mut user, "/incr?k=n"), read + 1),
    ];
    let fresh = |number: usize| {
        let mut visitor = probe.visitor();
        visitor.log_in(&format!("user-{number}"));
        visitor
    };
    let rotate = (0..5).map(|number| count(&mut fresh(number), "/rotate")).min().unwrap();
    let logout = (0..5).map(|number| count(&mut fresh(number), "/logout")).min().unwrap();
    let logins = (0..5).map(|number| count(&mut probe.visitor(), &format!("/login?user=new-{number}")));
    table.extend([("rotate", rotate, read + 1), ("logout", logout, read + 1)]);
    table.push(("login", logins.min().unwrap(), login));
    thread::sleep(Duration::from_millis(1));
    for (what, counted, bound) in &table {
        println!("{}: {what}: {counted} round trips, at most {bound}", E::NAME);
    }
    for (what, counted, bound) in table {
        assert!(counted <= bound, "{what} took {counted} round trips");
        // What is never zero is seen to be counted.
        assert!(bound == 0 || counted > 0, "{what} wasn't counted");
    }
}
