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
    users.iter_mut().for_each(|user| user.may_be_forgotten = !E::KEEPS);
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
    for user in &mut users {
        if E::KEEPS {
            user.check();
        } else {
            // What the engine forgot is gone: nobody's, and a new login is as good as ever.
            assert_eq!(user.visitor.view().subject, None);
            user.visitor.log_in(&user.name);
            assert_eq!(user.visitor.view().subject.as_deref(), Some(user.name.as_str()));
        }
    }
}
