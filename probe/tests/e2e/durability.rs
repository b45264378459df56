//! `kill -9` while everything is being written, again and again on one file: what was answered is there afterwards, and
//! what had ended stays ended.

use std::{
    collections::BTreeMap,
    env, io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::support::{COOKIE_NAME, Connection, Folder, Probe, Reply, Store, View};

/// How often the probe is killed, and how long it is written to before each time. A soak run sets them to 20 and 30,000.
const KILLS: (&str, u64) = ("CLOAKROOM_KILLS", 20);
const WRITE_MS: (&str, u64) = ("CLOAKROOM_KILL_AFTER_MS", 1_500);

const SHARED_SESSIONS: usize = 3;
const WRITERS: usize = 2 * SHARED_SESSIONS;
const CHURNERS: usize = 2;

/// Each writer leaves its session for another one after so many keys: those of two writers fit into a record.
const KEYS_MAX: usize = 80;

#[test]
fn what_was_answered_survives_kill_9() {
    let (kills, write_ms) = (setting(KILLS), setting(WRITE_MS));
    let mut probe = Probe::start(Store::Sqlite);
    let mut all = Ledger::default();
    for round in 0..kills {
        let (ledger, folder) = write_and_kill(probe, round, Duration::from_millis(write_ms));
        probe = restart(folder);
        ledger.check(&probe);
        println!("kill {}: {}", round + 1, ledger.describe());
        all.add(ledger);
    }
    all.check(&probe);
    println!("all: {}", all.describe());
    assert!(kills == 0 || (all.changes() > 0 && !all.ended.is_empty() && !all.superseded.is_empty()));
}

fn setting((name, default): (&str, u64)) -> u64 {
    match env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")),
        Err(_) => default,
    }
}

fn write_and_kill(probe: Probe, round: u64, time: Duration) -> (Ledger, Folder) {
    let address = probe.address;
    let shared: Vec<_> = (0..SHARED_SESSIONS)
        .map(|session| probe.visitor().log_in(&format!("shared-{round}-{session}")))
        .collect();
    thread::scope(|scope| {
        let writers = (0..WRITERS).map(|writer| {
            let token = shared[writer % SHARED_SESSIONS].clone();
            scope.spawn(move || {
                let mut ledger = Ledger::default();
                (write(address, round, writer, token, &mut ledger), ledger)
            })
        });
        let churners = (0..CHURNERS).map(|churner| {
            scope.spawn(move || {
                let mut ledger = Ledger::default();
                (churn(address, round, churner, &mut ledger), ledger)
            })
        });
        let threads: Vec<_> = writers.chain(churners).collect();
        thread::sleep(time);
        let folder = probe.kill();
        let mut ledger = Ledger::default();
        for thread in threads {
            let (Err(_killed), noted) = thread.join().expect("its own panic tells");
            ledger.add(noted);
        }
        (ledger, folder)
    })
}

/// What can't be answered because the probe was killed is an error; it is the only way out.
enum Never {}

/// Sets key after key, first in a session shared with another writer, and counts along.
fn write(
    address: SocketAddr,
    round: u64,
    writer: usize,
    shared: String,
    ledger: &mut Ledger,
) -> io::Result<Never> {
    let mut client = Client { connection: Connection::open(address)?, token: Some(shared) };
    for session in 1.. {
        for index in 0..KEYS_MAX {
            let (key, value) = (format!("{writer}.{index}"), format!("{round}.{session}"));
            let expected = ledger.living.entry(client.token.clone().unwrap_or_default()).or_default();
            expected.values_unanswered.insert(key.clone(), value.clone());
            client.get(&format!("/set?k={key}&v={value}"))?.expect(200).expect_no_cookie();
            expected.values.extend(expected.values_unanswered.remove_entry(&key));
            if index % 8 == 0 {
                expected.counts_unanswered += 1;
                client.get("/incr?k=count")?.expect(200).expect_no_cookie();
                expected.counts_unanswered -= 1;
                expected.counts += 1;
            }
        }
        client.token = None;
        client.get(&format!("/login?user=writer-{round}-{writer}-{session}"))?.expect(200);
    }
    unreachable!("there is always another session")
}

