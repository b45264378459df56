//! A million sessions in memory: what each takes, how long making one takes at worst, and how fast they are read.

use std::{env, fs, hint::black_box, process::Command};

use crate::{
    counted,
    figures::{Figures, Stopwatch, group},
    population::{Kind, Population, Shape},
    runtime,
    table::Table,
};

const LIVE_BYTES_MAX: f64 = 300.0;
const SLOWEST_MS_MAX: f64 = 5.0;

const ROWS: [(Kind, Shape, &str); 4] = [
    (Kind::Cloakroom, Shape::Data, "Cloakroom"),
    (Kind::Cloakroom, Shape::Subject, "Cloakroom, user id as subject"),
    (Kind::Cloakroom, Shape::SubjectAndClient, "Cloakroom, subject and browser"),
    (Kind::Peer, Shape::Data, "tower-sessions"),
];

/// Fills and reads each store `repeats` times, in turns, each time in a process of its own; prints tables.
pub fn run(sessions: usize, repeats: usize) {
    let mut runs: Vec<Vec<Run>> = ROWS.iter().map(|_| Vec::new()).collect();
    for _ in 0..repeats {
        for (index, (kind, shape, title)) in ROWS.into_iter().enumerate() {
            match Run::in_own_process(kind, shape, sessions) {
                Some(run) => runs[index].push(run),
                None => println!("{title}: the run failed"),
            }
        }
    }
    println!("## {} sessions in memory\n", group(sessions as i64));
    println!(
        "{repeats} runs each, in turns, each in a process of its own; medians, and in brackets the extremes.\n"
    );
    let live = ROWS.map(|(kind, shape, _)| counted::live(kind, shape, sessions));
    size_table(&live, &runs);
    time_table(&runs);
    if let Ok((bytes, _)) = live[0] {
        verdict(
            bytes <= LIVE_BYTES_MAX,
            &format!("at most {LIVE_BYTES_MAX} live bytes a session ({bytes:.0})"),
        );
    }
    let slowest = Figures::new(runs[..3].iter().flatten().map(|run| run.slowest_cpu_ms));
    let claim = format!(
        "no single call over {SLOWEST_MS_MAX} ms while filling (CPU time, slowest of {} runs: {:.2} ms)",
        3 * repeats,
        slowest.max()
    );
    verdict(slowest.max() < SLOWEST_MS_MAX, &claim);
    println!();
}

fn verdict(holds: bool, claim: &str) {
    println!("- {}: {claim}", if holds { "holds" } else { "MISSED" });
}

fn size_table<E>(live: &[Result<(f64, f64), E>], runs: &[Vec<Run>]) {
    let mut table = Table::new(["per session", "live bytes", "live allocations", "resident bytes"]);
    for (index, (_, _, title)) in ROWS.into_iter().enumerate() {
        let (bytes, count) = match &live[index] {
            Ok((bytes, count)) => (format!("{bytes:.0}"), format!("{count:.2}")),
            Err(_) => ("not counted".to_owned(), "not counted".to_owned()),
        };
        let resident = Figures::new(runs[index].iter().map(|run| run.resident_bytes));
        table.row([title.to_owned(), bytes, count, format!("{:.0}", resident.median())]);
    }
    println!("{table}");
}

fn time_table(runs: &[Vec<Run>]) {
    let mut table = Table::new([
        "filling, one session",
        "p50 ns",
        "p99.99 µs",
        "slowest ms",
        "slowest, CPU ms",
        "reading one, p50 ns",
        "slowest sweep ms",
    ]);
    for (index, (_, _, title)) in ROWS.into_iter().enumerate() {
        let figures = |pick: fn(&Run) -> f64| Figures::new(runs[index].iter().map(pick));
        table.row([
            title.to_owned(),
            figures(|run| run.create_p50_ns).whole(),
            format!("{:.0}", figures(|run| run.create_p9999_us).median()),
            figures(|run| run.slowest_ms).ratio(),
            figures(|run| run.slowest_cpu_ms).ratio(),
            figures(|run| run.read_p50_ns).whole(),
            figures(|run| run.sweep_ms).ratio(),
        ]);
    }
    println!("{table}");
}

/// Figures of filling a store once.
struct Run {
    create_p50_ns: f64,
    create_p9999_us: f64,
    slowest_ms: f64,
    slowest_cpu_ms: f64,
    read_p50_ns: f64,
    sweep_ms: f64,
    resident_bytes: f64,
}

impl Run {
    fn in_own_process(kind: Kind, shape: Shape, sessions: usize) -> Option<Self> {
        let output = Command::new(env::current_exe().ok()?)
            .args(["memory-once", &kind.argument(), &shape.argument(), &sessions.to_string()])
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let figures: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [
            create_p50_ns,
            create_p9999_us,
            slowest_ms,
            slowest_cpu_ms,
            read_p50_ns,
            sweep_ms,
            resident_bytes,
        ] = figures[..]
        else {
            return None;
        };
        Some(Self {
            create_p50_ns,
            create_p9999_us,
            slowest_ms,
            slowest_cpu_ms,
            read_p50_ns,
            sweep_ms,
            resident_bytes,
        })
    }
}

/// Fills a store and reads it, and prints the figures of a [`Run`] in their order.
pub fn once(kind: Kind, shape: Shape, sessions: usize) {
    runtime().block_on(async {
        let population = Population::new(kind, shape);
        let mut tokens = Vec::with_capacity(sessions);
        let mut walls = Vec::with_capacity(sessions);
        let mut slowest_cpu_ms = 0.0_f64;
        // Written once before it counts, or the pages of these lists would be counted as the sessions'.
        let before = resident_bytes();
        for index in 0..sessions {
            let stopwatch = Stopwatch::start();
            let token = population.create(index).await;
            let lap = stopwatch.lap();
            walls.push(lap.wall.as_nanos() as f64);
            slowest_cpu_ms = slowest_cpu_ms.max(lap.cpu.as_secs_f64() * 1e3);
            tokens.push(token);
        }
        let lists = sessions * (size_of::<f64>() + size_of_val(&tokens[0]) + TOKEN_HEAP_BYTES);
        let resident = (resident_bytes() - before - lists as f64) / sessions as f64;
        let walls = Figures::new(walls);
        let mut reads = Vec::new();
        for _ in 0..sessions.min(500_000) {
            let token = &tokens[fastrand::usize(..tokens.len())];
            let stopwatch = std::time::Instant::now();
            black_box(population.read(token).await);
            reads.push(stopwatch.elapsed().as_nanos() as f64);
        }
        let sweep_ms = sweep(&population).await;
        println!(
            "{} {} {} {slowest_cpu_ms} {} {sweep_ms} {resident}",
            walls.median(),
            walls.percentile(99.99) / 1e3,
            walls.max() / 1e6,
            Figures::new(reads).median(),
        );
    });
}

/// A cookie's name and value as the allocator keeps them.
const TOKEN_HEAP_BYTES: usize = 80;

/// The slowest of a hundred sweeps, in which nothing has expired. The peer's store has none.
async fn sweep(population: &Population) -> f64 {
    let Some(sessions) = population.sessions() else { return f64::NAN };
    let mut slowest_ms = 0.0_f64;
    for _ in 0..100 {
        let stopwatch = Stopwatch::start();
        sessions.sweep(1_000).await.expect("memory answers");
        slowest_ms = slowest_ms.max(stopwatch.lap().cpu.as_secs_f64() * 1e3);
    }
    slowest_ms
}

fn resident_bytes() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4096.0
}
