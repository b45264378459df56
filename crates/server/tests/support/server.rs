//! The real binary, on a free port, in a folder of its own.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cloakroom-e2e-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder for the test");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The binary, to be run in this folder with nothing from the environment.
    pub fn cloakroom(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        command.current_dir(&self.0).env_clear().args(arguments).stdin(Stdio::null());
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that runs; it is killed at the end.
pub struct Server {
    child: Child,
    /// As `127.0.0.1:43210`.
    pub address: String,
}

impl Server {
    /// On a free port; all else by `arguments` and the defaults.
    pub fn start(folder: &Folder, arguments: &[&str]) -> Self {
        let log = File::options().create(true).append(true).open(folder.path().join("log")).expect("a log");
        let mut child = folder
            .cloakroom(&["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output is piped");
        BufReader::new(out).read_line(&mut line).expect("its output can be read");
        let address = line.trim_end().strip_prefix("listening on http://").map(str::to_owned);
        let Some(address) = address else {
            let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            panic!("the server said {line:?} and logged:\n{log}");
        };
        Self { child, address }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ways to stop it that only some tests need.
#[allow(dead_code, reason = "the browser's tests stop it by dropping it")]
impl Server {
    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// `kill -TERM`, which it may take its time over.
    pub fn ask_to_stop(&self) {
        let command = format!("kill -TERM {}", self.child.id());
        let status = Command::new("/bin/sh").args(["-c", &command]).status().expect("a shell");
        assert!(status.success());
    }

    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }
}
