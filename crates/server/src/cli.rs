//! The command line.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use crate::settings::{Flags, KEYS};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Serve,
    CheckConfig,
}

/// Parses the command line; on `--help`, `--version` or a mistake it says so and ends the process (with 2 for a
/// mistake).
pub(crate) fn parse() -> (Command, Flags) {
    let matches = command().get_matches();
    let (command, matches) = match matches.subcommand() {
        Some(("check-config", inner)) => (Command::CheckConfig, inner),
        Some((_, inner)) => (Command::Serve, inner),
        None => (Command::Serve, &matches),
    };
    (command, flags(matches))
}

fn command() -> clap::Command {
    let settings = KEYS.into_iter().map(|key| {
        let help = format!("{} [env: {}]", key.help, key.variable());
        let arg = Arg::new(key.name).long(key.flag()).global(true).help(help);
        match key.value_name {
            Some(name) => arg.value_name(name).value_parser(ValueParser::string()),
            None => arg.action(ArgAction::SetTrue),
        }
    });
    let config = Arg::new("config").long("config").value_name("FILE").global(true);
    clap::Command::new("cloakroom")
        .about("Web sessions that lose no update and never come back from the dead")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand(clap::Command::new("serve").about("Serve (what happens without a command)"))
        .subcommand(
            clap::Command::new("check-config")
                .about("Print the settings in effect, or what is wrong with them"),
        )
        .arg(
            config.value_parser(value_parser!(PathBuf)).help(
                "The settings file [default: cloakroom.toml, where there is one] [env: CLOAKROOM_CONFIG]",
            ),
        )
        .args(settings)
}

fn flags(matches: &ArgMatches) -> Flags {
    let values = KEYS.into_iter().filter_map(|key| {
        let value = match key.value_name {
            Some(_) => matches.get_one::<String>(key.name).cloned(),
            None => matches.get_flag(key.name).then(|| "true".to_owned()),
        };
        Some((key, value?))
    });
    Flags { config: matches.get_one::<PathBuf>("config").cloned(), values: values.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn flags_count_before_and_after_the_command() {
        for line in [
            ["cloakroom", "--listen", "127.0.0.1:0", "serve"],
            ["cloakroom", "serve", "--listen", "127.0.0.1:0"],
        ] {
            let matches = command().get_matches_from(line);
            let inner = matches.subcommand().map_or(&matches, |(_, inner)| inner);
            let given: Vec<_> =
                flags(inner).values.into_iter().map(|(key, value)| (key.name, value)).collect();
            assert_eq!(given, [("listen", "127.0.0.1:0".to_owned())]);
        }
    }
}
