//! What handlers can do, and what they are told when they can't.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    CarryOver, Error, Key, Lifetime, MemoryStore, Policy, Sessions, Subject,
    clock::{Entropy, ManualClock, OsEntropy},
    cookie::CookiePolicy,
};

use crate::browser::{Browser, subject};

const VISITS: Key<u32> = Key::new("visits");
const NOTE: Key<String> = Key::new("note");
const FLASH: Key<String> = Key::new("flash");

fn sessions() -> Sessions {
    Sessions::builder(MemoryStore::new()).build().unwrap()
}

#[tokio::test]
async fn a_handler_reads_what_it_wrote() {
    let (sessions, mut browser) = (sessions(), Browser::default());
    browser
        .visit(&sessions, |session| {
            session.insert(NOTE, &"hello".to_owned()).unwrap();
            session.update(VISITS, |visits| *visits += 1).unwrap();
            assert_eq!(session.get(NOTE).unwrap().as_deref(), Some("hello"));
            assert_eq!(session.to_json(), r#"{"note":"hello","visits":1}"#);
            session.remove(NOTE).unwrap();
            assert_eq!(session.get(NOTE).unwrap(), None);
            assert!(!session.insert_new(VISITS, &9).unwrap());
            assert!(session.insert_new(NOTE, &"again".to_owned()).unwrap());
        })
        .await
        .unwrap();
    assert_eq!(browser.request(&sessions).await.1.to_json(), r#"{"note":"again","visits":1}"#);
    browser.visit(&sessions, |session| session.clear().unwrap()).await.unwrap();
    assert_eq!(browser.request(&sessions).await.1.to_json(), "{}");
}

#[tokio::test]
async fn parallel_requests_keep_all_they_wrote() {
    let (sessions, mut browser) = (sessions(), Browser::default());
    browser.visit(&sessions, |session| session.insert(VISITS, &0).unwrap()).await.unwrap();
    let mut requests = Vec::new();
    for number in 0..50 {
        let (exchange, session) = browser.request(&sessions).await;
        session.update(VISITS, |visits| *visits += 1).unwrap();
        session.insert(Key::named(format!("k{number}")).unwrap(), &number).unwrap();
        requests.push(exchange);
    }
    for exchange in requests {
        assert!(exchange.commit().await.unwrap().set_cookie.is_none());
    }
    let session = browser.request(&sessions).await.1;
    assert_eq!(session.get(VISITS).unwrap(), Some(50));
    for number in 0..50 {
        assert_eq!(session.get(Key::named(format!("k{number}")).unwrap()).unwrap(), Some(number));
    }
}

#[tokio::test]
async fn a_one_time_value_is_taken_once() {
    let (sessions, mut browser) = (sessions(), Browser::default());
    browser.visit(&sessions, |session| session.insert(NOTE, &"code".to_owned()).unwrap()).await.unwrap();
    let (first, second) = (browser.request(&sessions).await, browser.request(&sessions).await);
    assert_eq!(first.1.take(NOTE).unwrap().as_deref(), Some("code"));
    assert_eq!(second.1.take(NOTE).unwrap().as_deref(), Some("code"));
    second.0.commit().await.unwrap();
    let error = first.0.commit().await.unwrap_err();
    assert!(error.is_lost() && error.status() == 409, "{error}");
}

#[tokio::test]
async fn r_revive_a_slow_write_after_a_logout_changes_nothing() {
    let (sessions, mut browser) = (sessions(), Browser::default());
    browser.login(&sessions, "ada").await;
    let (slow, session) = browser.request(&sessions).await;
    session.insert(NOTE, &"late".to_owned()).unwrap();
    let old = browser.clone();
    browser.visit(&sessions, |session| session.logout().unwrap()).await.unwrap();
    assert!(browser.cookie.is_none());
    assert!(slow.commit().await.unwrap_err().is_lost());
    assert_eq!(old.subject(&sessions).await, None);
    assert_eq!(old.request(&sessions).await.1.to_json(), "{}");
}

/// Bug: a handler ran longer than the idle timeout while other requests kept the session alive; its logout was
/// answered as done, and the session lived on. Cause: the commit was decided from the record as it was loaded, which
/// had expired by then. Mend: such a record is loaded again before anything is decided.
#[tokio::test]
async fn w_06_a_logout_holds_that_took_longer_than_the_idle_timeout() {
    let clock = ManualClock::default();
    let sessions = Sessions::builder(MemoryStore::new()).clock(clock.clone()).build().unwrap();
    let mut browser = Browser::default();
    browser.login(&sessions, "ada").await;
    let (writer, session) = browser.request(&sessions).await;
    session.insert(NOTE, &"slow".to_owned()).unwrap();
    let (logout, session) = browser.request(&sessions).await;
    session.logout().unwrap();
    for _ in 0..3 {
        clock.advance(Duration::from_secs(1_000));
        browser.visit(&sessions, |_| ()).await.unwrap();
    }
    writer.commit().await.unwrap();
    assert_eq!(browser.request(&sessions).await.1.get(NOTE).unwrap().as_deref(), Some("slow"));
    assert!(logout.commit().await.unwrap().set_cookie.is_some());
    assert_eq!(browser.subject(&sessions).await, None);
}

#[tokio::test]
async fn lost_changes_can_be_let_pass() {
    let sessions = Sessions::builder(MemoryStore::new()).ignore_lost_changes().build().unwrap();
    let mut browser = Browser::default();
    browser.login(&sessions, "ada").await;
    let (slow, session) = browser.request(&sessions).await;
    session.insert(NOTE, &"late".to_owned()).unwrap();
    browser.visit(&sessions, |session| session.logout().unwrap()).await.unwrap();
    assert!(slow.commit().await.unwrap().set_cookie.is_none());
}

#[tokio::test]
async fn what_follows_a_logout_belongs_to_a_new_session() {
    let (sessions, mut browser) = (sessions(), Browser::default());
    let first = browser.login(&sessions, "ada").await;
    browser
        .visit(&sessions, |session| {
            session.insert(NOTE, &"ada's".to_owned()).unwrap();
            session.logout().unwrap();
            assert_eq!((session.get(NOTE).unwrap(), session.subject(), session.id()), (None, None, None));
            session.insert(FLASH, &"Good bye".to_owned()).unwrap();
        })
        .await
        .unwrap();
    let session = browser.request(&sessions).await.1;
    assert_ne!(session.id(), Some(first));
    assert_eq!((session.subject(), session.to_json()), (None, r#"{"flash":"Good bye"}"#.to_owned()));
}

#[tokio::test]
async fn logging_in_over_another_user_leaves_nothing_of_theirs() {
    let (sessions, mut browser) = (sessions(), Browser::default());
    let ada = browser.login(&sessions, "ada").await;
    let adas = browser.clone();
    browser.visit(&sessions, |session| session.insert(NOTE, &"ada's".to_owned()).unwrap()).await.unwrap();
    browser
        .visit(&sessions, |session| {
            session.insert(FLASH, &"still ada's".to_owned()).unwrap();
            session.login(subject("grace")).unwrap();
            assert_eq!(session.get(NOTE).unwrap(), None);
            session.insert(VISITS, &1).unwrap();
        })
        .await
        .unwrap();
    let session = browser.request(&sessions).await.1;
    assert_ne!(session.id(), Some(ada));
    assert_eq!(
        (session.subject(), session.to_json()),
        (Some(subject("grace")), r#"{"visits":1}"#.to_owned())
    );
    assert_eq!(adas.subject(&sessions).await, None);
}

#[tokio::test]
async fn what_an_anonymous_visitor_keeps_at_a_login_is_the_policys_choice() {
    let only_note = CarryOver::Only(vec!["note".into()].into());
    let cases = [
        (CarryOver::All, r#"{"flash":"f","note":"n","visits":1}"#),
        (only_note, r#"{"note":"n","visits":1}"#),
        (CarryOver::Nothing, r#"{"visits":1}"#),
    ];
    for (carry_over, expected) in cases {
        let policy = Policy { carry_over, ..Policy::default() };
        let sessions = Sessions::builder(MemoryStore::new()).policy(policy).build().unwrap();
        let mut browser = Browser::default();
        browser
            .visit(&sessions, |session| {
                session.insert(NOTE, &"n".to_owned()).unwrap();
                session.insert(FLASH, &"f".to_owned()).unwrap();
            })
            .await
            .unwrap();
        browser
            .visit(&sessions, |session| {
                session.login(subject("ada")).unwrap();
                session.insert(VISITS, &1).unwrap();
            })
            .await
            .unwrap();
        assert_eq!(browser.request(&sessions).await.1.to_json(), expected);
    }
}

#[tokio::test]
async fn a7_5_1_a_step_up_tells_when_the_user_last_authenticated() {
    let clock = ManualClock::default();
    let sessions = Sessions::builder(MemoryStore::new()).clock(clock.clone()).build().unwrap();
    let mut browser = Browser::default();
    browser.login(&sessions, "ada").await;
    let first = browser.request(&sessions).await.1.authenticated_at().unwrap();
    clock.advance(Duration::from_secs(600));
    let old = browser.clone();
    browser.visit(&sessions, |session| session.step_up().unwrap()).await.unwrap();

    assert_eq!(
        old.request(&sessions).await.1.authenticated_at(),
        Some(first),
        "its old level, until the new is seen"
    );
    // Bug: the first request with the new token was told the old time, and asked for the password again. Cause: it was
    // told what was stored, which its own commit was yet to change. Mend: it is told what its token stands for.
    let (exchange, session) = browser.request(&sessions).await;
    let stepped_up = session.authenticated_at().unwrap();
    assert_eq!(stepped_up.since(first), Duration::from_secs(600));
    let times = session.times().unwrap();
    assert_eq!((times.started, times.end), (stepped_up, stepped_up + Duration::from_secs(86_400)));
    exchange.commit().await.unwrap();
    assert_eq!(browser.request(&sessions).await.1.times().unwrap(), times);
    assert_eq!(old.subject(&sessions).await, None);
}

#[tokio::test]
async fn only_authenticated_sessions_rotate_or_step_up() {
    let (sessions, browser) = (sessions(), Browser::default());
    let session = browser.request(&sessions).await.1;
    assert!(session.rotate().unwrap_err().is_anonymous() && session.step_up().unwrap_err().is_anonymous());
}

#[tokio::test]
async fn n_cookie_a_longer_life_is_the_servers_and_the_cookie_follows() {
    let clock = ManualClock::default();
    let sessions = Sessions::builder(MemoryStore::new()).clock(clock.clone()).build().unwrap();
    let mut browser = Browser::default();
    let days = |count: u64| Duration::from_secs(count * 86_400);
    let remember = Lifetime::new(days(14), days(90)).unwrap();
    let outcome = browser
        .visit(&sessions, |session| {
            session.login(subject("ada")).unwrap();
            session.set_lifetime(remember).unwrap();
        })
        .await
        .unwrap();
    assert!(outcome.set_cookie.unwrap().expose().contains("; Max-Age=7776000;"));
    clock.advance(days(13));
    assert!(browser.subject(&sessions).await.is_some());
    let strict = Lifetime::new(Duration::from_secs(60), days(90)).unwrap();
    browser.visit(&sessions, |session| session.set_lifetime(strict).unwrap()).await.unwrap();
    clock.advance(Duration::from_secs(60));
    assert_eq!(browser.subject(&sessions).await, None);
}

#[tokio::test]
async fn a_too_large_session_is_refused_and_the_stored_one_stays() {
    let policy = Policy { record_bytes_max: 100, ..Policy::default() };
    let sessions = Sessions::builder(MemoryStore::new()).policy(policy).build().unwrap();
    let mut browser = Browser::default();
    browser.visit(&sessions, |session| session.insert(NOTE, &"x".repeat(80)).unwrap()).await.unwrap();
    let outcome = browser
        .visit(&sessions, |session| {
            let error = session.insert(FLASH, &"y".repeat(30)).unwrap_err();
            assert!(error.is_too_large() && error.to_string().contains("record_bytes_max"), "{error}");
        })
        .await;
    assert!(outcome.is_ok());
    assert_eq!(browser.request(&sessions).await.1.get(NOTE).unwrap().unwrap().len(), 80);
    // Two requests that fit each by itself.
    browser.visit(&sessions, |session| session.remove(NOTE).unwrap()).await.unwrap();
    let (first, second) = (browser.request(&sessions).await, browser.request(&sessions).await);
    first.1.insert(NOTE, &"x".repeat(60)).unwrap();
    second.1.insert(FLASH, &"y".repeat(60)).unwrap();
    first.0.commit().await.unwrap();
    assert!(second.0.commit().await.unwrap_err().is_too_large());
    assert_eq!(browser.request(&sessions).await.1.get(FLASH).unwrap(), None);
}

#[tokio::test]
async fn wrong_settings_fail_when_the_application_starts() {
    let build = |cookie: CookiePolicy, policy: Policy| {
        Sessions::builder(MemoryStore::new()).cookie(cookie).policy(policy).build().unwrap_err()
    };
    let short_grace = Policy { grace: Duration::ZERO, ..Policy::default() };
    assert!(build(CookiePolicy::default().domain("example.com"), Policy::default()).is_invalid());
    assert!(build(CookiePolicy::default(), short_grace).is_invalid());
    let no_deadline = Sessions::builder(MemoryStore::new()).deadline(Duration::ZERO).build();
    assert!(no_deadline.unwrap_err().is_invalid());
}

/// Random bytes until told to fail, or to repeat.
struct Scripted(Arc<parking_lot::Mutex<Vec<[u8; 32]>>>, bool);

impl Entropy for Scripted {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Error> {
        if self.1 {
            return Err(Error::invalid("no random bytes"));
        }
        if buffer.len() == 32
            && let Some(bytes) = self.0.lock().pop()
        {
            buffer.copy_from_slice(&bytes);
            return Ok(());
        }
        OsEntropy.fill(buffer)
    }
}

#[tokio::test]
async fn a7_2_3_without_random_bytes_there_is_no_session() {
    let entropy = Scripted(Arc::default(), true);
    let sessions = Sessions::builder(MemoryStore::new()).entropy(entropy).build().unwrap();
    let mut browser = Browser::default();
    let error = browser.visit(&sessions, |session| session.insert(VISITS, &1).unwrap()).await.unwrap_err();
    assert!(error.is_entropy() && error.status() == 503, "{error}");
    assert!(browser.cookie.is_none());
}

#[tokio::test]
async fn an_id_that_is_taken_is_drawn_again() {
    let twice = Arc::new(parking_lot::Mutex::new(vec![[8; 32], [7; 32], [7; 32]]));
    let sessions = Sessions::builder(MemoryStore::new()).entropy(Scripted(twice, false)).build().unwrap();
    let (mut first, mut second) = (Browser::default(), Browser::default());
    first.visit(&sessions, |session| session.insert(VISITS, &1).unwrap()).await.unwrap();
    second.visit(&sessions, |session| session.insert(VISITS, &2).unwrap()).await.unwrap();
    assert_ne!(first.request(&sessions).await.1.id(), second.request(&sessions).await.1.id());
    assert_eq!(first.request(&sessions).await.1.get(VISITS).unwrap(), Some(1));
}

#[tokio::test]
async fn expired_sessions_are_swept_in_the_background() {
    let (clock, store) = (ManualClock::default(), Arc::new(MemoryStore::new()));
    let builder = Sessions::builder(store.clone()).clock(clock.clone());
    let sessions = builder.sweep_every(Duration::from_millis(1)).build().unwrap();
    for _ in 0..20 {
        Browser::default().visit(&sessions, |session| session.insert(VISITS, &1).unwrap()).await.unwrap();
    }
    assert_eq!(store.sessions(), 20);
    clock.advance(Duration::from_secs(1_800));
    while store.sessions() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_full_memory_store_refuses_new_sessions_and_drops_none() {
    let sessions = Sessions::builder(MemoryStore::with_sessions_max(2)).build().unwrap();
    let mut browsers = [Browser::default(), Browser::default()];
    for browser in &mut browsers {
        browser.visit(&sessions, |session| session.insert(VISITS, &1).unwrap()).await.unwrap();
    }
    let refused = Browser::default().visit(&sessions, |session| session.insert(VISITS, &1).unwrap()).await;
    assert!(refused.unwrap_err().is_unavailable());
    browsers[0].visit(&sessions, |session| session.logout().unwrap()).await.unwrap();
    Browser::default().visit(&sessions, |session| session.insert(VISITS, &1).unwrap()).await.unwrap();
    assert_eq!(browsers[1].request(&sessions).await.1.get(VISITS).unwrap(), Some(1));
}

#[tokio::test]
async fn subjects_have_bounds() {
    assert!(Subject::new("x".repeat(256)).is_err() && Subject::new("a\nb").is_err());
}
