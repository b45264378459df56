//! Bodies that go on after the response's head, over real connections too.

use axum::{Router, body::Body, http::StatusCode, response::IntoResponse, routing::get};
use cloakroom_tower::{Problem, Session};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use crate::app::{App, VISITS, routes};

#[tokio::test]
async fn a_stream_sees_its_session_committed_and_may_not_change_it() {
    async fn stream(session: Session) -> Result<impl IntoResponse, Problem> {
        session.insert(VISITS, &5)?;
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            let _ = tell.send(session.insert(VISITS, &6).unwrap_err().is_committed());
        });
        let body = async move { told.await.map(|is_committed| is_committed.to_string()) };
        Ok(Body::new(http_body_util::StreamBody::new(once(body))))
    }
    let app = App::with(routes().route("/stream", get(stream)));
    let reply = app.get("/stream", None).await;
    assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, "true"));
    assert_eq!(app.get("/visits", reply.cookie().as_deref()).await.body, "5");
}

#[tokio::test]
async fn a_detached_session_commits_while_the_stream_goes_on() {
    async fn stream(session: Session) -> Result<impl IntoResponse, Problem> {
        let detached = session.detach();
        let body = async move {
            for _ in 0..3 {
                detached.update(VISITS, |visits| *visits += 1).unwrap();
                detached.commit().await.unwrap();
            }
            detached.login(cloakroom::Subject::new("ada").unwrap()).unwrap();
            let refused = detached.commit().await.unwrap_err();
            Ok::<_, std::convert::Infallible>(refused.is_committed().to_string())
        };
        Ok(Body::new(http_body_util::StreamBody::new(once(body))))
    }
    let app = App::with(routes().route("/stream", get(stream)));
    let cookie = app.get("/count", None).await.cookie().unwrap();
    let reply = app.get("/stream", Some(&cookie)).await;
    assert_eq!(reply.body, "true", "a stream has no cookie left to send");
    assert_eq!(app.get("/visits", Some(&cookie)).await.body, "4");
    app.get("/logout", Some(&cookie)).await;
}

#[tokio::test]
async fn http_1_and_http_2_serve_the_same_sessions() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let app = App::with(Router::new().merge(routes()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = app.router.clone();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let cookie = app.get("/count", None).await.cookie().unwrap();
    let uri = |path: &str| format!("http://{address}{path}");
    let request = |path: &str, crumbs: &[&str]| {
        let mut request = axum::http::Request::builder().uri(uri(path)).header("host", address.to_string());
        for crumb in crumbs {
            request = request.header("cookie", *crumb);
        }
        request.body(String::new()).unwrap()
    };

    let io = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
    let (mut http1, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let response = http1.send_request(request("/count", &[&cookie])).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "2");

    let io = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
    let (mut http2, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let response = http2.send_request(request("/count", &["a=b", &cookie, "c=d"])).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "3");
    server.abort();
}

/// A body of one frame that is there when the future is.
fn once<E: Send + 'static>(
    text: impl Future<Output = Result<String, E>> + Send + 'static,
) -> impl futures_util::Stream<Item = Result<http_body::Frame<axum::body::Bytes>, E>> + Send {
    futures_util::stream::once(async move { text.await.map(|text| http_body::Frame::data(text.into())) })
}
