//! Raw values from file, environment and flags, laid over each other. Nothing here knows what a value means.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults, Origin, Problem};
use super::key::{self, Key};

/// Read when it is there and `--config` names no other.
const FILE_DEFAULT: &str = "cloakroom.toml";
/// Names the file, as `--config` does. It is no setting: a file can't name itself.
const FILE_VARIABLE: &str = "CLOAKROOM_CONFIG";
/// Holds a key ring, as a file of one does. It is no setting: keys don't belong into a settings file.
const KEYS_VARIABLE: &str = crate::keys::VARIABLE;
/// A settings file is a page of text; more than this is something else given by mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A value as it was written.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    /// From the environment or a flag, where everything is text.
    Untyped(String),
    Text(String),
    Boolean(bool),
    /// None is one that no setting has room for.
    Integer(Option<u64>),
    /// Something no setting takes, and what it is called.
    Other(&'static str),
}

/// A value, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

impl<T> Setting<T> {
    /// Whether nobody said it.
    pub(crate) fn is_default(&self) -> bool {
        self.origin == Origin::Default
    }
}

/// What was given on the command line.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    pub(crate) config: Option<PathBuf>,
    pub(crate) values: Vec<(&'static Key, String)>,
}

/// For each setting, the last value given.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    values: BTreeMap<&'static str, (Raw, Origin)>,
    faults: Vec<Fault>,
    /// Variables with our prefix that name no setting and resemble none.
    pub(crate) strangers: Vec<String>,
}

impl Layers {
    /// File, then environment, then flags: the later wins.
    pub(crate) fn read(flags: Flags, environment: &[(String, String)]) -> Self {
        let mut layers = Self::default();
        let named = flags.config.map(|path| (path, Origin::Flag("config".to_owned()))).or_else(|| {
            let (name, path) = environment.iter().find(|(name, _)| name == FILE_VARIABLE)?;
            Some((PathBuf::from(path), Origin::Variable(name.clone())))
        });
        layers.add_file(named);
        layers.add_environment(environment);
        for (key, value) in flags.values {
            layers.put(key, Raw::Untyped(value), Origin::Flag(key.flag()));
        }
        layers
    }

    /// A setting's value, or its default. A value that can't be parsed is noted, and the default stands in for it
    /// until [`Self::finish`] reports it.
    pub(crate) fn take<T>(
        &mut self,
        key: &'static Key,
        default: T,
        parse: impl FnOnce(&Raw) -> Result<T, Problem>,
    ) -> Setting<T> {
        let Some((raw, origin)) = self.values.remove(key.name) else {
            return Setting { value: default, origin: Origin::Default };
        };
        let value = parse(&raw).unwrap_or_else(|problem| {
            self.faults.push(Fault::new(origin.clone(), key, problem));
            default
        });
        Setting { value, origin }
    }

    /// Everything that was found to be wrong, in the order in which it was written.
    pub(crate) fn finish(mut self) -> Result<(), Faults> {
        self.faults.sort_by(|one, other| one.origin.cmp(&other.origin));
        if self.faults.is_empty() { Ok(()) } else { Err(Faults(self.faults)) }
    }

    fn put(&mut self, key: &'static Key, raw: Raw, origin: Origin) {
        self.values.insert(key.name, (raw, origin));
    }

    fn add_environment(&mut self, environment: &[(String, String)]) {
        let ours = environment.iter().filter(|(name, _)| name.starts_with(key::VARIABLE_PREFIX));
        for (name, value) in ours.filter(|(name, _)| name != FILE_VARIABLE && name != KEYS_VARIABLE) {
            if let Some(key) = key::ALL.into_iter().find(|key| key.variable() == *name) {
                self.put(key, Raw::Untyped(value.clone()), Origin::Variable(name.clone()));
            } else if let Some(near) = key::nearest(name, key::ALL.into_iter().map(Key::variable)) {
                let problem = Problem::new("is not a setting", format!("Did you mean {near}?"));
                self.faults.push(Fault::new(Origin::Variable(name.clone()), None, problem));
            } else {
                // Not refused: Kubernetes gives every pod CLOAKROOM_SERVICE_HOST and its kin when a service is
                // called cloakroom, and an application may keep our address under a name of its own.
                self.strangers.push(name.clone());
            }
        }
    }

    fn add_file(&mut self, named: Option<(PathBuf, Origin)>) {
        let path = named.as_ref().map_or_else(|| PathBuf::from(FILE_DEFAULT), |(path, _)| path.clone());
        match (read_bounded(&path), named) {
            (Ok(text), _) => self.add_toml(&path, &text),
            (Err(error), None) if error.kind() == io::ErrorKind::NotFound => {}
            (Err(error), named) => {
                let origin = named.map_or(Origin::File { path: path.clone(), line: 1 }, |(_, origin)| origin);
                let what = format!("the settings file {} can't be read: {error}", path.display());
                let mend =
                    "Give the path of a readable TOML file, or leave it out to start with the defaults.";
                self.faults.push(Fault::new(origin, None, Problem::new(what, mend)));
            }
        }
    }

    fn add_toml(&mut self, path: &Path, text: &str) {
        let file = File { path, text };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            let problem =
                Problem::new(error.message(), "Settings are written in TOML, as in: store = \"memory:\"");
            self.faults.push(Fault::new(file.origin(at), None, problem));
        }
        self.add_table(&file, "", table.get_ref());
    }

    fn add_table(&mut self, file: &File<'_>, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path = format!("{prefix}{}", name.get_ref());
            match (Key::named(&path), value.get_ref()) {
                (Some(key), written) => self.put(key, Raw::from(written), file.origin(name.span().start)),
                (None, DeValue::Table(inner)) if is_section(&path) => {
                    self.add_table(file, &format!("{path}."), inner);
                }
                (None, _) => self.refuse_unknown(file, &path, name),
            }
        }
    }

    fn refuse_unknown(&mut self, file: &File<'_>, path: &str, name: &Spanned<std::borrow::Cow<'_, str>>) {
        let names = || key::ALL.into_iter().map(|key| key.name.to_owned());
        // A key under the wrong heading is as common as a slip of the pen.
        let last = name.get_ref();
        let misplaced = || names().find(|known| known.rsplit('.').next() == Some(last));
        let mend = match key::nearest(path, names()).or_else(misplaced) {
            Some(near) => format!("Did you mean {near}?"),
            None => format!("The settings are: {}.", names().collect::<Vec<_>>().join(", ")),
        };
        let problem = Problem::new(format!("there is no setting {path}"), mend);
        self.faults.push(Fault::new(file.origin(name.span().start), None, problem));
    }
}

impl From<&DeValue<'_>> for Raw {
    fn from(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Raw::Text(text.clone().into_owned()),
            DeValue::Boolean(on) => Raw::Boolean(*on),
            DeValue::Integer(integer) => {
                Raw::Integer(u64::from_str_radix(integer.as_str(), integer.radix()).ok())
            }
            DeValue::Float(_) => Raw::Other("a fraction"),
            DeValue::Datetime(_) => Raw::Other("a date"),
            DeValue::Array(_) => Raw::Other("a list"),
            DeValue::Table(_) => Raw::Other("a table"),
        }
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn origin(&self, byte: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(byte);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Origin::File { path: self.path.to_owned(), line }
    }
}

fn is_section(path: &str) -> bool {
    key::ALL.iter().any(|key| key.name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let bytes = fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has {bytes} bytes, more than {FILE_BYTES_MAX}")));
    }
    fs::read_to_string(path)
}
