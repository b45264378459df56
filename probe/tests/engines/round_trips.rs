//! How often a request goes to its store and back, counted on the wire.

use engines::{Breakable, Engine as _, Monitor, Proxy, RedisCluster};

use crate::support::{Probe, Visitor};

/// What the documentation's table says.
struct Documented {
    read: u64,
    write: u64,
    login: u64,
    /// So that questions which are asked at once count as one round trip, and not as one on each connection.
    options: &'static str,
}

impl Documented {
    fn of(engine: &str) -> Self {
        match engine {
            // Who is logged in has an epoch to be looked up as well, where the process hasn't seen the session before.
            "memcached" => Self { read: 2, write: 2, login: 4, options: "?connections=1" },
            "redis-cluster" => Self { read: 1, write: 2, login: 3, options: "" },
            _ => Self { read: 1, write: 2, login: 2, options: "" },
        }
    }
}

pub(crate) fn run<E: Breakable>() {
    let engine = E::start();
    let proxy = Proxy::start(engine.address());
    let documented = Documented::of(E::NAME);
    let url = engine.url_at(proxy.address()) + documented.options;
    check(E::NAME, &url, &documented, || proxy.turns());
}

/// Each command that reaches a node is a round trip: none is sent before the one before it was answered.
pub(crate) fn run_on_a_cluster() {
    let cluster = RedisCluster::start();
    // The masters: replicas tell of what they are sent.
    let monitor = Monitor::start(&cluster.nodes[..3], "cloakroom:");
    let documented = Documented::of(RedisCluster::NAME);
    check(RedisCluster::NAME, &cluster.url(), &documented, || {
        // What is asked is told a moment later.
        std::thread::sleep(std::time::Duration::from_millis(20));
        monitor.count()
    });
}

fn check(engine: &str, url: &str, documented: &Documented, counted: impl Fn() -> u64) {
    let probe = Probe::start_at(url, &[]);
    let &Documented { read, write, login, .. } = documented;
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
        let before = counted();
        visitor.get(target).expect(200);
        counted() - before
    };
    // Of several tries the lowest: sweeps and the like happen in between.
    let lowest = |visitor: &mut Visitor, target: &str| (0..5).map(|_| count(visitor, target)).min().unwrap();
    let mut table = vec![
        ("untouched", lowest(&mut user, "/bare"), 0),
        ("anonymous", lowest(&mut stranger, "/get"), 0),
        ("read", lowest(&mut user, "/get"), read),
        ("write", lowest(&mut user, "/incr?k=n"), write),
    ];
    let fresh = |number: usize| {
        let mut visitor = probe.visitor();
        visitor.log_in(&format!("user-{number}"));
        // What a store looks up for all sessions now and then, it has looked up.
        visitor.get("/get").expect(200);
        visitor
    };
    let rotate = (0..5).map(|number| count(&mut fresh(number), "/rotate")).min().unwrap();
    let logout = (0..5).map(|number| count(&mut fresh(number), "/logout")).min().unwrap();
    let logins = (0..5).map(|number| {
        user.get("/get").expect(200);
        count(&mut probe.visitor(), &format!("/login?user=new-{number}"))
    });
    table.extend([("rotate", rotate, write), ("logout", logout, write)]);
    table.push(("login", logins.min().unwrap(), login));
    for (what, counted, bound) in &table {
        println!("{engine}: {what}: {counted} round trips, at most {bound}");
    }
    for (what, counted, bound) in table {
        assert!(counted <= bound, "{what} took {counted} round trips");
        // What is never zero is seen to be counted.
        assert!(bound == 0 || counted > 0, "{what} wasn't counted");
    }
}
