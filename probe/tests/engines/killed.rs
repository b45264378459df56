//! An engine that is killed (SIGKILL) under load, and started again.

use std::{thread, time::Duration};

use engines::Breakable;

use crate::{
    load::{DEADLINE_MS, User, time_to_recover, under_load},
    support::Probe,
};

pub(crate) fn run<E: Breakable>() {
    let mut engine = E::start_durable();
    let probe = Probe::start_at(&engine.url(), &["--deadline-ms", DEADLINE_MS]);
    let mut users: Vec<_> = (0..8).map(|number| User::log_in(&probe, number)).collect();
    if E::KEEPS {
        let mut took = Duration::ZERO;
        let (seen, _) = under_load(probe.address, &mut users, || {
            thread::sleep(Duration::from_millis(500));
            engine.kill();
            thread::sleep(Duration::from_secs(2));
            engine.restart();
            took = time_to_recover(&mut probe.visitor(), "/login?user=late", Duration::from_secs(5));
            thread::sleep(Duration::from_secs(1));
        });
        assert!(seen.iter().filter(|seen| seen.reply.status == 503).count() >= 8);
        println!("{}: in use again {took:?} after its return", E::NAME);
        users.iter_mut().for_each(User::check);
    } else {
        engine.kill();
        for user in &mut users {
            user.visitor.get("/get").expect_problem(503);
            user.visitor.get("/incr?k=n").expect_problem(503);
        }
        engine.restart();
        let took = time_to_recover(&mut probe.visitor(), "/login?user=late", Duration::from_secs(5));
        println!("{}: in use again {took:?} after its return", E::NAME);
        for user in &mut users {
            // What the engine forgot is gone: nobody's, and a new login is as good as ever.
            time_to_recover(&mut user.visitor, "/get", Duration::from_secs(5));
            assert!(user.visitor.view().is_nobody());
            user.visitor.log_in(&user.name);
            assert_eq!(user.visitor.view().subject.as_deref(), Some(user.name.as_str()));
        }
    }
}
