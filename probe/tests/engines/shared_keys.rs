//! A key ring in a store that two nodes share, changed by `cloakroom keys` as an operator does it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use cloakroom::{
    Timestamp,
    clock::{Clock as _, OsEntropy, SystemClock},
    keyring::{KeyRing, LiveRing, RingSource as _, Schedule, State, Step, apply, fresh_key},
};
use cloakroom_stores::RingPlace;
use engines::{Breakable, Engine, Postgres, Redis};

use crate::{
    sealed_keys::{ABSOLUTE_S, Course, HEARD, LIFETIME, read_on, write_on},
    support::{Folder, Probe, in_parallel},
};

/// Nodes whose ring is in a store, with the outer ring in a file that they share.
struct Fleet {
    folder: Folder,
    ring: String,
}

impl Fleet {
    fn on(store: &str) -> Self {
        Self { folder: Folder::new(), ring: format!("{store}#fleet") }
    }

    fn outer(&self) -> PathBuf {
        self.folder.path().join("outer.keys")
    }

    fn node(&self, arguments: &[&str]) -> Probe {
        let list = self.folder.path().join("list.db");
        let url = format!("sealed:?follow_s=1&revocations=sqlite:{}", list.display());
        let outer = self.outer().display().to_string();
        let keys = ["--keys", &self.ring, "--outer-keys", &outer, "--log", "info"];
        Probe::start_at(&url, &[&keys[..], arguments].concat())
    }

    /// What `cloakroom keys` prints of the ring, or its complaint.
    fn keys(&self, arguments: &[&str]) -> Result<String, String> {
        self.keys_after("4", arguments)
    }

    /// The same, with so many seconds from a key's publication to its use.
    fn keys_after(&self, delay_s: &str, arguments: &[&str]) -> Result<String, String> {
        let outer = self.outer().display().to_string();
        let ring = ["--publish-delay-s", delay_s, "--ring", &self.ring, "--outer", &outer];
        self.command(&[&ring, arguments].concat())
    }

    fn command(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(cloakroom());
        command.args(["keys", "--lifetime-max-s", &ABSOLUTE_S.to_string()]).args(arguments);
        told(command.current_dir(self.folder.path()))
    }

    fn place(&self) -> RingPlace {
        self.ring.parse::<RingPlace>().unwrap().under(self.outer()).unwrap()
    }
}

fn told(command: &mut Command) -> Result<String, String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let Output { status, stdout, stderr } = command.env_clear().output().expect("it runs");
    if status.success() { Ok(text(stdout)) } else { Err(text(stderr)) }
}

/// The command itself, as it lies beside the probe: a build of the whole workspace makes both, with the same stores.
fn cloakroom() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_probe")).with_file_name("cloakroom");
    assert!(
        path.exists(),
        "there is no {}: run `cargo build -p probe -p cloakroom-server`, or the tests of the whole workspace",
        path.display()
    );
    path
}

/// The id of the key that is in this state.
fn id_of(list: &str, state: &str) -> Option<String> {
    let mut lines = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find(|line| line[1] == state).map(|line| line[0].to_owned())
}

/// Twice around: published, promoted, retired for as long as a session lives, and removed. Answers the removed keys, each
/// with the one that took its place.
fn rotate_twice(fleet: &Fleet, course: &Course) -> Vec<(String, String)> {
    let second = Duration::from_secs(1);
    (0..2)
        .map(|_| {
            let before = fleet.keys(&["list"]).unwrap();
            let old = id_of(&before, "primary").expect("a primary");
            let dry = fleet.keys(&["rotate", "--dry-run"]).unwrap();
            assert!(dry.starts_with("would have published"), "{dry}");
            assert_eq!(fleet.keys(&["list"]).unwrap(), before, "a dry run changes nothing");
            assert!(fleet.keys(&["rotate"]).unwrap().starts_with("published the key"));
            assert!(fleet.keys_after("3600", &["rotate"]).is_err(), "not every node has it yet");
            thread::sleep(HEARD.max(4 * second) + second);
            course.go_on();
            assert!(fleet.keys(&["rotate"]).unwrap().contains("the primary"));
            let new = id_of(&fleet.keys(&["list"]).unwrap(), "primary").expect("a primary");
            assert!(fleet.keys(&["retire", &old]).is_err(), "cookies under it live");
            thread::sleep(Duration::from_secs(ABSOLUTE_S + 4) + second);
            course.go_on();
            let dry = fleet.keys(&["retire", &old, "--dry-run"]).unwrap();
            assert!(dry.contains(&old) && fleet.keys(&["list"]).unwrap().contains(&old), "{dry}");
            fleet.keys(&["retire", &old]).unwrap();
            thread::sleep(HEARD);
            course.go_on();
            (old, new)
        })
        .collect()
}

