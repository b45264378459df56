//! Which server keeps a key: fixed by the servers' names, whatever their order and whether they are up.

use sha2::{Digest as _, Sha256};

use crate::url::Address;

/// Rendezvous hashing: of all servers, the one keeps a key whose own hash goes best with it. It needs no table, and a
/// server that joins or leaves for good moves no more keys than it has to.
pub(crate) struct Ring(Box<[u64]>);

impl Ring {
    pub(crate) fn of(servers: &[Address]) -> Self {
        Self(servers.iter().map(|server| point(server.to_string().as_bytes())).collect())
    }

    /// The place of the server in the list that the ring was made of.
    pub(crate) fn place(&self, key: u64) -> usize {
        let best = self.0.iter().enumerate().max_by_key(|(_, server)| mixed(**server ^ key));
        best.map_or(0, |(place, _)| place)
    }
}

/// Where on the ring something lies.
pub(crate) fn point(bytes: &[u8]) -> u64 {
    first(&Sha256::digest(bytes))
}

pub(crate) fn first(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// SplitMix64's mixing function.
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use cloakroom::{SessionId, Subject};

    use super::*;
    use crate::{key::Key, url::Settings};

    fn names(list: &str) -> Vec<Address> {
        Settings::parse(&format!("memcached://{list}")).unwrap().servers
    }

    fn keeper(list: &str, key: u64) -> Address {
        let servers = names(list);
        servers[Ring::of(&servers).place(key)].clone()
    }

    /// All nodes, and all versions of this crate, must agree: these places are for ever.
    #[test]
    fn places_never_change() {
        let places: Vec<_> = (0..12).map(|n| Ring::of(&names("a,b,c")).place(point(&[n]))).collect();
        assert_eq!(places, [2, 1, 0, 1, 0, 0, 1, 0, 2, 2, 0, 2]);
        let session = Key::Session(SessionId::from_bytes([7; 16]));
        let subject = Key::of(&Subject::new("user-1815").unwrap());
        let points = [session, subject].map(|key| {
            let mut name = Vec::new();
            key.write("p:", &mut name);
            (String::from_utf8(name).unwrap(), key.point())
        });
        let named = |name: &str, point| (name.to_owned(), point);
        assert_eq!(
            points,
            [
                named("p:s:BwcHBwcHBwcHBwcHBwcHBw", 506_381_209_866_536_711),
                named("p:u:8CL6fx6TQrV-2mLg-_XC15uTRu6xiUp61f_kl5u94pE", 13_061_163_628_533_261_040),
            ]
        );
    }

    #[test]
    fn the_order_of_the_list_means_nothing_and_shares_are_even() {
        let mut shares = [0; 3];
        for n in 0..3_000_u32 {
            let key = point(&n.to_le_bytes());
            assert_eq!(keeper("a,b,c", key), keeper("c,a,b", key));
            shares[Ring::of(&names("a,b,c")).place(key)] += 1;
        }
        assert!(shares.iter().all(|share| (850..1_150).contains(share)), "{shares:?}");
    }

    #[test]
    fn a_server_that_leaves_moves_only_its_own_keys() {
        for n in 0..1_000_u32 {
            let key = point(&n.to_le_bytes());
            let before = keeper("a,b,c", key);
            if before.host != "c" {
                assert_eq!(keeper("a,b", key), before);
            }
        }
    }
}
