//! `cargo xtask fuzz`: coverage-guided fuzzing by libFuzzer, for so many seconds a target.
//!
//! It needs a C++ compiler and no other toolchain: the instrumentation is LLVM's own, and without `unsafe` code there is
//! nothing for a sanitizer to find that a panic wouldn't show.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::process;
use crate::workspace::Workspace;

const TARGETS: [&str; 6] =
    ["cookie_header", "sealed_value", "carried_session", "stored_record", "key_ring", "data_json"];

const SECONDS: u64 = 60;

/// What libFuzzer needs to see which branches an input takes.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// The part of the help text about this task.
pub(crate) fn usage() -> String {
    format!("fuzz takes --seconds N ({SECONDS}), and targets, or runs all: {}", TARGETS.join(", "))
}

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode, String> {
    let (targets, seconds) = parse(arguments)?;
    let (folder, machine) = (workspace.root.join("fuzz"), machine()?);
    for target in targets {
        // What was found to take other branches is kept for the next time; what fails is kept beside it.
        let corpus = folder.join("target/corpus").join(target);
        let failures = folder.join("target/failures").join(target);
        for folder in [&corpus, &failures] {
            fs::create_dir_all(folder)
                .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        }
        println!("\n=== {target}: {seconds} s ===");
        let mut command = process::cargo(&workspace.root);
        command
            .args(["run", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--bin", target])
            // Named, so that build scripts are left as they are.
            .args(["--target", &machine, "--"])
            .arg(&corpus)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", failures.display()))
            .args(["-print_final_stats=1", "-timeout=10", "-max_len=8192"])
            .env("RUSTFLAGS", INSTRUMENTED);
        process::run(&mut command, Duration::from_secs(seconds + 1800), |_| {})
            .map_err(|error| format!("{target}: {error}; the input is in {}", failures.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What this machine is, as the compiler calls it.
fn machine() -> Result<String, String> {
    let told = process::capture(Command::new("rustc").arg("-vV"), Duration::from_secs(60))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc doesn't tell its host".to_owned())
}

fn parse(arguments: &[String]) -> Result<(Vec<&str>, u64), String> {
    let (mut targets, mut seconds) = (Vec::new(), SECONDS);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seconds" => {
                let number = rest.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
                seconds = number.ok_or("--seconds takes a number")?;
            }
            target if TARGETS.contains(&target) => targets.push(target),
            _ => return Err(usage()),
        }
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    Ok((targets, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_named_or_all() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert_eq!(parse(&[]).unwrap(), (TARGETS.to_vec(), SECONDS));
        assert_eq!(parse(&words(&["key_ring", "--seconds", "5"])).unwrap(), (vec!["key_ring"], 5));
        for wrong in [&["key"][..], &["--seconds"], &["--seconds", "0"]] {
            assert!(parse(&words(wrong)).is_err(), "{wrong:?}");
        }
    }
}
