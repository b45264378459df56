//! A file that another program holds, and clients that go away.

use std::{
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use crate::support::{Probe, Reply, Store, View, Visitor};

/// Somebody else's write transaction: nobody can write to the file until it is dropped.
struct Locked(Connection);

impl Locked {
    fn new(probe: &Probe) -> Self {
        let database = Connection::open(probe.folder.database()).expect("the file opens");
        database.busy_timeout(Duration::from_secs(5)).expect("a timeout");
        database.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes for long");
        Self(database)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.0.execute_batch("ROLLBACK");
    }
}

/// Waits until the visitor's session is as expected.
#[track_caller]
fn wait_for(visitor: &mut Visitor, is_so: impl Fn(&View) -> bool) {
    let begun = Instant::now();
    while !is_so(&visitor.view()) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", visitor.view());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_write_whose_client_has_gone_while_it_is_stored_is_stored_all_the_same() {
    let probe = Probe::start(Store::Sqlite);
    let mut visitor = probe.visitor();
    visitor.log_in("ada");
    let locked = Locked::new(&probe);
    let tabs: Vec<_> = (0..10)
        .map(|index| {
            let mut tab = visitor.tab(&probe);
            tab.ask("GET", &format!("/set?k=key-{index}&v=x"));
            tab
        })
        .collect();
    // Long enough for a busy machine to have taken them all up, shorter than the store waits for the file.
    thread::sleep(Duration::from_millis(1_000));
    drop(tabs);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(visitor.view().data.len(), 0, "nothing is stored while the file is locked");
    drop(locked);
    wait_for(&mut visitor, |view| view.data.len() == 10);
}

#[test]
fn a_logout_whose_client_has_gone_while_it_is_stored_holds_all_the_same() {
    let probe = Probe::start(Store::Sqlite);
    let mut visitor = probe.visitor();
    visitor.log_in("ada");
    let locked = Locked::new(&probe);
    let mut tab = visitor.tab(&probe);
    tab.ask("GET", "/logout");
    thread::sleep(Duration::from_millis(200));
    drop(tab);
    drop(locked);
    wait_for(&mut visitor, |view| view.is_nobody());
    visitor.get("/set?k=a&v=revived").expect_problem(409);
}

/// The login arrived first, but is stored last: the write before it makes it try again, after the end of all sessions.
/// By then it finds the revocation's note, and must not hand out a session that nobody would ever end.
#[test]
fn a7_4_2_a_login_in_progress_while_all_sessions_are_ended_is_withdrawn() {
    let probe = Probe::start(Store::Sqlite);
    let mut elsewhere = probe.visitor();
    elsewhere.log_in("ada");
    let mut visitor = probe.visitor();
    visitor.get("/set?k=cart&v=umbrella").expect(200);
    let token = visitor.token();

    let locked = Locked::new(&probe);
    let [mut writing, mut login] = [(); 2].map(|()| probe.visitor_with(&token));
    // Each one waits in line for the file behind the one before.
    for (visitor, target) in [
        (&mut writing, "/set?k=cart&v=gloves"),
        (&mut login, "/login?user=ada"),
        (&mut elsewhere, "/logout-all"),
    ] {
        visitor.ask("GET", target);
        thread::sleep(Duration::from_millis(150));
    }
    drop(locked);
    writing.answer("GET").expect(200).expect_no_cookie();
    login.answer("GET").expect_problem(409);
    assert_eq!(elsewhere.answer("GET").expect(200).body, r#"{"ended":1}"#);

    assert!(probe.visitor_with(&token).view().is_nobody());
    let mut last = probe.visitor();
    last.log_in("ada");
    assert_eq!(last.get("/sessions").expect(200).body.matches("\"id\"").count(), 1);
}

/// The response's head wasn't ready, so nobody was told of a change, and none is made.
#[test]
fn a_request_whose_client_has_gone_before_its_answer_changes_nothing() {
    for store in [Store::Memory, Store::Sqlite] {
        let probe = Probe::start(store);
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        let before = visitor.view();
        for _ in 0..10 {
            let mut tab = visitor.tab(&probe);
            tab.ask("GET", "/set?k=a&v=b&ms=200");
            thread::sleep(Duration::from_millis(20));
            drop(tab);
        }
        thread::sleep(Duration::from_millis(300));
        assert_eq!(visitor.view(), before);
    }
}

/// The answers to these requests, which come within `limit`. Single ones may take longer, because the tests share the
/// processor's cores.
#[track_caller]
fn in_time<const N: usize>(visitor: &mut Visitor, limit: Duration, targets: [&str; N]) -> [Reply; N] {
    let mut times = Vec::new();
    let replies = targets.map(|target| {
        let begun = Instant::now();
        let reply = visitor.get(target);
        times.push(begun.elapsed());
        reply
    });
    times.sort_unstable();
    assert!(
        times[N / 2] <= limit && times[N - 1] <= limit + Duration::from_secs(1),
        "{targets:?}: {times:?}"
    );
    replies
}

#[test]
fn a16_5_2_a_store_that_doesnt_answer_is_a_503_within_the_deadline_and_logs_nobody_out() {
    let probe = Probe::start_with(Store::Sqlite, &["--deadline-ms", "300"]);
    let mut visitor = probe.visitor();
    let token = visitor.log_in("ada");
    visitor.get("/set?k=cart&v=umbrella").expect(200);
    let before = visitor.view();

    let locked = Locked::new(&probe);
    let writing = ["/set?k=a&v=b", "/incr?k=n", "/login?user=ada", "/login?user=bob", "/logout", "/rotate"];
    for reply in in_time(&mut visitor, Duration::from_millis(300 + 200), writing) {
        assert_eq!(reply.expect_problem(503).header("retry-after"), Some("1"), "it was a GET");
    }
    visitor.get("/logout-all").expect_problem(503);
    probe.visitor().get("/set?k=a&v=b").expect_problem(503);
    // Who only reads notices nothing, and neither does who needs no session.
    for reply in
        in_time(&mut visitor, Duration::from_millis(100), ["/bare", "/get", "/slowread", "/sessions"])
    {
        reply.expect(200).expect_no_cookie();
    }
    assert_eq!((visitor.view(), visitor.token()), (before, token));
    drop(locked);

    // It recovers by itself.
    let begun = Instant::now();
    while visitor.get("/set?k=after&v=x").status == 503 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the store doesn't recover");
    }
    let view = visitor.view();
    assert_eq!((view.text("cart"), view.text("after")), (Some("umbrella"), Some("x")));
    assert_eq!(view.subject.as_deref(), Some("ada"));
}

/// An answer of 503 leaves open whether a change was made; but it is made once or not at all.
#[test]
fn an_increment_that_was_answered_503_counts_once_at_most() {
    let probe = Probe::start_with(Store::Sqlite, &["--deadline-ms", "100"]);
    let mut visitor = probe.visitor();
    visitor.log_in("ada");
    let (mut stored, mut unknown) = (0, 0);
    for round in 0..30_u64 {
        let locked = Locked::new(&probe);
        let mut tab = visitor.tab(&probe);
        tab.ask("GET", "/incr?k=count");
        // Around the deadline, so that the lock goes before it, at it and after it.
        thread::sleep(Duration::from_millis(85 + round));
        drop(locked);
        match tab.answer("GET").status {
            200 => stored += 1,
            503 => unknown += 1,
            status => panic!("{status}"),
        }
    }
    let count = visitor.view().data.get("count").and_then(serde_json::Value::as_i64).unwrap_or(0);
    println!("{stored} stored, {unknown} answered 503, {count} counted");
    assert!((stored..=stored + unknown).contains(&count), "{stored} {unknown} {count}");
}
