//! The real binary, on a free port, with its store in a folder of its own.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use super::{Connection, Visitor};

/// Where a probe keeps its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    Sqlite,
    /// In the cookies, with a revocation list in a file.
    Sealed,
    /// On a server that the test started.
    Remote,
}

impl Store {
    const ALL: [Self; 3] = [Self::Memory, Self::Sqlite, Self::Sealed];

    fn url(self, folder: &Folder) -> String {
        match self {
            Self::Memory => "memory:".to_owned(),
            Self::Sqlite => format!("sqlite:{}", folder.database().display()),
            Self::Sealed => {
                let list = folder.path().join("list.db");
                format!("sealed:?rotate_days=0&revocations=sqlite:{}", list.display())
            }
            Self::Remote => panic!("only the test knows where that is"),
        }
    }
}

/// Runs a case on every store, each with a probe of its own. The name of the thread that panics is that of the store.
#[track_caller]
pub(crate) fn on_every_store(case: impl Fn(&Probe) + Sync) {
    on_every_store_with(&[], case);
}

/// Runs a case on every store but sealed cookies, with which it can't hold: each response carries a whole session there,
/// the browser keeps the last one, and nothing remembers the others. `why` says what of that the case is about.
#[track_caller]
#[allow(clippy::print_stdout, reason = "what is left out stands in the test's output")]
pub(crate) fn on_every_store_but_cookies(why: &str, case: impl Fn(&Probe) + Sync) {
    println!("not with sealed cookies: {why}");
    on(&[Store::Memory, Store::Sqlite], &[], case);
}

/// As [`on_every_store`], for probes with other settings.
#[track_caller]
pub(crate) fn on_every_store_with(arguments: &[&str], case: impl Fn(&Probe) + Sync) {
    on(&Store::ALL, arguments, case);
}

#[track_caller]
fn on(stores: &[Store], arguments: &[&str], case: impl Fn(&Probe) + Sync) {
    let case = &case;
    let is_passed = thread::scope(|scope| {
        let run = |store: Store| {
            let thread = thread::Builder::new().name(format!("{store:?}"));
            thread.spawn_scoped(scope, move || case(&Probe::start_with(store, arguments))).expect("a thread")
        };
        let threads: Vec<_> = stores.iter().map(|store| run(*store)).collect();
        let passed: Vec<_> = threads.into_iter().map(|thread| thread.join().is_ok()).collect();
        passed.iter().all(|is_passed| *is_passed)
    });
    assert!(is_passed, "the thread that panicked is named after the store");
}

/// A folder that is removed at the end.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cloakroom-probe-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder for the test");
        Self(path)
    }

    /// The file of a sqlite store.
    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("sessions.db")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A probe that runs; it is killed at the end.
#[derive(Debug)]
pub(crate) struct Probe {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) folder: Folder,
}

impl Probe {
    pub(crate) fn start(store: Store) -> Self {
        Self::start_with(store, &[])
    }

    pub(crate) fn start_with(store: Store, arguments: &[&str]) -> Self {
        Self::start_in(Folder::new(), store, arguments)
    }

    /// Starts on what another probe left in the folder.
    pub(crate) fn start_in(folder: Folder, store: Store, arguments: &[&str]) -> Self {
        let url = store.url(&folder);
        Self::start_on(folder, store, &url, arguments)
    }

    /// Starts on a store that is somewhere else.
    pub(crate) fn start_at(url: &str, arguments: &[&str]) -> Self {
        Self::start_on(Folder::new(), Store::Remote, url, arguments)
    }

    fn start_on(folder: Folder, store: Store, url: &str, arguments: &[&str]) -> Self {
        let log = File::options().create(true).append(true).open(folder.log()).expect("a log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_probe"))
            .args(["--store", url, "--listen", "127.0.0.1:0"])
            .args(if store == Store::Sealed { &["--keys", "keys"][..] } else { &[] })
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the probe starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output is piped");
        BufReader::new(out).read_line(&mut line).expect("its output can be read");
        let address = line.trim_end().strip_prefix("listening on http://").and_then(|text| text.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "the probe said {line:?} and logged:\n{}",
                fs::read_to_string(folder.log()).unwrap_or_default()
            );
        };
        Self { child, address, store, folder }
    }

    /// Whether each cookie holds a whole session.
    pub(crate) fn is_sealed(&self) -> bool {
        self.store == Store::Sealed
    }

    /// These targets, without those that need a list of sessions where there is none.
    pub(crate) fn targets<'t>(&self, targets: &[&'t str]) -> Vec<&'t str> {
        let is_there = |target: &&&str| !self.is_sealed() || !target.starts_with("/sessions");
        targets.iter().filter(is_there).copied().collect()
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection::open(self.address).expect("the probe accepts connections")
    }

    /// Somebody new, without a cookie.
    pub(crate) fn visitor(&self) -> Visitor {
        Visitor::new(self.connection(), None)
    }

    /// Somebody who holds this token: its owner, or a thief.
    pub(crate) fn visitor_with(&self, token: &str) -> Visitor {
        Visitor::new(self.connection(), Some(token.to_owned()))
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.log()).expect("a log")
    }

    /// How many sessions and tombstones are stored, where that can be seen from outside.
    pub(crate) fn rows(&self) -> Option<i64> {
        (self.store == Store::Sqlite).then(|| {
            let database = rusqlite::Connection::open(self.folder.database()).expect("the file opens");
            database
                .query_row("SELECT count(*) FROM session", [], |row| row.get(0))
                .expect("it has our table")
        })
    }

    /// `kill -9`. What is left is in the folder.
    pub(crate) fn kill(mut self) -> Folder {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
        self.take_folder()
    }

    /// `kill -TERM`, without waiting for what it leads to.
    pub(crate) fn ask_to_stop(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(status.expect("a kill command").success());
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> (ExitStatus, Folder) {
        let status = self.child.wait().expect("it ends");
        (status, self.take_folder())
    }

    fn take_folder(&mut self) -> Folder {
        std::mem::replace(&mut self.folder, Folder(PathBuf::new()))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a probe says that refuses to start with these arguments: its exit status and its message.
pub(crate) fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let folder = Folder::new();
    let output = Command::new(env!("CARGO_BIN_EXE_probe"))
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("the probe starts");
    assert_eq!(
        fs::read_dir(folder.path()).expect("the folder").count(),
        0,
        "a probe that refuses makes no file"
    );
    (output.status.code(), String::from_utf8(output.stderr).expect("a message is text"))
}
