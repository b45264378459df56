//! Key rings of sealed cookies that change while two nodes are in use.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use cloakroom::{
    Timestamp,
    clock::{Clock as _, OsEntropy, SystemClock},
    keyring::{KeyRing, Schedule, fresh_key},
};

use crate::{
    sealed::Fleet,
    support::{Probe, in_parallel},
};

/// The longest that a session lives in these tests, in seconds.
pub(crate) const ABSOLUTE_S: u64 = 8;
pub(crate) const LIFETIME: &[&str] = &["--idle-s", "8", "--absolute-s", "8", "--grace-s", "1"];

/// Longer than a node that looks at its ring every second takes to hear of a change.
pub(crate) const HEARD: Duration = Duration::from_millis(2_000);

fn read(path: &Path) -> KeyRing {
    KeyRing::parse(&fs::read_to_string(path).unwrap()).unwrap()
}

/// As a program that distributes keys does: whole, and readable by its owner alone.
fn write(path: &Path, ring: &KeyRing) {
    let new = path.with_extension("new");
    fs::write(&new, ring.expose()).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// Two nodes with copies of a ring, each of which gets the next state of it at its own time.
fn two_nodes(fleet: &Fleet, follow_s: [u32; 2]) -> ([std::path::PathBuf; 2], [Probe; 2]) {
    let copies = ["first", "second"].map(|name| fleet.folder.path().join(name));
    drop(fleet.node_with(&copies[0], 1, &[]));
    write(&copies[1], &read(&copies[0]));
    let nodes = [0, 1].map(|at| fleet.node_with(&copies[at], follow_s[at], LIFETIME));
    (copies, nodes)
}

/// Published, promoted, and the one before it removed: twice. With each, how long it stays before the next.
fn states_of(mut ring: KeyRing) -> Vec<(KeyRing, Duration)> {
    let (delay, lifetime) = (Duration::from_secs(4), Duration::from_secs(ABSOLUTE_S));
    let schedule = Schedule::new(Duration::from_secs(60), delay, lifetime).unwrap();
    let (mut states, mut now) = (Vec::new(), SystemClock.now());
    for _ in 0..2 {
        let (old, (new, material)) = (ring.primary().id(), fresh_key(&OsEntropy).unwrap());
        ring.publish(new, material, now).unwrap();
        states.push((ring.clone(), Duration::ZERO));
        now = later(now, delay);
        ring.promote(new, now, &schedule).unwrap();
        // Until nothing that the key before it sealed can live.
        states.push((ring.clone(), lifetime));
        now = later(now, lifetime + delay);
        ring.remove(old, now, &schedule).unwrap();
        states.push((ring.clone(), Duration::ZERO));
    }
    states
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time + by + Duration::from_secs(1)
}

/// Visitors click while keys go through their phases. No phase ends before each visitor has clicked in it, however fast the
/// machine is.
pub(crate) struct Course {
    phase: AtomicUsize,
    /// The latest phase in which each visitor clicked.
    clicked: Vec<AtomicUsize>,
}

/// Far longer than a click takes, on a busy machine.
const CLICK_MAX: Duration = Duration::from_secs(60);
const OVER: usize = usize::MAX;

impl Course {
    pub(crate) fn of(visitors: usize) -> Self {
        Self { phase: AtomicUsize::new(1), clicked: (0..visitors).map(|_| AtomicUsize::new(0)).collect() }
    }

    /// Waits until each has clicked in this phase.
    pub(crate) fn go_on(&self) {
        let (phase, begun) = (self.phase.load(Ordering::SeqCst), Instant::now());
        while self.clicked.iter().any(|latest| latest.load(Ordering::SeqCst) < phase) {
            assert!(begun.elapsed() < CLICK_MAX, "somebody doesn't click in phase {phase}");
            thread::sleep(Duration::from_millis(5));
        }
        self.phase.store(phase + 1, Ordering::SeqCst);
    }

    /// Ends it when it is dropped, so that no visitor clicks for ever when something has failed.
    pub(crate) fn lead(&self) -> Lead<'_> {
        Lead(self)
    }

    fn phase(&self) -> usize {
        self.phase.load(Ordering::SeqCst)
    }

    fn is_over(&self) -> bool {
        self.phase() == OVER
    }

    /// A visitor has clicked in the phase that there was when the click began.
    fn clicked(&self, visitor: usize, phase: usize) {
        self.clicked[visitor].store(phase, Ordering::SeqCst);
    }
}

pub(crate) struct Lead<'a>(&'a Course);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.0.phase.store(OVER, Ordering::SeqCst);
    }
}

