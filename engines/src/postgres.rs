//! PostgreSQL, from Debian's packages.

use std::{
    ffi::OsString,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{Breakable, Engine, Folder, Process, Start, free_port, program};

/// A PostgreSQL server on a port of its own, with a socket in its folder. Its superuser `cloakroom` logs in with the
/// password `secret`.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    address: SocketAddr,
    /// Where its data are; removed when the process has ended.
    folder: Folder,
}

/// For engines that are never killed. A sync of the disk takes longer than all the rest.
const CARELESS: [&str; 3] = ["fsync=off", "full_page_writes=off", "synchronous_commit=off"];

/// No line for logins without a password, but for the folder's socket.
const LOGINS: &str = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

impl Postgres {
    /// Starts one with these settings besides, such as `max_connections=20`.
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn with_settings(settings: &[&str]) -> Self {
        let folder = Folder::new("postgres");
        let (data, password) = (folder.path().join("data"), folder.path().join("password"));
        fs::write(&password, "secret").expect("the folder is ours");
        give_away(folder.path());
        let (first, rest) = as_its_user("initdb");
        let made = Command::new(first)
            .args(rest)
            .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust", "--username=cloakroom"])
            .arg(format!("--pgdata={}", data.display()))
            .arg(format!("--pwfile={}", password.display()))
            .current_dir(folder.path())
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        fs::write(data.join("pg_hba.conf"), LOGINS).expect("it was just made");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (first, rest) = as_its_user("postgres");
        let mut start = Start::new(first, folder.path().join("log")).args(rest).leaving_behind(folder.path());
        for setting in [
            "listen_addresses=127.0.0.1",
            "max_connections=1000",
            "shared_buffers=64MB",
            "log_checkpoints=off",
            &format!("port={}", address.port()),
            &format!("unix_socket_directories={}", folder.path().display()),
        ]
        .into_iter()
        .chain(settings.iter().copied())
        {
            start = start.args(["-c", setting]);
        }
        let start = start.arg("-D").arg(&data);
        let process = start.spawn(|| answers(address));
        let server = Self { process, address, folder };
        server.run("postgres", "CREATE DATABASE cloakroom");
        server
    }

    /// The folder of its socket, and of files that it can read.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs statements in one of its databases, by its socket.
    ///
    /// # Panics
    /// If they fail.
    pub fn run(&self, database: &str, statements: &str) {
        self.try_to_run(database, statements).expect("psql runs them");
    }

    /// The same, where they may fail.
    ///
    /// # Errors
    /// What the server said.
    ///
    /// # Panics
    /// If there is no `psql`.
    pub fn try_to_run(&self, database: &str, statements: &str) -> Result<(), String> {
        let run = Command::new(program("psql"))
            .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--username=cloakroom"])
            .arg(format!("--host={}", self.folder.path().display()))
            .arg(format!("--port={}", self.address.port()))
            .arg(format!("--dbname={database}"))
            .args(["--command", statements])
            .output()
            .expect("psql starts");
        if run.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&run.stderr).into_owned()) }
    }

    /// Gives a file in its folder to the user it runs as, for it alone.
    ///
    /// # Panics
    /// If the file isn't there.
    pub fn give(&self, file: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        give_away(file);
    }
}

impl Engine for Postgres {
    const NAME: &'static str = "postgres";

    fn start() -> Self {
        Self::with_settings(&CARELESS)
    }

    fn url(&self) -> String {
        self.url_at(self.address)
    }
}

impl Breakable for Postgres {
    const KEEPS: bool = true;

    fn start_durable() -> Self {
        Self::with_settings(&[])
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn url_at(&self, address: SocketAddr) -> String {
        format!("postgres://cloakroom:secret@{address}/cloakroom")
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

/// The program, or what starts it as its user, and what its arguments begin with.
fn as_its_user(name: &str) -> (PathBuf, Vec<OsString>) {
    let program = program(name);
    let Some((_, ids)) = its_user() else { return (program, Vec::new()) };
    let [user, group] = ids.map(|id| id.to_string());
    let switch = [format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()];
    let arguments = switch.into_iter().map(OsString::from).chain([program.into()]);
    (crate::program("setpriv"), arguments.collect())
}

/// It refuses to run as root: then it runs as the user of Debian's package, or as nobody. None: it can run as this
/// process does.
pub(crate) fn its_user() -> Option<(&'static str, [u32; 2])> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().expect("id starts");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let of = |name: &'static str| Some((name, [id(&["-u", name])?, id(&["-g", name])?]));
    of("postgres").or_else(|| of("nobody"))
}

fn give_away(path: &Path) {
    let Some((_, [user, group])) = its_user() else { return };
    std::os::unix::fs::chown(path, Some(user), Some(group)).expect("root may do that");
}

/// It asks for a password when it is ready, and tells an error while it is not.
fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut hello = Vec::from(&b"\0\0\0\0\0\x03\0\0user\0cloakroom\0database\0postgres\0\0"[..]);
    hello[3] = u8::try_from(hello.len()).expect("it is short");
    let mut kind = [0];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.write_all(&hello).is_ok()
        && stream.read_exact(&mut kind).is_ok()
        && kind == *b"R"
}
