//! Stored sessions under a key ring: what a writer of the store can't do, how keys are taken up, and how they rotate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloakroom::{
    Error, Key, MemoryStore, Record, SessionId, Sessions,
    clock::{Clock, ManualClock, OsEntropy},
    event::{EventKind, Rejection},
    keyring::{KeyRing, LiveRing, RingSource, Schedule, Step, apply, fresh_key},
    store::{Answer, Loaded, Store},
};
use cloakroom_store_test::FaultyStore;
use parking_lot::Mutex;

use crate::browser::{Browser, Recorder, subject};

const NOTE: Key<u32> = Key::new("note");
const HOUR: Duration = Duration::from_secs(3_600);

type SharedStore = FaultyStore<MemoryStore>;

fn shared_store() -> SharedStore {
    FaultyStore::new(MemoryStore::new())
}

fn ring(clock: &ManualClock) -> KeyRing {
    let (id, material) = fresh_key(&OsEntropy).unwrap();
    KeyRing::new(id, material, clock.now()).unwrap()
}

async fn stored(store: &SharedStore, id: SessionId, clock: &ManualClock) -> Record {
    match store.load(id, clock.now()).await.unwrap() {
        Loaded::Found(record) => Record::clone(&record),
        other => panic!("{other:?}"),
    }
}

/// What somebody does who can write the store: changes the record behind the library's back.
async fn alter(store: &SharedStore, id: SessionId, clock: &ManualClock, change: impl FnOnce(&mut Record)) {
    let mut record = stored(store, id, clock).await;
    let version = record.version;
    change(&mut record);
    record.version = cloakroom::Version::from_write_id(version.write_id() ^ 1);
    store.replace(Arc::new(record), version, clock.now()).await.unwrap();
}

#[tokio::test]
async fn a_session_whose_subject_was_changed_in_the_store_is_nobodys() {
    let (store, clock, recorder) = (shared_store(), ManualClock::default(), Recorder::default());
    let builder = Sessions::builder(store.clone()).clock(clock.clone()).subscribe(recorder.clone());
    let sessions = builder.keys(ring(&clock)).build().unwrap();
    let mut browser = Browser::default();
    let id = browser.login(&sessions, "mallory").await;
    browser.visit(&sessions, |session| session.insert(NOTE, &1).unwrap()).await.unwrap();
    assert_eq!(browser.subject(&sessions).await, Some(subject("mallory")));
    recorder.take();

    alter(&store, id, &clock, |record| record.subject = Some(subject("admin"))).await;
    assert_eq!(browser.subject(&sessions).await, None);
    let events = recorder.take();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, EventKind::Rejected(Rejection::Forged));
    assert_eq!(
        (events[0].session, &events[0].subject),
        (Some(id), &None),
        "whose it claims to be isn't repeated"
    );

    // The next change begins another session; the forged record stays as it is, for whoever looks into it.
    browser.visit(&sessions, |session| session.insert(NOTE, &2).unwrap()).await.unwrap();
    assert_ne!(browser.request(&sessions).await.1.id(), Some(id));
}

#[tokio::test]
async fn a_change_that_meets_a_forged_record_is_lost_and_stores_nothing() {
    let (store, clock) = (shared_store(), ManualClock::default());
    let builder = Sessions::builder(store.clone()).clock(clock.clone());
    let sessions = builder.keys(ring(&clock)).build().unwrap();
    let mut browser = Browser::default();
    let id = browser.login(&sessions, "ada").await;
    let (exchange, session) = browser.request(&sessions).await;
    session.insert(NOTE, &1).unwrap();
    alter(&store, id, &clock, |record| record.subject = Some(subject("mallory"))).await;
    let forged = stored(&store, id, &clock).await;
    let error = exchange.commit().await.unwrap_err();
    assert!(error.is_lost(), "{error}");
    assert_eq!(stored(&store, id, &clock).await.version, forged.version);
}

