//! What all pages share: the frame around them, and how they become an answer.

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use cloakroom::{Error, Key, Session};
use http::{StatusCode, header};

use crate::account::demo::Account;
use crate::http::assets;
use crate::shop::cart::CART;

/// The content type of every page.
pub(crate) const HTML: &str = "text/html; charset=utf-8";

/// A message for the next page, shown once.
const FLASH: Key<String> = Key::new("flash");

/// What is shown around every page's own content.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) stylesheet: &'static str,
    pub(crate) icon: &'static str,
    /// None on pages that look at no session: they must not claim that nobody is signed in.
    pub(crate) visitor: Option<Visitor>,
    /// A message to show once.
    pub(crate) flash: Option<String>,
}

/// What the frame shows of a session.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    /// Who is signed in.
    pub(crate) name: Option<&'static str>,
    pub(crate) cart_items: u32,
}

impl Frame {
    /// For pages that look at no session.
    pub(crate) fn bare() -> Self {
        Self { stylesheet: &assets::STYLESHEET.path, icon: &assets::ICON.path, visitor: None, flash: None }
    }

    /// For the visitor's own pages. A waiting message goes into it, and out of the session.
    pub(crate) fn of(session: &Session) -> Result<Self, Error> {
        let flash = session.get(FLASH)?;
        if flash.is_some() {
            // Not `take`: two tabs that load at once may both show it, and neither must fail over it.
            session.remove(FLASH)?;
        }
        let visitor = Visitor {
            name: Account::signed_in(session).map(|account| account.name),
            cart_items: session.get(CART)?.unwrap_or_default().items(),
        };
        Ok(Self { visitor: Some(visitor), flash, ..Self::bare() })
    }

    pub(crate) fn is_signed_in(&self) -> bool {
        self.visitor.as_ref().is_some_and(|visitor| visitor.name.is_some())
    }
}

/// A page that shows something of a session: no cache keeps it, not even the browser's, so that nobody finds it with
/// the back button after a logout.
pub(crate) fn render_private(template: &impl Template) -> Response {
    render_private_as(StatusCode::OK, template)
}

pub(crate) fn render_private_as(status: StatusCode, template: &impl Template) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], render_as(status, template)).into_response()
}

pub(crate) fn render_as(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(page) => (status, [(header::CONTENT_TYPE, HTML)], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "This page could not be made.").into_response()
        }
    }
}

/// After a change: to another page, with something to say there.
pub(crate) fn redirect_saying(session: &Session, path: &str, message: &str) -> Result<Response, Error> {
    session.insert(FLASH, &message.to_owned())?;
    Ok(redirect(path))
}

/// 303, so that reloading the page that follows repeats nothing.
pub(crate) fn redirect(path: &str) -> Response {
    Redirect::to(path).into_response()
}
