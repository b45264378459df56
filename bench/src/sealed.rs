//! Sessions sealed into cookies: what one costs a request, beside actix-session's encrypted cookie; what the seal costs
//! beside the bare cipher; and how soon a revocation holds on another node.

mod actix;
mod bound;
mod cipher;

use std::{future::Future, pin::Pin, time::Duration};

use axum::{Router, body::Body, routing::get};
use cloakroom::{
    MemoryStore, Sessions, Timestamp,
    keyring::{KeyId, KeyRing, LiveRing, Material},
    store::Store,
};
use cloakroom_sealed::{ListSettings, SealedSessions};
use cloakroom_tower::SessionLayer;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use tower_service::Service;

use crate::{
    apps,
    figures::{Figures, Lap, Stopwatch},
    runtime,
    table::Table,
};

/// Visitors of a case: each holds the cookie that it was sent last, as a browser does.
const VISITORS: usize = 64;

/// Bounds over bare axum, in nanoseconds.
const READ_BOUND_NS: f64 = 1_300.0;
const WRITE_BOUND_NS: f64 = 2_000.0;

/// An application, and visitors who make one request each in a lap. Requests are made before the clock runs, and
/// responses are looked at after.
trait Case {
    fn lap(&mut self) -> Pin<Box<dyn Future<Output = Lap> + '_>>;
}

/// Everything that is measured of sealed sessions.
pub fn run(rounds: usize, tries: usize) {
    requests(rounds);
    cipher::run();
    bound::run(tries);
}

/// Only so many laps of a case: what a profiler is pointed at.
pub fn once(case: usize, laps: usize) {
    runtime().block_on(tokio::task::LocalSet::new().run_until(async {
        let mut case = OnAxum::case(case).await;
        for _ in 0..laps {
            tokio::time::sleep(Duration::from_millis(1)).await;
            case.lap().await;
        }
    }));
}

fn requests(rounds: usize) {
    let laps = runtime().block_on(tokio::task::LocalSet::new().run_until(measure(rounds)));
    let per_request = |case: usize| laps[case].iter().map(|lap| lap.cpu.as_nanos() as f64 / VISITORS as f64);
    let over = |case: usize, bare: usize| {
        Figures::new(per_request(case).zip(per_request(bare)).map(|(ns, bare)| ns - bare))
    };
    println!("## Per request, sealed\n\n{rounds} rounds of {VISITORS} requests a case, in turns.\n");
    let mut table =
        Table::new(["per request", "ns of CPU time, median (p10 to p90)", "over its bare framework"]);
    let names = [
        "bare axum",
        "Cloakroom, sealed, read",
        "Cloakroom, sealed, write",
        "bare actix-web",
        "actix-session, encrypted cookie, read",
        "actix-session, encrypted cookie, write",
    ];
    for (case, name) in names.into_iter().enumerate() {
        let bare = case / 3 * 3;
        let over = if case == bare { String::new() } else { over(case, bare).difference() };
        table.row([name.to_owned(), Figures::new(per_request(case)).whole(), over]);
    }
    println!("{table}");
    for (what, case, bound) in [("read", 1, READ_BOUND_NS), ("write", 2, WRITE_BOUND_NS)] {
        let (ours, peer) = (over(case, 0).median(), over(case + 3, 3).median());
        let verdict = if ours <= bound { "holds" } else { "MISSED" };
        println!(
            "- {verdict}: a {what} at most +{bound} ns; actix-session adds {:.1} times as much",
            peer / ours
        );
    }
    println!();
}

/// One lap for each case and round. Every round begins with another case, so that none always follows the same one.
async fn measure(rounds: usize) -> Vec<Vec<Lap>> {
    let mut cases: Vec<Box<dyn Case>> = vec![
        Box::new(OnAxum::case(0).await),
        Box::new(OnAxum::case(1).await),
        Box::new(OnAxum::case(2).await),
        Box::new(actix::bare().await),
        Box::new(actix::read().await),
        Box::new(actix::write().await),
    ];
    let mut laps: Vec<_> = cases.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds + rounds / 10 {
        for turn in 0..cases.len() {
            let case = (round + turn) % cases.len();
            // The nodes look at their list in between, as they would in a server that waits for requests.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let lap = cases[case].lap().await;
            // The first ones warm everything up.
            if round >= rounds / 10 {
                laps[case].push(lap);
            }
        }
    }
    laps
}

struct OnAxum {
    router: Router,
    visitors: Vec<HeaderMap>,
}

impl OnAxum {
    async fn case(number: usize) -> Self {
        match number {
            0 => Self::bare(),
            1 => Self::sealed(get(apps::read)).await,
            _ => Self::sealed(get(apps::write)).await,
        }
    }

    fn bare() -> Self {
        let visitors = (0..VISITORS).map(|_| apps::headers(None)).collect();
        Self { router: Router::new().route("/", get(apps::untouched)).with_state(()), visitors }
    }

    async fn sealed(handler: axum::routing::MethodRouter) -> Self {
        let sessions =
            Sessions::builder(sealed(Box::new(MemoryStore::new())).await).build().expect("they hold");
        let layer = SessionLayer::new(sessions);
        let router = Router::new().route("/login", get(apps::login)).route("/", handler).layer(layer);
        let mut router = router.with_state(());
        let mut visitors = Vec::new();
        for _ in 0..VISITORS {
            let response = apps::send(&mut router, Uri::from_static("/login"), apps::headers(None)).await;
            visitors.push(apps::headers(response.headers().get(header::SET_COOKIE).map(apps::pair)));
        }
        Self { router, visitors }
    }
}

impl Case for OnAxum {
    fn lap(&mut self) -> Pin<Box<dyn Future<Output = Lap> + '_>> {
        Box::pin(async {
            let requests: Vec<_> = self.visitors.iter().map(request).collect();
            let mut responses = Vec::with_capacity(requests.len());
            let stopwatch = Stopwatch::start();
            for request in requests {
                responses.push(self.router.call(request).await);
            }
            let lap = stopwatch.lap();
            for (visitor, response) in self.visitors.iter_mut().zip(responses) {
                let Ok(response) = response;
                assert_eq!(response.status(), StatusCode::OK);
                keep(visitor, response.headers().get(header::SET_COOKIE));
            }
            lap
        })
    }
}

fn request(headers: &HeaderMap) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.headers_mut() = headers.clone();
    request
}

/// What a browser does with a response's cookie.
fn keep(visitor: &mut HeaderMap, set_cookie: Option<&HeaderValue>) {
    if let Some(set_cookie) = set_cookie {
        *visitor = apps::headers(Some(apps::pair(set_cookie)));
    }
}

/// Sealed sessions of one node, with this store for the revocation list.
async fn sealed(list: Box<dyn Store>) -> SealedSessions {
    let settings = ListSettings::default();
    SealedSessions::with_list(LiveRing::fixed(ring()), list, settings).await.expect("the list can be read")
}

/// The same on every node.
fn ring() -> KeyRing {
    let bytes = std::array::from_fn(|place| (place * place * 57 + place * 13 + 101) as u8);
    let material = Material::new(bytes).expect("it is no sample key");
    KeyRing::new(KeyId::from_bytes([7; 4]), material, Timestamp::ZERO).expect("one key is a ring")
}
