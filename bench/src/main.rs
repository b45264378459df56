//! Cloakroom measured beside its peers. `cargo xtask bench all` runs everything; see README.md.

use clap::{Parser, Subcommand};
use side_by_side::{
    apps::Case,
    machine, memory,
    population::{Kind, Shape},
    request, scaling, sealed, sqlite, steps, stores,
};

#[derive(Parser)]
#[command(about = "Measures Cloakroom beside its peers", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// What a session costs a request.
    Request {
        #[arg(long, default_value_t = 1_000)]
        rounds: usize,
        /// Requests in each round.
        #[arg(long, default_value_t = 2_000)]
        requests: usize,
    },
    /// What a million sessions cost a process.
    Memory {
        #[arg(long, default_value_t = 1_000_000)]
        sessions: usize,
        #[arg(long, default_value_t = 5)]
        repeats: usize,
    },
    /// How much more two threads serve than one.
    Scaling {
        #[arg(long, default_value_t = 1_000_000)]
        sessions: usize,
        #[arg(long, default_value_t = 40)]
        rounds: usize,
        /// Requests of each thread in each round.
        #[arg(long, default_value_t = 40_000)]
        requests: usize,
    },
    /// Where a request's time goes in the engine.
    Steps {
        #[arg(long, default_value_t = 300)]
        rounds: usize,
    },
    /// Durable changes a second, beside one transaction for each write.
    Sqlite {
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// What sealed cookies cost, and how soon a revocation holds everywhere.
    Sealed {
        #[arg(long, default_value_t = 2_000)]
        rounds: usize,
        /// Logouts whose way to another node is timed.
        #[arg(long, default_value_t = 1_000)]
        tries: usize,
    },
    /// Reads a second from stores with an engine behind them.
    Stores {
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
        /// One engine alone, such as `Redis`.
        #[arg(long)]
        only: Option<String>,
    },
    /// Everything, in shorter rounds.
    All,
    /// Only so many requests of one case, for a profiler.
    RequestOnce { case: Case, requests: usize },
    /// Only so many laps of one sealed case, for a profiler: 0 is bare, 1 reads, 2 writes.
    SealedOnce { case: usize, laps: usize },
    /// Fills a store once, and prints bare figures.
    #[command(hide = true)]
    MemoryOnce { kind: Kind, shape: Shape, sessions: usize },
}

fn main() {
    let what = Arguments::parse().what;
    if !matches!(what, What::RequestOnce { .. } | What::SealedOnce { .. } | What::MemoryOnce { .. }) {
        println!("{}\n", machine::facts());
    }
    match what {
        What::Request { rounds, requests } => request::run(&request::Effort { rounds, requests }),
        What::Memory { sessions, repeats } => memory::run(sessions, repeats),
        What::Scaling { sessions, rounds, requests } => {
            scaling::run(sessions, &scaling::Effort { rounds, requests });
        }
        What::Steps { rounds } => steps::run(rounds),
        What::Sqlite { rounds, seconds } => sqlite::run(rounds, seconds),
        What::Sealed { rounds, tries } => sealed::run(rounds, tries),
        What::Stores { rounds, seconds, only } => stores::run(rounds, seconds, only.as_deref()),
        What::All => {
            request::run(&request::Effort { rounds: 200, requests: 2_000 });
            memory::run(1_000_000, 2);
            scaling::run(1_000_000, &scaling::Effort { rounds: 15, requests: 40_000 });
            sqlite::run(5, 2.0);
            sealed::run(500, 200);
            stores::run(5, 1.0, None);
        }
        What::RequestOnce { case, requests } => request::once(case, requests),
        What::SealedOnce { case, laps } => sealed::once(case, laps),
        What::MemoryOnce { kind, shape, sessions } => memory::once(kind, shape, sessions),
    }
}
