//! A session's life, seen from a browser.

use axum::http::StatusCode;

use crate::app::App;

#[tokio::test]
async fn a7_6_2_a_visit_that_writes_nothing_sets_no_cookie_and_stores_nothing() {
    let app = App::new();
    for path in ["/bare", "/visits", "/logout"] {
        let reply = app.get(path, None).await;
        assert_eq!((reply.status, reply.cookie()), (StatusCode::OK, None), "{path}");
    }
    assert_eq!(app.store.sessions(), 0);
    let reply = app.get("/count", None).await;
    assert!(reply.cookie().is_some());
    assert_eq!(app.store.sessions(), 1);
}

#[tokio::test]
async fn data_is_found_again_by_the_cookie() {
    let app = App::new();
    let first = app.get("/count", None).await;
    let cookie = first.cookie().unwrap();
    let second = app.get("/count", Some(&cookie)).await;
    assert_eq!((second.body.as_str(), second.cookie()), ("2", None));
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "2");
    assert_eq!(app.get("/visits", None).await.body, "0");
}

#[tokio::test]
async fn cs_strict_a_made_up_token_is_not_adopted() {
    let app = App::new();
    let made_up = format!("__Host-session={}", "A".repeat(43));
    assert_eq!(app.get("/visits", Some(&made_up)).await.body, "0");
    let reply = app.get("/count", Some(&made_up)).await;
    let cookie = reply.cookie().unwrap();
    assert_ne!(cookie, made_up);
    assert_eq!(app.get("/visits", Some(&made_up)).await.body, "0");
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "1");
}

#[tokio::test]
async fn a7_2_4_w_03_a_login_makes_the_old_token_worthless() {
    let app = App::new();
    let before = app.get("/count", None).await.cookie().unwrap();
    let after = app.get("/login/ada", Some(&before)).await.cookie().unwrap();
    assert_ne!(before, after);
    assert_eq!(app.get("/account", Some(&after)).await.body, "ada");
    assert_eq!(app.get("/visits", Some(&after)).await.body, "1", "the anonymous visitor's data stays");

    assert_eq!(app.get("/account", Some(&before)).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(app.get("/visits", Some(&before)).await.body, "0");
    for path in ["/count", "/logout"] {
        let reply = app.get(path, Some(&before)).await;
        assert_eq!((reply.status, reply.cookie()), (StatusCode::CONFLICT, None), "{path}");
    }
    assert_eq!(
        app.get("/account", Some(&after)).await.body,
        "ada",
        "what the old token asked for did nothing"
    );
}

#[tokio::test]
async fn a7_4_1_w_06_a_logout_is_final() {
    let app = App::new();
    let cookie = app.get("/login/ada", None).await.cookie().unwrap();
    let reply = app.get("/logout", Some(&cookie)).await;
    assert!(reply.is_cookie_cleared());
    assert_eq!(reply.headers["clear-site-data"], r#""storage""#);
    assert_eq!(app.get("/account", Some(&cookie)).await.status, StatusCode::UNAUTHORIZED);
    let late = app.get("/count", Some(&cookie)).await;
    assert_eq!((late.status, late.cookie()), (StatusCode::CONFLICT, None));
}

#[tokio::test]
async fn logging_in_as_somebody_else_ends_the_first_session() {
    let app = App::new();
    let ada = app.get("/login/ada", None).await.cookie().unwrap();
    app.get("/count", Some(&ada)).await;
    let grace = app.get("/login/grace", Some(&ada)).await.cookie().unwrap();
    assert_ne!(ada.get(..37), grace.get(..37), "another session, not another secret");
    assert_eq!(app.get("/visits", Some(&grace)).await.body, "0");
    assert_eq!(app.get("/account", Some(&ada)).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a7_3_1_idle_timeout_on_the_wire() {
    let app = App::new();
    let cookie = app.get("/count", None).await.cookie().unwrap();
    app.advance(1_799);
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "1");
    app.advance(1_799);
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "1");
    app.advance(1_800);
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "0");
}

#[tokio::test]
async fn a7_3_2_absolute_timeout_on_the_wire() {
    let app = App::new();
    let cookie = app.get("/count", None).await.cookie().unwrap();
    for _ in 0..95 {
        app.advance(900);
        assert_eq!(app.get("/visits", Some(&cookie)).await.body, "1");
    }
    app.advance(900);
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "0");
}

#[tokio::test]
async fn cs_renew_everybody_is_handed_the_same_successor() {
    let app = App::new();
    let cookie = app.get("/login/ada", None).await.cookie().unwrap();
    let successor = app.get("/rotate", Some(&cookie)).await.cookie().unwrap();
    assert_ne!(cookie, successor);
    for path in ["/visits", "/rotate", "/count"] {
        assert_eq!(app.get(path, Some(&cookie)).await.cookie().as_ref(), Some(&successor), "{path}");
    }
    assert_eq!(app.get("/account", Some(&successor)).await.body, "ada");
    let late = app.get("/account", Some(&cookie)).await;
    assert_eq!((late.body.as_str(), late.cookie()), ("ada", None), "served in its grace, and sent no cookie");
    app.advance(61);
    assert_eq!(app.get("/account", Some(&cookie)).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        app.get("/account", Some(&successor)).await.status,
        StatusCode::UNAUTHORIZED,
        "revoked: it was stolen"
    );
}

#[tokio::test]
async fn w_04_a_token_counts_only_in_the_cookie() {
    let app = App::new();
    let cookie = app.get("/login/ada", None).await.cookie().unwrap();
    let token = cookie.split('=').nth(1).unwrap();
    for path in [format!("/account?session={token}"), format!("/account?__Host-session={token}&sid={token}")]
    {
        assert_eq!(app.get(&path, None).await.status, StatusCode::UNAUTHORIZED);
    }
}
