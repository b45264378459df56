//! `docs/conformance.md`: each security requirement, and the tests that show it is met.
//!
//! The table is made from the tests, so that it cannot claim more than runs: a row is tested when a test's name begins
//! with the row's id, and `cargo xtask test` fails while one of them does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::code::{code_only, is_word};
use crate::house::Report;
use crate::workspace::Workspace;

const REQUIREMENTS: &str = include_str!("../conformance.tsv");
const DOCUMENT: &str = "docs/conformance.md";
/// Where every `async fn` counts as a test: the suite's cases have no attribute, each store's tests call them.
const SUITE: &str = "crates/store-test/src";

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode, String> {
    let document = document(workspace)?;
    match arguments {
        [] => println!("{}", document.trim_end()),
        [flag] if flag == "--write" => write(&workspace.root.join(DOCUMENT), &document)?,
        _ => return Err("conformance takes nothing but --write".to_owned()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails when the document is not what the tests make.
pub(crate) fn check(workspace: &Workspace, report: &mut Report) {
    let Some(document) = report.take(document(workspace)) else { return };
    if fs::read_to_string(workspace.root.join(DOCUMENT)).ok().as_deref() != Some(document.as_str()) {
        report.fail(format!("conformance: {DOCUMENT} is out of date: run `cargo xtask conformance --write`"));
    }
}

fn write(path: &Path, document: &str) -> Result<(), String> {
    let failed = |error| format!("cannot write {}: {error}", path.display());
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    fs::write(path, document).map_err(failed)?;
    println!("wrote {}", path.display());
    Ok(())
}

fn document(workspace: &Workspace) -> Result<String, String> {
    let mut tests = Vec::new();
    for file in workspace.files_ending("rs") {
        let names = test_names(&code_only(&workspace.read(file)?), file.starts_with(SUITE));
        tests.extend(names.into_iter().map(|name| Test { file: file.to_path_buf(), name }));
    }
    Ok(render(&rows(REQUIREMENTS)?, &tests))
}

struct Row<'a> {
    ids: Vec<&'a str>,
    requirement: &'a str,
    source: &'a str,
}

struct Test {
    file: PathBuf,
    name: String,
}

fn rows(table: &str) -> Result<Vec<Row<'_>>, String> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| match *line.split('\t').collect::<Vec<_>>() {
            [ids, requirement, source] => Ok(Row { ids: ids.split(' ').collect(), requirement, source }),
            _ => Err(format!("conformance.tsv: not three columns: {line}")),
        })
        .collect()
}

impl Row<'_> {
    /// `A7.2.3` is shown by `a7_2_3` and by `a7_2_3_anything`, not by `a7_2_31`.
    fn is_shown_by(&self, test: &str) -> bool {
        self.ids.iter().any(|id| {
            let id = id.to_lowercase().replace(['.', '-'], "_");
            test.strip_prefix(&id).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        })
    }
}

