//! Signing in and out.

use askama::Template;
use axum::Form;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use cloakroom::{Error, Subject};
use cloakroom_tower::{Problem, Session};
use http::{HeaderName, StatusCode, header};
use serde::Deserialize;

use super::demo::{ACCOUNTS, Account};
use crate::page::{self, Frame};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    accounts: &'static [Account],
    next: &'static str,
    failed: bool,
}

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOutPage {
    frame: Frame,
}

/// Where to go after signing in: one of these and nothing else, so that no link can send people elsewhere.
#[derive(Clone, Copy, Debug)]
enum Next {
    Shop,
    Cart,
    Devices,
}

#[derive(Deserialize)]
pub(super) struct LoginQuery {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct LoginForm {
    user: String,
    password: String,
    #[serde(default)]
    next: String,
}

pub(super) async fn show(session: Session, query: Query<LoginQuery>) -> Result<Response, Problem> {
    let page = LoginPage::new(&session, &query.next, false)?;
    Ok(page::render_private(&page))
}

pub(super) async fn sign_in(session: Session, Form(form): Form<LoginForm>) -> Result<Response, Problem> {
    let Some(account) = Account::opened_by(&form.user, &form.password) else {
        // No redirect with a message: that would begin a session for everybody who mistypes.
        let page = LoginPage::new(&session, &form.next, true)?;
        return Ok(page::render_private_as(StatusCode::UNPROCESSABLE_ENTITY, &page));
    };
    session.login(Subject::new(account.user).map_err(Error::from)?)?;
    let message = format!("Welcome, {}. You have a new ticket.", account.name);
    Ok(page::redirect_saying(&session, Next::meant_by(&form.next).path(), &message)?)
}

/// Not reached by GET: a link, a prefetch or an image can't sign anybody out (OWASP ASVS 5.0, 3.5.3).
pub(super) async fn sign_out(session: Session) -> Result<Response, Problem> {
    session.logout()?;
    Ok(goodbye())
}

/// Follows a logout.
pub(super) fn goodbye() -> Response {
    // "cookies" is absent on purpose: it would wipe those of every application on this host and its siblings. So is
    // "cache": it can take Chromium long, and comes with the picture on the next page.
    ([(CLEAR_SITE_DATA, "\"storage\"")], page::redirect("/signed-out")).into_response()
}

/// Looks at no session and says nothing through one: nothing is left to keep.
pub(super) async fn signed_out() -> Response {
    page::render_as(StatusCode::OK, &SignedOutPage { frame: Frame::bare() })
}

/// The picture on that page, and the end of what the back button could still find. Chromium keeps even `no-store` pages
/// for it and drops them when a cookie changes; but a page that a login's redirect led to was seen (version 156) to
/// outlive the logout's change. By the time this picture is asked for, that page is where "cache" reaches it.
pub(super) async fn torn_ticket() -> Response {
    const TORN_TICKET: &str = include_str!("../../assets/torn-ticket.svg");
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        (header::CACHE_CONTROL, "no-store"),
        (CLEAR_SITE_DATA, "\"cache\""),
    ];
    (headers, TORN_TICKET).into_response()
}

impl LoginPage {
    fn new(session: &Session, next: &str, failed: bool) -> Result<Self, Problem> {
        let next = Next::meant_by(next).path();
        Ok(Self { frame: Frame::of(session)?, accounts: &ACCOUNTS, next, failed })
    }
}

impl Next {
    /// Whatever isn't known leads to the shop.
    fn meant_by(path: &str) -> Self {
        match path {
            "/cart" => Next::Cart,
            "/devices" => Next::Devices,
            _ => Next::Shop,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Next::Shop => "/shop",
            Next::Cart => "/cart",
            Next::Devices => "/devices",
        }
    }
}
