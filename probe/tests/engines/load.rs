//! Users who keep clicking while something happens to the engine.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{Probe, Reply, Visitor};

/// The probe's deadline in these tests.
pub(crate) const DEADLINE: Duration = Duration::from_millis(500);
pub(crate) const DEADLINE_MS: &str = "500";

/// For tests of what is stored, not of when: an emulator on a busy machine is slow.
pub(crate) const PATIENT: &[&str] = &["--deadline-ms", "20000"];

/// How much later than the deadline an answer may come.
pub(crate) const TOLERANCE: Duration = Duration::from_millis(200);

/// A user with a session that is known to be alive.
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) visitor: Visitor,
    /// How many increments were answered with success, and how many may have been made besides.
    pub(crate) counted: u64,
    pub(crate) uncertain: u64,
    /// Whether the engine may have forgotten the session: then it is nobody's, and nobody else's.
    pub(crate) may_be_forgotten: bool,
}

/// One answer under load.
pub(crate) struct Seen {
    pub(crate) target: &'static str,
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    pub(crate) reply: Reply,
}

impl User {
    pub(crate) fn log_in(probe: &Probe, number: usize) -> Self {
        let (name, mut visitor) = (format!("user-{number}"), probe.visitor());
        visitor.log_in(&name);
        visitor.get("/incr?k=n").expect(200);
        Self { name, visitor, counted: 1, uncertain: 0, may_be_forgotten: false }
    }

    /// The same, of a probe whose deadline a busy machine may miss.
    pub(crate) fn log_in_patiently(probe: &Probe, number: usize) -> Self {
        let (name, mut visitor) = (format!("user-{number}"), probe.visitor());
        time_to_recover(&mut visitor, &format!("/login?user={name}"), Duration::from_secs(10));
        Self { name, visitor, counted: 0, uncertain: 0, may_be_forgotten: false }
    }

    /// Reads or writes, and checks what can be checked of any answer.
    pub(crate) fn click(&mut self, target: &'static str) -> Seen {
        let begun = Instant::now();
        let token = self.visitor.token();
        let reply = self.visitor.get(target);
        let took = begun.elapsed();
        match (target, reply.status) {
            ("/incr?k=n", 200) => self.counted += 1,
            ("/incr?k=n", _) => self.uncertain += 1,
            ("/get", 200) => {
                let is_nobody = self.may_be_forgotten && reply.body.contains(r#""subject":null"#);
                let is_own = reply.body.contains(&format!(r#""subject":"{}""#, self.name));
                assert!(is_own || is_nobody, "logged out, or somebody else: {reply:?}");
            }
            _ => {}
        }
        assert!(matches!(reply.status, 200 | 503), "{target}: {reply:?}");
        let is_kept = self.visitor.token() == token || (self.may_be_forgotten && reply.status == 200);
        assert!(is_kept, "the cookie was touched: {reply:?}");
        Seen { target, at: begun, took, reply }
    }

    /// Fails unless the session is as it was left: nobody was logged out, and no write was lost or made twice.
    pub(crate) fn check(&mut self) {
        let view = self.visitor.view();
        assert_eq!(view.subject.as_deref(), Some(self.name.as_str()));
        let count = view.data.get("n").map_or(0, |count| count.as_u64().unwrap());
        let most = self.counted + self.uncertain;
        assert!((self.counted..=most).contains(&count), "{count} is not from {} to {most}", self.counted);
    }
}

/// Lets every user click until told to stop; somebody without a session visits a bare route all the while. Answers what
/// was seen, and how long the bare visits took.
pub(crate) fn under_load(
    address: SocketAddr,
    users: &mut [User],
    meanwhile: impl FnOnce(),
) -> (Vec<Seen>, Vec<(Instant, Duration)>) {
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let clicking: Vec<_> = users
            .iter_mut()
            .map(|user| {
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    while !is_over.load(Ordering::SeqCst) {
                        for target in ["/get", "/incr?k=n"] {
                            seen.push(user.click(target));
                            thread::sleep(Duration::from_millis(2));
                        }
                    }
                    seen
                })
            })
            .collect();
        let bare = scope.spawn(move || {
            let mut connection = crate::support::Connection::open(address).unwrap();
            let mut times = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                let begun = Instant::now();
                connection.get("/bare", &[]).expect(200);
                times.push((begun, begun.elapsed()));
                thread::sleep(Duration::from_millis(2));
            }
            times
        });
        meanwhile();
        is_over.store(true, Ordering::SeqCst);
        let seen = clicking.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (seen, bare.join().unwrap())
    })
}

/// Clicks until an answer is a success, and says how long that took.
pub(crate) fn time_to_recover(visitor: &mut Visitor, target: &str, patience: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        if visitor.get(target).status == 200 {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < patience, "no success within {patience:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