fn render(rows: &[Row<'_>], tests: &[Test]) -> String {
    let mut tested = 0;
    let mut table = String::new();
    for row in rows {
        let shown: Vec<_> = tests.iter().filter(|test| row.is_shown_by(&test.name)).map(Test::cell).collect();
        let state = if shown.is_empty() { "not yet" } else { "tested" };
        tested += usize::from(!shown.is_empty());
        table += &format!(
            "| {} | {} | {} | {} | {state} |\n",
            row.ids.join(" "),
            row.requirement,
            row.source,
            shown.join("<br>")
        );
    }
    format!(
        "# Conformance\n\n\
         What the standards ask of a session system, and the tests that show it. This file is made from the tests by\n\
         `cargo xtask conformance --write`: a row is tested when a test's name begins with its id. `cargo xtask test`\n\
         runs those tests, and fails when this file is out of date. Tests in `{SUITE}` run against every store.\n\n\
         {tested} of {} rows are tested.\n\n\
         | row | requirement | source | tests | state |\n\
         |---|---|---|---|---|\n\
         {table}",
        rows.len()
    )
}

impl Test {
    fn cell(&self) -> String {
        format!("`{}`: `{}`", self.file.display(), self.name)
    }
}

/// The names of the tests in code that has no comments or strings: functions under a `test` attribute of any crate
/// (`#[test]`, `#[tokio::test]`), and in the suite every `async fn`. An ignored test shows nothing.
fn test_names(code: &str, suite: bool) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = code;
    let (mut test, mut ignored, mut previous) = (false, false, "");
    while let Some(first) = rest.chars().next() {
        if first == '#' {
            let (attribute, after) = attribute(rest);
            test |= attribute == "test";
            ignored |= attribute == "ignore";
            rest = after;
        } else if is_word(first) {
            let (word, after) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
            let name = after.trim_start();
            let name = &name[..name.find(|c| !is_word(c)).unwrap_or(name.len())];
            // Without a name it is the type of a function.
            if word == "fn" && !name.is_empty() {
                if !ignored && (test || (suite && previous == "async")) {
                    names.push(name.to_owned());
                }
                (test, ignored) = (false, false);
            }
            (previous, rest) = (word, after);
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    names
}

/// The last segment of the path of the attribute that `code` begins with, and what follows the attribute.
fn attribute(code: &str) -> (&str, &str) {
    let after_mark = code[1..].trim_start_matches('!').trim_start();
    let Some(inside) = after_mark.strip_prefix('[') else { return ("", &code[1..]) };
    let mut depth = 1_usize;
    let closing = inside.find(|character| {
        depth = match character {
            '[' => depth + 1,
            ']' => depth - 1,
            _ => depth,
        };
        depth == 0
    });
    let (content, after) = inside.split_at(closing.unwrap_or(inside.len()));
    let path = content.split(['(', '=']).next().unwrap_or_default();
    (path.rsplit("::").next().unwrap_or_default().trim(), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str, suite: bool) -> Vec<String> {
        test_names(&code_only(source), suite)
    }

    #[test]
    fn tests_are_found_by_their_attribute() {
        let source = "
            #[cfg(test)] mod tests { fn helper() {}
            #[test] fn a_1() {}
            #[tokio::test(flavor = \"multi_thread\")]
            /// Prose about fn x() in between.
            #[allow(unused)]
            pub(crate) async fn a_2<T>() {}
            proptest! { #[test] fn a_3(x in 0..3u8) { let f: fn(u8) = g; } }
            fn helper_too() {} }";
        assert_eq!(names(source, false), ["a_1", "a_2", "a_3"]);
    }

    #[test]
    fn ignored_tests_and_tests_in_strings_or_comments_show_nothing() {
        let source = "#[test] #[ignore = \"slow\"] fn a() {} // #[test] fn b() {}\nlet s = \"#[test] fn c() {}\";\n#[test] fn d() {}";
        assert_eq!(names(source, false), ["d"]);
    }

    #[test]
    fn in_the_suite_every_async_function_is_a_case() {
        let source = "pub async fn a_case<S: Store>(s: &S) {} pub fn not_one() {} async fn another() {}";
        assert_eq!(names(source, true), ["a_case", "another"]);
        assert!(names(source, false).is_empty());
    }

    #[test]
    fn a_row_is_shown_by_any_of_its_ids_taken_whole() {
        let row = Row { ids: vec!["A7.2.4", "W-03"], requirement: "", source: "" };
        for shown in ["a7_2_4", "a7_2_4_login", "w_03_fixation"] {
            assert!(row.is_shown_by(shown), "{shown}");
        }
        for other in ["a7_2_41", "a7_2", "login_a7_2_4", "w_031"] {
            assert!(!row.is_shown_by(other), "{other}");
        }
    }

    #[test]
    fn the_document_tells_tested_from_not_yet() {
        let rows = rows("# comment\nA1 B-2\tdo this\tsomewhere\nC3\tdo that\telsewhere\n").unwrap();
        let tests = [("x.rs", "b_2_done"), ("y.rs", "a1"), ("y.rs", "unrelated")];
        let tests = tests.map(|(file, name)| Test { file: file.into(), name: name.into() });
        let document = render(&rows, &tests);
        assert!(document.contains("1 of 2 rows are tested."));
        assert!(
            document
                .contains("| A1 B-2 | do this | somewhere | `x.rs`: `b_2_done`<br>`y.rs`: `a1` | tested |\n")
        );
        assert!(document.ends_with("| C3 | do that | elsewhere |  | not yet |\n"));
    }

    #[test]
    fn the_projects_own_table_parses_and_has_no_id_twice() {
        let rows = rows(REQUIREMENTS).unwrap();
        let mut ids: Vec<_> = rows.iter().flat_map(|row| row.ids.clone()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert!(rows.len() > 40 && ids.len() == all);
        assert!(super::rows("one\ttwo").is_err());
    }
}
