//! How much more two threads serve than one, beside how much more bare axum serves.

use std::{sync::Barrier, thread};

use axum::Router;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use crate::{
    apps::{Case, cookie_header, headers, router, send},
    figures::{Figures, Lap, Stopwatch, group},
    population::{Kind, Population, Shape, Token},
    runtime,
    table::Table,
};

const RATIO_MIN: f64 = 0.9;

/// Sessions that each thread's requests belong to, of all there are.
const VISITORS: usize = 4_096;

const CASES: [Case; 5] = [Case::Bare, Case::Read, Case::Write, Case::PeerRead, Case::PeerWrite];

pub struct Effort {
    pub rounds: usize,
    pub requests: usize,
}

/// Serves requests on one thread and on two, in turns, and prints a table.
pub fn run(sessions: usize, effort: &Effort) {
    let apps = apps(sessions);
    let mut scalings: Vec<Vec<Scaling>> = CASES.iter().map(|_| Vec::new()).collect();
    for round in 0..effort.rounds {
        for turn in 0..apps.len() {
            let case = (round + turn) % apps.len();
            scalings[case].push(Scaling::measure(&apps[case], effort.requests));
        }
    }
    let mut table = Table::new([
        "two threads over one",
        "one thread, requests/s",
        "wall, times as many",
        "over bare's",
        "CPU time, times as many",
        "over bare's",
    ]);
    let mut verdicts = Vec::new();
    for (index, case) in CASES.into_iter().enumerate() {
        let own = &scalings[index];
        let over_bare = |pick: fn(&Scaling) -> f64| {
            Figures::new(own.iter().zip(&scalings[0]).map(|(own, bare)| pick(own) / pick(bare)))
        };
        let (wall, cpu) = (over_bare(|s| s.wall), over_bare(|s| s.cpu));
        table.row([
            case.title().to_owned(),
            group(Figures::new(own.iter().map(|s| s.requests_per_s)).median() as i64),
            middle(&Figures::new(own.iter().map(|s| s.wall))),
            middle(&wall),
            middle(&Figures::new(own.iter().map(|s| s.cpu))),
            middle(&cpu),
        ]);
        if matches!(case, Case::Read | Case::Write) {
            verdicts.push((case, wall.median()));
        }
    }
    println!("## Two threads, {} sessions\n", group(sessions as i64));
    println!("{} rounds of {} requests a thread, in turns.\n\n{table}", effort.rounds, effort.requests);
    for (case, ratio) in verdicts {
        let holds = if ratio >= RATIO_MIN { "holds" } else { "MISSED" };
        println!(
            "- {holds}: {} scales at least {RATIO_MIN} times as well as bare ({ratio:.2})",
            case.title()
        );
    }
    println!();
}

fn middle(figures: &Figures) -> String {
    let (low, high) = (figures.percentile(10.0), figures.percentile(90.0));
    format!("{:.2} ({low:.2} to {high:.2})", figures.median())
}

struct App {
    router: Router,
    /// The visitors of each thread.
    visitors: [Vec<HeaderValue>; 2],
}

fn apps(sessions: usize) -> Vec<App> {
    runtime().block_on(async {
        let (ours, our_tokens) = populate(Kind::Cloakroom, sessions).await;
        let (theirs, their_tokens) = populate(Kind::Peer, sessions).await;
        let (Some(ours), Some(theirs)) = (ours.sessions().cloned(), theirs.peer_store()) else {
            unreachable!("each was made of its kind");
        };
        CASES
            .into_iter()
            .map(|case| {
                let is_peer = matches!(case, Case::PeerRead | Case::PeerWrite);
                let tokens = if is_peer { &their_tokens } else { &our_tokens };
                let visitors = |first: usize| {
                    let chosen = tokens.iter().skip(first).step_by(tokens.len() / (2 * VISITORS)).step_by(2);
                    chosen.take(VISITORS).map(|token| cookie_header(token)).collect()
                };
                App {
                    router: router(case, &ours, theirs.clone()),
                    visitors: [visitors(0), visitors(tokens.len() / (2 * VISITORS))],
                }
            })
            .collect()
    })
}

async fn populate(kind: Kind, sessions: usize) -> (Population, Vec<String>) {
    let population = Population::new(kind, Shape::Data);
    let mut pairs = Vec::with_capacity(sessions);
    for index in 0..sessions {
        pairs.push(match population.create(index).await {
            Token::Cloakroom(pair) => String::from_utf8_lossy(&pair).into_owned(),
            Token::Peer(id) => format!("id={id}"),
        });
    }
    (population, pairs)
}

/// How much more two threads did than one.
struct Scaling {
    requests_per_s: f64,
    wall: f64,
    /// By the time the threads were given: contention shows here as well, other programs don't.
    cpu: f64,
}

impl Scaling {
    fn measure(app: &App, requests: usize) -> Self {
        let [one] = laps(app, requests);
        let two: [Lap; 2] = laps(app, requests);
        let slower = two[0].wall.max(two[1].wall).as_secs_f64();
        let cpu = (two[0].cpu + two[1].cpu).as_secs_f64() / 2.0;
        Self {
            requests_per_s: requests as f64 / one.wall.as_secs_f64(),
            wall: 2.0 * one.wall.as_secs_f64() / slower,
            cpu: 2.0 * one.cpu.as_secs_f64() / cpu,
        }
    }
}

fn laps<const THREADS: usize>(app: &App, requests: usize) -> [Lap; THREADS] {
    let barrier = Barrier::new(THREADS);
    let barrier = &barrier;
    thread::scope(|scope| {
        let threads: [_; THREADS] = std::array::from_fn(|index| {
            let (mut router, visitors) = (app.router.clone(), &app.visitors[index]);
            scope.spawn(move || {
                let (runtime, headers) = (runtime(), headers(None));
                runtime.block_on(async {
                    serve(&mut router, &headers, visitors, requests / 20).await;
                    barrier.wait();
                    let stopwatch = Stopwatch::start();
                    serve(&mut router, &headers, visitors, requests).await;
                    stopwatch.lap()
                })
            })
        });
        threads.map(|thread| thread.join().expect("no request panics"))
    })
}

async fn serve(router: &mut Router, headers: &HeaderMap, visitors: &[HeaderValue], requests: usize) {
    for visitor in visitors.iter().cycle().take(requests) {
        let mut headers = headers.clone();
        headers.insert(header::COOKIE, visitor.clone());
        let response = send(router, Uri::from_static("/"), headers).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
}
