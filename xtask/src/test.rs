//! `cargo xtask test`: everything that has to hold before a change lands, with its own set-up.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::counts::{Counts, Runner};
use crate::house;
use crate::process;
use crate::tools::{self, Environment, LeftOut};
use crate::workspace::Workspace;

/// Each command within a step is stopped after this: more than a cold build on two slow cores takes.
const COMMAND_LIMIT: Duration = Duration::from_secs(3600);

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&mut Run<'_>) -> Result<(), String>,
}

/// In the order in which they run: the quick ones first, and each may count on those before it.
const STEPS: &[Step] = &[
    Step { name: "tools", what: "install and find the programs that tests drive", run: tools },
    Step { name: "fmt", what: "formatting", run: fmt },
    Step { name: "house", what: "the checks on the house itself", run: house },
    Step { name: "clippy", what: "lints, on every target", run: clippy },
    Step {
        name: "features",
        what: "lints on crates with features, without them and with all",
        run: features,
    },
    Step { name: "docs", what: "documentation without a warning", run: docs },
    Step { name: "build", what: "compile the tests and the binaries they start", run: build },
    Step { name: "tests", what: "unit, end-to-end and browser tests", run: tests },
    Step { name: "doctests", what: "examples in the documentation", run: doctests },
];

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode, String> {
    let options = Options::parse(arguments)?;
    let mut run = Run {
        workspace,
        without: options.without.iter().map(|name| LeftOut::asked_for(name)).collect(),
        environment: Environment::default(),
        nextest: has_nextest(workspace),
        counts: Counts::default(),
    };
    let mut report = Report::default();
    for step in STEPS {
        let begun = Instant::now();
        let result = (options.choose(step.name) && !report.has_failed()).then(|| {
            println!("\n=== {}: {} ===", step.name, step.what);
            (step.run)(&mut run)
        });
        report.steps.push(Ended { name: step.name, time: begun.elapsed(), result });
    }
    let must_count = ["tests", "doctests"].iter().any(|name| report.has_run(name));
    Ok(report.close(&run.without, run.counts, must_count))
}

/// The part of the help text about this task.
pub(crate) fn usage() -> String {
    let steps = STEPS.iter().map(|step| format!("  {:10}{}\n", step.name, step.what)).collect::<String>();
    format!(
        "test's steps, each of which --only can choose:\n{steps}test --without knows: {}",
        tools::names().join(", ")
    )
}

#[derive(Debug, Default)]
struct Options {
    without: Vec<String>,
    only: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            let (values, known) = match flag.as_str() {
                "--without" => (&mut options.without, tools::names()),
                "--only" => (&mut options.only, STEPS.iter().map(|step| step.name).collect()),
                unknown => return Err(format!("test does not know `{unknown}`; see cargo xtask help")),
            };
            match rest.next() {
                Some(value) if values.contains(value) => {}
                Some(value) if known.contains(&value.as_str()) => values.push(value.clone()),
                _ => return Err(format!("{flag} takes one of: {}", known.join(", "))),
            }
        }
        Ok(options)
    }

    /// Tests come with their tools: without them they would skip in silence.
    fn choose(&self, step: &str) -> bool {
        let named = |name: &str| self.only.iter().any(|only| only == name);
        self.only.is_empty() || named(step) || (step == "tools" && named("tests"))
    }
}

/// What the steps share.
struct Run<'a> {
    workspace: &'a Workspace,
    without: Vec<LeftOut>,
    environment: Environment,
    /// Used when it is there and never installed: compiling it takes longer than it saves.
    nextest: bool,
    counts: Counts,
}

impl Run<'_> {
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = process::cargo(&self.workspace.root);
        command.args(arguments);
        self.environment.apply(&mut command);
        command
    }

    fn succeed(&self, command: &mut Command) -> Result<(), String> {
        process::run(command, COMMAND_LIMIT, |_| {})
    }

    /// Runs tests and adds to the counts, in failure too. A success without a closing line is not believed.
    fn count(&mut self, command: &mut Command, runner: Runner) -> Result<(), String> {
        let mut closing_lines = 0;
        let result = process::run(command, COMMAND_LIMIT, |line| {
            if let Some(counts) = runner.counts_in(line) {
                self.counts += counts;
                closing_lines += 1;
            }
        });
        match (result, closing_lines) {
            (Ok(()), 0) => Err("the test runner succeeded without saying how many tests it ran".to_owned()),
            (result, _) => result,
        }
    }
}

