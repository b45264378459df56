//! What is stored comes back, byte for byte. A store never interprets, reorders or normalizes.

use std::{sync::Arc, time::Duration};

use cloakroom::store::{Store, Times, Written};
use cloakroom_core::{
    Data, Policy, Record, Secret, SessionId, Version,
    delta::Delta,
    exchange::{Action, Circumstances, Intent, Seat, Standing, plan},
};

use crate::{
    Harness,
    fixture::{self, T0, data, minutes, seconds, session, session_of, subject},
    tested::{Seen, Tested},
};

/// Each field comes back, whether it holds something or not, and no two are mistaken for each other.
pub async fn every_field_round_trips<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let times = Times {
        created: T0,
        started: T0 + Duration::from_millis(1_001),
        active: T0 + Duration::from_millis(2_003),
        end: T0 + Duration::from_millis(86_400_007),
        idle_s: 1_799,
    };
    let whole = Record { times, ..session_of("user-1815", 1, T0) };
    let bare = Record { client: None, data: data("{}"), ..session(2, T0) };
    let empty_client = Record { client: Some("".into()), ..session(3, T0) };
    for record in [&whole, &bare, &empty_client] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    for record in [&whole, &bare, &empty_client] {
        assert_eq!(store.load(record.id, T0).await, Seen::found(record));
    }
}

/// Values of every kind come back as they were written: no escape is undone, no number rounded, no member moved.
pub async fn values_round_trip_byte_for_byte<H: Harness>(harness: H) {
    let values = [
        r#""""#,
        r#""grüße 你好 🧥 e\u0301 שלום ﷽""#,
        r#""\u0000\u0001\u001f\u007f \\ \" \n \r\t""#,
        r#""'; DROP TABLE sessions; -- % _ * ? $1 {} \\x00""#,
        "\"\u{7f}\u{80}\u{a0}\u{2028}\u{feff}\u{fffd}\u{ffff}\u{10ffff}\"",
        "18446744073709551615",
        "-9223372036854775808",
        "340282366920938463463374607431768211455",
        "1.0",
        "-0.0",
        "5e-324",
        "1.7976931348623157e308",
        "0.30000000000000004",
        r#"{"z":1,"a":2,"A":3,"":null}"#,
        "[[],{},null,true,false,[[[[[[[[1]]]]]]]]]",
    ];
    let store = Tested::open(&harness).await;
    for (n, value) in (1..).zip(values) {
        let record = Record { data: data(&format!(r#"{{"value":{value}}}"#)), ..session(n, T0) };
        assert_eq!(record.data.get("value"), Some(value.as_bytes()));
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        assert_eq!(store.load(record.id, T0).await, Seen::found(&record), "value {value}");
    }
}

/// Names that look alike to a database stay different, and any text is a name.
pub async fn names_round_trip_and_never_mix<H: Harness>(harness: H) {
    let (longest_of_a_key, longest) = ("k".repeat(64), "n".repeat(255));
    let names = [
        "a",
        "A",
        "á",
        "a\u{301}",
        "aa",
        "a ",
        " a",
        "a.b",
        "a\0",
        "a\0b",
        "\n",
        "'",
        "\"",
        "\\",
        "$",
        "$.a",
        "%",
        "_",
        "cloakroom.csrf",
        "id",
        "subject",
        "data",
        "__proto__",
        "你好",
        "🧥",
        &longest_of_a_key,
        &longest,
    ];
    let entries: serde_json::Map<_, _> =
        names.iter().enumerate().map(|(n, name)| ((*name).to_owned(), n.into())).collect();
    let record = Record { data: data(&serde_json::Value::from(entries).to_string()), ..session(1, T0) };
    let store = Tested::open(&harness).await;
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    assert_eq!(record.data.iter().count(), names.len());
    assert_eq!(store.load(record.id, T0).await, Seen::found(&record));
}

/// The largest record of the default policy (16 KiB of data), and one four times as large for those who raise it: by
/// `create` and by `replace`, growing and shrinking.
pub async fn the_largest_record_round_trips<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let mut stored = session(1, T0);
    assert_eq!(store.create(&stored, T0).await, Written::Stored);
    for (n, bytes) in (2..).zip([16 * 1024, 64 * 1024]) {
        let large = Record { data: filled(bytes), ..session(n, T0) };
        assert_eq!(large.data.as_bytes().len(), bytes);
        assert_eq!(store.create(&large, T0).await, Written::Stored);
        assert_eq!(store.load(large.id, T0).await, Seen::found(&large));
        for next in [&large.data, &data("{}"), &large.data] {
            let next = Record { version: fixture::version(), data: next.clone(), ..stored.clone() };
            assert_eq!(store.replace(&next, stored.version, T0).await, Written::Stored);
            assert_eq!(store.load(next.id, T0).await, Seen::found(&next));
            stored = next;
        }
    }
}

/// A record of 8 MiB, far over what the library lets through: a store keeps it whole, or fails and keeps what it had.
pub async fn a_record_too_large_is_stored_whole_or_refused<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let small = session(1, T0);
    assert_eq!(store.create(&small, T0).await, Written::Stored);
    let huge = Record { version: fixture::version(), data: filled(8 * 1024 * 1024), ..small.clone() };
    let stored = match store.bare().replace(huge.clone().into(), small.version, T0).await {
        Ok(Written::Stored) => huge,
        Ok(other) => panic!("a replace of a living session was answered {other:?}"),
        Err(_) => small,
    };
    assert!(store.load(stored.id, T0).await == Seen::found(&stored), "the record isn't whole");
    let next = fixture::changed(&stored);
    assert_eq!(store.replace(&next, stored.version, T0).await, Written::Stored);
    assert_eq!(store.load(next.id, T0).await, Seen::found(&next));
}

/// An id is sixteen bytes, whatever they are: none is cut at a zero, folded in case or trimmed.
pub async fn ids_that_look_alike_never_mix<H: Harness>(harness: H) {
    let mut ids = vec![
        [0x00; 16],
        [0xff; 16],
        [0x20; 16],
        *b"aaaaaaaaaaaaaaaa",
        *b"aaaaaaaaaaaaaaaA",
        *b"%%%%%%%%%%%%%%%%",
    ];
    for at in [0, 7, 8, 15] {
        for byte in [0x01, 0x27, 0x80, 0xfe] {
            let mut id = [0; 16];
            id[at] = byte;
            ids.push(id);
        }
    }
    let store = Tested::open(&harness).await;
    let records: Vec<_> =
        (1..).zip(&ids).map(|(n, id)| Record { id: SessionId::from_bytes(*id), ..session(n, T0) }).collect();
    for record in &records {
        assert_eq!(store.create(record, T0).await, Written::Stored, "{:?}", record.id.as_bytes());
    }
    for record in &records {
        assert_eq!(store.load(record.id, T0).await, Seen::found(record));
    }
}

/// A version is any 64 bits, also those that a signed integer or a double can't hold.
pub async fn versions_of_all_64_bits_round_trip_and_compare<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let versions =
        [0, 1, 1 << 53, (1 << 53) + 1, i64::MAX as u64, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX];
    for (n, write_id) in (1..).zip(versions) {
        let record = Record { version: Version::from_write_id(write_id), ..session(n, T0) };
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        assert_eq!(store.load(record.id, T0).await, Seen::found(&record));
        let next = fixture::changed(&record);
        for other in [write_id ^ 1, write_id ^ (1 << 63)] {
            let other = Version::from_write_id(other);
            assert_eq!(store.replace(&next, other, T0).await, Written::Conflict, "{write_id:x}");
        }
        assert_eq!(store.replace(&next, record.version, T0).await, Written::Stored, "{write_id:x}");
    }
}

