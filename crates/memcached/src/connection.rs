//! How a server is reached, and reached again.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use crate::{
    conversation::Conversation,
    meta::{Request, Response},
    server::{Failure, Job, Known},
};

/// How long a connection may take to be made, and a new one to tell how the server is set up.
const CONNECT_MAX: Duration = Duration::from_secs(1);
const GREETING_MAX: Duration = Duration::from_secs(2);
/// The pause before connecting again: it doubles up to the second of these, and is half random.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

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
            Ok((mut stream, number)) => {
                is_up.store(true, Ordering::Relaxed);
                let mut conversation = Conversation::new(number, &known.prefix);
                let (reader, writer) = stream.split();
                let talk = conversation.run(reader, writer, &mut jobs, &mut closing);
                let Err(failure) = talk.await else { return };
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
    let version = ask(stream, Request::Version).await.map_err(|failure| match failure {
        Failure { why, .. } if why.contains("unauthenticated") => Failure::last(
            "asks for a user and password, which this store doesn't speak: start it without -S and -Y",
        ),
        failure => failure,
    })?;
    match ask(stream, Request::Nothing).await {
        Ok(answer) if answer == "MN" => {}
        Err(failure) if !failure.why.ends_with("ERROR") => return Err(failure),
        Ok(_) | Err(_) => {
            let version = version.trim_start_matches("VERSION ");
            return Err(Failure::last(format!(
                "is version {version}, without the meta commands: version 1.6 or newer is needed"
            )));
        }
    }
    let settings = ask(stream, Request::Stats("settings")).await?;
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
    let mut output = Vec::new();
    let expects = request.write("", 0, &mut output);
    stream.write_all(&output).await.map_err(broken)?;
    let mut input = Vec::new();
    loop {
        match expects.read(&input) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
