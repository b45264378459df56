//! Cloakroom's own tasks: `cargo xtask test`, `bench`, `fuzz`, `house` and `conformance`.
//!
//! Plain `std` and one JSON parser, so that the first `cargo xtask` on a fresh machine starts in seconds.
#![allow(clippy::print_stdout, reason = "a task's report goes to standard output")]

mod bench;
mod code;
mod conformance;
mod counts;
mod fuzz;
mod house;
mod packages;
mod process;
mod test;
mod tools;
mod workspace;

use std::env;
use std::process::ExitCode;

use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask TASK

  test [--without NAME]... [--only STEP]...
                          install what is missing, then format, lint, document, build and test everything
  bench [ARGS]            run the side-by-side benchmarks of bench/ (a workspace of its own)
  fuzz [--seconds N] [TARGET]...
                          feed the parsers and decoders of fuzz/ (a workspace of its own) what was never written
  house                   check the house itself: arrows between crates, sources, documents, dependencies
  conformance [--write]   print docs/conformance.md as the tests make it, or write it
  help                    this text";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    dispatch(&arguments).unwrap_or_else(|message| {
        eprintln!("xtask: {message}");
        ExitCode::FAILURE
    })
}

/// Runs the named task. A message is for a person: nothing branches on why a task could not run.
fn dispatch(arguments: &[String]) -> Result<ExitCode, String> {
    let (task, rest) =
        arguments.split_first().map_or(("help", arguments), |(task, rest)| (task.as_str(), rest));
    match task {
        "test" => test::run(&Workspace::load()?, rest),
        "bench" => bench::run(&Workspace::load()?, rest),
        "fuzz" => fuzz::run(&Workspace::load()?, rest),
        "house" => house::run(&Workspace::load()?),
        "conformance" => conformance::run(&Workspace::load()?, rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}\n\n{}\n{}", test::usage(), fuzz::usage());
            Ok(ExitCode::SUCCESS)
        }
        unknown => Err(format!("no task is called `{unknown}`\n\n{USAGE}")),
    }
}
