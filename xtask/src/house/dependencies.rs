//! How many packages a build of the server pulls in: what a fresh clone waits for, and what an auditor has to read.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Report;
use crate::process;
use crate::workspace::Workspace;

const SERVER_PACKAGES_MAX: usize = 150;
/// A fresh machine downloads the registry's index and packages first.
const LIMIT: Duration = Duration::from_secs(600);

pub(super) fn check(workspace: &Workspace, report: &mut Report) {
    let mut command = process::cargo(&workspace.root);
    command.args(["tree", "-p", "cloakroom-server", "-e", "normal,build", "--prefix", "none"]);
    command.args(["--locked", "--color", "never"]);
    let Some(tree) = report.take(process::capture(&mut command, LIMIT)) else { return };
    let count = packages(&tree).len();
    report.note(format!(
        "dependencies: the server builds from {count} packages (at most {SERVER_PACKAGES_MAX})"
    ));
    if count > SERVER_PACKAGES_MAX {
        report.fail(format!(
            "dependencies: the server builds from {count} packages, over {SERVER_PACKAGES_MAX}"
        ));
    }
}

/// A package appears once for each who needs it: `name vVERSION (path) (*)`. Two versions are two packages.
fn packages(tree: &str) -> BTreeSet<(&str, &str)> {
    tree.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_packages_count_once_and_versions_apart() {
        let tree = "server v0.1.0 (/r/server)\nserde v1.0.0\nserde v1.0.0 (*)\nsyn v2.0.0\nsyn v1.0.0\n\n";
        assert_eq!(packages(tree).len(), 4);
    }
}
