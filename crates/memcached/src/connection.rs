//! A connection that is always being used by many: questions go out as they come, answers come back in their order.
//!
//! A task of its own owns the socket, so a caller that is dropped takes nothing with it: its answer is read when its
//! turn comes, and dropped. That is the difference to clients that are borrowed by one caller at a time, which must
//! throw the connection away then, or else give the answer to whoever comes next.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
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
/// A connection on which nothing was heard for so long is asked for a sign of life.
const QUIET_MAX: Duration = Duration::from_secs(20);
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
    let mut failures = 0_u32;
    loop {
        let failure = match connect(known).await {
            Ok((stream, number)) => {
                is_up.store(true, Ordering::Relaxed);
                let mut conversation = Conversation::new(number);
                let Err(failure) = conversation.run(stream, &mut jobs, &mut closing).await else { return };
                is_up.store(false, Ordering::Relaxed);
                conversation.fail(&failure);
                // One that was of use is made again at once, however often that happens.
                if conversation.has_answered {
                    failures = 0;
                }
                failure
            }
            Err(failure) => failure,
        };
        tracing::debug!(target: "cloakroom", "Memcached at {}: {}", known.address, failure.why);
        failures += 1;
        if refuse(&mut jobs, &mut closing, &failure, pause(failures)).await.is_err() {
            return;
        }
    }
}

/// Makes a connection, and finds out whether this server will do. Answers its number, too, counted from one.
async fn connect(known: &Known) -> Result<(TcpStream, u64), Failure> {
    let connected = timeout(CONNECT_MAX, reach(known)).await;
    let (mut stream, place) = connected.map_err(|_| Failure::late("accept a connection", CONNECT_MAX))??;
    // Answers are small and awaited: waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    timeout(GREETING_MAX, greet(&mut stream, known))
        .await
        .map_err(|_| Failure::late("tell its settings", GREETING_MAX))??;
    *known.place.lock() = Some(place);
    Ok((stream, known.connected.fetch_add(1, Ordering::SeqCst) + 1))
}

/// A name that leads to several servers would split what belongs together: a session on one of them, and the end of all
/// its subject's sessions on another.
async fn reach(known: &Known) -> Result<(TcpStream, SocketAddr), Failure> {
    let unreached = |error: io::Error| Failure::passing(format!("no connection: {error}"));
    let name = (known.address.host.as_str(), known.address.port);
    let places = lookup_host(name).await.map_err(unreached)?.collect();
    let Some(places) = places_of_one(places, *known.place.lock()) else {
        let why = "is a name of several servers, among which sessions would be lost: write each of them into the URL";
        let is_open = known.connected.load(Ordering::SeqCst) > 0;
        return Err(if is_open { Failure::passing(why) } else { Failure::last(why) });
    };
    let mut failure = Failure::passing("its name leads nowhere");
    for place in places {
        match TcpStream::connect(place).await {
            Ok(stream) => return Ok((stream, place)),
            Err(error) => failure = unreached(error),
        }
    }
    Err(failure)
}