fn a_rotation_refuses_no_valid_cookie(store: &str) {
    let fleet = Fleet::on(store);
    let nodes = [fleet.node(LIFETIME), fleet.node(LIFETIME)];
    let course = Course::of(4);
    let clicks = in_parallel(5, |number, start| {
        start.wait();
        match number {
            4 => {
                let _lead = course.lead();
                let changes = rotate_twice(&fleet, &course);
                let list = fleet.keys(&["list"]).unwrap();
                assert!(changes.iter().all(|(old, _)| !list.contains(old)), "{list}");
                for node in &nodes {
                    let has_been_primary = |(_, new): &(String, String)| {
                        let mut lines = node.log().lines().map(str::to_owned).collect::<Vec<_>>().into_iter();
                        lines.any(|line| {
                            line.contains("the key ring has changed") && line.contains(new.as_str())
                        })
                    };
                    assert!(changes.iter().all(has_been_primary), "{}", node.log());
                }
                0
            }
            number if number % 2 == 0 => write_on(&nodes, number, &course),
            number => read_on(&nodes, number, &course),
        }
    });
    println!("{} clicks through two rotations of the shared ring", clicks.iter().sum::<u32>());
}

#[test]
fn a11_2_2_a_ring_in_redis_rotates_under_load_and_no_valid_cookie_is_refused() {
    let engine = <Redis as Engine>::start();
    a_rotation_refuses_no_valid_cookie(&engine.url_at(engine.address()));
}

#[test]
fn a11_2_2_a_ring_in_postgres_rotates_under_load_and_no_valid_cookie_is_refused() {
    let engine = <Postgres as Engine>::start();
    a_rotation_refuses_no_valid_cookie(&engine.url_at(engine.address()));
}

/// The ring's primary is older than a month. Of four nodes that start at once each finds that a key is due; one of them
/// publishes it.
#[test]
fn of_many_nodes_that_find_a_rotation_due_one_makes_it() {
    let engine = <Redis as Engine>::start();
    let fleet = Fleet::on(&engine.url_at(engine.address()));
    drop(fleet.node(&[]));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let kept = runtime.block_on(fleet.place().open()).unwrap();
    let now = runtime.block_on(async {
        let made = kept.load().await.unwrap();
        let month = Duration::from_secs(31 * 86_400);
        let past = Timestamp::from_millis(SystemClock.now().as_millis() - month.as_millis() as u64);
        let (id, material) = fresh_key(&OsEntropy).unwrap();
        assert!(kept.replace(&made, &KeyRing::new(id, material, past).unwrap()).await.unwrap());
        kept.load().await.unwrap()
    });
    let nodes = in_parallel(4, |_, start| {
        start.wait();
        fleet.node(&[])
    });
    let published =
        || nodes.iter().filter(|node| node.log().contains("rotated the key ring: Publish")).count();
    let begun = Instant::now();
    while published() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody publishes a key");
        thread::sleep(Duration::from_millis(20));
    }
    let ring = runtime.block_on(kept.load()).unwrap();
    let states: Vec<_> = ring.keys().map(|key| key.state()).collect();
    assert_eq!((states.len(), ring.primary().id()), (2, now.primary().id()), "{states:?}");
    assert!(states.contains(&State::Pending));
    // The same of what is due two hours later, by eight at the same instant.
    let pending = ring.keys().find(|key| key.state() == State::Pending).unwrap().id();
    let taken = runtime.block_on(async {
        let mut looking = Vec::new();
        for _ in 0..8 {
            looking.push(LiveRing::open(fleet.place().open().await.unwrap()).await.unwrap());
        }
        let schedule = Schedule::for_lifetime(Duration::from_secs(86_400)).unwrap();
        let later = SystemClock.now() + Duration::from_secs(7_200);
        let tasks: Vec<_> = looking
            .into_iter()
            .map(|ring| tokio::spawn(async move { apply(&ring, &schedule, later, &OsEntropy).await }))
            .collect();
        let mut taken = Vec::new();
        for task in tasks {
            taken.extend(task.await.unwrap().unwrap());
        }
        taken
    });
    assert_eq!(taken, [Step::Promote(pending)]);
    assert_eq!(published(), 1);
}

#[test]
fn a16_2_5_credentials_of_a_rings_store_stand_in_no_message() {
    let fleet = Fleet { folder: Folder::new(), ring: "redis://ada:hunter2@127.0.0.1:9/0#fleet".to_owned() };
    assert!(fleet.keys(&["list"]).unwrap_err().contains("cloakroom keys new"), "the outer ring isn't there");
    fleet.command(&["new", "--ring", "outer.keys"]).unwrap();
    for verb in [&["list"][..], &["new"], &["new", "--dry-run"], &["rotate"]] {
        let said = fleet.keys(verb).unwrap_err();
        assert!(!said.contains("hunter2") && !said.is_empty(), "{said}");
    }
    for (ring, why) in [
        ("memcached://ada:hunter2@127.0.0.1:9", "it may forget it"),
        ("redis://ada:hunter2@127.0.0.1:9/0#a/b", "1 to 64"),
        ("redis://ada:hunter2@127.0.0.1:9/none", ""),
        ("Redis://ada:hunter2@127.0.0.1:9", "check how the URL begins"),
    ] {
        let refused = Fleet { folder: Folder::new(), ring: ring.to_owned() };
        refused.command(&["new", "--ring", "outer.keys"]).unwrap();
        let outer = refused.outer().display().to_string();
        let store = ["--store", "sealed:?revocations=none", "--keys", ring, "--outer-keys", &outer];
        let probe = told(Command::new(env!("CARGO_BIN_EXE_probe")).args(store));
        for said in [refused.keys(&["new"]).unwrap_err(), probe.unwrap_err()] {
            assert!(said.contains(why) && !said.contains("hunter2") && !said.is_empty(), "{ring}: {said}");
        }
    }
}
