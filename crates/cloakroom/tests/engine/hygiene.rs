//! What doesn't belong in a session, and what a logout takes along.

use cloakroom::{
    Key, MemoryStore, Sessions,
    event::EventKind,
    exchange::SiteData,
    guard::{Guard, Resemblance},
};

use crate::browser::{Browser, Recorder, subject};

const CARD: &str = "4111 1111 1111 1111";

#[tokio::test]
async fn names_that_tell_are_refused_and_can_still_be_removed() {
    const PASSWORD: Key<String> = Key::new("password");
    let (sessions, browser) = (Sessions::builder(MemoryStore::new()).build().unwrap(), Browser::default());
    let session = browser.request(&sessions).await.1;
    let named = Key::named("Card-Number").unwrap();
    for refused in [
        session.insert(PASSWORD, &String::new()),
        session.insert_new(PASSWORD, &String::new()).map(|_| ()),
        session.update(PASSWORD, |password| password.push('x')),
        session.insert(named, &1),
    ] {
        let error = refused.unwrap_err();
        assert!(error.is_refused() && error.to_string().contains("insecure_allow"), "{error}");
    }
    assert_eq!(session.to_json(), "{}");
    assert_eq!(session.get(PASSWORD).unwrap(), None);
    session.remove(PASSWORD).unwrap();

    let guard = Guard::default().insecure_allow("password");
    let sessions = Sessions::builder(MemoryStore::new()).guard(guard).build().unwrap();
    browser.request(&sessions).await.1.insert(PASSWORD, &"of a game".to_owned()).unwrap();
}

#[tokio::test]
async fn values_that_look_like_secrets_are_told_of_once() {
    const PAID_WITH: Key<String> = Key::new("paid_with");
    const USER: Key<Vec<String>> = Key::new("user");
    let recorder = Recorder::default();
    let sessions = Sessions::builder(MemoryStore::new()).subscribe(recorder.clone()).build().unwrap();
    let session = Browser::default().request(&sessions).await.1;
    for _ in 0..3 {
        session.insert(PAID_WITH, &CARD.to_owned()).unwrap();
        session.update(USER, |user| user.push("$2b$12$R9h".to_owned())).unwrap();
    }
    let told = recorder.kinds();
    let suspicious = |name: &str, looks_like| EventKind::Suspicious { name: name.to_owned(), looks_like };
    assert_eq!(
        told,
        [suspicious("paid_with", Resemblance::CardNumber), suspicious("user", Resemblance::PasswordHash)]
    );
    assert!(!format!("{told:?}").contains("4111"));
}

#[tokio::test]
async fn values_that_look_like_secrets_are_refused_where_asked_for() {
    const PAID_WITH: Key<String> = Key::new("paid_with");
    let builder = Sessions::builder(MemoryStore::new()).guard(Guard::default().refuse_values());
    let session = Browser::default().request(&builder.build().unwrap()).await.1;
    session.insert(PAID_WITH, &"on account".to_owned()).unwrap();
    for refused in [
        session.insert(PAID_WITH, &CARD.to_owned()),
        session.update(PAID_WITH, |paid_with| CARD.clone_into(paid_with)),
        session.insert_new(Key::<&str>::new("other"), &CARD).map(|_| ()),
    ] {
        let error = refused.unwrap_err();
        assert!(error.is_refused() && !error.to_string().contains("4111"), "{error}");
    }
    assert_eq!(session.to_json(), r#"{"paid_with":"on account"}"#);
}

#[tokio::test]
async fn a_logout_clears_what_was_asked_for_and_nothing_else_does() {
    let builder = Sessions::builder(MemoryStore::new());
    let sessions = builder.clear_site_data_at_logout(SiteData::CacheAndStorage).build().unwrap();
    let mut browser = Browser::default();
    let mut visits = Vec::new();
    for user in ["ada", "grace"] {
        let outcome = browser.visit(&sessions, |session| session.login(subject(user)).unwrap()).await;
        visits.push(outcome.unwrap().clear_site_data);
    }
    assert_eq!(visits, [None, None]);
    for says_goodbye in [true, false] {
        let outcome = browser.visit(&sessions, |session| {
            session.logout().unwrap();
            if says_goodbye {
                session.insert(Key::<&str>::new("flash"), &"goodbye").unwrap();
            }
        });
        let cleared = outcome.await.unwrap().clear_site_data;
        assert_eq!(cleared.map(SiteData::as_header), Some(r#""cache", "storage""#));
    }
    let outcome = browser.visit(&sessions, |session| session.logout().unwrap()).await.unwrap();
    assert_eq!(outcome.clear_site_data, None, "nobody was there to log out");
}
