//! MySQL and MariaDB.

use std::{
    env, fmt, fs,
    io::Read as _,
    marker::PhantomData,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{Breakable, Engine, Folder, Process, Start, free_port, program};

/// Which of the two programs is started.
pub trait SqlFlavour: Send + Sync + 'static {
    /// The engine in one word.
    const NAME: &'static str;

    /// For engines that are never killed. A sync of the disk takes longer than all the rest.
    const CARELESS: &'static [&'static str];

    /// What only this one understands.
    const OPTIONS: &'static [&'static str];

    /// The server's program.
    fn program() -> PathBuf;

    /// What makes a data folder, but for the folder.
    fn initialization() -> Command;
}

/// As Debian has it.
#[derive(Debug)]
pub struct MariaDbServer;

/// As Debian's unstable distribution has it: no other has one.
#[derive(Debug)]
pub struct MySqlServer;

impl SqlFlavour for MariaDbServer {
    const NAME: &'static str = "mariadb";
    const CARELESS: &'static [&'static str] =
        &["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF"];
    const OPTIONS: &'static [&'static str] = &[];

    fn program() -> PathBuf {
        program("mariadbd")
    }

    fn initialization() -> Command {
        let mut command = Command::new(program("mariadb-install-db"));
        command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        command
    }
}

impl SqlFlavour for MySqlServer {
    const NAME: &'static str = "mysql";
    const CARELESS: &'static [&'static str] =
        &["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF", "--skip-log-bin"];
    const OPTIONS: &'static [&'static str] = &["--mysqlx=OFF", "--secure-file-priv=NULL"];

    fn program() -> PathBuf {
        // Where `cargo xtask test` puts it, unless a variable names another. On the path, that name may be MariaDB's.
        let installed = "../target/packages/apt/mysql-server-core-unstable/mysqld";
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(installed);
        env::var_os("CLOAKROOM_MYSQLD")
            .map(PathBuf::from)
            .or_else(|| installed.canonicalize().ok())
            .expect("MySQL is missing: `cargo xtask test` fetches it, or CLOAKROOM_MYSQLD says where it is")
    }

    fn initialization() -> Command {
        let mut command = Command::new(Self::program());
        command.args(["--no-defaults", "--initialize-insecure"]);
        command
    }
}

/// A MariaDB server of its own.
pub type MariaDb = Sql<MariaDbServer>;
/// A MySQL server of its own.
pub type MySql = Sql<MySqlServer>;

/// A server on a port of its own. Its user `root` needs no password.
pub struct Sql<F> {
    process: Process,
    address: SocketAddr,
    /// Where its data are; removed when the process has ended.
    folder: Folder,
    flavour: PhantomData<fn() -> F>,
}

impl<F: SqlFlavour> Sql<F> {
    /// Starts one with these options besides.
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn with_options(options: &[&str]) -> Self {
        let folder = Folder::new(F::NAME);
        let data = folder.path().join("data");
        let made = F::initialization()
            .arg("--user=root")
            .arg(format!("--datadir={}", data.display()))
            // Servers that share one remove each other's files when they start.
            .env("TMPDIR", folder.path())
            .output()
            .expect("the program starts");
        assert!(made.status.success(), "no data folder: {}", String::from_utf8_lossy(&made.stderr));
        let first = folder.path().join("first.sql");
        let logins = "CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '';
            GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
            CREATE DATABASE IF NOT EXISTS cloakroom;";
        fs::write(&first, logins).expect("the folder is ours");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let process = Start::new(F::program(), folder.path().join("log"))
            .leaving_behind(folder.path())
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--max-connections=1000"])
            .args(["--skip-name-resolve", "--innodb-buffer-pool-size=64M", "--performance-schema=OFF"])
            .args(F::OPTIONS)
            .arg(format!("--port={}", address.port()))
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", folder.path().display()))
            .arg(format!("--socket={}", folder.path().join("socket").display()))
            .arg(format!("--pid-file={}", folder.path().join("pid").display()))
            .arg(format!("--init-file={}", first.display()))
            .args(options)
            .spawn(|| answers(address));
        Self { process, address, folder, flavour: PhantomData }
    }
}

impl<F: SqlFlavour> Engine for Sql<F> {
    const NAME: &'static str = F::NAME;

    fn start() -> Self {
        Self::with_options(F::CARELESS)
    }

    fn url(&self) -> String {
        self.url_at(self.address)
    }
}

impl<F: SqlFlavour> Breakable for Sql<F> {
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

impl<F: SqlFlavour> fmt::Debug for Sql<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(F::NAME).field("process", &self.process).field("folder", &self.folder).finish()
    }
}

/// It speaks first, when it is ready.
fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok() && stream.read_exact(&mut [0; 5]).is_ok()
}
