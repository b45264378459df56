//! The layer among routers, other layers and panics.

use axum::{
    Router, body::Body, extract::Request, http::StatusCode, middleware, response::Response, routing::get,
};
use cloakroom::MemoryStore;
use cloakroom_tower::{Problem, Session, SessionLayer};
use tower::ServiceExt;

use crate::app::{App, Reply, VISITS, request, routes};

#[tokio::test]
async fn a_layer_below_another_shares_its_session() {
    let app = App::new();
    let nested = Router::new().nest("/shop", routes().layer(SessionLayer::new(app.sessions.clone())));
    let router = nested.merge(routes()).layer(SessionLayer::new(app.sessions.clone()));
    let send = async |path: &str, cookie: Option<&str>| {
        let response = router.clone().oneshot(request(axum::http::Method::GET, path, cookie)).await.unwrap();
        Reply::read(response).await
    };
    let reply = send("/shop/count", None).await;
    assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 1);
    let cookie = reply.cookie().unwrap();
    assert_eq!(send("/count", Some(&cookie)).await.body, "2");
    assert_eq!(send("/shop/visits", Some(&cookie)).await.body, "2");
}

#[tokio::test]
async fn two_applications_below_one_another_keep_their_own_sessions() {
    let other = cloakroom::Sessions::builder(MemoryStore::new())
        .cookie(cloakroom::cookie::CookiePolicy::default().name("__Host-admin"))
        .build()
        .unwrap();
    let app = App::with(routes().nest("/admin", routes().layer(SessionLayer::new(other))));
    let reply = app.get("/admin/count", None).await;
    assert!(reply.cookie().is_none());
    assert!(reply.headers["set-cookie"].to_str().unwrap().starts_with("__Host-admin="));
}

#[tokio::test]
async fn middleware_sees_the_same_session_as_the_handler() {
    async fn count_visits(request: Request, next: middleware::Next) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let session = cloakroom_tower::load(&parts.headers, &parts.extensions).await?;
        if let Some(session) = session {
            session.update(VISITS, |visits| *visits += 10)?;
        }
        Ok(next.run(Request::from_parts(parts, body)).await)
    }
    let app = App::with(routes().layer(middleware::from_fn(count_visits)));
    let reply = app.get("/count", None).await;
    assert_eq!(reply.body, "11");
    assert_eq!(app.get("/visits", reply.cookie().as_deref()).await.body, "21");
}

#[tokio::test]
async fn a_panic_discards_even_if_a_layer_between_answers() {
    async fn panics(session: Session) -> Result<String, Problem> {
        session.insert(VISITS, &99)?;
        session.logout()?;
        panic!("a handler panics");
    }
    async fn answer(request: Request, next: middleware::Next) -> Response {
        let handler = tokio::spawn(next.run(request));
        handler.await.unwrap_or_else(|_| Response::builder().status(500).body(Body::empty()).unwrap())
    }
    let app = App::with(routes().route("/panic", get(panics)).layer(middleware::from_fn(answer)));
    let cookie = app.get("/count", None).await.cookie().unwrap();
    let reply = app.get("/panic", Some(&cookie)).await;
    assert_eq!((reply.status, reply.cookie()), (StatusCode::INTERNAL_SERVER_ERROR, None));
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "1");
}

#[tokio::test]
async fn a_request_dropped_before_its_response_changes_nothing() {
    async fn never(session: Session) -> Result<String, Problem> {
        session.insert(VISITS, &99)?;
        std::future::pending().await
    }
    let app = App::with(routes().route("/never", get(never)));
    let cookie = app.get("/count", None).await.cookie().unwrap();
    let pending = app.get("/never", Some(&cookie));
    tokio::select! {
        biased;
        _ = pending => unreachable!("the handler never answers"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "1");
}

#[tokio::test]
async fn fifty_parallel_requests_lose_nothing() {
    async fn slow(session: Session) -> Result<String, Problem> {
        tokio::task::yield_now().await;
        session.update(VISITS, |visits| *visits += 1)?;
        tokio::task::yield_now().await;
        Ok(String::new())
    }
    let app = App::with(routes().route("/slow", get(slow)));
    let cookie = app.get("/count", None).await.cookie().unwrap();
    let tasks = (0..50).map(|_| {
        let (router, request) =
            (app.router.clone(), request(axum::http::Method::GET, "/slow", Some(&cookie)));
        tokio::spawn(async move { router.oneshot(request).await.unwrap().status() })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "51");
}
