//! Counts allocations, for the benchmarks to ask: `counted request CASE` prints allocations and bytes of one request,
//! `counted memory KIND SHAPE SESSIONS` live bytes and allocations of one session.

use std::{alloc::System, hint::black_box};

use clap::Parser;
use side_by_side::{
    apps::{App, Case},
    population::{Kind, Population, Shape},
    runtime,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Parser)]
enum Question {
    Request { case: Case },
    Memory { kind: Kind, shape: Shape, sessions: usize },
}

fn main() {
    match Question::parse() {
        Question::Request { case } => request(case),
        Question::Memory { kind, shape, sessions } => memory(kind, shape, sessions),
    }
}

fn request(case: Case) {
    const REQUESTS: usize = 10_000;
    runtime().block_on(async {
        let mut app = App::new(case).await;
        for _ in 0..100 {
            app.request().await;
        }
        let region = Region::new(ALLOCATOR);
        for _ in 0..REQUESTS {
            app.request().await;
        }
        let change = region.change();
        let count = change.allocations + change.reallocations;
        println!("{} {}", per(count, REQUESTS), per(change.bytes_allocated, REQUESTS));
    });
}

fn memory(kind: Kind, shape: Shape, sessions: usize) {
    runtime().block_on(async {
        let region = Region::new(ALLOCATOR);
        let population = Population::new(kind, shape);
        for index in 0..sessions {
            population.create(index).await;
        }
        let change = region.change();
        let bytes = change.bytes_allocated - change.bytes_deallocated;
        let count = change.allocations - change.deallocations;
        println!("{} {}", per(bytes, sessions), per(count, sessions));
        black_box(&population);
    });
}

fn per(total: usize, number: usize) -> f64 {
    total as f64 / number as f64
}
