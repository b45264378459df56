//! The documents a reader expects are there, and no relative link in any document is broken.

use std::path::{Component, Path, PathBuf};

use super::Report;
use crate::workspace::Workspace;

const EXPECTED: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "DESIGN.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
];

pub(super) fn check(workspace: &Workspace, report: &mut Report) {
    for name in EXPECTED.iter().filter(|name| !workspace.root.join(name).is_file()) {
        report.fail(format!("documents: {name} is missing"));
    }
    for file in workspace.files_ending("md") {
        if let Some(text) = report.take(workspace.read(file)) {
            check_links(&workspace.root, file, &text, report);
        }
    }
}

fn check_links(root: &Path, file: &Path, text: &str, report: &mut Report) {
    for (line, target) in links(text) {
        let Some(path) = relative_path(&target) else { continue };
        let there = resolved(file, path).is_some_and(|resolved| root.join(resolved).exists());
        if !there {
            report
                .fail(format!("documents: {}:{line}: the link to `{target}` leads nowhere", file.display()));
        }
    }
}

/// Every link target with its line, from 1: inline links and images, reference definitions, HTML attributes.
/// Code is left out: fenced blocks, and spans in backticks.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        match fence {
            Some(open) if start.starts_with(open) => fence = None,
            Some(_) => {}
            None => {
                fence = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
                if fence.is_none() {
                    let line = without_code(line);
                    found.extend(targets(&line).into_iter().map(|target| (index + 1, target)));
                }
            }
        }
    }
    found
}

/// A span that doesn't close on its line may close on a later one: what follows is left out.
fn without_code(line: &str) -> String {
    let mut parts: Vec<&str> = line.split('`').collect();
    if parts.len().is_multiple_of(2) {
        parts.pop();
    }
    parts.into_iter().step_by(2).collect::<Vec<_>>().join(" ")
}

fn targets(line: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for (opening, closing) in [("](", ')'), ("href=\"", '"'), ("src=\"", '"')] {
        let after = line.split(opening).skip(1);
        targets.extend(after.filter_map(|rest| rest.split_once(closing)).map(|(target, _)| target));
    }
    let definition = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    // A label with a caret is a footnote: prose follows.
    targets.extend(definition.filter(|(label, _)| !label.starts_with('^')).map(|(_, target)| target));
    // What follows a space is the link's title.
    let bare = |target: &str| target.split_whitespace().next().map(|t| t.trim_matches(['<', '>']).to_owned());
    targets.into_iter().filter_map(bare).collect()
}

/// The part of a target that names a file of the project, if it names one.
fn relative_path(target: &str) -> Option<&str> {
    let path = target.split(['#', '?']).next().unwrap_or_default();
    let first = path.split('/').next().unwrap_or_default();
    // A colon before the first slash is a scheme; two slashes begin another host's address.
    (!path.is_empty() && !first.contains(':') && !path.starts_with("//")).then_some(path)
}

/// Where a link in `file` leads, from the root. None if it leaves the project. A leading slash is the root.
fn resolved(file: &Path, target: &str) -> Option<PathBuf> {
    let folder = if target.starts_with('/') { Path::new("") } else { file.parent()? };
    let mut path = PathBuf::new();
    for component in folder.join(target.trim_start_matches('/')).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if !path.pop() => return None,
            _ => {}
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        links(text).into_iter().map(|(_, target)| target).collect()
    }

    #[test]
    fn links_of_every_form_are_found() {
        let text = "See [a](a.md) and ![b](<b.png> \"title\").\n[c]: c.md \"title\"\n<img src=\"d.svg\"> <a href=\"e.md\">";
        assert_eq!(found(text), ["a.md", "b.png", "c.md", "e.md", "d.svg"]);
        assert!(found("[^1]: a footnote").is_empty());
    }

    #[test]
    fn code_has_no_links() {
        assert!(found("```rust\nlet a = b[0](c);\n```\n~~~\n[a](b)\n~~~\nand `x[0](y)` too").is_empty());
        assert_eq!(found("a ` b [c](d.md)"), Vec::<String>::new());
        assert_eq!(found("`a` [c](d.md) `e`"), ["d.md"]);
    }

    #[test]
    fn only_files_of_the_project_are_looked_for() {
        for outside in ["https://example.com/a", "mailto:a@example.com", "#part", "//example.com/a"] {
            assert_eq!(relative_path(outside), None, "{outside}");
        }
        assert_eq!(relative_path("docs/a.md#part"), Some("docs/a.md"));
    }

    #[test]
    fn targets_resolve_from_their_file_and_stay_inside() {
        let file = Path::new("docs/deep/a.md");
        assert_eq!(resolved(file, "../b.md"), Some("docs/b.md".into()));
        assert_eq!(resolved(file, "/b.md"), Some("b.md".into()));
        assert_eq!(resolved(file, "../../../b.md"), None);
    }

    #[test]
    fn a_broken_link_is_named_with_its_line() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut report = Report::default();
        check_links(root, Path::new("src/a.md"), "[ok](main.rs)\n[no](gone.rs)", &mut report);
        assert_eq!(report.failures, ["documents: src/a.md:2: the link to `gone.rs` leads nowhere"]);
    }
}
