//! Sessions sealed into cookies, on nodes that share a key ring and a revocation list.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use engines::{Breakable, MariaDb, Postgres, Redis};

use crate::{
    load::time_to_recover,
    support::{Folder, Probe},
};

/// Nodes of one installation.
pub(crate) struct Fleet {
    pub(crate) folder: Folder,
    list: String,
}

impl Fleet {
    pub(crate) fn on(list: &str) -> Self {
        Self { folder: Folder::new(), list: list.to_owned() }
    }

    /// Whose list is a file, for tests that aren't about it.
    pub(crate) fn on_a_file() -> Self {
        let folder = Folder::new();
        let list = format!("sqlite:{}", folder.path().join("list.db").display());
        Self { folder, list }
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    pub(crate) fn node(&self) -> Probe {
        self.node_with(&self.keys(), 1, &[])
    }

    /// One with its own copy of the key ring, which it looks at so often.
    pub(crate) fn node_with(&self, keys: &Path, follow_s: u32, arguments: &[&str]) -> Probe {
        let keys = keys.display().to_string();
        let arguments = [&["--keys", keys.as_str(), "--deadline-ms", "1000"], arguments].concat();
        Probe::start_at(&format!("sealed:?follow_s={follow_s}&revocations={}", self.list), &arguments)
    }
}

/// Far longer than a revocation takes to arrive, on a busy machine.
const ARRIVAL_MAX: Duration = Duration::from_secs(5);

/// Waits until a node has heard that a cookie is revoked.
#[track_caller]
fn comes_to_refuse(node: &Probe, token: &str) {
    let begun = Instant::now();
    let mut visitor = node.visitor_with(token);
    while !visitor.view().is_nobody() {
        assert!(begun.elapsed() < ARRIVAL_MAX, "still honoured");
        thread::sleep(Duration::from_millis(5));
    }
    visitor.get("/set?k=a&v=revived").expect_problem(409);
}

fn replays_are_refused(list: &str) {
    let fleet = Fleet::on(list);
    let (first, second) = (fleet.node(), fleet.node());

    // After a logout: here at once, there within the bound, and on a node that starts later.
    let mut visitor = first.visitor();
    let token = visitor.log_in("ada");
    assert!(token.len() > 43, "the session is in the cookie");
    assert_eq!(second.visitor_with(&token).view().subject.as_deref(), Some("ada"));
    visitor.get("/logout").expect(200);
    assert!(first.visitor_with(&token).view().is_nobody());
    comes_to_refuse(&second, &token);
    comes_to_refuse(&fleet.node(), &token);

    // After the end of all of a user's sessions.
    let mut devices = [first.visitor(), second.visitor()];
    let tokens = devices.each_mut().map(|device| device.log_in("bob"));
    devices[0].get("/logout-all").expect(200);
    for node in [&first, &second] {
        tokens.iter().for_each(|token| comes_to_refuse(node, token));
    }

    // A login makes the cookie before it worthless.
    let mut visitor = first.visitor();
    visitor.get("/set?k=a&v=b").expect(200);
    let planted = visitor.token();
    visitor.log_in("eve");
    assert_eq!(visitor.view().text("a"), Some("b"));
    comes_to_refuse(&first, &planted);
    comes_to_refuse(&second, &planted);
    assert_eq!(second.visitor_with(&visitor.token()).view().subject.as_deref(), Some("eve"));
}

#[test]
fn a7_4_1_replays_are_refused_on_every_node_with_a_file_as_the_list() {
    let folder = Folder::new();
    replays_are_refused(&format!("sqlite:{}", folder.path().join("list.db").display()));
}

#[test]
fn a7_4_1_replays_are_refused_on_every_node_with_redis_as_the_list() {
    let engine = <Redis as engines::Engine>::start();
    replays_are_refused(&engine.url_at(engine.address()));
}

#[test]
fn a7_4_1_replays_are_refused_on_every_node_with_mariadb_as_the_list() {
    let engine = <MariaDb as engines::Engine>::start();
    replays_are_refused(&engine.url_at(engine.address()));
}

/// Under another name the same key seals something else; that name's own cookies are good.
#[test]
fn a9_2_2_a_cookie_under_another_name_is_refused() {
    let fleet = Fleet::on_a_file();
    let node = fleet.node();
    let other = fleet.node_with(&fleet.keys(), 1, &["--cookie-name", "__Host-other"]);
    let token = node.visitor().log_in("ada");
    let view = |cookie: &str| other.connection().get("/get", &[("Cookie", cookie)]).expect(200).body;
    assert!(view(&format!("__Host-other={token}")).contains(r#""subject":null"#));
    assert!(view(&format!("__Host-session={token}")).contains(r#""subject":null"#));
    let reply = other.connection().get("/login?user=bob", &[]).expect(200);
    let own = reply.header("set-cookie").unwrap().split(';').next().unwrap();
    assert!(own.starts_with("__Host-other=") && view(own).contains(r#""subject":"bob""#));
}

/// How long a node may be out of touch with its list.
const STALE_AFTER: Duration = Duration::from_secs(2);

/// A hung list: sessions are honoured for as long as is stated and no longer, and nobody is logged out.
#[test]
fn a_hung_list_fails_closed_within_the_bound() {
    let engine = <Redis as engines::Engine>::start();
    let fleet = Fleet::on(&engine.url_at(engine.address()));
    let node = fleet.node();
    let mut visitor = node.visitor();
    let token = visitor.log_in("ada");
    engine.hang();
    let begun = Instant::now();
    let mut honoured = Duration::ZERO;
    loop {
        let asked = begun.elapsed();
        if visitor.get("/get").status != 200 {
            break;
        }
        // It was honoured when it was asked for, whenever the answer came.
        honoured = asked;
        assert!(honoured <= STALE_AFTER, "honoured without a list after {honoured:?}");
        thread::sleep(Duration::from_millis(5));
    }
    println!("honoured for {honoured:?} of {STALE_AFTER:?} after the list hung");
    assert!(honoured > STALE_AFTER / 4, "a list that was asked just now is good for a while: {honoured:?}");
    visitor.get("/get").expect_problem(503);
    visitor.get("/set?k=a&v=b").expect_problem(503);
    node.visitor().get("/get").expect(200).expect_no_cookie();
    node.visitor().get("/bare").expect(200);
    engine.resume();
    time_to_recover(&mut visitor, "/get", Duration::from_secs(5));
    assert_eq!((visitor.view().subject.as_deref(), visitor.token()), (Some("ada"), token));
}

/// The list's server restarts with what it had saved before: nothing, or all but the last logout. Neither the node that
/// noted that logout nor those that start later honour anything from before.
#[test]
fn r_revive_a_list_that_lost_its_data_revives_nothing() {
    for is_saved in [false, true] {
        let mut engine = <Redis as engines::Engine>::start();
        let fleet = Fleet::on(&engine.url_at(engine.address()));
        let (node, idle) = (fleet.node(), fleet.node());
        let (mut visitor, mut other) = (node.visitor(), node.visitor());
        let token = visitor.log_in("ada");
        let bystander = other.log_in("bob");
        if is_saved {
            engine.node().ask(&["SAVE"]);
        }
        visitor.get("/logout").expect(200);
        comes_to_refuse(&idle, &token);
        engine.kill();
        engine.restart();
        for node in [&node, &idle, &fleet.node()] {
            let mut late = node.visitor();
            time_to_recover(&mut late, "/login?user=eve", Duration::from_secs(10));
            // Nobody is any wiser than the list: who wasn't logged out is as well.
            let begun = Instant::now();
            while !node.visitor_with(&bystander).view().is_nobody() {
                assert!(begun.elapsed() < ARRIVAL_MAX, "the list wasn't lost, or that went unnoticed");
                thread::sleep(Duration::from_millis(5));
            }
            assert!(node.visitor_with(&token).view().is_nobody());
            late.get("/login?user=eve").expect(200);
            assert_eq!(late.view().subject.as_deref(), Some("eve"));
        }
    }
}

/// How long after the answer to a logout another node still honours a copy of its cookie: until the last request that it
/// did was *sent*, so that a client that was kept waiting adds nothing. What a request takes that asks for no session is
/// measured beside it, for a node that is kept waiting is late with both.
fn time_to_refusal(list: &str) {
    const TRIES: usize = 1_000;
    let fleet = Fleet::on(list);
    let (first, second) = (fleet.node(), fleet.node());
    let (mut visitor, mut thief, mut control) = (first.visitor(), second.visitor(), second.visitor());
    let (mut honoured, mut plain): (Vec<_>, Vec<_>) = (0..TRIES)
        .map(|_| {
            let token = visitor.log_in("ada");
            let reply = visitor.get("/logout");
            assert_eq!(reply.status, 200, "{reply:?}: {}", first.log());
            let (begun, mut honoured) = (Instant::now(), Duration::ZERO);
            loop {
                let asked = begun.elapsed();
                assert!(asked < ARRIVAL_MAX, "still honoured");
                if !thief.holding(&token).get("/get").expect(200).body.contains("ada") {
                    break;
                }
                honoured = asked;
            }
            let asked = Instant::now();
            control.get("/bare").expect(200);
            (honoured, asked.elapsed())
        })
        .unzip();
    honoured.sort_unstable();
    plain.sort_unstable();
    let (p50, p99, worst) = (honoured[TRIES / 2], honoured[TRIES * 99 / 100], honoured[TRIES - 1]);
    let (plain, slowest) = (plain[TRIES * 99 / 100], plain[TRIES - 1]);
    println!(
        "honoured on another node for {p50:?} (p50), {p99:?} (p99), {worst:?} (worst); beside it {plain:?}"
    );
    assert!(p99 < Duration::from_millis(100) + plain, "{p99:?}, and a plain request took {plain:?}");
    assert!(worst <= STALE_AFTER + slowest, "{worst:?}, and a plain request took {slowest:?}");
}

#[test]
fn a_revocation_arrives_within_the_bound_with_redis_as_the_list() {
    let engine = <Redis as engines::Engine>::start();
    time_to_refusal(&engine.url_at(engine.address()));
}

#[test]
fn a_revocation_arrives_within_the_bound_with_postgres_as_the_list() {
    let engine = <Postgres as engines::Engine>::start();
    time_to_refusal(&engine.url_at(engine.address()));
}

#[test]
fn a_revocation_arrives_within_the_bound_with_mariadb_as_the_list() {
    let engine = <MariaDb as engines::Engine>::start();
    time_to_refusal(&engine.url_at(engine.address()));
}
