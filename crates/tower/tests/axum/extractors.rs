//! The extractors, and what is said to those who misuse them.

use axum::{
    Router,
    http::{Method, StatusCode, header},
    routing::get,
};
use cloakroom::{Key, MemoryStore, Sessions};
use cloakroom_tower::{Authenticated, DegradableSession, Problem, Session, SessionLayer};
use tower::ServiceExt;

use crate::app::{App, Reply, request, routes};

#[tokio::test]
async fn without_the_layer_the_message_says_how_to_mend_it() {
    async fn degradable(_: DegradableSession) {}
    let routes = routes().route("/degradable", get(degradable));
    for path in ["/visits", "/account", "/degradable"] {
        let reply = routes.clone().oneshot(request(Method::GET, path, None)).await.unwrap();
        let reply = Reply::read(reply).await;
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(reply.body.contains("SessionLayer::new"), "{}", reply.body);
    }
}

#[tokio::test]
async fn anonymous_visitors_are_answered_401() {
    let app = App::new();
    for method in [Method::GET, Method::POST] {
        let reply = app.send(request(method, "/account", None)).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert!(reply.headers.contains_key(header::WWW_AUTHENTICATE));
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    }
}

#[tokio::test]
async fn anonymous_visitors_are_sent_to_log_in_where_configured() {
    async fn account(visitor: Authenticated) -> String {
        visitor.subject.to_string()
    }
    let sessions = Sessions::builder(MemoryStore::new()).build().unwrap();
    let inner = Router::new().route("/account", get(account).post(account));
    let router =
        Router::new().nest("/shop", inner).layer(SessionLayer::new(sessions).login_at("/login?theme=dark"));
    let send = async |method| {
        let request = request(
            method,
            "/shop/account?tab=a&b=ü\"".replace('ü', "%C3%BC").replace('"', "%22").as_str(),
            None,
        );
        Reply::read(router.clone().oneshot(request).await.unwrap()).await
    };
    let reply = send(Method::GET).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    let expected = "/login?theme=dark&next=/shop/account%3Ftab%3Da%26b%3D%25C3%25BC%2522";
    assert_eq!(reply.headers[header::LOCATION], expected);
    assert_eq!(send(Method::POST).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_value_of_another_type_is_a_clear_error_and_stays_stored() {
    async fn misread(session: Session) -> Result<String, Problem> {
        let key = Key::<Vec<String>>::named("visits")?;
        Ok(format!("{:?}", session.get(key)?))
    }
    let app = App::with(routes().route("/misread", get(misread)));
    let cookie = app.get("/count", None).await.cookie().unwrap();
    let reply = app.get("/misread", Some(&cookie)).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/problem+json");
    assert!(!reply.body.contains("visits"), "a client isn't told of the server's inside");
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "1");
}

#[tokio::test]
async fn two_types_under_one_name_are_found_at_the_first_use() {
    async fn clash(session: Session) -> Result<(), Problem> {
        const VISITS: Key<String> = Key::new("visits");
        let error = session.insert(VISITS, &"many".to_owned()).unwrap_err();
        assert!(error.is_key_clash() && error.to_string().contains("u32"), "{error}");
        Err(error.into())
    }
    let app = App::with(routes().route("/clash", get(clash)));
    let cookie = app.get("/count", None).await.cookie().unwrap();
    assert_eq!(app.get("/clash", Some(&cookie)).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "1");
}