#[tokio::test]
async fn a_session_without_keys_is_refused_unless_accepted_and_then_for_a_time() {
    let (store, clock, recorder) = (shared_store(), ManualClock::default(), Recorder::default());
    let builder = || Sessions::builder(store.clone()).clock(clock.clone()).subscribe(recorder.clone());
    let without = builder().build().unwrap();
    let (mut writer, mut reader) = (Browser::default(), Browser::default());
    let written = writer.login(&without, "ada").await;
    reader.login(&without, "grace").await;
    let ring = ring(&clock);

    let strict = builder().keys(ring.clone()).build().unwrap();
    recorder.take();
    assert_eq!(writer.subject(&strict).await, None);
    assert_eq!(recorder.kinds(), [EventKind::Rejected(Rejection::Unkeyed)]);

    // As long as the longest of them lives.
    let until = clock.now() + 24 * HOUR;
    let taking_up = builder().keys(ring).accept_unkeyed_until(until).build().unwrap();
    assert_eq!(writer.subject(&taking_up).await, Some(subject("ada")));
    writer.visit(&taking_up, |session| session.insert(NOTE, &1).unwrap()).await.unwrap();
    assert!(stored(&store, written, &clock).await.authority.is_keyed(), "its next write binds it");
    assert_eq!(writer.subject(&strict).await, Some(subject("ada")));
    assert_eq!(reader.subject(&taking_up).await, Some(subject("grace")));

    // Bug: a planted session was bound by its first write, for as long as its planter said. Cause: that time was looked
    // at alone. Mend: the session's end is, too.
    let planted = reader.request(&taking_up).await.1.id().unwrap();
    alter(&store, planted, &clock, |record| record.times.end = until + Duration::from_millis(1)).await;
    recorder.take();
    assert_eq!(reader.subject(&taking_up).await, None);
    assert_eq!(recorder.kinds(), [EventKind::Rejected(Rejection::Unkeyed)]);
}

#[tokio::test]
async fn keyed_sessions_are_not_served_without_the_ring() {
    let (store, clock) = (shared_store(), ManualClock::default());
    let builder = || Sessions::builder(store.clone()).clock(clock.clone());
    let mut browser = Browser::default();
    browser.login(&builder().keys(ring(&clock)).build().unwrap(), "ada").await;
    let without = builder().build().unwrap();
    let error = browser.load(&without.begin()).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("Builder::keys"), "{error}");
}

#[test]
fn settings_that_say_nothing_are_refused() {
    let clock = ManualClock::default();
    let builder = || Sessions::builder(MemoryStore::new()).clock(clock.clone());
    assert!(builder().accept_unkeyed_until(clock.now() + HOUR).build().unwrap_err().is_invalid());
    let forever = clock.now() + 24 * HOUR * 401;
    assert!(builder().keys(ring(&clock)).accept_unkeyed_until(forever).build().unwrap_err().is_invalid());
}

/// A ring that all nodes share.
#[derive(Clone)]
struct Kept {
    ring: Arc<Mutex<KeyRing>>,
    is_down: Arc<AtomicBool>,
}

impl Kept {
    fn new(clock: &ManualClock) -> Self {
        Self { ring: Arc::new(Mutex::new(ring(clock))), is_down: Arc::default() }
    }
}

impl RingSource for Kept {
    fn load(&self) -> Answer<'_, KeyRing> {
        let is_down = self.is_down.load(Ordering::SeqCst);
        let down = || Error::unavailable("the ring is out of reach", "down");
        Answer::ready(if is_down { Err(down()) } else { Ok(self.ring.lock().clone()) })
    }

    fn replace(&self, expected: &KeyRing, ring: &KeyRing) -> Answer<'_, bool> {
        let mut kept = self.ring.lock();
        let is_same = kept.is_same(expected);
        if is_same {
            *kept = ring.clone();
        }
        Answer::ready(Ok(is_same))
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_behind_answers_503_and_then_knows() {
    let (store, clock, kept) = (shared_store(), ManualClock::default(), Kept::new(&ManualClock::default()));
    let node = async |ring: &LiveRing| {
        let builder = Sessions::builder(store.clone()).clock(clock.clone());
        builder.keys(ring.clone()).build().unwrap()
    };
    let behind = LiveRing::open(kept.clone()).await.unwrap();
    let (id, material) = fresh_key(&OsEntropy).unwrap();
    kept.ring.lock().publish(id, material, clock.now()).unwrap();
    let schedule = Schedule::for_lifetime(24 * HOUR).unwrap();
    kept.ring.lock().promote(id, clock.now() + HOUR, &schedule).unwrap();
    let ahead = LiveRing::open(kept.clone()).await.unwrap();
    let (ahead, behind) = (node(&ahead).await, node(&behind).await);

    let mut browser = Browser::default();
    browser.login(&ahead, "ada").await;
    kept.is_down.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let error = browser.load(&behind.begin()).await.unwrap_err();
        assert_eq!((error.is_unavailable(), error.status()), (true, 503), "{error}");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    kept.is_down.store(false, Ordering::SeqCst);
    let _ = browser.load(&behind.begin()).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(browser.subject(&behind).await, Some(subject("ada")));
}

