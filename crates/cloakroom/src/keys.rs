//! Which type each key's name was used with, and what may be stored under it.

use std::{
    any::{TypeId, type_name},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use cloakroom_core::{Error as CoreError, Key};

use crate::{
    Error,
    guard::{Guard, Resemblance, resemblance},
};

/// The constant keys an application was seen to use, so that two types under one name are found at the first use and
/// not when a user's session holds the wrong one.
///
/// Written a few times, then read by every request on every core: the slots are only ever filled, so reading takes no
/// lock. An application with more names than slots isn't checked for the rest.
pub(crate) struct KeyTypes {
    slots: Box<[OnceLock<Used>]>,
    guard: Guard,
}

pub(crate) struct Used {
    name: &'static str,
    type_id: TypeId,
    type_name: &'static str,
    is_refused: bool,
    /// Whether it was told that its values look like what doesn't belong in a session.
    is_told: AtomicBool,
}

const SLOTS: usize = 256;

impl KeyTypes {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { slots: (0..SLOTS).map(|_| OnceLock::new()).collect(), guard }
    }

    /// Refuses a key whose name is in use with another type.
    #[inline]
    pub(crate) fn check<T: 'static>(&self, key: &Key<T>) -> Result<(), Error> {
        // Nearly every name is where it is looked for first.
        if let Some(name) = key.constant_name()
            && let Some(used) = self.slots[spread(name) % SLOTS].get()
            && used.name == name
            && used.type_id == TypeId::of::<T>()
        {
            return Ok(());
        }
        self.used(key).map(|_| ())
    }

    /// Refuses a key under which nothing is to be stored. Reading and removing what lies there is another matter.
    pub(crate) fn admit<T: 'static>(&self, key: &Key<T>) -> Result<Option<&Used>, Error> {
        let used = self.used(key)?;
        match used {
            Some(Used { is_refused: false, .. }) => Ok(used),
            None if !self.guard.refuses(key.name()) => Ok(used),
            _ => Err(refused_name(key.name()).into()),
        }
    }

    /// Looks at a value that is to be stored, and answers what it looks like if nobody was told yet.
    pub(crate) fn admit_value(
        &self,
        used: Option<&Used>,
        name: &str,
        json: &[u8],
    ) -> Result<Option<Resemblance>, CoreError> {
        let is_told = used.is_some_and(|used| used.is_told.load(Ordering::Relaxed));
        if is_told && !self.guard.refuses_values {
            return Ok(None);
        }
        let found = resemblance(json);
        if let (Some(found), true) = (found, self.guard.refuses_values) {
            return Err(refused_value(name, found));
        }
        if let (Some(_), Some(used)) = (found, used) {
            used.is_told.store(true, Ordering::Relaxed);
        }
        Ok(found)
    }

    fn used<T: 'static>(&self, key: &Key<T>) -> Result<Option<&Used>, Error> {
        let Some(name) = key.constant_name() else { return Ok(None) };
        let type_id = TypeId::of::<T>();
        let first = spread(name);
        for offset in 0..SLOTS {
            let slot = &self.slots[first.wrapping_add(offset) % SLOTS];
            let used = slot.get_or_init(|| Used {
                name,
                type_id,
                type_name: type_name::<T>(),
                is_refused: self.guard.refuses(name),
                is_told: AtomicBool::new(false),
            });
            if std::ptr::eq(used.name, name) || used.name == name {
                return if used.type_id == type_id {
                    Ok(Some(used))
                } else {
                    Err(Error::key_clash(name, used.type_name, type_name::<T>()))
                };
            }
        }
        Ok(None)
    }
}

#[cold]
fn refused_name(name: &str) -> CoreError {
    CoreError::refused(format!(
        "an entry named `{name}` doesn't belong in a session, which is copied into stores and backups: keep what it \
         holds where it is checked, and in the session no more than an id; or allow the name with \
         `Guard::insecure_allow`, if it means something harmless"
    ))
}

#[cold]
fn refused_value(name: &str, found: Resemblance) -> CoreError {
    let what = match found {
        Resemblance::CardNumber => "a payment card's number",
        Resemblance::PasswordHash => "a password's hash",
    };
    CoreError::refused(format!("the value for `{name}` looks like {what}, which doesn't belong in a session"))
}

/// Where to look for a name first. Names are few and short: their ends tell most of them apart.
fn spread(name: &str) -> usize {
    match name.as_bytes() {
        [first, .., last] => usize::from(*first) ^ usize::from(*last) << 2 ^ name.len() << 4,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_one_type() {
        let keys = KeyTypes::new(Guard::default());
        keys.check(&Key::<u32>::new("visits")).unwrap();
        keys.check(&Key::<u32>::new("visits")).unwrap();
        keys.check(&Key::<String>::new("name")).unwrap();
        let error = keys.check(&Key::<String>::new("visits")).unwrap_err();
        assert!(error.is_key_clash(), "{error}");
        keys.check(&Key::<String>::named("visits").unwrap()).unwrap();
    }

    #[test]
    fn a_name_that_tells_is_refused_unless_it_is_allowed() {
        let keys = KeyTypes::new(Guard::default().insecure_allow("ssn"));
        for key in [Key::<u32>::new("card_number"), Key::named("Password").unwrap()] {
            assert!(keys.admit(&key).is_err_and(|error| error.is_refused()));
            keys.check(&key).unwrap();
        }
        for key in [Key::<u32>::new("ssn"), Key::new("visits"), Key::named("passwords").unwrap()] {
            assert!(keys.admit(&key).is_ok());
        }
    }
}
