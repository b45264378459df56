//! MariaDB, from Debian's packages.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
};

use crate::{Breakable, Engine, Folder, Process, Start, free_port, program};

/// A MariaDB server on a port of its own. Its user `root` needs no password.
#[derive(Debug)]
pub struct MariaDb {
    process: Process,
    address: SocketAddr,
    /// Where its data are; removed when the process has ended.
    _folder: Folder,
}

/// For engines that are never killed. A sync of the disk takes longer than all the rest.
const CARELESS: [&str; 2] = ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF"];

impl MariaDb {
    /// Starts one with these options besides.
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn with_options(options: &[&str]) -> Self {
        let folder = Folder::new("mariadb");
        let data = folder.path().join("data");
        let made = Command::new(program("mariadb-install-db"))
            .args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--user=root",
            ])
            .arg(format!("--datadir={}", data.display()))
            // Servers that share one remove each other's files when they start.
            .env("TMPDIR", folder.path())
            .output()
            .expect("mariadb-install-db starts");
        assert!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stderr));
        let first = folder.path().join("first.sql");
        let logins = "CREATE OR REPLACE USER 'root'@'127.0.0.1' IDENTIFIED BY '';
            GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
            CREATE DATABASE IF NOT EXISTS cloakroom;";
        fs::write(&first, logins).expect("the folder is ours");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let process = Start::new(program("mariadbd"), folder.path().join("log"))
            .leaving_behind(folder.path())
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--max-connections=1000"])
            .args(["--skip-name-resolve", "--innodb-buffer-pool-size=64M", "--performance-schema=OFF"])
            .arg(format!("--port={}", address.port()))
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", folder.path().display()))
            .arg(format!("--socket={}", folder.path().join("socket").display()))
            .arg(format!("--pid-file={}", folder.path().join("pid").display()))
            .arg(format!("--init-file={}", first.display()))
            .args(options)
            .spawn(|| answers(address));
        Self { process, address, _folder: folder }
    }
}

impl Engine for MariaDb {
    const NAME: &'static str = "mariadb";

    fn start() -> Self {
        Self::with_options(&CARELESS)
    }

    fn url(&self) -> String {
        self.url_at(self.address)
    }
}

impl Breakable for MariaDb {
    const KEEPS: bool = true;

    fn start_durable() -> Self {
        Self::with_options(&[])
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn url_at(&self, address: SocketAddr) -> String {
        format!("mysql://root@{address}/cloakroom")
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
        let address = self.address;
        self.process.restart(|| answers(address));
    }
}

/// It speaks first, when it is ready.
fn answers(address: SocketAddr) -> bool {
    use std::io::Read as _;
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let timeout = std::time::Duration::from_secs(5);
    stream.set_read_timeout(Some(timeout)).is_ok() && stream.read_exact(&mut [0; 5]).is_ok()
}