/// Where one server is, the place where it was last before the others. None: there are several servers.
fn places_of_one(mut places: Vec<SocketAddr>, last: Option<SocketAddr>) -> Option<Vec<SocketAddr>> {
    places.sort_unstable();
    places.dedup();
    let are_several = |is_of: fn(&SocketAddr) -> bool| places.iter().filter(|place| is_of(place)).count() > 1;
    if are_several(SocketAddr::is_ipv4) || are_several(SocketAddr::is_ipv6) {
        return None;
    }
    places.sort_by_key(|place| Some(*place) != last);
    Some(places)
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
struct Conversation {
    /// Which connection it is, counted from the first one to this server.
    number: u64,
    /// When something was last heard.
    heard: Instant,
    has_answered: bool,
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
    fn new(number: u64) -> Self {
        let (output, input) = (Vec::new(), Vec::new());
        let heard = Instant::now();
        Self { number, heard, has_answered: false, open: VecDeque::new(), output, sent: 0, input }
    }

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
                    self.heard = Instant::now();
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
            if request.connected_max.is_some_and(|connected| connected < self.number) {
                // To this server the number may be that of something else.
                let _ = answer.send(Ok(Response::Exists));
            } else if !answer.is_closed() {
                // Who has gone before the question was sent needs no answer.
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
                    self.has_answered = true;
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

    /// Asks for nothing where nothing was asked for long: what lies between may have forgotten the connection.
    fn check(&mut self) -> Result<(), Failure> {
        match self.open.front() {
            Some(open) if open.since.elapsed() > ANSWER_MAX => Err(Failure::late("answer", ANSWER_MAX)),
            Some(_) => Ok(()),
            None if self.heard.elapsed() < QUIET_MAX => Ok(()),
            None => {
                let (Request { bytes, expects, .. }, (answer, _)) = (Request::nothing(), oneshot::channel());
                self.output.extend_from_slice(&bytes);
                self.open.push_back(Open { expects, since: Instant::now(), answer });
                Ok(())
            }
        }
    }

    /// Tells everybody whose answer won't come.
    fn fail(&mut self, failure: &Failure) {
        for open in self.open.drain(..) {
            let _ = open.answer.send(Err(failure.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{If, Number};

    /// The bug: between reading a subject's state and storing the next one, the server could be restarted and the connection
    /// made anew; numbers count from one then, and what another process had stored meanwhile could have the very number
    /// that was read. It was overwritten, and sessions that had ended were back. The mend: a number that was learnt before
    /// the connection was made is no condition on it.
    #[test]
    fn a_number_from_before_the_connection_was_made_is_refused_unsent() {
        for (connected, is_sent) in [(1, false), (2, true), (3, true)] {
            let mut conversation = Conversation::new(2);
            let (answer, mut answered) = oneshot::channel();
            let condition = If::Unchanged(Number { cas: 57, connected });
            let job = Job { request: Request::set("key", b"value", 60, condition, 1), answer };
            conversation.take(job, &mut mpsc::channel(1).1);
            assert_eq!(conversation.output.is_empty(), !is_sent);
            assert_eq!(matches!(answered.try_recv(), Ok(Ok(Response::Exists))), !is_sent);
        }
    }

    /// The bug: a name of several servers was looked up for each connection, and each could go to another one. A revocation
    /// that was answered by one server didn't hold at the other, where the session was read. The mend: it is refused.
    #[test]
    fn a_name_is_of_one_server() {
        let place = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (one, six) = (place("10.0.0.1:11211"), place("[::1]:11211"));
        assert_eq!(places_of_one(vec![six, one, one], None), Some(vec![one, six]));
        assert_eq!(places_of_one(vec![one, six], Some(six)), Some(vec![six, one]), "where it was last");
        assert_eq!(places_of_one(vec![one, place("10.0.0.2:11211")], None), None);
        assert_eq!(places_of_one(vec![six, place("[::2]:11211")], Some(six)), None);
    }

    /// The bug: a connection that a firewall had forgotten was found dead only when somebody needed it, who then waited for
    /// all the time an answer may take. The mend: it is asked for a sign of life when it is quiet.
    #[test]
    fn a_quiet_connection_is_asked_for_a_sign_of_life() {
        let mut conversation = Conversation::new(1);
        conversation.check().unwrap();
        assert!(conversation.output.is_empty(), "it was heard of a moment ago");
        conversation.heard = Instant::now().checked_sub(QUIET_MAX).unwrap();
        conversation.check().unwrap();
        conversation.check().unwrap();
        assert_eq!(conversation.output, b"mn\r\n", "once, until it is answered");
        conversation.open[0].since = Instant::now().checked_sub(2 * ANSWER_MAX).unwrap();
        assert!(conversation.check().is_err());
    }
}