/// Whoever logs in now and then, and changes the session all the while, on either node.
pub(crate) fn write_on(nodes: &[Probe; 2], number: usize, course: &Course) -> u32 {
    let name = &*format!("user-{number}");
    let (mut visitor, mut clicks, mut since) = (nodes[0].visitor(), 0, None::<Instant>);
    while !course.is_over() {
        let phase = course.phase();
        if since.is_none_or(|since| since.elapsed() > Duration::from_secs(ABSOLUTE_S - 3)) {
            visitor.log_in(name);
            since = Some(Instant::now());
        }
        for node in nodes {
            let mut tab = visitor.tab(node);
            let reply = tab.get("/incr?k=n");
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(tab.view().subject.as_deref(), Some(name));
            clicks += 1;
        }
        course.clicked(number, phase);
        thread::sleep(Duration::from_millis(10));
    }
    clicks
}

/// Whoever presents one cookie again and again for nearly as long as it lives, on either node.
pub(crate) fn read_on(nodes: &[Probe; 2], number: usize, course: &Course) -> u32 {
    let name = &*format!("user-{number}");
    let (mut clicks, mut turn) = (0, 0);
    while !course.is_over() {
        turn += 1;
        let token = nodes[turn % 2].visitor().log_in(name);
        let since = Instant::now();
        let mut visitors = nodes.each_ref().map(Probe::visitor);
        while since.elapsed() < Duration::from_secs(ABSOLUTE_S - 1) && !course.is_over() {
            let phase = course.phase();
            for visitor in &mut visitors {
                let reply = visitor.holding(&token).get("/get");
                assert!(reply.status == 200 && reply.body.contains(name), "{:?}: {reply:?}", since.elapsed());
                clicks += 1;
            }
            course.clicked(number, phase);
            thread::sleep(Duration::from_millis(10));
        }
    }
    clicks
}

/// Keys go through all their states under load, on two nodes that hear of it at different moments: no valid cookie is
/// refused.
#[test]
fn a11_2_2_a_rotation_of_keys_under_load_refuses_no_valid_cookie() {
    let fleet = Fleet::on_a_file();
    let (copies, nodes) = two_nodes(&fleet, [1, 1]);
    let first = read(&copies[0]).primary().id();
    let (states, course) = (states_of(read(&copies[0])), Course::of(4));
    let clicks = in_parallel(5, |number, start| {
        start.wait();
        match number {
            4 => {
                let _lead = course.lead();
                course.go_on();
                for (state, stays) in &states {
                    for keys in &copies {
                        write(keys, state);
                        thread::sleep(HEARD);
                    }
                    thread::sleep(*stays);
                    course.go_on();
                }
                0
            }
            number if number % 2 == 0 => write_on(&nodes, number, &course),
            number => read_on(&nodes, number, &course),
        }
    });
    println!("{} clicks through {} states of the ring", clicks.iter().sum::<u32>(), states.len());
    assert!(read(&copies[1]).key(first).is_none(), "the first key is gone from the ring");
}

/// A key that was promoted before every node had heard of it: those answer 503, and log nobody out.
#[test]
fn a_node_that_is_behind_with_its_keys_says_so_and_logs_nobody_out() {
    let fleet = Fleet::on_a_file();
    // The second looks at its ring when it meets a key that it doesn't know, and not before.
    let (copies, [first, second]) = two_nodes(&fleet, [1, 600]);
    let [_, (promoted, _), ..] = &states_of(read(&copies[0]))[..] else { panic!("states") };
    copies.iter().for_each(|keys| write(keys, promoted));
    thread::sleep(HEARD);
    let token = first.visitor().log_in("ada");
    let mut visitor = second.visitor_with(&token);
    visitor.get("/get").expect_problem(503);
    let begun = Instant::now();
    loop {
        let reply = visitor.get("/get").expect_no_cookie();
        match reply.status {
            503 => thread::sleep(Duration::from_millis(20)),
            _ => break assert!(reply.body.contains("ada"), "{reply:?}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "the ring isn't read again");
    }
}

/// A key that was given away is removed at once, and with it every cookie under it.
#[test]
fn a_cookie_whose_key_was_removed_is_refused() {
    let fleet = Fleet::on_a_file();
    let (copies, nodes) = two_nodes(&fleet, [1, 1]);
    let token = nodes[0].visitor().log_in("ada");
    let mut ring = read(&copies[0]);
    ring.remove_compromised(ring.primary().id(), fresh_key(&OsEntropy).unwrap(), SystemClock.now()).unwrap();
    copies.iter().for_each(|keys| write(keys, &ring));
    thread::sleep(HEARD);
    for node in &nodes {
        let (mut thief, begun) = (node.visitor_with(&token), Instant::now());
        // Whether it is a newer key than the node's, is found out first.
        while thief.get("/get").expect_no_cookie().status == 503 {
            assert!(begun.elapsed() < Duration::from_secs(5), "the ring isn't read again");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(thief.view().is_nobody());
        let mut visitor = node.visitor();
        visitor.log_in("eve");
        assert_eq!(visitor.view().subject.as_deref(), Some("eve"));
    }
}
