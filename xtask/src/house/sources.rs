//! Rust files and manifests: no `unsafe`, lints that every member inherits, files of a length one can read.

use std::fs;
use std::path::Path;

use super::Report;
use crate::code::{code_only, lines_with_word};
use crate::workspace::Workspace;

const FILE_LINES_WARN: usize = 400;
const FILE_LINES_MAX: usize = 700;

pub(super) fn check(workspace: &Workspace, report: &mut Report) {
    for file in workspace.files_ending("rs") {
        if let Some(source) = report.take(workspace.read(file)) {
            check_unsafe(file, &source, report);
            check_length(file, source.lines().count(), report);
        }
    }
    check_manifests(workspace, report);
}

/// The lint forbids it in members; this also covers what lies outside the workspace.
fn check_unsafe(file: &Path, source: &str, report: &mut Report) {
    for line in lines_with_word(&code_only(source), "unsafe") {
        report.fail(format!("unsafe: {}:{line}: `unsafe` is not used in this project", file.display()));
    }
}

fn check_length(file: &Path, lines: usize, report: &mut Report) {
    let message = |max: usize| format!("length: {} has {lines} lines, over {max}", file.display());
    if lines > FILE_LINES_MAX {
        report.fail(message(FILE_LINES_MAX));
    } else if lines > FILE_LINES_WARN {
        report.warn(message(FILE_LINES_WARN));
    }
}

fn check_manifests(workspace: &Workspace, report: &mut Report) {
    if let Some(manifest) = report.take(workspace.read(Path::new("Cargo.toml")))
        && setting(&manifest, "workspace.lints.rust", "unsafe_code") != Some("\"forbid\"")
    {
        report.fail("lints: the workspace's Cargo.toml does not forbid unsafe_code");
    }
    for member in &workspace.members {
        let manifest = fs::read_to_string(&member.manifest);
        let manifest =
            manifest.map_err(|error| format!("cannot read {}: {error}", member.manifest.display()));
        let Some(manifest) = report.take(manifest) else { continue };
        if setting(&manifest, "lints", "workspace") != Some("true") {
            report.fail(format!("lints: `{}` does not inherit them: [lints] workspace = true", member.name));
        }
    }
}

/// The value of `name` in `[table]`, as written. Enough of TOML for a table of one-line settings.
fn setting<'a>(manifest: &'a str, table: &str, name: &str) -> Option<&'a str> {
    let header = format!("[{table}]");
    let lines = manifest.lines().map(str::trim).skip_while(|line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyword_fails_and_the_lint_of_that_name_does_not() {
        let mut report = Report::default();
        check_unsafe(
            Path::new("a.rs"),
            "#![forbid(unsafe_code)]\n// unsafe\nlet s = \"unsafe\";\n",
            &mut report,
        );
        assert!(report.failures.is_empty(), "{report:?}");
        check_unsafe(Path::new("a.rs"), "\nlet p = unsafe { *q };\n", &mut report);
        assert_eq!(report.failures, ["unsafe: a.rs:2: `unsafe` is not used in this project"]);
    }

    #[test]
    fn lengths_warn_before_they_fail() {
        for (lines, warnings, failures) in [(400, 0, 0), (401, 1, 0), (700, 1, 0), (701, 0, 1)] {
            let mut report = Report::default();
            check_length(Path::new("a.rs"), lines, &mut report);
            assert_eq!((report.warnings.len(), report.failures.len()), (warnings, failures), "{lines}");
        }
    }

    #[test]
    fn settings_are_read_from_their_own_table() {
        let manifest = "[package]\nworkspace = \"..\"\n[lints]\nworkspace = true\n[features]\nother = 1\n";
        assert_eq!(setting(manifest, "lints", "workspace"), Some("true"));
        assert_eq!(setting(manifest, "lints", "other"), None);
        assert_eq!(setting(manifest, "dependencies", "workspace"), None);
    }
}
