//! Sessions sealed into their cookies: cut over several, and compressed.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::Path,
    http::{Method, StatusCode, header},
    routing::get,
};
use cloakroom::{
    Key, MemoryStore, Timestamp,
    clock::ManualClock,
    keyring::{KeyId, KeyRing, LiveRing, Material},
};
use cloakroom_sealed::{ListSettings, SealedSessions};
use cloakroom_tower::{Problem, Session};

use crate::app::{App, Reply, request, routes};

const TEXT: Key<String> = Key::new("text");

/// A text of so many bytes, which can't be compressed.
async fn fill(session: Session, Path(bytes): Path<usize>) -> Result<String, Problem> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).unwrap();
    let text: String = random.iter().map(|byte| char::from(b' ' + 2 + byte % 90)).collect();
    let text = text.replace('\\', "/");
    session.insert(TEXT, &text)?;
    Ok(text)
}

/// One that can.
async fn repeat(session: Session, Path(bytes): Path<usize>) -> Result<&'static str, Problem> {
    session.insert(TEXT, &"umbrella".chars().cycle().take(bytes).collect())?;
    Ok("filled")
}

async fn text(session: Session) -> Result<String, Problem> {
    Ok(session.get(TEXT)?.unwrap_or_default())
}

async fn app(tune: impl FnOnce(SealedSessions) -> SealedSessions) -> App {
    let mut material = [0; 32];
    getrandom::fill(&mut material).unwrap();
    let (id, now) = (KeyId::from_bytes([1; 4]), Timestamp::from_millis(0));
    let ring = LiveRing::fixed(KeyRing::new(id, Material::new(material).unwrap(), now).unwrap());
    let (list, clock) = (Box::new(MemoryStore::new()), ManualClock::default());
    let settings = ListSettings::default();
    let sealed = SealedSessions::with_list_and_clock(ring, list, settings, clock.clone()).await.unwrap();
    let filled = Router::new()
        .route("/fill/{bytes}", get(fill))
        .route("/repeat/{bytes}", get(repeat))
        .route("/text", get(text));
    App::on(tune(sealed), routes().merge(filled), clock)
}

/// A browser's cookies.
#[derive(Clone, Default)]
struct Jar(BTreeMap<String, String>);

impl Jar {
    async fn get(&mut self, app: &App, path: &str) -> Reply {
        let pairs: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = (!pairs.is_empty()).then(|| pairs.join("; "));
        let reply = app.send(request(Method::GET, path, cookies.as_deref())).await;
        for cookie in reply.headers.get_all(header::SET_COOKIE) {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            assert!(pair.len() <= 4_097 && cookie.is_sensitive(), "{}", pair.len());
            if attributes.contains("Max-Age=0;") {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

const NAMES: [&str; 4] = ["__Host-session", "__Host-session.2", "__Host-session.3", "__Host-session.4"];

#[tokio::test]
async fn a_large_session_is_cut_over_cookies_that_go_when_it_shrinks() {
    let (app, mut jar) = (app(|sealed| sealed.split_over(4)).await, Jar::default());
    for (bytes, cookies) in
        [(2_000, 1), (4_000, 2), (8_000, 3), (11_000, 4), (5_000, 2), (100, 1), (8_500, 3)]
    {
        let text = jar.get(&app, &format!("/fill/{bytes}")).await;
        assert_eq!((text.status, jar.names()), (StatusCode::OK, NAMES[..cookies].to_vec()), "{bytes}");
        assert_eq!(jar.get(&app, "/text").await.body, text.body);
    }
    jar.get(&app, "/login/ada").await;
    assert_eq!(jar.get(&app, "/account").await.body, "ada");
    let copy = jar.clone();
    jar.get(&app, "/logout").await;
    assert!(jar.names().is_empty());
    assert_eq!(copy.clone().get(&app, "/account").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn cs_hostile_parts_that_are_missing_swapped_or_of_another_response_open_nothing() {
    let (app, mut jar) = (app(|sealed| sealed.split_over(3)).await, Jar::default());
    jar.get(&app, "/login/ada").await;
    jar.get(&app, "/fill/7000").await;
    let older = jar.clone();
    jar.get(&app, "/fill/7000").await;
    assert_eq!(jar.get(&app, "/account").await.body, "ada");
    let mut altered = Vec::new();
    for name in &NAMES[1..3] {
        let (mut missing, mut mixed) = (jar.clone(), jar.clone());
        missing.0.remove(*name);
        mixed.0.insert((*name).to_owned(), older.0[*name].clone());
        altered.extend([missing, mixed]);
    }
    let mut swapped = jar.clone();
    swapped.0.insert(NAMES[1].to_owned(), jar.0[NAMES[2]].clone());
    swapped.0.insert(NAMES[2].to_owned(), jar.0[NAMES[1]].clone());
    let mut fewer = jar.clone();
    let first = fewer.0.get_mut(NAMES[0]).unwrap();
    first.replace_range(..1, "2");
    for mut jar in altered.into_iter().chain([swapped, fewer]) {
        assert_eq!(jar.get(&app, "/account").await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn without_being_asked_for_a_session_is_one_cookie() {
    let (app, mut jar) = (app(|sealed| sealed).await, Jar::default());
    assert_eq!(jar.get(&app, "/fill/4000").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(jar.names().is_empty());
    assert_eq!(jar.get(&app, "/repeat/4000").await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_compressed_session_holds_more_and_its_length_tells_little() {
    let (app, mut jar) = (app(SealedSessions::compressed).await, Jar::default());
    let mut lengths = Vec::new();
    for bytes in [10, 60, 15_000] {
        assert_eq!(jar.get(&app, &format!("/repeat/{bytes}")).await.status, StatusCode::OK);
        assert_eq!(jar.get(&app, "/text").await.body.len(), bytes);
        lengths.push(jar.0[NAMES[0]].len());
    }
    assert_eq!(lengths[0], lengths[1], "padded to the same");
    let before = jar.clone();
    assert_eq!(jar.get(&app, "/fill/6000").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(jar.0, before.0, "what didn't fit leaves the cookie alone");
    jar.get(&app, "/login/ada").await;
    assert_eq!(jar.get(&app, "/account").await.body, "ada");
}

#[tokio::test]
async fn a_compressed_session_can_be_cut_as_well() {
    let (app, mut jar) = (app(|sealed| sealed.compressed().split_over(2)).await, Jar::default());
    let text = jar.get(&app, "/fill/5000").await;
    assert_eq!((text.status, jar.names()), (StatusCode::OK, NAMES[..2].to_vec()));
    assert_eq!(jar.get(&app, "/text").await.body, text.body);
}
