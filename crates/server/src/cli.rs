//! The command line.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use cloakroom::keyring::{KeyId, Schedule};

use crate::keys;
use crate::settings::{Flags, KEYS};

/// What is to be done. It can't be shown: URLs are in it as they were written, with their passwords.
pub(crate) enum Command {
    Serve,
    CheckConfig,
    Keys(keys::Request),
    /// Of the store of this URL, or of the one in the settings.
    Doctor(Option<String>),
    /// Of the kind of store that the URL is of, as SQL.
    Migrations(String),
}

/// Parses the command line; on `--help`, `--version` or a mistake it says so and ends the process (with 2 for a
/// mistake).
pub(crate) fn parse() -> (Command, Flags) {
    let matches = command().try_get_matches().unwrap_or_else(|error| discreet(error).exit());
    let (command, matches) = match matches.subcommand() {
        Some(("check-config", inner)) => (Command::CheckConfig, inner),
        Some(("keys", inner)) => match inner.subcommand().and_then(|(verb, inner)| keys_request(verb, inner))
        {
            Some((request, inner)) => (Command::Keys(request), inner),
            None => (Command::Serve, inner),
        },
        Some(("doctor", inner)) => (Command::Doctor(inner.get_one::<String>("url").cloned()), inner),
        Some(("migrations", inner)) => match inner.get_one::<String>("url") {
            Some(url) => (Command::Migrations(url.clone()), inner),
            None => (Command::Serve, inner),
        },
        Some((_, inner)) => (Command::Serve, inner),
        None => (Command::Serve, &matches),
    };
    (command, flags(matches))
}

/// What stands where nothing is expected may be a URL, with its password: it isn't repeated.
fn discreet(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand, ContextKind::InvalidValue] {
        if matches!(error.get(kind), Some(ContextValue::String(text)) if text.contains(':')) {
            error.insert(kind, ContextValue::String("URL".to_owned()));
            error.remove(ContextKind::Suggested);
        }
    }
    error
}

/// A URL is taken as text, and parsed by whoever needs it: what is wrong with one is told with the whole of it here, and it
/// may hold a password.
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
        .subcommand(keys_command())
        .subcommand(
            clap::Command::new("doctor")
                .about("Examine a store: what is wrong, or could go wrong, with it and how it is set up")
                .arg(
                    Arg::new("url")
                        .value_name("URL")
                        .value_parser(ValueParser::string())
                        .help(format!("{} [default: the store in the settings]", cloakroom_stores::forms())),
                ),
        )
        .subcommand(
            clap::Command::new("migrations")
                .about("Print the SQL that makes a store's tables, for who runs it by hand; nothing is connected to")
                .arg(
                    Arg::new("url")
                        .value_name("URL")
                        .required(true)
                        .value_parser(ValueParser::string())
                        .help("The store's URL, or its beginning: mysql:"),
                ),
        )
        .arg(
            config.value_parser(value_parser!(PathBuf)).help(
                "The settings file [default: cloakroom.toml, where there is one] [env: CLOAKROOM_CONFIG]",
            ),
        )
        .args(settings)
}

fn keys_command() -> clap::Command {
    let ring = Arg::new("ring")
        .long("ring")
        .value_name("FILE|URL")
        .global(true)
        .value_parser(ValueParser::string())
        .help(format!(
            "The ring's file; or the URL of the store that it is in, or of the sealed sessions that it is for [default: \
             that of the settings, or {}]; `new` takes - for standard output",
            keys::FILE_DEFAULT
        ));
    let outer = Arg::new("outer")
        .long("outer")
        .value_name("FILE")
        .global(true)
        .value_parser(value_parser!(PathBuf))
        .help("The ring that a ring in a store is sealed under [default: its text in CLOAKROOM_KEYS]");
    let dry_run = Arg::new("dry_run")
        .long("dry-run")
        .global(true)
        .action(ArgAction::SetTrue)
        .help("Say what would be done, and do nothing");
    let seconds = |name: &'static str, flag: &'static str, help: &'static str| {
        let positive = value_parser!(u64).range(1..);
        Arg::new(name).long(flag).value_name("SECONDS").global(true).value_parser(positive).help(help)
    };
    let delay = seconds(
        "publish_delay_s",
        "publish-delay-s",
        "How long a key is known before it seals [default: 3600]",
    );
    let lifetime = seconds(
        "lifetime_max_s",
        "lifetime-max-s",
        "The longest that any session lives [default: session.absolute_timeout_s; 400 days for a ring in a store, and where \
         --ring is given and no session.absolute_timeout_s is set]",
    );
    let id = Arg::new("id").value_name("ID").required(true).value_parser(|text: &str| text.parse::<KeyId>());
    let compromised = Arg::new("compromised").long("compromised").action(ArgAction::SetTrue).help(
        "Others may have the key: remove it at once, and with it every session that rests on it; if it is the primary, a \
         new key takes its place",
    );
    clap::Command::new("keys")
        .about("Make, list and rotate the keys that seal cookies and authenticate stored sessions")
        .subcommand_required(true)
        .args([ring, outer, dry_run, delay, lifetime])
        .subcommand(clap::Command::new("new").about("Make a ring of one key; never over another ring"))
        .subcommand(
            clap::Command::new("list").about("Show the keys' ids, states and times, and never the keys"),
        )
        .subcommand(clap::Command::new("rotate").about(
            "Take the next step of a rotation: publish a new key, or promote the one that is published",
        ))
        .subcommand(
            clap::Command::new("retire")
                .about("Remove a key that is pending, or that has retired for long enough")
                .args([id, compromised]),
        )
}

fn keys_request<'a>(verb: &str, matches: &'a ArgMatches) -> Option<(keys::Request, &'a ArgMatches)> {
    let verb = match verb {
        "new" => keys::Verb::New,
        "list" => keys::Verb::List,
        "rotate" => keys::Verb::Rotate,
        "retire" => keys::Verb::Retire {
            id: *matches.get_one("id")?,
            is_compromised: matches.get_flag("compromised"),
        },
        _ => return None,
    };
    let seconds = |name| matches.get_one::<u64>(name).copied();
    let request = keys::Request {
        verb,
        ring: matches.get_one::<String>("ring").cloned(),
        outer: matches.get_one::<PathBuf>("outer").cloned(),
        is_dry_run: matches.get_flag("dry_run"),
        publish_delay_s: seconds("publish_delay_s").unwrap_or(Schedule::PUBLISH_DELAY_DEFAULT.as_secs()),
        lifetime_max_s: seconds("lifetime_max_s"),
    };
    Some((request, matches))
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
