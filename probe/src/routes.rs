//! The routes: each does one thing that a session can do.
//!
//! All of them answer GET, so that a script needs nothing but URLs. An application must never do that: another site
//! could log its visitors out with an image.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use cloakroom::{Error, Key, Revocations, SessionId, Sessions, Subject, Subjects, store::Summary};
use cloakroom_tower::{Authenticated, Problem, Session, SessionLayer};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

/// The longest that a request can be asked to wait, in milliseconds.
const WAIT_MS_MAX: u64 = 60_000;

/// How many sessions a page of `/sessions` has at most.
const PAGE_SESSIONS_MAX: usize = 1_000;

/// The probe's routes, with sessions.
///
/// # Errors
/// [`Error::is_unsupported`] if the store can't end a subject's sessions.
pub(crate) fn router(sessions: Sessions) -> Result<Router, Error> {
    let revocations = sessions.revocations()?;
    // A store that can end a subject's sessions without listing them serves all but one of the routes.
    let listing = match sessions.subjects() {
        Ok(subjects) => get(list).with_state(subjects),
        Err(_) => get(no_listing),
    };
    Ok(Router::new()
        .route("/bare", get(bare))
        .route("/login", get(login))
        .route("/get", get(view))
        .route("/set", get(set))
        .route("/incr", get(increment))
        .route("/slowread", get(read_slowly))
        .route("/rotate", get(rotate))
        .route("/logout", get(logout))
        .route("/logout-all", get(logout_all))
        .route("/sessions", listing)
        .route("/counters", get(counters).with_state(sessions.clone()))
        .with_state(revocations)
        .layer(SessionLayer::new(sessions)))
}

/// Without a session: what the others are measured against.
async fn bare() -> &'static str {
    "ok\n"
}

// Parameters come before the session in every handler, so that a request that can't be served costs no store call.

#[derive(Deserialize)]
struct Login {
    #[serde(deserialize_with = "subject")]
    user: Subject,
}

async fn login(Query(Login { user }): Query<Login>, session: Session) -> Result<&'static str, Problem> {
    session.login(user)?;
    Ok("logged in\n")
}

#[derive(Serialize)]
struct View {
    /// The session's public handle, as a decimal number: no text that a test looks for can be in it.
    id: Option<String>,
    subject: Option<String>,
    data: Box<RawValue>,
    version: Option<String>,
}

async fn view(session: Session) -> Result<Json<View>, Problem> {
    let data = RawValue::from_string(session.to_json())
        .map_err(|_| Error::corrupt("the session's data isn't a JSON object"))?;
    Ok(Json(View {
        id: session.id().map(|id| u128::from_be_bytes(*id.as_bytes()).to_string()),
        subject: session.subject().map(|subject| subject.to_string()),
        data,
        // As text, for scripts whose numbers have 53 bits.
        version: session.version().map(|version| format!("{:016x}", version.write_id())),
    }))
}

#[derive(Deserialize)]
struct Set {
    #[serde(rename = "k", deserialize_with = "key")]
    key: Key<String>,
    #[serde(rename = "v")]
    value: String,
    #[serde(rename = "ms", default, deserialize_with = "wait")]
    wait: Duration,
}

async fn set(Query(set): Query<Set>, session: Session) -> Result<&'static str, Problem> {
    pause(set.wait).await;
    session.insert(set.key, &set.value)?;
    Ok("set\n")
}

#[derive(Deserialize)]
struct Increment {
    #[serde(rename = "k", deserialize_with = "key")]
    key: Key<i64>,
    #[serde(rename = "ms", default, deserialize_with = "wait")]
    wait: Duration,
}

async fn increment(
    Query(Increment { key, wait }): Query<Increment>,
    session: Session,
) -> Result<&'static str, Problem> {
    pause(wait).await;
    session.update(key, |count| *count = count.saturating_add(1))?;
    Ok("incremented\n")
}

#[derive(Deserialize)]
struct Read {
    #[serde(rename = "ms", default, deserialize_with = "wait")]
    wait: Duration,
}

async fn read_slowly(Query(Read { wait }): Query<Read>, session: Session) -> &'static str {
    pause(wait).await;
    if session.subject().is_some() { "authenticated\n" } else { "anonymous\n" }
}

async fn rotate(session: Session) -> Result<&'static str, Problem> {
    session.rotate()?;
    Ok("rotated\n")
}

async fn logout(session: Session) -> Result<&'static str, Problem> {
    session.logout()?;
    Ok("logged out\n")
}

#[derive(Serialize)]
struct Ended {
    /// How many; nothing if the store can't tell.
    ended: Option<usize>,
}

/// Ends the subject's sessions, this one as well. Its cookie stays, and is worthless.
async fn logout_all(
    State(revocations): State<Revocations>,
    visitor: Authenticated,
) -> Result<Json<Ended>, Problem> {
    let ended = revocations.end(&visitor.subject, None).await?;
    Ok(Json(Ended { ended: ended.map(|ids| ids.len()) }))
}

#[derive(Deserialize)]
struct Page {
    /// The last id of the page before.
    #[serde(default, deserialize_with = "session_id")]
    after: Option<SessionId>,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    is_current: bool,
    created_ms: u64,
    started_ms: u64,
    active_ms: u64,
    end_ms: u64,
    client: Option<String>,
}

async fn list(
    Query(Page { after }): Query<Page>,
    State(subjects): State<Subjects>,
    visitor: Authenticated,
) -> Result<Json<Vec<Listed>>, Problem> {
    let summaries = subjects.list(&visitor.subject, after, PAGE_SESSIONS_MAX).await?;
    let current = visitor.id();
    Ok(Json(summaries.into_iter().map(|summary| Listed::of(summary, current)).collect()))
}

/// What happened to the way to the engine.
async fn counters(State(sessions): State<Sessions>) -> Json<BTreeMap<&'static str, u64>> {
    Json(sessions.store().counters().into_iter().collect())
}

async fn no_listing() -> impl IntoResponse {
    let problem = r#"{"type":"about:blank","title":"This store can't list sessions.","status":501}"#;
    (StatusCode::NOT_IMPLEMENTED, [(header::CONTENT_TYPE, "application/problem+json")], problem)
}

impl Listed {
    fn of(Summary { id, times, client }: Summary, current: Option<SessionId>) -> Self {
        Self {
            id: id.to_string(),
            is_current: current == Some(id),
            created_ms: times.created.as_millis(),
            started_ms: times.started.as_millis(),
            active_ms: times.active.as_millis(),
            end_ms: times.end.as_millis(),
            client: client.map(|client| client.to_string()),
        }
    }
}

/// Not even a pause of no length goes to the timer, which would round it up to a millisecond.
async fn pause(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

// What the library refuses in a parameter is the caller's mistake: said while the query is read, it becomes a 400.

fn subject<'de, D: Deserializer<'de>>(from: D) -> Result<Subject, D::Error> {
    Subject::new(String::deserialize(from)?).map_err(de::Error::custom)
}

fn key<'de, D: Deserializer<'de>, T>(from: D) -> Result<Key<T>, D::Error> {
    Key::named(String::deserialize(from)?).map_err(de::Error::custom)
}

fn session_id<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SessionId>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(de::Error::custom)
}

fn wait<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    match u64::deserialize(from)? {
        ms if ms <= WAIT_MS_MAX => Ok(Duration::from_millis(ms)),
        _ => Err(de::Error::custom(format!("at most {WAIT_MS_MAX} milliseconds"))),
    }
}
