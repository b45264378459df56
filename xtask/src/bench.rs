//! `cargo xtask bench`: hands over to the benchmarks, which compare Cloakroom with its peers.
//!
//! They live outside the workspace, so that no peer's dependencies enter the project's lock file or its tests.

use std::process::ExitCode;

use crate::process;
use crate::tools::{self, LeftOut};
use crate::workspace::Workspace;

/// What is measured on real engines.
const ON_ENGINES: [&str; 3] = ["sealed", "stores", "all"];

/// Programs that only tests drive.
const NOT_MEASURED: [&str; 4] = ["chromium", "dynamodb", "memcached", "mysql"];

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode, String> {
    let mut command = process::cargo(&workspace.root);
    if arguments.iter().any(|argument| ON_ENGINES.contains(&argument.as_str())) {
        let mut without = NOT_MEASURED.map(LeftOut::asked_for).to_vec();
        tools::prepare(&workspace.root, &mut without)?.apply(&mut command);
    }
    let status = command
        .args(["run", "--release", "--manifest-path", "bench/Cargo.toml", "--"])
        .args(arguments)
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
