//! Salts, drawn for many seals at once: asking the system for one takes longer than sealing does.

use std::{cell::RefCell, time::SystemTime};

use cloakroom::{
    Error,
    clock::{Entropy as _, OsEntropy},
};

use crate::{Salt, derive::Half};

/// How many seals of a thread share the half of a salt that chooses their key. 2^53 messages of so many a key repeat a
/// pair of key and nonce with a chance of less than one in 2^32.
const SEALS_PER_HALF: u32 = 4_096;

const NONCES: usize = 64;

struct Drawn {
    half: Half,
    seals_left: u32,
    nonces: [[u8; 12]; NONCES],
    nonces_left: usize,
}

thread_local! {
    static DRAWN: RefCell<Drawn> = const {
        RefCell::new(Drawn { half: [0; 12], seals_left: 0, nonces: [[0; 12]; NONCES], nonces_left: 0 })
    };
}

/// A salt that was given to nobody else. Its nonce is random bits, xored with the time in nanoseconds. Random bits are
/// as random then; and where the process was copied with what it had drawn, by a fork or a virtual machine's snapshot,
/// the copies seal at other times, and so with other nonces.
pub(crate) fn salt() -> Result<Salt, Error> {
    let (half, mut nonce) = DRAWN.with_borrow_mut(Drawn::next)?;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    nonce.iter_mut().zip(since_1970.as_nanos().to_le_bytes()).for_each(|(nonce, time)| *nonce ^= time);
    let mut salt = [0; 24];
    salt[..12].copy_from_slice(&half);
    salt[12..].copy_from_slice(&nonce);
    Ok(salt)
}

impl Drawn {
    fn next(&mut self) -> Result<(Half, [u8; 12]), Error> {
        if self.seals_left == 0 {
            OsEntropy.fill(&mut self.half)?;
            self.seals_left = SEALS_PER_HALF;
        }
        if self.nonces_left == 0 {
            OsEntropy.fill(self.nonces.as_flattened_mut())?;
            self.nonces_left = NONCES;
        }
        self.seals_left -= 1;
        self.nonces_left -= 1;
        Ok((self.half, self.nonces[self.nonces_left]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SEALS: usize = 2 * SEALS_PER_HALF as usize;

    #[test]
    fn no_nonce_is_given_twice_and_halves_are_shared_by_few() {
        let draw = |_| std::thread::spawn(|| (0..SEALS).map(|_| salt().unwrap()).collect::<Vec<_>>());
        let threads: Vec<_> = (0..4).map(draw).collect();
        let salts: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let distinct = |half: std::ops::Range<usize>| {
            salts.iter().map(|salt| &salt[half.clone()]).collect::<HashSet<_>>().len()
        };
        assert_eq!((distinct(0..12), distinct(12..24)), (4 * 2, 4 * SEALS));
    }

    #[test]
    fn a_copy_of_what_was_drawn_gives_other_nonces() {
        let first = salt().unwrap();
        DRAWN.with_borrow_mut(|drawn| drawn.nonces_left += 1);
        assert_ne!(first[12..], salt().unwrap()[12..]);
    }
}
