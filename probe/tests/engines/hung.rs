//! An engine that is stopped where it stands (SIGSTOP) under load.

use std::{
    thread,
    time::{Duration, Instant},
};

use engines::Breakable;

use crate::{
    load::{DEADLINE, DEADLINE_MS, TOLERANCE, User, time_to_recover, under_load},
    support::Probe,
};

pub(crate) fn run<E: Breakable>() {
    let engine = E::start();
    let probe = Probe::start_at(&engine.url(), &["--deadline-ms", DEADLINE_MS]);
    let mut users: Vec<_> = (0..8).map(|number| User::log_in(&probe, number)).collect();
    let (mut hung, mut resumed) = (None, None);
    let (seen, bare) = under_load(probe.address, &mut users, || {
        thread::sleep(Duration::from_millis(500));
        engine.hang();
        hung = Some(Instant::now());
        thread::sleep(Duration::from_secs(3));
        resumed = Some(Instant::now());
        engine.resume();
        thread::sleep(Duration::from_secs(3));
    });
    let (hung, resumed) = (hung.unwrap(), resumed.unwrap());

    // A change takes two calls to the store, to load and to store. Where the first is answered and the second isn't, or the
    // first comes late and the second has to wait its turn, both take their time; that is at the hang and at its end.
    for seen in &seen {
        let is_within = seen.at > hung && seen.at + seen.took < resumed;
        let calls = if seen.target == "/get" || is_within { 1 } else { 2 };
        let longest = DEADLINE * calls + TOLERANCE;
        assert!(seen.took <= longest, "{} took {:?}: {:?}", seen.target, seen.took, seen.reply);
        if seen.reply.status == 503 {
            let is_early = seen.at + seen.took < hung;
            assert!(!is_early, "503 before anything was wrong: {:?}", seen.reply);
        }
    }
    let while_hung = |at: &Instant| *at > hung + Duration::from_millis(100) && *at + DEADLINE < resumed;
    let refused = seen.iter().filter(|seen| while_hung(&seen.at)).collect::<Vec<_>>();
    assert!(refused.len() >= 8, "{} requests while it hung", refused.len());
    assert!(refused.iter().all(|seen| seen.reply.status == 503), "what hangs can't answer");

    let slowest = bare.iter().filter(|(at, _)| while_hung(at)).map(|(_, took)| *took).max().unwrap();
    assert!(slowest < Duration::from_millis(200), "bare routes were slowed: {slowest:?}");

    let mut visitor = probe.visitor();
    time_to_recover(&mut visitor, "/login?user=late", Duration::from_secs(5));
    let late = seen.iter().filter(|seen| seen.at > resumed + Duration::from_secs(2));
    assert!(late.into_iter().all(|seen| seen.reply.status == 200), "it is back, and so is everything");
    users.iter_mut().for_each(User::check);
}
