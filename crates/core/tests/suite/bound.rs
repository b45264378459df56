//! Authority that is bound with a key ring: what somebody who writes the store can't do.

use std::{sync::Arc, time::Duration};

use cloakroom_core::{
    Authenticity, AuthorityKeys, Lifetime, Policy, Record, Secret, SessionId, Subject, Timestamp, Token,
    exchange::{Action, Circumstances, CookieChange, Intent, Plan, Seat, Standing, plan},
    keyring::{KeyId, KeyRing, Material, Schedule},
    record::{Authority, Presented},
};

const HOUR: Duration = Duration::from_secs(3_600);
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

fn ring() -> KeyRing {
    KeyRing::new(KeyId::from_bytes(random()), Material::new(random()).unwrap(), START).unwrap()
}

/// Another primary; the one before retires.
fn rotate(ring: &mut KeyRing, now: Timestamp) {
    let schedule = Schedule::for_lifetime(24 * HOUR).unwrap();
    let id = KeyId::from_bytes(random());
    ring.publish(id, Material::new(random()).unwrap(), now).unwrap();
    ring.promote(id, now + HOUR, &schedule).unwrap();
}

/// What a request leaves behind, and the token it was sent.
fn act(
    keys: Option<&AuthorityKeys>,
    session: Option<(&Record, &Token, Seat)>,
    now: Timestamp,
    want: impl FnOnce(&mut Intent),
) -> (Record, Option<Token>) {
    let policy = Policy { lifetime: Lifetime::NIST_AAL1, ..Policy::default() };
    let mut intent = Intent::new(policy.record_bytes_max);
    want(&mut intent);
    let standing = match session {
        Some((record, _, seat)) => Standing::Held { record: Arc::new(record.clone()), seat },
        None => Standing::Absent,
    };
    let mut at = Circumstances {
        policy: &policy,
        presented: session.map(|(_, token, _)| token.secret()),
        keys,
        arrived: now,
        now,
        client: None,
        is_fresh: false,
        entropy: &mut |bytes| {
            getrandom::fill(bytes).unwrap();
            Ok(())
        },
    };
    let Plan { action: Action::Create(record) | Action::Replace { record, .. }, cookie } =
        plan(&standing, &intent, &mut at).unwrap()
    else {
        panic!("nothing is stored");
    };
    let token = match cookie {
        Some(CookieChange::Set(token, _)) => Some(token),
        _ => None,
    };
    (Arc::unwrap_or_clone(record), token)
}

fn login(name: &str) -> impl FnOnce(&mut Intent) {
    let subject = Subject::new(name).unwrap();
    |intent| intent.login = Some(subject)
}

fn logged_in(keys: &AuthorityKeys, name: &str) -> (Record, Token) {
    let (record, token) = act(Some(keys), None, START, login(name));
    (record, token.unwrap())
}

fn presented(keys: &AuthorityKeys, record: &Record, token: &Token, now: Timestamp) -> Presented {
    record.authority.examine_under(Some(keys), &record.id, token.secret(), Duration::from_secs(60), now)
}

/// Known answers, computed with another implementation: what one version has bound must hold under the next. The
/// subkeys are HKDF-Expand of the key; the verifier is HMAC-SHA-256 over id and secret, cut to 128 bits.
#[test]
fn a_keyed_record_of_format_2_stays_readable() {
    let material = std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ (i * i) as u8);
    let id = KeyId::from_bytes([0x9f, 0x3a, 1, 0xc2]);
    let keys = AuthorityKeys::new(&KeyRing::new(id, Material::new(material).unwrap(), START).unwrap());
    let authority = Authority::decode(&hex(AUTHORITY)).unwrap();
    assert_eq!(authority.encode().unwrap(), hex(AUTHORITY));
    let (id, secret) = (SessionId::from_bytes([1; 16]), Secret::from_bytes([2; 16]));
    let found = authority.examine_under(Some(&keys), &id, &secret, HOUR, START);
    assert_eq!(found, Presented::Current);
    let mut record = logged_in(&keys, "ada").0;
    (record.id, record.authority) = (id, authority);
    record.times.started = START;
    record.times.end = START + 24 * HOUR;
    assert_eq!(keys.examine(&record), Authenticity::Sound);
    let whole = hex(AUTHORITY);
    assert!(
        (0..whole.len()).all(|end| Authority::decode(&whole[..end]).is_err()),
        "cut short, it is unreadable"
    );
}

