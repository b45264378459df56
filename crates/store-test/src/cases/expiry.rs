//! Expiry, on the time that each call is told. Nothing here is swept: what has expired is gone all the same.

use cloakroom::store::{Times, Written};
use cloakroom_core::{Lifetime, Record, Timestamp};

use super::touch::active;
use crate::{
    Harness,
    fixture::{ABSOLUTE, IDLE, MS, T0, before, changed, minutes, seconds, session, tombstone, version},
    tested::{Seen, Tested},
};

/// Idle for the timeout: alive a second and a millisecond before, gone at the instant, and after.
pub async fn a7_3_1_an_idle_session_is_gone_at_its_timeout<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    assert_eq!(record.expires(), T0 + IDLE);
    is_alive_until(&store, &record, T0 + IDLE).await;
}

/// Activity moves the idle timeout, each time to the timeout after it.
pub async fn a7_3_1_activity_moves_the_idle_timeout<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let mut last = T0;
    for _ in 0..20 {
        last = before(last + IDLE, MS);
        assert_eq!(store.touch(record.id, last, last).await, Written::Stored);
    }
    is_alive_until(&store, &active(&record, last), last + IDLE).await;
}

/// Each operation draws the line at the same millisecond: the one before, the session is there; then it is Gone.
pub async fn a7_3_1_every_operation_draws_the_line_at_the_same_instant<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    for (n, (by, expected)) in
        (1..).zip([(seconds(1), Written::Stored), (MS, Written::Stored), (seconds(0), Written::Gone)])
    {
        let (replaced, touched, ended) =
            (session(10 * n, T0), session(10 * n + 1, T0), session(10 * n + 2, T0));
        for record in [&replaced, &touched, &ended] {
            assert_eq!(store.create(record, T0).await, Written::Stored);
        }
        let now = before(T0 + IDLE, by);
        assert_eq!(store.replace(&changed(&replaced), replaced.version, now).await, expected, "{by:?}");
        assert_eq!(store.touch(touched.id, now, now).await, expected, "{by:?}");
        assert_eq!(store.end(tombstone(ended.id, now), Some(ended.version), now).await, expected, "{by:?}");
    }
    let late = session(99, T0);
    assert_eq!(store.create(&late, T0).await, Written::Stored);
    let now = T0 + IDLE + seconds(1);
    assert_eq!(store.replace(&changed(&late), late.version, now).await, Written::Gone);
    assert_eq!(store.touch(late.id, now, now).await, Written::Gone);
    assert_eq!(store.end(tombstone(late.id, now), None, now).await, Written::Gone);
}

/// Timeouts are each session's own, and a replace can shorten or lengthen them.
pub async fn a7_3_1_timeouts_are_each_sessions_own<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let with_idle = |n, idle| {
        let lifetime = Lifetime::new(idle, 90 * ABSOLUTE).unwrap_or_default();
        Record { times: Times::start(lifetime, T0, T0), ..session(n, T0) }
    };
    let (short, long) = (with_idle(1, minutes(1)), with_idle(2, 14 * ABSOLUTE));
    for record in [&short, &long] {
        assert_eq!(store.create(record, T0).await, Written::Stored);
    }
    let lengthened = Record { version: version(), times: long.times, ..short.clone() };
    let shortened = Record { version: version(), times: short.times, ..long.clone() };
    assert_eq!(store.replace(&lengthened, short.version, T0).await, Written::Stored);
    assert_eq!(store.replace(&shortened, long.version, T0).await, Written::Stored);
    is_alive_until(&store, &shortened, T0 + minutes(1)).await;
    is_alive_until(&store, &lengthened, T0 + 14 * ABSOLUTE).await;
}

/// The absolute end: alive a second and a millisecond before, gone at the instant, and after, however active.
pub async fn a7_3_2_constant_activity_never_passes_the_absolute_end<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let (end, mut now) = (T0 + ABSOLUTE, T0);
    while now < before(end, minutes(10)) {
        now = now + minutes(10);
        assert_eq!(store.touch(record.id, now, now).await, Written::Stored);
    }
    let last = before(end, MS);
    assert_eq!(store.touch(record.id, last, last).await, Written::Stored);
    is_alive_until(&store, &active(&record, last), end).await;
    for later in [end, end + MS, end + seconds(1)] {
        assert_eq!(store.touch(record.id, later, later).await, Written::Gone);
        assert_eq!(store.replace(&changed(&record), record.version, later).await, Written::Gone);
        assert_eq!(store.end(tombstone(record.id, later), None, later).await, Written::Gone);
    }
}

/// Activity noted from beyond the end, by a node whose clock is ahead, doesn't move the end either.
pub async fn a7_3_2_activity_from_the_future_never_moves_the_absolute_end<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let ahead = T0 + 2 * ABSOLUTE;
    assert_eq!(store.touch(record.id, ahead, T0).await, Written::Stored);
    is_alive_until(&store, &active(&record, ahead), T0 + ABSOLUTE).await;
}

/// Authenticating again, which is a replace, begins both timeouts anew.
pub async fn n_reauth_a_replace_begins_both_timeouts_anew<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let record = session(1, T0);
    assert_eq!(store.create(&record, T0).await, Written::Stored);
    let now = T0 + minutes(20);
    let times = record.times.restart(record.times.lifetime(), now, now);
    let again = Record { times, ..changed(&record) };
    assert_eq!(store.replace(&again, record.version, now).await, Written::Stored);
    is_alive_until(&store, &again, now + IDLE).await;
    let last = now + ABSOLUTE;
    let mut active_at = now;
    while active_at < before(last, minutes(20)) {
        active_at = active_at + minutes(20);
        assert_eq!(store.touch(record.id, active_at, active_at).await, Written::Stored);
    }
    is_alive_until(&store, &active(&again, active_at), last.min(active_at + IDLE)).await;
}

/// Many sessions that end at different instants: at each, exactly those that have ended are gone.
pub async fn a7_3_1_of_many_sessions_exactly_the_expired_are_gone<H: Harness>(harness: H) {
    let store = Tested::open(&harness).await;
    let records: Vec<_> = (0..60).map(|n| session(n.into(), T0 + n * 100 * MS)).collect();
    for record in &records {
        assert_eq!(store.create(record, record.times.created).await, Written::Stored);
    }
    for passed in [0, 1, 99, 100, 101, 2_999, 3_000, 5_900, 5_901] {
        let now = T0 + IDLE + passed * MS;
        for record in &records {
            let expected = if now < record.expires() { Seen::found(record) } else { Seen::Absent };
            assert_eq!(store.load(record.id, now).await, expected, "{passed} ms after the first timeout");
        }
    }
}

async fn is_alive_until<S: cloakroom::store::Store>(store: &Tested<S>, record: &Record, end: Timestamp) {
    for alive in [seconds(1), MS] {
        assert_eq!(
            store.load(record.id, before(end, alive)).await,
            Seen::found(record),
            "{alive:?} before its end"
        );
    }
    for gone in [seconds(0), MS, seconds(1), ABSOLUTE] {
        assert_eq!(store.load(record.id, end + gone).await, Seen::Absent, "{gone:?} after its end");
    }
}
