//! Instructions per request, counted by valgrind where there is one.

use std::{env, process::Command};

use crate::apps::Case;

/// Instructions of one request. The difference between a long and a short run leaves start-up out.
pub fn instructions(case: Case) -> Option<i64> {
    const SHORT: i64 = 500;
    const LONG: i64 = 2_500;
    let (short, long) = (total(case, SHORT)?, total(case, LONG)?);
    Some((long - short) / (LONG - SHORT))
}

fn total(case: Case, requests: i64) -> Option<i64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().ok()?)
        .args(["request-once", &case.argument(), &requests.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stderr).ok()?;
    let (_, collected) = text.split_once("Collected : ")?;
    collected.split_whitespace().next()?.parse().ok()
}
