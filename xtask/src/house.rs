//! `cargo xtask house`: the checks on the house itself. What a reviewer would have to remember is checked here.
//!
//! Absent on purpose: anything the compiler, clippy or rustfmt already says.

mod arrows;
mod dependencies;
mod documents;
mod purity;
mod sources;

use std::process::ExitCode;

use crate::conformance;
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode, String> {
    Ok(match check(workspace) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::FAILURE
        }
    })
}

/// Runs every check and prints what it found. The error says how many failed: their own words are printed already.
pub(crate) fn check(workspace: &Workspace) -> Result<(), String> {
    let mut report = Report::default();
    arrows::check(workspace, &mut report);
    purity::check(workspace, &mut report);
    sources::check(workspace, &mut report);
    dependencies::check(workspace, &mut report);
    documents::check(workspace, &mut report);
    conformance::check(workspace, &mut report);
    report.print();
    match report.failures.len() {
        0 => Ok(()),
        1 => Err("1 check on the house failed".to_owned()),
        many => Err(format!("{many} checks on the house failed")),
    }
}

/// What the checks found. Only failures fail.
#[derive(Debug, Default)]
pub(crate) struct Report {
    failures: Vec<String>,
    warnings: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn fail(&mut self, message: impl Into<String>) {
        self.failures.push(message.into());
    }

    pub(crate) fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }

    pub(crate) fn note(&mut self, message: impl Into<String>) {
        self.notes.push(message.into());
    }

    /// The value, or a failure that says why there is none.
    pub(crate) fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.fail(message)).ok()
    }

    fn print(&self) {
        for (word, messages) in
            [("note", &self.notes), ("warning", &self.warnings), ("FAILURE", &self.failures)]
        {
            for message in messages {
                println!("{word}: {message}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_taken_into_the_report_is_a_failure() {
        let mut report = Report::default();
        assert_eq!(report.take(Ok(1)), Some(1));
        assert_eq!(report.take::<u8>(Err("gone".into())), None);
        assert_eq!(report.failures, ["gone"]);
    }
}
