//! A plain HTTP face on Cloakroom, for end-to-end tests, scripts and load generators. It is no part of the product: it
//! logs in whoever asks, and everything is a GET.
//!
//! It prints one line, the address it listens on, and serves until SIGTERM or SIGINT.

mod routes;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use axum::{Router, serve::ListenerExt as _};
use clap::Parser as _;
use cloakroom::{Error, Lifetime, Policy, Sessions, cookie::CookiePolicy};
use cloakroom_stores::{RingPlace, StoreUrl};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};
use tracing_subscriber::filter::LevelFilter;

/// Drives Cloakroom sessions over HTTP, for tests and load generators
#[derive(clap::Parser)]
#[command(name = "probe", version)]
struct Arguments {
    #[arg(long, value_name = "URL", help = format!("Where the sessions are kept: {}", cloakroom_stores::forms()))]
    store: String,
    /// Where to listen, on this machine alone; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = loopback)]
    listen: SocketAddr,
    /// Seconds without activity after which a session ends [default: 1800]
    #[arg(long, value_name = "SECONDS")]
    idle_s: Option<u64>,
    /// Seconds from creation or the last login after which a session ends [default: 86400]
    #[arg(long, value_name = "SECONDS")]
    absolute_s: Option<u64>,
    /// Seconds after which an authenticated session's token is replaced [default: never]
    #[arg(long, value_name = "SECONDS")]
    rotation_s: Option<u64>,
    /// Seconds for which a replaced token is still served, and what is left of an ended session is kept [default: 60,
    /// or less where the idle timeout or half the rotation period is less]
    #[arg(long, value_name = "SECONDS")]
    grace_s: Option<u64>,
    /// Milliseconds after which a store that doesn't answer is given up on
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    deadline_ms: u64,
    /// Where the key ring of sealed sessions is: a file, or the URL of a store; made, with one key, where there is none
    #[arg(long, value_name = "FILE|URL")]
    keys: Option<String>,
    /// The file of the ring that a key ring in a store is sealed under; made where there is none
    #[arg(long, value_name = "FILE", requires = "keys")]
    outer_keys: Option<PathBuf>,
    /// What the cookie is called
    #[arg(long, value_name = "NAME", default_value = "__Host-session")]
    cookie_name: String,
    /// What to log on standard error: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log: LevelFilter,
}

/// How long requests in flight may take to finish after the signal to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Wrong settings, as for a wrong command line.
const EXIT_SETTINGS: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_max_level(arguments.log).with_writer(io::stderr).with_ansi(false).init();
    let sessions = match arguments.sessions().await {
        Ok(sessions) => sessions,
        Err(error) => {
            eprintln!("probe: {error}");
            return if error.is_invalid() { EXIT_SETTINGS.into() } else { ExitCode::FAILURE };
        }
    };
    match run(sessions, arguments.listen).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(sessions: Sessions, address: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let stop = Stop::listen()?;
    let router = routes::router(sessions.clone())?;
    let listener = TcpListener::bind(address).await?;
    announce(listener.local_addr()?)?;
    serve(listener, router, stop).await?;
    Ok(sessions.close().await?)
}

/// Scripts that asked for port 0 read the address from this line.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}

async fn serve(listener: TcpListener, router: Router, mut stop: Stop) -> io::Result<()> {
    // Answers are small and written whole: waiting to fill a packet would only be measured along.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.asked().await;
        let _ = stopping.send(());
    });
    let late = async {
        // An error says that the server has ended, which the other branch sees.
        if stopped.await.is_ok() {
            tokio::time::sleep(STOP_TIMEOUT).await;
        }
    };
    tokio::select! {
        biased;
        served = server.into_future() => served,
        () = late => Err(io::Error::other("stopped before every request in flight was answered")),
    }
}

impl Arguments {
    async fn sessions(&self) -> Result<Sessions, Error> {
        // Checked before the store is opened, which may make a file.
        let policy = self.policy()?;
        policy.check()?;
        let mut url = StoreUrl::parse(&self.store)?;
        // Parsed here and not by clap, which would repeat a URL that is wrong, password and all.
        if let Some(ring) = &self.keys {
            let ring: RingPlace = ring.parse()?;
            let ring = match &self.outer_keys {
                Some(outer) => {
                    let ring = ring.under(outer)?;
                    RingPlace::file(outer).open().await?.create().await?;
                    ring
                }
                None => ring,
            };
            // Of several probes that start at once, one makes it.
            ring.open().await?.create().await?;
            url = url.with_keys(&ring)?;
        }
        let store = url.open().await?;
        Sessions::builder(store)
            .policy(policy)
            .cookie(CookiePolicy::default().name(self.cookie_name.clone()))
            .deadline(Duration::from_millis(self.deadline_ms))
            .build()
    }

    fn policy(&self) -> Result<Policy, Error> {
        let standard = Policy::default();
        let lifetime = Lifetime::new(
            self.idle_s.map_or(standard.lifetime.idle(), Duration::from_secs),
            self.absolute_s.map_or(standard.lifetime.absolute(), Duration::from_secs),
        )?;
        let rotation_period = self.rotation_s.map(Duration::from_secs);
        // As long as the other settings allow, for scripts that set just one of them.
        let half_period =
            rotation_period.map_or(Duration::MAX, |period| (period / 2).max(Duration::from_secs(1)));
        let grace_max = lifetime.idle().min(half_period);
        let grace = self.grace_s.map_or(standard.grace.min(grace_max), Duration::from_secs);
        Ok(Policy { lifetime, rotation_period, grace, ..standard })
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "write an address and a port, as in 127.0.0.1:0".to_owned())?;
    if !address.ip().is_loopback() {
        return Err("the probe logs in whoever asks, so it listens on a loopback address alone".to_owned());
    }
    Ok(address)
}

/// The operating system's request to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
