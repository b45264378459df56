//! The `cloakroom` server: at present a demonstration of the session library, as a small shop.

mod account;
mod cli;
mod doctor;
mod http;
mod keys;
mod page;
mod run;
mod sessions;
mod settings;
mod shop;

use std::io::{self, Write as _};
use std::process::ExitCode;

use cli::Command;
use settings::{Faults, Settings};

/// Wrong settings, as for a wrong command line.
const EXIT_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let (command, flags) = cli::parse();
    let settings = match Settings::load(flags, &environment()) {
        Ok(settings) => settings,
        Err(faults) => return refuse(&faults),
    };
    let rules = match sessions::Rules::of(&settings) {
        Ok(rules) => rules,
        Err(faults) => return refuse(&faults),
    };
    let ended = match command {
        Command::CheckConfig => write!(io::stdout(), "{settings}").map_err(run::Failure::from),
        Command::Keys(request) => keys::run(&request, &settings),
        Command::Migrations(url) => print_migrations(&url),
        Command::Doctor(url) => doctor::run(url.as_deref(), &settings),
        Command::Serve => run::run(&settings, rules),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cloakroom: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The steps follow each other: who pipes them into a client runs all that are there.
fn print_migrations(url: &str) -> Result<(), run::Failure> {
    match cloakroom_stores::migrations(url)? {
        [] => Err(cloakroom::Error::invalid("that kind of store has no tables to make by hand").into()),
        steps => Ok(writeln!(io::stdout(), "{}", steps.join("\n"))?),
    }
}

fn refuse(faults: &Faults) -> ExitCode {
    eprintln!("{faults}");
    ExitCode::from(EXIT_SETTINGS)
}

/// Variables whose names aren't text can't be ours; values that aren't text become ones that no setting accepts.
fn environment() -> Vec<(String, String)> {
    let variables = std::env::vars_os();
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect()
}
