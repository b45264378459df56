//! The core touches no socket, clock or source of randomness, runs no async code, and stays light.

use std::collections::BTreeSet;
use std::path::Path;

use super::Report;
use crate::code::code_only;
use crate::workspace::{Kind, Member, Workspace};

const CORE: &str = "cloakroom-core";
const CORE_SOURCES: &str = "crates/core/src";
const DIRECT_DEPENDENCIES_MAX: usize = 6;

/// Crates that bring sockets, clocks, randomness or a runtime.
const FORBIDDEN_CRATES: &[&str] = &["tokio", "getrandom", "rand", "http"];

/// Ways to the outside world. Only `now` and entropy come in, as arguments.
const FORBIDDEN_CODE: &[&str] = &[
    "std::net",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "SystemTime",
    "Instant::now",
    "async fn",
    "async move",
    ".await",
];

pub(super) fn check(workspace: &Workspace, report: &mut Report) {
    let Some(core) = workspace.member(CORE) else {
        return report.fail(format!("purity: the workspace has no crate `{CORE}`"));
    };
    check_dependencies(core, report);
    for file in workspace.files_ending("rs").filter(|file| file.starts_with(CORE_SOURCES)) {
        if let Some(source) = report.take(workspace.read(file)) {
            check_source(file, &source, report);
        }
    }
}

fn check_dependencies(core: &Member, report: &mut Report) {
    let normal = core.dependencies.iter().filter(|dependency| dependency.kind == Kind::Normal);
    let direct: BTreeSet<&str> = normal.map(|dependency| dependency.name.as_str()).collect();
    if direct.len() > DIRECT_DEPENDENCIES_MAX {
        let names = direct.iter().copied().collect::<Vec<_>>().join(", ");
        report.fail(format!(
            "purity: {CORE} has {} direct dependencies, at most {DIRECT_DEPENDENCIES_MAX} are allowed: {names}",
            direct.len()
        ));
    }
    for forbidden in FORBIDDEN_CRATES.iter().filter(|name| direct.contains(**name)) {
        report.fail(format!("purity: {CORE} may not depend on `{forbidden}`"));
    }
}

fn check_source(file: &Path, source: &str, report: &mut Report) {
    for (index, line) in code_only(source).lines().enumerate() {
        for forbidden in FORBIDDEN_CODE.iter().filter(|forbidden| line.contains(**forbidden)) {
            report.fail(format!("purity: {}:{}: `{forbidden}` in the pure core", file.display(), index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn dependency_failures(names: &[&str], kind: Kind) -> Vec<String> {
        let dependencies = names.iter().map(|&name| Dependency { name: name.into(), kind }).collect();
        let mut report = Report::default();
        check_dependencies(&Member { name: CORE.into(), dependencies, ..Member::default() }, &mut report);
        report.failures
    }

    #[test]
    fn six_direct_dependencies_pass_and_seven_fail() {
        assert!(dependency_failures(&["a", "b", "c", "d", "e", "f"], Kind::Normal).is_empty());
        assert_eq!(dependency_failures(&["a", "b", "c", "d", "e", "f", "g"], Kind::Normal).len(), 1);
        assert!(dependency_failures(&["a", "b", "c", "d", "e", "f", "g"], Kind::Dev).is_empty());
    }

    #[test]
    fn a_runtime_fails_except_for_tests() {
        assert_eq!(
            dependency_failures(&["tokio"], Kind::Normal),
            ["purity: cloakroom-core may not depend on `tokio`"]
        );
        assert!(dependency_failures(&["tokio"], Kind::Dev).is_empty());
    }

    #[test]
    fn a_clock_fails_and_prose_about_clocks_does_not() {
        let mut report = Report::default();
        let source = "// SystemTime is absent on purpose.\nfn f() {\n    let t = SystemTime::now();\n}\n";
        check_source(Path::new("a.rs"), source, &mut report);
        assert_eq!(report.failures, ["purity: a.rs:3: `SystemTime` in the pure core"]);
    }
}
