//! Sessions sealed into cookies, on two nodes that share a key ring and a revocation list.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use engines::{Breakable, MariaDb, Redis};

use crate::{
    load::time_to_recover,
    support::{Folder, Probe, in_parallel},
};

/// Nodes of one installation.
struct Fleet {
    folder: Folder,
    list: String,
}

impl Fleet {
    fn on(list: &str) -> Self {
        Self { folder: Folder::new(), list: list.to_owned() }
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    fn node(&self) -> Probe {
        self.node_with(&self.keys(), &[])
    }

    fn node_with(&self, keys: &Path, arguments: &[&str]) -> Probe {
        let keys = keys.display().to_string();
        let arguments = [&["--keys", keys.as_str(), "--deadline-ms", "1000"], arguments].concat();
        Probe::start_at(&format!("sealed:?revocations={}", self.list), &arguments)
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

    // Under another key: a ring of its own knows none of these cookies.
    let stranger = fleet.node_with(&fleet.folder.path().join("other-keys"), &[]);
    let token = visitor.token();
    assert!(stranger.visitor_with(&token).view().is_nobody());
    // Under another name, it isn't looked at.
    let reply = first.connection().get("/get", &[("Cookie", &format!("other={token}"))]).expect(200);
    assert!(reply.body.contains(r#""subject":null"#));
    assert_eq!(second.visitor_with(&token).view().subject.as_deref(), Some("eve"));
}

#[test]
fn replays_are_refused_on_every_node_with_a_file_as_the_list() {
    let folder = Folder::new();
    replays_are_refused(&format!("sqlite:{}", folder.path().join("list.db").display()));
}

#[test]
fn replays_are_refused_on_every_node_with_redis_as_the_list() {
    let engine = <Redis as engines::Engine>::start();
    replays_are_refused(&engine.url_at(engine.address()));
}

#[test]
fn replays_are_refused_on_every_node_with_mariadb_as_the_list() {
    let engine = <MariaDb as engines::Engine>::start();
    replays_are_refused(&engine.url_at(engine.address()));
}

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
    while visitor.get("/get").status == 200 {
        assert!(begun.elapsed() < Duration::from_secs(4), "honoured without a list");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(
        begun.elapsed() > Duration::from_millis(500),
        "a list that was asked just now is good for a while"
    );
    visitor.get("/get").expect_problem(503);
    visitor.get("/set?k=a&v=b").expect_problem(503);
    node.visitor().get("/get").expect(200).expect_no_cookie();
    node.visitor().get("/bare").expect(200);
    engine.resume();
    time_to_recover(&mut visitor, "/get", Duration::from_secs(5));
    assert_eq!((visitor.view().subject.as_deref(), visitor.token()), (Some("ada"), token));
}

/// Keys go through all their states under load, on two nodes that hear of it at different moments: no valid cookie is
/// refused.
#[test]
fn a_rotation_of_keys_under_load_refuses_no_valid_cookie() {
    let folder = Folder::new();
    let fleet = Fleet::on(&format!("sqlite:{}", folder.path().join("list.db").display()));
    // Each node has a copy of the ring, and gets the next state of it at its own time.
    let copies = ["first", "second"].map(|name| fleet.folder.path().join(name));
    drop(fleet.node_with(&copies[0], &[]));
    copy(&copies[0], &copies[1]);
    let nodes = copies.each_ref().map(|keys| fleet.node_with(keys, &[]));
    let ring = cloakroom::keyring::KeyRing::parse(&fs::read_to_string(&copies[0]).unwrap()).unwrap();
    let states = states_of(ring);
    let clicks = in_parallel(5, |number, start| {
        start.wait();
        if number == 0 {
            for state in &states {
                for keys in &copies {
                    write(keys, state);
                    // Longer than a node takes to look at its ring.
                    thread::sleep(Duration::from_millis(6_000));
                }
            }
            return 0;
        }
        let (name, mut clicks) = (format!("user-{number}"), 0);
        let mut visitor = nodes[0].visitor();
        visitor.log_in(&name);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(12 * states.len() as u64) {
            for node in &nodes {
                let mut tab = visitor.tab(node);
                let reply = tab.get("/incr?k=n");
                assert_eq!(reply.status, 200, "{reply:?}");
                assert_eq!(tab.view().subject.as_deref(), Some(name.as_str()));
                clicks += 1;
            }
            thread::sleep(Duration::from_millis(10));
        }
        clicks
    });
    assert!(clicks.iter().sum::<i32>() > 1_000, "{clicks:?}");
}

/// Published, promoted, and published and promoted once more. A key is removed when the longest lifetime is over, which
/// no test waits for.
fn states_of(mut ring: cloakroom::keyring::KeyRing) -> Vec<String> {
    use cloakroom::{
        clock::{Clock as _, OsEntropy, SystemClock},
        keyring::{Schedule, fresh_key},
    };
    let mut states = Vec::new();
    let schedule = Schedule::for_lifetime(Duration::from_secs(86_400)).unwrap();
    let mut now = SystemClock.now();
    let (id, material) = fresh_key(&OsEntropy).unwrap();
    ring.publish(id, material, now).unwrap();
    states.push(ring.expose());
    now = now + schedule.publish_delay();
    ring.promote(id, now, &schedule).unwrap();
    states.push(ring.expose());
    states
}

fn copy(from: &Path, to: &Path) {
    write(to, &fs::read_to_string(from).unwrap());
}

/// As a program that distributes keys does: whole, and readable by its owner alone.
fn write(path: &Path, ring: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let new = path.with_extension("new");
    fs::write(&new, ring).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// The list's server restarts without its data: what was revoked stays so, for everything from before is refused.
#[test]
fn a_list_that_lost_its_data_revives_nothing() {
    let mut engine = <Redis as engines::Engine>::start();
    let fleet = Fleet::on(&engine.url_at(engine.address()));
    let node = fleet.node();
    let (mut visitor, mut other) = (node.visitor(), node.visitor());
    let token = visitor.log_in("ada");
    other.log_in("bob");
    visitor.get("/logout").expect(200);
    engine.kill();
    engine.restart();
    let mut late = node.visitor();
    time_to_recover(&mut late, "/login?user=eve", Duration::from_secs(10));
    assert!(node.visitor_with(&token).view().is_nobody());
}
