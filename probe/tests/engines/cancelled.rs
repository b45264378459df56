//! Reads whose client goes away while the engine is at work.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use engines::Breakable;

use crate::{
    load::User,
    support::{Connection, Probe},
};

const CANCELLED: usize = 10_000;
const CANCELLERS: usize = 8;
/// How often the engine is to be asked meanwhile, at least. That is far more than by those who wait for an answer.
const TURNS: u64 = 1_000;
const LONGEST: Duration = Duration::from_secs(60);
const USERS: usize = 16;

/// The bug: how many of ten thousand cancelled readings reached the engine was left to chance, and on a slow machine it was
/// a few hundred, so the test failed. The cause: most clients had gone before their reading began, and on a connection that
/// many share, several readings are one turn. The mend: clients come and go until the engine was asked often enough.
pub(crate) fn run<E: Breakable>() {
    let engine = E::start();
    let proxy = engines::Proxy::start(engine.address());
    // A deadline that some of the reads miss, too.
    let probe = Probe::start_at(&engine.url_at(proxy.address()), &["--deadline-ms", "40"]);
    let users: Vec<_> = (0..USERS).map(|number| User::log_in_patiently(&probe, number)).collect();
    let tokens: Vec<_> = users.iter().map(|user| (user.name.clone(), user.visitor.token())).collect();
    let (is_over, before, began) = (&AtomicBool::new(false), proxy.turns(), Instant::now());
    let turns = || proxy.turns() - before;
    thread::scope(|scope| {
        let (tokens, probe, turns) = (&tokens, &probe, &turns);
        let cancelling: Vec<_> = (0..CANCELLERS)
            .map(|thread| {
                scope.spawn(move || {
                    for turn in 0.. {
                        let is_enough = turns() >= TURNS || began.elapsed() > LONGEST;
                        if turn >= CANCELLED / CANCELLERS && is_enough {
                            break;
                        }
                        let (_, token) = &tokens[(thread + turn) % USERS];
                        let mut connection = Connection::open(probe.address).unwrap();
                        let cookie = format!("{}={token}", crate::support::COOKIE_NAME);
                        connection.ask("GET", "/get", &[("Cookie", &cookie)], "").unwrap();
                        // Sometimes before the read began, sometimes while it is under way.
                        if turn % 3 != 0 {
                            thread::sleep(Duration::from_micros(50 * (turn as u64 % 11)));
                        }
                    }
                })
            })
            .collect();
        let reading: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || {
                    let (mut served, mut given_up) = (0, 0);
                    let mut visitor = probe.visitor();
                    while !is_over.load(Ordering::SeqCst) {
                        for (name, token) in &tokens[thread * 4..thread * 4 + 4] {
                            let reply = visitor.holding(token).get("/get").expect_no_cookie();
                            if reply.status == 200 {
                                let expected = format!(r#""subject":"{name}""#);
                                assert!(reply.body.contains(&expected), "{name} was served {reply:?}");
                                served += 1;
                            } else {
                                reply.expect_problem(503);
                                given_up += 1;
                            }
                        }
                    }
                    (served, given_up)
                })
            })
            .collect();
        let slowing = scope.spawn(|| {
            // Now and then the engine is slower than the deadline, so that reads are given up on.
            while !is_over.load(Ordering::SeqCst) {
                proxy.delay(Duration::from_millis(60));
                thread::sleep(Duration::from_millis(100));
                proxy.resume();
                thread::sleep(Duration::from_millis(300));
            }
        });
        cancelling.into_iter().for_each(|thread| thread.join().unwrap());
        is_over.store(true, Ordering::SeqCst);
        slowing.join().unwrap();
        let counts = reading.into_iter().map(|thread| thread.join().unwrap());
        let (served, given_up) =
            counts.fold((0, 0), |sum: (u64, u64), count| (sum.0 + count.0, sum.1 + count.1));
        println!("{}: {served} reads served, {given_up} given up at the deadline", E::NAME);
        assert!(served > 100, "only {served} reads were served meanwhile");
        assert!(given_up >= 10, "only {given_up} reads were given up on while the engine was at work");
        assert!(turns() >= TURNS, "readings reached the engine in {} turns only", turns());
    });
    proxy.resume();
    thread::sleep(Duration::from_millis(500));
    for mut user in users {
        crate::load::time_to_recover(&mut user.visitor, "/get", Duration::from_secs(5));
        user.check();
    }
}
