//! A connection that is always being used by many: questions go out as they come, answers come back in their order.
//!
//! A task of its own owns the socket, so a caller that is dropped takes nothing with it: its answer is read when its
//! turn comes, and dropped. That is the difference to clients that are borrowed by one caller at a time, which must
//! throw the connection away then, or else give the answer to whoever comes next.

use std::{
    collections::VecDeque,
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    meta::{Expects, Request, Response},
    server::{Failure, Job, Known},
};

/// How long a connection may take to be made, and a new one to tell how the server is set up.
const CONNECT_MAX: Duration = Duration::from_secs(1);
const GREETING_MAX: Duration = Duration::from_secs(2);
/// A server that leaves a question open for so long is taken for lost, and the connection for dead.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const WATCH_PERIOD: Duration = Duration::from_millis(500);
/// The pause before connecting again: it doubles up to the second of these, and is half random.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Questions that may be open, and bytes that may wait to be sent, before no more are taken.
const OPEN_MAX: usize = 1_024;
const UNSENT_BYTES_MAX: usize = 256 * 1024;
/// Room that an empty buffer keeps.
const BUFFER_BYTES: usize = 64 * 1024;

/// Connects, serves, and connects again, until the store is closed or dropped.
pub(crate) async fn run(
    known: &Known,
    mut jobs: mpsc::Receiver<Job>,
    mut closing: watch::Receiver<bool>,
    is_up: &AtomicBool,
) {
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let failure = match connect(known).await {
            Ok(stream) => {
                is_up.store(true, Ordering::Relaxed);
                let mut conversation = Conversation::default();
                let Err(failure) = conversation.run(stream, &mut jobs, &mut closing).await else { return };
                is_up.store(false, Ordering::Relaxed);
                conversation.fail(&failure);
                failure
            }
            Err(failure) => failure,
        };
        tracing::debug!(target: "cloakroom", "Memcached at {}: {}", known.address, failure.why);
        // A connection that served for a while is made again at once.
        failures = if begun.elapsed() > 2 * PAUSE_MAX { 0 } else { failures + 1 };
        if refuse(&mut jobs, &mut closing, &failure, pause(failures)).await.is_err() {
            return;
        }
    }
}

/// Makes a connection, and finds out whether this server will do.
async fn connect(known: &Known) -> Result<TcpStream, Failure> {
    let address = (known.address.host.as_str(), known.address.port);
    let connected = timeout(CONNECT_MAX, TcpStream::connect(address)).await;
    let mut stream = connected
        .map_err(|_| Failure::late("accept a connection", CONNECT_MAX))?
        .map_err(|error| Failure::passing(format!("no connection: {error}")))?;
    // Answers are small and awaited: waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    timeout(GREETING_MAX, greet(&mut stream, known))
        .await
        .map_err(|_| Failure::late("tell its settings", GREETING_MAX))??;
    known.connected.fetch_add(1, Ordering::SeqCst);
    Ok(stream)
}

async fn greet(stream: &mut TcpStream, known: &Known) -> Result<(), Failure> {
    let version = ask(stream, Request::version()).await.map_err(|failure| match failure {
        Failure { why, .. } if why.contains("unauthenticated") => Failure::last(
            "asks for a user and password, which this store doesn't speak: start it without -S and -Y",
        ),
        failure => failure,
    })?;
    match ask(stream, Request::nothing()).await {
        Ok(answer) if answer == "MN" => {}
        Err(failure) if !failure.why.ends_with("ERROR") => return Err(failure),
        Ok(_) | Err(_) => {
            let version = version.trim_start_matches("VERSION ");
            return Err(Failure::last(format!(
                "is version {version}, without the meta commands: version 1.6 or newer is needed"
            )));
        }
    }
    let settings = ask(stream, Request::stats("settings")).await?;
    if setting(&settings, "cas_enabled") == Some("no") {
        return Err(Failure::last("was started with -C, without compare-and-swap: start it without"));
    }
    if let Some(bytes) = setting(&settings, "item_size_max").and_then(|value| value.parse().ok()) {
        known.item_bytes_max.store(bytes, Ordering::Relaxed);
    }
    Ok(())
}

/// A value of what `stats` tells.
pub(crate) fn setting<'a>(stats: &'a str, name: &str) -> Option<&'a str> {
    stats.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '))
}

/// One question and its answer, on a connection that nobody else uses yet.
async fn ask(stream: &mut TcpStream, request: Request) -> Result<String, Failure> {
    let broken = |error: io::Error| Failure::passing(format!("the connection broke: {error}"));
    stream.write_all(&request.bytes).await.map_err(broken)?;
    let mut input = Vec::new();
    loop {
        match request.expects.read(&input) {
            Ok(Some((Response::Text(text), _))) => return Ok(text),
            Ok(Some(_)) => return Err(Failure::passing("it answers what it wasn't asked")),
            Ok(None) => {}
            Err(garbled) => return Err(Failure::passing(format!("it answers {}", garbled.0))),
        }
        if stream.read_buf(&mut input).await.map_err(broken)? == 0 {
            return Err(Failure::passing("it closed the connection"));
        }
    }
}

