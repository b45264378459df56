//! PgBouncer, from Debian's package: a pooler in front of PostgreSQL.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
};

use crate::{Breakable as _, Folder, Postgres, Process, Start, free_port, program};

/// A pooler in transaction mode, with two connections to its server for each database.
#[derive(Debug)]
pub struct PgBouncer {
    _process: Process,
    address: SocketAddr,
    /// As it says it: `PgBouncer 1.18.0`, and more.
    version: String,
    _folder: Folder,
}

impl PgBouncer {
    /// Starts one in front of this server.
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn start(server: &Postgres) -> Self {
        let folder = Folder::new("pgbouncer");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (settings, logins) = (folder.path().join("settings"), folder.path().join("logins"));
        fs::write(&logins, "\"cloakroom\" \"secret\"\n").expect("the folder is ours");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 2\nmax_client_conn = 500\n",
            server.address().port(),
            address.port(),
            logins.display()
        );
        fs::write(&settings, text).expect("the folder is ours");
        let mut start = Start::new(program("pgbouncer"), folder.path().join("log"));
        if let Some((user, _)) = crate::postgres::its_user() {
            // It refuses to run as root, too, and takes a user's name alone.
            start = start.args(["-u", user]);
        }
        let version = Command::new(program("pgbouncer")).arg("--version").output().expect("it starts");
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let process = start.arg(&settings).spawn(|| TcpStream::connect(address).is_ok());
        Self { _process: process, address, version, _folder: folder }
    }

    /// Whether it passes prepared statements on to whichever server comes next, unless told not to.
    #[must_use]
    pub fn knows_statements(&self) -> bool {
        let number = self.version.split_whitespace().nth(1).unwrap_or_default();
        let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next(), parts.next()) >= (Some(1), Some(24))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
