//! The machine a figure was measured on.

use std::{fs, process::Command, thread};

/// One line of facts, with the load the machine was under.
pub fn facts() -> String {
    let date = time::OffsetDateTime::now_utc().date();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let model = line_of("/proc/cpuinfo", "model name", ':').unwrap_or_else(|| "unknown processor".to_owned());
    let system =
        line_of("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_else(|| "unknown system".to_owned());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{date}, {cores} cores ({model}), {system}, {}; load average {load}", compiler())
}

fn line_of(path: &str, name: &str, separator: char) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (_, value) = text.lines().find(|line| line.starts_with(name))?.split_once(separator)?;
    Some(value.trim().trim_matches('"').to_owned())
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().ok();
    let version = output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    version.split(" (").next().unwrap_or("rustc").trim().to_owned()
}
