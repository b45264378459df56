//! Salts, drawn for many seals at once: asking the system takes as long as sealing does.

use std::{cell::RefCell, time::SystemTime};

use cloakroom::{
    Error,
    clock::{Entropy as _, OsEntropy},
};

use crate::Salt;

const SALT_BYTES: usize = 24;
const SALTS: usize = 32;

struct Drawn {
    bytes: [u8; SALTS * SALT_BYTES],
    /// How many of them are left.
    left: usize,
}

thread_local! {
    static DRAWN: RefCell<Drawn> = const { RefCell::new(Drawn { bytes: [0; SALTS * SALT_BYTES], left: 0 }) };
}

/// A salt that was given to nobody else: random bits, xored with the time in nanoseconds. Random bits are as random
/// then; and where the process was copied with what it had drawn, by a fork or a virtual machine's snapshot, the copies
/// seal at other times, and so with other salts.
pub(crate) fn salt() -> Result<Salt, Error> {
    let mut salt = DRAWN.with_borrow_mut(|drawn| -> Result<Salt, Error> {
        if drawn.left == 0 {
            OsEntropy.fill(&mut drawn.bytes)?;
            drawn.left = SALTS;
        }
        drawn.left -= 1;
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&drawn.bytes[drawn.left * SALT_BYTES..][..SALT_BYTES]);
        Ok(salt)
    })?;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = since_1970.as_nanos().to_le_bytes();
    salt.iter_mut().rev().zip(time).for_each(|(salt, time)| *salt ^= time);
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_salt_is_given_twice_whatever_thread_asks() {
        let salts = |_| std::thread::spawn(|| (0..5 * SALTS).map(|_| salt().unwrap()).collect::<Vec<_>>());
        let threads: Vec<_> = (0..4).map(salts).collect();
        let salts: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        for half in [0..12, 12..24] {
            let halves: HashSet<_> = salts.iter().map(|salt| &salt[half.clone()]).collect();
            assert_eq!(halves.len(), 4 * 5 * SALTS);
        }
    }

    #[test]
    fn a_copy_of_what_was_drawn_gives_other_salts() {
        let first = salt().unwrap();
        DRAWN.with_borrow_mut(|drawn| drawn.left += 1);
        let again = salt().unwrap();
        assert_eq!(first[..12], again[..12]);
        assert_ne!(first[12..], again[12..]);
    }
}
