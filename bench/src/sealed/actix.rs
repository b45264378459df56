//! actix-session with its store in an encrypted cookie, on actix-web.

use std::{future::Future, pin::Pin};

use actix_session::{Session, SessionMiddleware, storage::CookieSessionStore};
use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    cookie::Key,
    dev::{Service, ServiceResponse},
    test::{TestRequest, init_service},
    web,
};
use http::{HeaderMap, HeaderValue, header};

use crate::{
    apps::{self, CSRF_TOKEN, USER_ID},
    figures::{Lap, Stopwatch},
    sealed::{Case, VISITORS, keep},
};

struct OnActix<S> {
    app: S,
    visitors: Vec<HeaderMap>,
}

pub(super) async fn bare() -> impl Case {
    let app = init_service(App::new().route("/", web::get().to(untouched))).await;
    OnActix { app, visitors: (0..VISITORS).map(|_| apps::headers(None)).collect() }
}

pub(super) async fn read() -> impl Case {
    let app =
        App::new().wrap(sessions()).route("/login", web::get().to(login)).route("/", web::get().to(get));
    logged_in(init_service(app).await).await
}

pub(super) async fn write() -> impl Case {
    let app =
        App::new().wrap(sessions()).route("/login", web::get().to(login)).route("/", web::get().to(set));
    logged_in(init_service(app).await).await
}

/// Its defaults: encrypted and authenticated.
fn sessions() -> SessionMiddleware<CookieSessionStore> {
    SessionMiddleware::new(CookieSessionStore::default(), Key::generate())
}

async fn logged_in<S, B>(app: S) -> OnActix<S>
where
    S: Service<actix_http::Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let mut visitors = Vec::new();
    for _ in 0..VISITORS {
        let response = app.call(request("/login", &apps::headers(None))).await.expect("it answers");
        let set_cookie = cookie_of(&response).expect("a login sets a cookie");
        visitors.push(apps::headers(Some(apps::pair(&set_cookie))));
    }
    OnActix { app, visitors }
}

impl<S, B> Case for OnActix<S>
where
    S: Service<actix_http::Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    fn lap(&mut self) -> Pin<Box<dyn Future<Output = Lap> + '_>> {
        Box::pin(async {
            let requests: Vec<_> = self.visitors.iter().map(|visitor| request("/", visitor)).collect();
            let mut responses = Vec::with_capacity(requests.len());
            let stopwatch = Stopwatch::start();
            for request in requests {
                responses.push(self.app.call(request).await);
            }
            let lap = stopwatch.lap();
            for (visitor, response) in self.visitors.iter_mut().zip(responses) {
                let response = response.expect("it answers");
                assert!(response.status().is_success());
                keep(visitor, cookie_of(&response).as_ref());
            }
            lap
        })
    }
}

fn request(uri: &str, headers: &HeaderMap) -> actix_http::Request {
    let mut request = TestRequest::get().uri(uri);
    for (name, value) in headers {
        request = request.append_header((name.as_str(), value.as_bytes()));
    }
    request.to_request()
}

fn cookie_of<B>(response: &ServiceResponse<B>) -> Option<HeaderValue> {
    let value = response.headers().get(header::SET_COOKIE.as_str())?;
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

async fn untouched() -> &'static str {
    "ok"
}

async fn login(session: Session) -> Result<&'static str, Error> {
    session.insert("user", USER_ID)?;
    session.insert("roles", ["user"])?;
    session.insert("csrf", CSRF_TOKEN)?;
    session.insert("hits", 0)?;
    Ok("ok")
}

async fn get(session: Session) -> Result<HttpResponse, Error> {
    let user: Option<String> = session.get("user")?;
    Ok(match user {
        Some(user) if user.len() == USER_ID.len() => HttpResponse::Ok().body("ok"),
        _ => HttpResponse::NotFound().finish(),
    })
}

async fn set(session: Session) -> Result<&'static str, Error> {
    let hits: u64 = session.get("hits")?.unwrap_or_default();
    session.insert("hits", hits + 1)?;
    Ok("ok")
}
