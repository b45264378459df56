//! What a response carries.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
    response::{AppendHeaders, IntoResponse},
    routing::get,
};
use cloakroom_tower::{Problem, Session};

use crate::app::{App, VISITS, request, routes};

fn values(headers: &HeaderMap, name: header::HeaderName) -> Vec<&str> {
    headers.get_all(name).into_iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn cs_cache_headers_follow_what_was_read_and_set() {
    let app = App::new();
    let cookie = app.get("/login/ada", None).await.cookie().unwrap();
    // Path, cookie, whether the response varies, whether it may be stored.
    let cases = [
        ("/bare", None, false, true),
        ("/bare", Some(&cookie), false, true),
        ("/visits", None, true, true),
        ("/visits", Some(&cookie), true, true),
        ("/count", None, true, false),
        ("/count", Some(&cookie), true, true),
        ("/rotate", Some(&cookie), true, false),
        // Only refreshes the cookie (CVE-2023-30861).
        ("/visits", Some(&cookie), true, false),
        ("/logout", Some(&cookie), true, false),
    ];
    for (path, cookie, varies, may_be_stored) in cases {
        let headers = app.get(path, cookie.map(String::as_str)).await.headers;
        assert_eq!(values(&headers, header::VARY), if varies { vec!["cookie"] } else { vec![] }, "{path}");
        let cache_control = values(&headers, header::CACHE_CONTROL);
        assert_eq!(cache_control, if may_be_stored { vec![] } else { vec!["no-store"] }, "{path}");
    }
}

#[tokio::test]
async fn a_handlers_own_headers_stay() {
    async fn handler(session: Session) -> Result<impl IntoResponse, Problem> {
        session.insert(VISITS, &1)?;
        let own = [(header::SET_COOKIE, "a=1"), (header::SET_COOKIE, "b=2"), (header::VARY, "accept")];
        Ok((AppendHeaders(own), [(header::CACHE_CONTROL, "public, max-age=60")], "hello"))
    }
    let app = App::with(Router::new().route("/", get(handler)));
    let reply = app.get("/", None).await;
    let cookies = values(&reply.headers, header::SET_COOKIE);
    assert_eq!(cookies[..2], ["a=1", "b=2"]);
    assert!(cookies[2].starts_with("__Host-session=") && cookies.len() == 3);
    assert_eq!(values(&reply.headers, header::VARY), ["accept", "cookie"]);
    assert_eq!(
        values(&reply.headers, header::CACHE_CONTROL),
        ["no-store"],
        "a cache must not store the token"
    );
}

#[tokio::test]
async fn a3_3_4_the_token_is_in_the_header_alone() {
    let app = App::new();
    let reply = app.get("/count", None).await;
    let token = reply.cookie().unwrap().split('=').nth(1).unwrap().to_owned();
    assert!(!reply.body.contains(&token));
    let set_cookie = reply.headers.get(header::SET_COOKIE).unwrap();
    assert!(set_cookie.is_sensitive() && !format!("{:?}", reply.headers).contains(&token));
}

#[tokio::test]
async fn c_toss_several_cookie_headers_are_read_in_order() {
    let app = App::new();
    let cookie = app.get("/count", None).await.cookie().unwrap();
    let send = |cookies: Vec<String>| {
        let mut request = Request::builder().uri("/visits");
        for cookie in cookies {
            request = request.header(header::COOKIE, cookie);
        }
        app.send(request.body(Body::empty()).unwrap())
    };
    let junk = format!("__Host-session={}", "B".repeat(42) + "A");
    assert_eq!(send(vec!["a=b".into(), cookie.clone(), "c=d".into()]).await.body, "1");
    assert_eq!(
        send(vec![format!("a=b; {junk}; {cookie}")]).await.body,
        "1",
        "a tossed cookie hides no session"
    );
    let flood = vec![junk.clone(), junk.clone(), junk, cookie];
    assert_eq!(send(flood).await.body, "0", "no more than three are looked up");
}

#[tokio::test]
async fn head_and_options_are_requests_like_any_other() {
    let app = App::new();
    let cookie = app.get("/count", None).await.cookie().unwrap();
    let head = app.send(request(Method::HEAD, "/count", Some(&cookie))).await;
    assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "2");
    let options = app.send(request(Method::OPTIONS, "/count", Some(&cookie))).await;
    assert_eq!((options.status, options.cookie()), (StatusCode::METHOD_NOT_ALLOWED, None));
    assert!(values(&options.headers, header::VARY).is_empty());
}

#[tokio::test]
async fn a_response_of_any_status_commits() {
    async fn fail(session: Session) -> Result<StatusCode, Problem> {
        session.insert(VISITS, &7)?;
        Ok(StatusCode::IM_A_TEAPOT)
    }
    let app = App::with(routes().route("/teapot", get(fail)));
    let reply = app.get("/teapot", None).await;
    assert_eq!(reply.status, StatusCode::IM_A_TEAPOT);
    assert_eq!(app.get("/visits", reply.cookie().as_deref()).await.body, "7");
}
