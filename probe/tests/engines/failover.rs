//! A master that is killed while users write, and the replica that takes its place.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use engines::FailsOver;

use crate::{
    load::{DEADLINE, DEADLINE_MS, TOLERANCE, User},
    support::Probe,
};

const USERS: usize = 24;

/// How much longer than the failover itself the service may be away.
const MORE: Duration = Duration::from_secs(3);

pub(crate) fn run<E: FailsOver>() {
    let mut servers = E::start();
    let probe = Probe::start_at(&servers.url(), &["--deadline-ms", DEADLINE_MS]);
    let mut users: Vec<_> = (0..USERS).map(|number| User::log_in(&probe, number)).collect();
    // What the replicas have can't be lost.
    thread::sleep(Duration::from_millis(500));
    let is_over = &AtomicBool::new(false);
    let (mut killed, mut refused) = (Instant::now(), Vec::new());
    thread::scope(|scope| {
        let clicking: Vec<_> = users
            .iter_mut()
            .map(|user| {
                scope.spawn(move || {
                    let mut refused = Vec::new();
                    while !is_over.load(Ordering::SeqCst) {
                        let seen = user.click("/incr?k=n");
                        assert!(seen.took <= 2 * DEADLINE + TOLERANCE, "an answer took {:?}", seen.took);
                        if seen.reply.status == 503 {
                            refused.push(seen.at);
                        }
                        thread::sleep(Duration::from_millis(5));
                    }
                    refused
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(500));
        servers.kill_master();
        killed = Instant::now();
        thread::sleep(E::TAKES + MORE + Duration::from_secs(1));
        is_over.store(true, Ordering::SeqCst);
        refused.extend(clicking.into_iter().flat_map(|thread| thread.join().unwrap()));
    });
    let first = refused.iter().min().expect("nobody noticed that a master was gone");
    assert!(*first + DEADLINE > killed, "refused before anything was wrong");
    let away = refused.iter().max().unwrap().saturating_duration_since(killed);
    assert!(away <= E::TAKES + MORE, "away for {away:?}");

    let (acknowledged, mut lost) = (users.iter().map(|user| user.counted).sum::<u64>(), 0);
    for user in &mut users {
        let view = user.visitor.view();
        assert_eq!(view.subject.as_deref(), Some(user.name.as_str()));
        let count = view.data["n"].as_u64().unwrap();
        assert!(count <= user.counted + user.uncertain, "{count}: a write was made twice");
        lost += user.counted.saturating_sub(count);
    }
    println!("{}: away for {away:?}; {lost} of {acknowledged} acknowledged writes were lost", E::NAME);
    // A replica on the same machine is a moment behind: at most what each user wrote last.
    assert!(lost <= USERS as u64, "{lost} acknowledged writes were lost");
    let told = probe.visitor().get("/counters").expect(200).body;
    let counters: BTreeMap<String, u64> = serde_json::from_str(&told).unwrap();
    assert_eq!(counters["failovers"], 1, "{told}");
}