/// Timeouts of up to 136 years, kept to the millisecond.
pub async fn times_far_away_round_trip<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let lasting = seconds(u32::MAX.into());
    let times = Times { created: T0, started: T0, active: T0, end: T0 + lasting, idle_s: u32::MAX };
    let record = Record { times, ..session(1, T0) };
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let last = fixture::before(record.expires(), fixture::MS);
    assert_eq!(store.load(record.id, last).await, Seen::found(&record));
    assert_eq!(store.load(record.id, record.expires()).await, Seen::Absent);
}

/// A subject of every length up to 255 bytes, and of any text without control characters.
pub async fn subjects_round_trip<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let names = [
        "u",
        " u ",
        "user@example.com",
        "o'Brien \"\\%_*?",
        "auth0|你好🧥",
        &"s".repeat(255),
        &"é".repeat(127),
    ];
    for (n, name) in (1..).zip(names) {
        let record = session_of(name, n, T0);
        assert_eq!(store.create(&record, T0).await, Written::Stored);
        assert_eq!(store.load(record.id, T0).await, Seen::found(&record), "{name}");
    }
}

/// Authority grows as secrets are replaced. It comes back whole, after a hundred logins and with a rotation under way.
pub async fn an_authority_with_a_history_round_trips<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let mut record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let bytes_at_first = authority_bytes(&record);
    for _ in 0..100 {
        let next = lived_through(&record, |intent| intent.login = Some(subject("user")));
        assert_eq!(store.replace(&next, record.version, T0).await, Written::Stored);
        record = next;
    }
    let next = lived_through(&record, |intent| intent.rotate = true);
    assert_eq!(store.replace(&next, record.version, T0).await, Written::Stored);
    assert!(authority_bytes(&next) > bytes_at_first + 800, "the history is too small to prove anything");
    assert_eq!(store.load(next.id, T0).await, Seen::found(&next));
}

/// Data of exactly so many bytes, in digits that don't compress to nothing.
fn filled(bytes: usize) -> Data {
    let digits: String = (0..bytes as u64 / 16 + 1).map(|n| format!("{:016x}", fixture::mix(n))).collect();
    let of = |length: usize| data(&format!(r#"{{"largest":"{}"}}"#, &digits[..length]));
    let overhead = of(bytes - 32).as_bytes().len() - (bytes - 32);
    of(bytes - overhead)
}

fn authority_bytes(record: &Record) -> usize {
    record.authority.encode().map_or(0, |bytes| bytes.len())
}

/// The record after a request, as the library's own lifecycle makes it.
fn lived_through(record: &Record, want: impl FnOnce(&mut Intent)) -> Record {
    let policy = Policy::default();
    let mut intent =
        Intent { delta: Delta::new(policy.record_bytes_max), ..Intent::new(policy.record_bytes_max) };
    want(&mut intent);
    let presented = Secret::from_bytes([7; 16]);
    let mut at = Circumstances {
        policy: &policy,
        presented: Some(&presented),
        keys: None,
        arrived: T0,
        now: T0 + minutes(2),
        client: None,
        is_fresh: false,
        entropy: &mut |bytes| {
            bytes.chunks_mut(8).for_each(|part| {
                part.copy_from_slice(&fixture::version().write_id().to_be_bytes()[..part.len()]);
            });
            Ok(())
        },
    };
    let standing = Standing::Held { record: record.clone().into(), seat: Seat::Current };
    match plan(&standing, &intent, &mut at).map(|plan| plan.action) {
        Ok(Action::Replace { record, .. }) => Arc::unwrap_or_clone(record),
        other => panic!("the lifecycle replaces the record here: {other:?}"),
    }
}