/// Comes, logs in, logs out, again and again.
fn churn(address: SocketAddr, round: u64, churner: usize, ledger: &mut Ledger) -> io::Result<Never> {
    let mut client = Client { connection: Connection::open(address)?, token: None };
    for visit in 0_u64.. {
        client.token = None;
        client.get("/set?k=cart&v=umbrella")?.expect(200);
        let anonymous = client.token.clone();
        client.get(&format!("/login?user=churner-{round}-{churner}-{visit}"))?.expect(200);
        ledger.superseded.extend(anonymous);
        client.get("/set?k=diary&v=x")?.expect(200);
        let token = client.token.clone();
        let end = if visit % 4 == 0 { "/logout-all" } else { "/logout" };
        client.get(end)?.expect(200);
        ledger.ended.extend(token);
    }
    unreachable!("there is always another visit")
}

struct Client {
    connection: Connection,
    token: Option<String>,
}

impl Client {
    fn get(&mut self, target: &str) -> io::Result<Reply> {
        let cookie = self.token.as_ref().map(|token| format!("{COOKIE_NAME}={token}"));
        let headers: Vec<_> = cookie.iter().map(|cookie| ("Cookie", cookie.as_str())).collect();
        let reply = self.connection.try_send("GET", target, &headers, "")?;
        if let Some(token) = reply.token() {
            self.token = Some(token.to_owned()).filter(|token| !token.is_empty());
        }
        Ok(reply)
    }
}

fn restart(folder: Folder) -> Probe {
    let begun = Instant::now();
    let probe = Probe::start_in(folder, Store::Sqlite, &["--idle-s", "86400"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "the restart took {:?}", begun.elapsed());
    let database = rusqlite::Connection::open(probe.folder.database()).unwrap();
    let integrity: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
    probe
}

/// What was answered, by token.
#[derive(Default)]
struct Ledger {
    living: BTreeMap<String, Expected>,
    /// Of sessions that were logged out.
    ended: Vec<String>,
    /// Replaced by a login.
    superseded: Vec<String>,
}

/// What a session must hold, and what it may: each writer leaves at most one request unanswered.
#[derive(Default)]
struct Expected {
    values: BTreeMap<String, String>,
    values_unanswered: BTreeMap<String, String>,
    counts: i64,
    counts_unanswered: i64,
}

impl Ledger {
    fn add(&mut self, other: Self) {
        for (token, expected) in other.living {
            let sum = self.living.entry(token).or_default();
            sum.values.extend(expected.values);
            sum.values_unanswered.extend(expected.values_unanswered);
            sum.counts += expected.counts;
            sum.counts_unanswered += expected.counts_unanswered;
        }
        self.ended.extend(other.ended);
        self.superseded.extend(other.superseded);
    }

    /// Looks everything up, through the probe and in the file.
    fn check(&self, probe: &Probe) {
        let mut visitor = probe.visitor();
        for (token, expected) in &self.living {
            expected.check(visitor.holding(token).view());
        }
        for token in self.ended.iter().chain(&self.superseded) {
            assert!(visitor.holding(token).view().is_nobody(), "a session came back");
        }
        let database = rusqlite::Connection::open(probe.folder.database()).unwrap();
        let mut is_living =
            database.prepare("SELECT 1 FROM session WHERE id = ?1 AND ended_ms IS NULL").unwrap();
        for token in &self.ended {
            assert!(!is_living.exists([id(token)]).unwrap(), "a session came back");
        }
    }

    fn changes(&self) -> usize {
        let counts: i64 = self.living.values().map(|expected| expected.counts).sum();
        self.living.values().map(|expected| expected.values.len()).sum::<usize>()
            + usize::try_from(counts).unwrap_or(0)
    }

    fn describe(&self) -> String {
        format!(
            "{} changes in {} sessions, {} logouts, {} tokens replaced by a login",
            self.changes(),
            self.living.len(),
            self.ended.len(),
            self.superseded.len()
        )
    }
}

impl Expected {
    fn check(&self, mut view: View) {
        assert!(view.subject.is_some(), "a session was lost");
        let count = view.data.remove("count").map_or(0, |count| count.as_i64().unwrap());
        let counts = self.counts..=self.counts + self.counts_unanswered;
        assert!(counts.contains(&count), "{count} is counted, and {counts:?} was answered");
        for (key, value) in &self.values {
            assert_eq!(view.text(key), Some(value.as_str()), "{key} was lost");
        }
        for (key, value) in &view.data {
            let sent = self.values.get(key).or_else(|| self.values_unanswered.get(key));
            assert_eq!(value.as_str(), sent.map(String::as_str), "{key} was never sent");
        }
    }
}

/// The id of a token's session, as the file has it.
fn id(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&URL_SAFE_NO_PAD.decode(token).unwrap()[..16])
}
