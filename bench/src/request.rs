//! What a session costs a request: time, instructions and allocations over bare axum.

use crate::{
    apps::{App, Case},
    callgrind, counted,
    figures::{Figures, Lap, Stopwatch, group},
    runtime,
    table::Table,
};

/// Bounds over bare axum, in nanoseconds.
const BOUNDS_NS: [(Case, f64); 3] = [(Case::Untouched, 300.0), (Case::Read, 500.0), (Case::Write, 1_200.0)];

/// More allocations than bare axum's that a read may make.
const READ_ALLOCATIONS_MAX: f64 = 8.0;

pub struct Effort {
    pub rounds: usize,
    pub requests: usize,
}

/// Times all cases in turns, and prints a table.
pub fn run(effort: &Effort) {
    let laps = measure(effort);
    let per_request = |case: usize, time: fn(&Lap) -> f64| {
        laps[case].iter().map(move |lap| time(lap) / effort.requests as f64).collect::<Vec<_>>()
    };
    let over_bare = |case: usize, time: fn(&Lap) -> f64| {
        let bare = per_request(0, time);
        Figures::new(per_request(case, time).into_iter().zip(bare).map(|(ns, bare)| ns - bare))
    };
    let (wall, cpu) = (|lap: &Lap| lap.wall.as_nanos() as f64, |lap: &Lap| lap.cpu.as_nanos() as f64);
    let mut table = Table::new([
        "per request",
        "ns, median (p10 to p90)",
        "over bare",
        "by CPU time",
        "bound",
        "instructions",
        "allocations",
        "bytes",
    ]);
    let allocations: Vec<_> = Case::ALL.into_iter().map(counted::allocations).collect();
    let mut verdicts = Vec::new();
    for (index, case) in Case::ALL.into_iter().enumerate() {
        let over = over_bare(index, wall);
        let bound = BOUNDS_NS.iter().find(|(bounded, _)| *bounded == case).map(|(_, bound)| *bound);
        if let Some(bound) = bound {
            let over = over_bare(index, cpu).median();
            verdicts.push((format!("{} at most +{bound} ns of CPU time", case.title()), over <= bound));
        }
        let count = |pick: fn(&counted::Allocations) -> f64| {
            allocations[index].as_ref().map_or("not counted".to_owned(), |a| format!("{:.1}", pick(a)))
        };
        table.row([
            case.title().to_owned(),
            Figures::new(per_request(index, wall)).whole(),
            if case == Case::Bare { String::new() } else { over.difference() },
            if case == Case::Bare { String::new() } else { over_bare(index, cpu).difference() },
            bound.map_or_else(String::new, |bound| format!("+{}", group(bound as i64))),
            callgrind::instructions(case).map_or("not counted".to_owned(), group),
            count(|a| a.count),
            count(|a| a.bytes),
        ]);
    }
    if let (Ok(bare), Ok(read)) = (&allocations[0], &allocations[3]) {
        let more = read.count - bare.count;
        let claim = format!("a read at most {READ_ALLOCATIONS_MAX} more allocations than bare ({more:.1})");
        verdicts.push((claim, more <= READ_ALLOCATIONS_MAX));
    }
    println!(
        "## Per request\n\n{} rounds of {} requests a case, in turns.\n",
        effort.rounds, effort.requests
    );
    println!("{table}");
    ratios(&over_bare, wall);
    for (claim, holds) in verdicts {
        println!("- {}: {claim}", if holds { "holds" } else { "MISSED" });
    }
    println!();
}

/// How many times as much the peer adds to a request.
fn ratios(over_bare: &dyn Fn(usize, fn(&Lap) -> f64) -> Figures, wall: fn(&Lap) -> f64) {
    for (ours, peer, what) in [(2, 5, "untouched"), (3, 6, "read"), (4, 7, "write")] {
        let ratio = over_bare(peer, wall).median() / over_bare(ours, wall).median();
        println!("- {what}: tower-sessions adds {ratio:.1} times as much");
    }
}

/// One lap for each case and round. Every round begins with another case, so that none always follows the same one.
fn measure(effort: &Effort) -> Vec<Vec<Lap>> {
    let runtime = runtime();
    runtime.block_on(async {
        let mut apps = Vec::new();
        for case in Case::ALL {
            apps.push(App::new(case).await);
        }
        for app in &mut apps {
            lap(app, effort.requests * 10).await;
        }
        let mut laps: Vec<_> = Case::ALL.iter().map(|_| vec![None; effort.rounds]).collect();
        for round in 0..effort.rounds {
            for turn in 0..apps.len() {
                let case = (round + turn) % apps.len();
                laps[case][round] = Some(lap(&mut apps[case], effort.requests).await);
            }
        }
        laps.into_iter().map(|laps| laps.into_iter().flatten().collect()).collect()
    })
}

async fn lap(app: &mut App, requests: usize) -> Lap {
    let stopwatch = Stopwatch::start();
    for _ in 0..requests {
        app.request().await;
    }
    stopwatch.lap()
}

/// Only so many requests of a case: what a profiler is pointed at.
pub fn once(case: Case, requests: usize) {
    runtime().block_on(async {
        let mut app = App::new(case).await;
        for _ in 0..requests {
            app.request().await;
        }
    });
}