/// Refuses what is asked during a pause, so that nobody waits for a server that is down. An error: the store is closed.
async fn refuse(
    jobs: &mut mpsc::Receiver<Job>,
    closing: &mut watch::Receiver<bool>,
    failure: &Failure,
    pause: Duration,
) -> Result<(), ()> {
    let is_over = sleep(pause);
    tokio::pin!(is_over);
    loop {
        tokio::select! {
            job = jobs.recv() => match job {
                Some(job) => drop(job.answer.send(Err(failure.clone()))),
                None => return Err(()),
            },
            _ = closing.wait_for(|is_closing| *is_closing) => return Err(()),
            () = &mut is_over => return Ok(()),
        }
    }
}

/// Random by half, so that the processes of a fleet don't come back all at once.
fn pause(failures: u32) -> Duration {
    let longest = PAUSE_MIN.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
    let mut random = [0];
    // Without random bytes it is only less spread.
    let _ = getrandom::fill(&mut random);
    longest / 2 + longest * u32::from(random[0]) / 512
}

/// What is under way on one connection.
#[derive(Default)]
struct Conversation {
    open: VecDeque<Open>,
    output: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
}

/// A question that was sent.
struct Open {
    expects: Expects,
    since: Instant,
    answer: oneshot::Sender<Result<Response, Failure>>,
}

impl Conversation {
    /// Asks and answers until the connection breaks. Ends well when the store was closed, or dropped, and everything
    /// is answered.
    async fn run(
        &mut self,
        mut stream: TcpStream,
        jobs: &mut mpsc::Receiver<Job>,
        closing: &mut watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let (mut reader, mut writer) = stream.split();
        let mut watch = interval(WATCH_PERIOD);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_closing, mut has_ended) = (false, false);
        let broken = |error: io::Error| Failure::passing(format!("the connection broke: {error}"));
        while !(has_ended && self.open.is_empty()) {
            tokio::select! {
                job = jobs.recv(), if !has_ended && self.has_room() => match job {
                    Some(job) => self.take(job, jobs),
                    None => has_ended = true,
                },
                sent = writer.write(&self.output[self.sent..]), if self.sent < self.output.len() => {
                    self.sent(sent.map_err(broken)?);
                }
                read = reader.read_buf(&mut self.input) => {
                    if read.map_err(broken)? == 0 {
                        return Err(Failure::passing("it closed the connection"));
                    }
                    self.answer()?;
                }
                _ = watch.tick() => self.check()?,
                // What waits is still served; nothing more is let in.
                _ = closing.wait_for(|is_closing| *is_closing), if !is_closing => {
                    is_closing = true;
                    jobs.close();
                }
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.open.len() < OPEN_MAX && self.output.len() - self.sent < UNSENT_BYTES_MAX
    }

    /// Takes a question, and with it all others that wait: they go out in one packet.
    fn take(&mut self, first: Job, jobs: &mut mpsc::Receiver<Job>) {
        let since = Instant::now();
        let mut next = Some(first);
        while let Some(Job { request, answer }) = next {
            // Who has gone before the question was sent needs no answer.
            if !answer.is_closed() {
                self.output.extend_from_slice(&request.bytes);
                self.open.push_back(Open { expects: request.expects, since, answer });
            }
            next = if self.has_room() { jobs.try_recv().ok() } else { None };
        }
    }

    fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.output.len() {
            self.output.clear();
            self.output.shrink_to(BUFFER_BYTES);
            self.sent = 0;
        }
    }

    /// Hands out the answers that have come whole.
    fn answer(&mut self) -> Result<(), Failure> {
        let mut read = 0;
        while read < self.input.len() {
            let Some(open) = self.open.front() else {
                return Err(Failure::passing("it answers what it wasn't asked"));
            };
            match open.expects.read(&self.input[read..]) {
                Ok(Some((response, length))) => {
                    read += length;
                    if let Some(open) = self.open.pop_front() {
                        // Nobody there: the caller has gone, and the answer goes nowhere.
                        let _ = open.answer.send(Ok(response));
                    }
                }
                Ok(None) => break,
                Err(garbled) => {
                    return Err(Failure::passing(format!("its answer is none: {}", garbled.0)));
                }
            }
        }
        self.input.drain(..read);
        if self.input.is_empty() {
            self.input.shrink_to(BUFFER_BYTES);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Failure> {
        match self.open.front() {
            Some(open) if open.since.elapsed() > ANSWER_MAX => Err(Failure::late("answer", ANSWER_MAX)),
            _ => Ok(()),
        }
    }

    /// Tells everybody whose answer won't come.
    fn fail(&mut self, failure: &Failure) {
        for open in self.open.drain(..) {
            let _ = open.answer.send(Err(failure.clone()));
        }
    }
}
