//! The peer's stores, in a process of their own: see `peers/`.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A store of tower-sessions that does what it is told; it ends when it is dropped.
pub struct Peer {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Compiles the program, if it isn't.
pub fn build() {
    let manifest = folder().join("Cargo.toml");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(folder().join("target"))
        .status();
    assert!(status.is_ok_and(|status| status.success()), "the peers' program compiles");
}

impl Peer {
    /// Fills a store of this kind at this place.
    pub fn start(kind: &str, place: &str) -> Self {
        let mut process = Command::new(folder().join("target/release/peers"))
            .args([kind, place])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let orders = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut peer = Self { process, orders, answers };
        assert_eq!(peer.answer(), "ready", "the peer's store can be opened");
        peer
    }

    /// How many sessions it loads in a second, over so many seconds.
    pub fn reads_per_second(&mut self, seconds: f64) -> f64 {
        self.order("read", seconds)
    }

    /// How many sessions it loads, changes and stores in a second.
    pub fn writes_per_second(&mut self, seconds: f64) -> f64 {
        self.order("write", seconds)
    }

    fn order(&mut self, what: &str, seconds: f64) -> f64 {
        writeln!(self.orders, "{what} {seconds}").expect("it listens");
        self.answer().parse().expect("it answers with a figure")
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        line.trim_end().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}
