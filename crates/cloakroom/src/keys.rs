//! Which type each key's name was used with.

use std::{
    any::{TypeId, type_name},
    sync::OnceLock,
};

use cloakroom_core::Key;

use crate::Error;

/// The constant keys an application was seen to use, so that two types under one name are found at the first use and
/// not when a user's session holds the wrong one.
///
/// Written a few times, then read by every request on every core: the slots are only ever filled, so reading takes no
/// lock. An application with more names than slots isn't checked for the rest.
pub(crate) struct KeyTypes {
    slots: Box<[OnceLock<Used>]>,
}

struct Used {
    name: &'static str,
    type_id: TypeId,
    type_name: &'static str,
}

const SLOTS: usize = 256;

impl KeyTypes {
    /// Refuses a key whose name is in use with another type.
    pub(crate) fn check<T: 'static>(&self, key: &Key<T>) -> Result<(), Error> {
        let Some(name) = key.constant_name() else { return Ok(()) };
        let type_id = TypeId::of::<T>();
        let first = spread(name);
        for offset in 0..SLOTS {
            let slot = &self.slots[first.wrapping_add(offset) % SLOTS];
            let used = slot.get_or_init(|| Used { name, type_id, type_name: type_name::<T>() });
            if std::ptr::eq(used.name, name) || used.name == name {
                return if used.type_id == type_id {
                    Ok(())
                } else {
                    Err(Error::key_clash(name, used.type_name, type_name::<T>()))
                };
            }
        }
        Ok(())
    }
}

/// Where to look for a name first. Names are few and short: their ends tell most of them apart.
fn spread(name: &str) -> usize {
    match name.as_bytes() {
        [first, .., last] => usize::from(*first) ^ usize::from(*last) << 2 ^ name.len() << 4,
        _ => 0,
    }
}

impl Default for KeyTypes {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| OnceLock::new()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_one_type() {
        let keys = KeyTypes::default();
        keys.check(&Key::<u32>::new("visits")).unwrap();
        keys.check(&Key::<u32>::new("visits")).unwrap();
        keys.check(&Key::<String>::new("name")).unwrap();
        let error = keys.check(&Key::<String>::new("visits")).unwrap_err();
        assert!(error.is_key_clash(), "{error}");
        keys.check(&Key::<String>::named("visits").unwrap()).unwrap();
    }
}
