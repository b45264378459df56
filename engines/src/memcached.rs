//! Memcached.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use crate::{Breakable, Engine, Folder, Process, Start, free_port, program};

/// A Memcached of its own, with 64 MB of memory.
#[derive(Debug)]
pub struct Memcached {
    process: Process,
    address: SocketAddr,
    _folder: Folder,
}

impl Memcached {
    /// Starts one with more arguments.
    ///
    /// # Panics
    /// If it isn't installed, or doesn't start.
    #[must_use]
    pub fn with(arguments: &[&str]) -> Self {
        let folder = Folder::new("memcached");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let process = Start::new(program("memcached"), folder.path().join("log"))
            .leaving_behind(folder.path())
            // Run by root, it asks for the user to be.
            .args(["-u", "root", "-l", "127.0.0.1", "-U", "0", "-m", "64", "-p"])
            .arg(address.port().to_string())
            .args(arguments)
            .spawn(|| TcpStream::connect(address).is_ok());
        Self { process, address, _folder: folder }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, to hang or kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again after it was killed. It has nothing of what it had.
    pub fn restart(&mut self) {
        let address = self.address;
        self.process.restart(|| TcpStream::connect(address).is_ok());
    }
}

impl Breakable for Memcached {
    const KEEPS: bool = false;

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn url_at(&self, address: SocketAddr) -> String {
        format!("memcached://{address}")
    }

    fn hang(&self) {
        self.process.hang();
    }

    fn resume(&self) {
        self.process.resume();
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn restart(&mut self) {
        self.restart();
    }
}

impl Engine for Memcached {
    const NAME: &'static str = "memcached";

    fn start() -> Self {
        Self::with(&[])
    }

    fn url(&self) -> String {
        format!("memcached://{}", self.address)
    }
}