/// Three months on two nodes, each of which hears of every change at its own time, and either of which may be the one
/// that rotates; eight visitors come by again and again, to whichever node. Not one is refused.
#[tokio::test]
async fn a11_2_2_keys_rotate_under_load_and_no_session_is_refused() {
    let (store, clock) = (shared_store(), ManualClock::default());
    let kept = Kept::new(&clock);
    let lifetime = cloakroom::Lifetime::new(20 * HOUR, 72 * HOUR).unwrap();
    let schedule = Schedule::new(Schedule::EVERY_DEFAULT, HOUR, 72 * HOUR).unwrap();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let ring = LiveRing::open(kept.clone()).await.unwrap();
        let builder = Sessions::builder(store.clone()).clock(clock.clone()).lifetime(lifetime);
        nodes.push((ring.clone(), builder.keys(ring).build().unwrap()));
    }
    let mut browsers = vec![Browser::default(); 8];
    let mut since = [None; 8];
    let (mut steps, served) = (Vec::new(), AtomicUsize::new(0));
    for quarter in 0..4 * 24 * 92 {
        clock.advance(HOUR / 4);
        // The first node reads the ring every quarter of an hour, the second every third quarter.
        for (index, (ring, _)) in nodes.iter().enumerate() {
            if quarter % (1 + 2 * index) == 0 {
                ring.refresh().await.unwrap();
            }
        }
        if quarter % 5 == 0 {
            let (ring, _) = &nodes[quarter / 5 % 2];
            steps.extend(apply(ring, &schedule, clock.now(), &OsEntropy).await.unwrap());
        }
        for (n, browser) in browsers.iter_mut().enumerate().filter(|(n, _)| (quarter + n) % 7 == 0) {
            let (_, sessions) = &nodes[(quarter / 7 + n) % 2];
            let name = format!("user-{n}");
            match since[n] {
                Some(start) if clock.now() < start + 72 * HOUR => {
                    let (exchange, session) = browser.request(sessions).await;
                    assert_eq!(
                        session.subject(),
                        Some(subject(&name)),
                        "quarter {quarter}: {:?}",
                        nodes[0].0
                    );
                    match quarter % 3 {
                        0 => session.insert(NOTE, &(quarter as u32)).unwrap(),
                        1 => session.rotate().unwrap(),
                        _ => {}
                    }
                    browser.receive(&exchange.commit().await.unwrap());
                    served.fetch_add(1, Ordering::Relaxed);
                }
                _ => {
                    since[n] = Some(clock.now());
                    browser.login(sessions, &name).await;
                }
            }
        }
    }
    let count = |want: fn(&Step) -> bool| steps.iter().filter(|step| want(step)).count();
    assert_eq!(count(|step| matches!(step, Step::Publish)), 3);
    assert_eq!(count(|step| matches!(step, Step::Promote(_))), 3);
    assert!(count(|step| matches!(step, Step::Remove(_))) >= 2, "{steps:?}");
    assert!(served.load(Ordering::Relaxed) > 8_000, "{served:?}");
}

/// A store in memory gives its sessions by a short way, which asks no keys: with a ring, nobody takes it, nor where a session
/// says that it is bound.
#[tokio::test]
async fn the_short_way_of_a_store_in_memory_leads_past_no_key() {
    let (clock, recorder) = (ManualClock::default(), Recorder::default());
    let store = Arc::new(MemoryStore::new());
    let begin = || Sessions::builder(Arc::clone(&store)).clock(clock.clone()).subscribe(recorder.clone());
    let unkeyed = begin().build().unwrap();
    let mut planted = Browser::default();
    let id = planted.login(&unkeyed, "mallory").await;
    assert!(store.find(id, clock.now()).is_some(), "it is found the short way");

    let keys = ring(&clock);
    let keyed = begin().keys(keys).build().unwrap();
    planted.visit(&keyed, |session| assert_eq!(session.subject(), None)).await.unwrap();
    assert!(recorder.kinds().contains(&EventKind::Rejected(Rejection::Unkeyed)), "{:?}", recorder.kinds());

    let mut bound = Browser::default();
    bound.login(&keyed, "ada").await;
    bound.visit(&keyed, |session| assert_eq!(session.subject(), Some(subject("ada")))).await.unwrap();
    let error = bound.load(&unkeyed.begin()).await.unwrap_err();
    assert!(error.is_invalid(), "{error:?}");
}