const AUTHORITY: &str = "02002f56d594777002cd4c45764d98ab979f0100000000009f3a01c2bb2c506d7fe6e46b65da652df495220b9f3a01c200000000000000";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

#[test]
fn whoever_has_no_key_can_change_nothing_that_matters() {
    let keys = AuthorityKeys::new(&ring());
    let (ann, _) = logged_in(&keys, "ann");
    let (mallory, _) = logged_in(&keys, "mallory");
    assert_eq!(keys.examine(&ann), Authenticity::Sound);
    type Change = fn(&mut Record, &Record);
    let changes: [(&str, Change); 6] = [
        ("another subject", |record, ann| record.subject = ann.subject.clone()),
        ("no subject", |record, _| record.subject = None),
        ("another's verifiers", |record, ann| record.authority = ann.authority.clone()),
        ("another id", |record, ann| record.id = ann.id),
        ("a later authentication", |record, _| record.times.started = record.times.started + HOUR),
        ("a later end", |record, _| record.times.end = record.times.end + HOUR),
    ];
    for (what, change) in changes {
        let mut record = mallory.clone();
        change(&mut record, &ann);
        assert_eq!(keys.examine(&record), Authenticity::Forged, "{what}");
    }
    let mut planted = mallory.clone();
    planted.authority = Authority::new(Secret::from_bytes([7; 16]).verifier(&planted.id));
    assert_eq!(keys.examine(&planted), Authenticity::Unkeyed);
    let elsewhere = AuthorityKeys::new(&ring());
    assert!(matches!(elsewhere.examine(&mallory), Authenticity::UnknownKey(_)));
    // Not covered, as the documentation says.
    let mut other = mallory.clone();
    other.times.active = other.times.active + HOUR;
    other.data = cloakroom_core::Data::from_json(r#"{"cart":[]}"#).unwrap();
    assert_eq!(keys.examine(&other), Authenticity::Sound);
}

#[test]
fn no_bit_of_stored_authority_can_be_flipped() {
    let keys = AuthorityKeys::new(&ring());
    let (record, token) = logged_in(&keys, "ann");
    let (record, _) =
        act(Some(&keys), Some((&record, &token, Seat::Current)), START + HOUR, |intent| intent.rotate = true);
    let bytes = record.authority.encode().unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        if let Ok(authority) = Authority::decode(&altered) {
            let altered = Record { authority, ..record.clone() };
            assert_ne!(keys.examine(&altered), Authenticity::Sound, "bit {bit}");
        }
    }
}

#[test]
fn both_stored_forms_round_trip_under_keys() {
    let mut ring = ring();
    let keys = AuthorityKeys::new(&ring);
    let (record, token) = logged_in(&keys, "ann");
    rotate(&mut ring, START);
    let keys = AuthorityKeys::new(&ring);
    let session = Some((&record, &token, Seat::Current));
    let (record, successor) = act(Some(&keys), session, START + HOUR, |intent| intent.rotate = true);
    for stored in [record.clone(), Record::decode(&record.encode().unwrap()).unwrap()] {
        let authority = Authority::decode(&stored.authority.encode().unwrap()).unwrap();
        let stored = Record { authority, ..stored };
        assert_eq!(keys.examine(&stored), Authenticity::Sound);
        assert_eq!(presented(&keys, &stored, &token, START + HOUR), Presented::Current);
        assert_eq!(
            presented(&keys, &stored, successor.as_ref().unwrap(), START + HOUR),
            Presented::Successor
        );
        assert_eq!(stored.encode().unwrap(), record.encode().unwrap());
    }
}

