//! From start to stop.

use std::fmt::{Display, Formatter};
use std::io::{self, Write as _};
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::http;
use crate::sessions::{self, Rules};
use crate::settings::{Settings, Transport};

/// Why the server didn't start, or didn't stop in order.
#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    Listen(SocketAddr, io::Error),
    Sessions(cloakroom::Error),
    /// It was told what is wrong with the store.
    Doctor,
}

/// Serves until SIGTERM or SIGINT, lets requests in flight finish, and closes the store.
pub(crate) fn run(settings: &Settings, rules: Rules) -> Result<(), Failure> {
    start_logging(settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(settings, rules))
}

async fn serve(settings: &Settings, rules: Rules) -> Result<(), Failure> {
    // Listened for before anything is opened, so that an early stop is an orderly one, too.
    let mut stop = Stop::listen()?;
    let sessions = sessions::open(settings, rules).await.map_err(Failure::Sessions)?;
    let app = http::app(&sessions, settings.public_url.value.clone()).map_err(Failure::Sessions)?;
    let address = settings.listen.value;
    let listener = TcpListener::bind(address).await.map_err(|error| Failure::Listen(address, error))?;
    announce(listener.local_addr()?)?;

    let remaining = http::serve(listener, app, stop.asked()).await;
    tracing::info!("stopping: no new connections; requests in flight may finish");
    let left = remaining.finish(settings.shutdown_grace(), stop.asked()).await;
    if left > 0 {
        tracing::warn!(connections = left, "stopped without waiting for the connections that were left");
    }
    sessions.close().await.map_err(Failure::Sessions)?;
    tracing::info!("stopped");
    Ok(())
}

/// The one line on standard output: scripts that asked for port 0 read the address from it.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}

fn start_logging(settings: &Settings) {
    let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(is_terminal);
    tracing_subscriber::registry().with(settings.log.value.clone()).with(lines).init();
    match settings.transport() {
        Transport::Https => {}
        Transport::LoopbackHttp => tracing::warn!(
            "plain HTTP on this machine: session cookies go without Secure and __Host-; set public_url for https"
        ),
        Transport::InsecureHttp => tracing::warn!(
            "insecure_plain_http: whoever sees this network's traffic can take over every session on it"
        ),
    }
    for name in &settings.strangers {
        tracing::warn!("{name} is not a setting of this server");
    }
}

/// The operating system's requests to stop.
struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Stop {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next request to stop. A second one means at once.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn asked(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<cloakroom::Error> for Failure {
    fn from(error: cloakroom::Error) -> Self {
        Self::Sessions(error)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Io(error) => write!(f, "{error}"),
            Failure::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "{address} is in use by another program: stop it, or choose another with --listen")
            }
            Failure::Listen(address, error) => write!(f, "can't listen on {address}: {error}"),
            Failure::Sessions(error) => write!(f, "{error}"),
            Failure::Doctor => write!(f, "the store can't be relied on as it is"),
        }
    }
}
