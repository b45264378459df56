//! What the counting allocator says. It lives in a binary of its own, for counting costs time: what is timed here uses
//! the system's allocator untouched.

use std::{env, error, process::Command, sync::OnceLock};

use crate::{
    apps::Case,
    population::{Kind, Shape},
};

type Error = Box<dyn error::Error + Send + Sync>;

/// Allocations of one request.
pub struct Allocations {
    pub count: f64,
    pub bytes: f64,
}

pub fn allocations(case: Case) -> Result<Allocations, Error> {
    let figures = ask(&["request", &case.argument()])?;
    let [count, bytes] = figures[..] else { return Err("two figures were expected".into()) };
    Ok(Allocations { count, bytes })
}

/// Live bytes and live allocations of one session among so many.
pub fn live(kind: Kind, shape: Shape, sessions: usize) -> Result<(f64, f64), Error> {
    let figures = ask(&["memory", &kind.argument(), &shape.argument(), &sessions.to_string()])?;
    let [bytes, count] = figures[..] else { return Err("two figures were expected".into()) };
    Ok((bytes, count))
}

fn ask(arguments: &[&str]) -> Result<Vec<f64>, Error> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    BUILT.get_or_init(build).clone()?;
    let output = Command::new(env::current_exe()?.with_file_name("counted")).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let words = String::from_utf8(output.stdout)?;
    Ok(words.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

fn build() -> Result<(), String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--bin", "counted", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("the counting binary doesn't build".to_owned()) }
}