/// A record follows the ring with its next write, whoever writes; then the key it was made with can go.
#[test]
fn a_session_outlives_its_first_key() {
    let mut ring = ring();
    let first = ring.primary().id();
    let keys = AuthorityKeys::new(&ring);
    let (record, token) = logged_in(&keys, "ann");
    rotate(&mut ring, START);
    let keys = AuthorityKeys::new(&ring);
    assert_eq!(keys.examine(&record), Authenticity::Sound, "the old key retires");
    let session = Some((&record, &token, Seat::Current));
    let (record, _) = act(Some(&keys), session, START + 2 * HOUR, |intent| {
        intent.lifetime = Some(Lifetime::NIST_AAL2);
    });
    ring.remove(first, START + 26 * HOUR, &Schedule::for_lifetime(24 * HOUR).unwrap()).unwrap();
    let keys = AuthorityKeys::new(&ring);
    assert_eq!(keys.examine(&record), Authenticity::Sound);
    assert_eq!(presented(&keys, &record, &token, START + 26 * HOUR), Presented::Current);
}

/// A secret that was replaced before its key was removed is remembered for as long as the key.
#[test]
fn what_was_replaced_under_a_removed_key_is_unknown() {
    let mut ring = ring();
    let first = ring.primary().id();
    let keys = AuthorityKeys::new(&ring);
    let (record, old) = logged_in(&keys, "ann");
    rotate(&mut ring, START);
    let keys = AuthorityKeys::new(&ring);
    let (record, new) =
        act(Some(&keys), Some((&record, &old, Seat::Current)), START + 2 * HOUR, login("ann"));
    assert_eq!(presented(&keys, &record, &old, START + 3 * HOUR), Presented::Superseded);
    ring.remove(first, START + 26 * HOUR, &Schedule::for_lifetime(24 * HOUR).unwrap()).unwrap();
    let keys = AuthorityKeys::new(&ring);
    assert_eq!(keys.examine(&record), Authenticity::Sound);
    assert_eq!(presented(&keys, &record, &old, START + 26 * HOUR), Presented::Unknown);
    assert_eq!(presented(&keys, &record, &new.unwrap(), START + 26 * HOUR), Presented::Current);
}

/// A session that was stored without keys becomes a keyed one with its next write, and its token stays good.
#[test]
fn an_unkeyed_session_is_keyed_by_its_next_write() {
    let (record, token) = act(None, None, START, login("ann"));
    let token = token.unwrap();
    let keys = AuthorityKeys::new(&ring());
    assert_eq!(keys.examine(&record), Authenticity::Unkeyed);
    assert_eq!(presented(&keys, &record, &token, START), Presented::Current);
    let session = Some((&record, &token, Seat::Current));
    let (record, successor) = act(Some(&keys), session, START + HOUR, |intent| intent.rotate = true);
    assert_eq!(keys.examine(&record), Authenticity::Sound);
    assert_eq!(presented(&keys, &record, &token, START + HOUR), Presented::Current);
    assert_eq!(presented(&keys, &record, &successor.unwrap(), START + HOUR), Presented::Successor);
    let without = record.authority.examine(&record.id, token.secret(), HOUR, START + HOUR);
    assert_eq!(without, Presented::Unknown, "nobody verifies it without the key");
}

/// The bound on memory for sessions without a key ring leaves no room for one.
#[test]
fn authority_without_keys_is_no_larger_than_it_was() {
    assert_eq!(size_of::<Authority>(), 32);
    let (record, _) = act(None, None, START, login("ann"));
    assert_eq!(record.authority.encode().unwrap().len(), 1 + 1 + 16 + 1);
}
