//! `cargo xtask bench`: hands over to the benchmarks, which compare Cloakroom with its peers.
//!
//! They live outside the workspace, so that no peer's dependencies enter the project's lock file or its tests.

use std::process::ExitCode;

use crate::process;
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode, String> {
    let status = process::cargo(&workspace.root)
        .args(["run", "--release", "--manifest-path", "bench/Cargo.toml", "--"])
        .args(arguments)
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