fn has_nextest(workspace: &Workspace) -> bool {
    process::capture(process::cargo(&workspace.root).args(["nextest", "--version"]), COMMAND_LIMIT).is_ok()
}

fn tools(run: &mut Run<'_>) -> Result<(), String> {
    run.environment = tools::prepare(&run.workspace.root, &mut run.without)?;
    Ok(())
}

fn fmt(run: &mut Run<'_>) -> Result<(), String> {
    run.succeed(&mut run.cargo(&["fmt", "--all", "--check"]))
}

fn house(run: &mut Run<'_>) -> Result<(), String> {
    house::check(run.workspace)
}

fn clippy(run: &mut Run<'_>) -> Result<(), String> {
    run.succeed(&mut run.cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

/// One command for each crate: in one command for all, one crate's features could hide what another lacks.
fn features(run: &mut Run<'_>) -> Result<(), String> {
    for member in run.workspace.members.iter().filter(|member| member.has_features) {
        for features in ["--no-default-features", "--all-features"] {
            let package = ["clippy", "-p", &member.name, features, "--locked"];
            run.succeed(run.cargo(&package).args(["--", "-D", "warnings"]))?;
        }
    }
    Ok(())
}

/// The server's binary and the library share a name, and so a page: the library comes last and has it.
fn docs(run: &mut Run<'_>) -> Result<(), String> {
    ["--bins", "--lib"].iter().try_for_each(|targets| {
        let mut command = run.cargo(&["doc", "--workspace", "--no-deps", "--locked", targets]);
        run.succeed(command.env("RUSTDOCFLAGS", "-D warnings"))
    })
}

fn build(run: &mut Run<'_>) -> Result<(), String> {
    run.succeed(runner_command(run).arg("--no-run"))
}

/// The engines are started once, for all tests, and stopped at the end.
fn tests(run: &mut Run<'_>) -> Result<(), String> {
    let without: Vec<_> = run.without.iter().map(|left_out| left_out.name.clone()).collect();
    let engines = engines::Running::start(&without)
        .map_err(|name| format!("{name} doesn't start; --without {name} leaves its tests out"))?;
    let runner = if run.nextest { Runner::Nextest } else { Runner::Libtest };
    let mut command = runner_command(run);
    for engine in engines.shared() {
        println!("{}: {}", engine.variable, engine.url);
        command.env(&engine.variable, &engine.url);
    }
    command.arg("--no-fail-fast").args(tools::filter(&run.without, runner));
    run.count(&mut command, runner)
}

/// Features that no default has, and whose tests run all the same.
const TESTED_FEATURES: &str = "cloakroom-redis/tls,cloakroom-mysql/tls,cloakroom-postgres/tls,cloakroom-server/dynamodb,\
    cloakroom-server/memcached,cloakroom-server/mysql,cloakroom-server/postgres,cloakroom-server/redis,\
    cloakroom-server/sealed";

/// The browser's tests are among these: the environment switches them on.
fn runner_command(run: &Run<'_>) -> Command {
    let selection = ["--workspace", "--locked", "--lib", "--bins", "--tests", "--features", TESTED_FEATURES];
    if !run.nextest {
        let mut command = run.cargo(&["test"]);
        command.args(selection);
        return command;
    }
    let mut command = run.cargo(&["nextest", "run"]);
    let bounds = run.workspace.root.join("xtask/nextest.toml");
    command.args(selection).arg("--tool-config-file").arg(format!("xtask:{}", bounds.display()));
    command
}

fn doctests(run: &mut Run<'_>) -> Result<(), String> {
    let mut command = run.cargo(&["test", "--doc", "--workspace", "--locked", "--no-fail-fast"]);
    run.count(&mut command, Runner::Libtest)
}

/// How each step ended.
#[derive(Default)]
struct Report {
    steps: Vec<Ended>,
}

struct Ended {
    name: &'static str,
    time: Duration,
    /// None: it did not run.
    result: Option<Result<(), String>>,
}

impl Report {
    fn has_failed(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.result, Some(Err(_))))
    }

    fn has_run(&self, step: &str) -> bool {
        self.steps.iter().any(|ended| ended.name == step && ended.result.is_some())
    }

    fn close(&self, without: &[LeftOut], counts: Counts, must_count: bool) -> ExitCode {
        let closing = self.closing(without, counts, must_count);
        println!("\n{}", closing.join("\n"));
        if self.has_failed() || nothing_ran(counts, must_count) {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    /// The last line is always `N passed, N failed`: the form that scripts read.
    fn closing(&self, without: &[LeftOut], counts: Counts, must_count: bool) -> Vec<String> {
        let mut lines = vec![format!("{:10}{:>9}  result", "step", "seconds")];
        for Ended { name, time, result } in &self.steps {
            let word = match result {
                Some(Ok(())) => "ok",
                Some(Err(_)) => "FAILED",
                None => "not run",
            };
            lines.push(format!("{name:10}{:9.1}  {word}", time.as_secs_f64()));
        }
        lines.extend(tools::left_out(without));
        for Ended { name, result, .. } in &self.steps {
            if let Some(Err(message)) = result {
                lines.push(format!("FAILED: {name}: {message}"));
            }
        }
        if nothing_ran(counts, must_count) && !self.has_failed() {
            lines.push("FAILED: not one test ran".to_owned());
        }
        lines.push(format!("{} passed, {} failed", counts.passed, counts.failed));
        lines
    }
}

fn nothing_ran(counts: Counts, must_count: bool) -> bool {
    must_count && counts.total() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::parse(&arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>())
    }

    fn report(results: Vec<Option<Result<(), String>>>) -> Report {
        let time = Duration::from_millis(1500);
        let steps = STEPS.iter().zip(results).map(|(step, result)| Ended { name: step.name, time, result });
        Report { steps: steps.collect() }
    }

    #[test]
    fn flags_take_known_names_only() {
        let options = parse(&["--without", "chromium", "--only", "fmt", "--only", "tests"]).unwrap();
        assert_eq!(
            (options.without, options.only),
            (vec!["chromium".into()], vec!["fmt".into(), "tests".into()])
        );
        assert!(parse(&[]).unwrap().choose("docs"));
        for wrong in [&["--without"][..], &["--without", "chrome"], &["--only", "all"], &["fast"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn tests_alone_still_get_their_tools() {
        let options = parse(&["--only", "tests"]).unwrap();
        assert!(options.choose("tests") && options.choose("tools") && !options.choose("fmt"));
        assert!(!parse(&["--only", "fmt"]).unwrap().choose("tools"));
    }

    #[test]
    fn the_last_line_is_the_sum_whatever_happened() {
        let counts = Counts { passed: 3, failed: 1 };
        let failed = report(vec![Some(Ok(())), Some(Err("`cargo fmt` failed".into())), None]);
        let closing = failed.closing(&[LeftOut::asked_for("chromium")], counts, true);
        assert_eq!(
            closing,
            [
                "step        seconds  result",
                "tools           1.5  ok",
                "fmt             1.5  FAILED",
                "house           1.5  not run",
                "LEFT OUT: chromium (--without): the browser tests did not run",
                "FAILED: fmt: `cargo fmt` failed",
                "3 passed, 1 failed",
            ]
        );
    }

    #[test]
    fn a_run_in_which_no_test_ran_has_failed() {
        let sound = report(vec![Some(Ok(()))]);
        assert_eq!(sound.close(&[], Counts::default(), true), ExitCode::FAILURE);
        assert_eq!(sound.close(&[], Counts::default(), false), ExitCode::SUCCESS);
        assert_eq!(sound.close(&[], Counts { passed: 1, failed: 0 }, true), ExitCode::SUCCESS);
        let failed = report(vec![Some(Err("x".into()))]);
        assert_eq!(failed.close(&[], Counts { passed: 1, failed: 0 }, true), ExitCode::FAILURE);
    }
}
