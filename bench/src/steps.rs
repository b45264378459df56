//! Where a request's time goes: the engine's steps alone, without axum around them.

use std::hint::black_box;

use cloakroom::{
    Exchange, Key, Sessions, Subject,
    clock::{Clock, SystemClock},
    exchange::Finished,
};
use cloakroom_core::{Secret, SessionId, Token, cookie::CookiePolicy};
use http::header;

use crate::{
    apps::{USER, USER_ID, headers},
    figures::{Figures, Stopwatch},
    runtime,
    table::Table,
};

const HITS: Key<u64> = Key::new("hits");
const CALLS: usize = 2_000;

pub fn run(rounds: usize) {
    let runtime = runtime();
    let visitor = runtime.block_on(Visitor::new());
    let token = Token::new(SessionId::from_bytes([1; 16]), Secret::from_bytes([2; 16]));
    let policy = CookiePolicy::default();
    let cookie = visitor.cookie.as_slice();
    let text = token.expose();
    let mut steps: Vec<(&str, Box<dyn Fn() + '_>)> = vec![
        (
            "the clock",
            Box::new(|| {
                black_box(SystemClock.now());
            }),
        ),
        (
            "one hash of a secret",
            Box::new(|| {
                black_box(token.secret().verifier(&token.id()));
            }),
        ),
        ("parsing a token", Box::new(|| drop(black_box(Token::parse(text.as_bytes()))))),
        (
            "finding and parsing the cookie",
            Box::new(|| drop(black_box(policy.tokens(std::iter::once(cookie)).next()))),
        ),
        ("begin", Box::new(|| drop(black_box(visitor.sessions.begin())))),
    ];
    let engine: [(&str, Depth); 5] = [
        ("begin, load without User-Agent", Depth::LoadAlone),
        ("begin, load", Depth::Load),
        ("begin, load, get", Depth::Get),
        ("begin, load, get, commit", Depth::Commit),
        ("begin, load, update, commit", Depth::Update),
    ];
    let (runtime, visitor) = (&runtime, &visitor);
    for (title, depth) in engine {
        steps.push((title, Box::new(move || runtime.block_on(visitor.request(depth)))));
    }
    // What `block_on` costs is in each of the last ones.
    steps.push(("entering the runtime", Box::new(move || runtime.block_on(async {}))));
    let mut table = Table::new(["step", "ns of CPU time, median (p10 to p90)"]);
    let mut laps: Vec<Vec<f64>> = steps.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (index, (_, step)) in steps.iter().enumerate() {
            let stopwatch = Stopwatch::start();
            for _ in 0..CALLS {
                step();
            }
            laps[index].push(stopwatch.lap().cpu.as_nanos() as f64 / CALLS as f64);
        }
    }
    for ((title, _), laps) in steps.iter().zip(laps) {
        table.row([(*title).to_owned(), Figures::new(laps).whole()]);
    }
    println!("## Steps of a request\n\n{table}");
}

/// How far a request goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    LoadAlone,
    Load,
    Get,
    Commit,
    Update,
}

struct Visitor {
    sessions: Sessions,
    cookie: Vec<u8>,
    user_agent: Vec<u8>,
}

impl Visitor {
    async fn new() -> Self {
        let sessions = Sessions::builder(cloakroom::MemoryStore::new()).build().expect("the defaults hold");
        let user_agent = headers(None)[header::USER_AGENT].as_bytes().to_vec();
        let exchange = sessions.begin();
        let session = exchange.session(std::iter::empty(), Some(&*user_agent)).await.expect("memory answers");
        session.login(Subject::new(USER_ID).expect("it is short")).expect("it is open");
        session.insert(USER, &USER_ID.to_owned()).expect("it is small");
        session.insert(HITS, &0).expect("it is small");
        let outcome = exchange.commit().await.expect("memory stores");
        let set_cookie = outcome.set_cookie.expect("a login sets a cookie");
        let pair = set_cookie.expose().split(';').next().unwrap_or_default();
        let cookie = crate::apps::cookie_header(pair).as_bytes().to_vec();
        Self { sessions, cookie, user_agent }
    }

    async fn request(&self, depth: Depth) {
        let exchange: Exchange = self.sessions.begin();
        let user_agent = (depth > Depth::LoadAlone).then_some(&*self.user_agent);
        let cookies = std::iter::once(&*self.cookie);
        let session = exchange.session(cookies, user_agent).await.expect("memory answers");
        if matches!(depth, Depth::Get | Depth::Commit) {
            black_box(session.get(USER).expect("it is a text"));
        }
        if depth == Depth::Update {
            session.update(HITS, |hits| *hits += 1).expect("it is small");
        }
        if depth >= Depth::Commit {
            // As an adapter does.
            drop(session);
            match exchange.finish() {
                Finished::Committing(commit) => drop(black_box(commit.await.expect("memory stores"))),
                settled => drop(black_box(settled)),
            }
        }
    }
}
