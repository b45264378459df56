//! The shop's pages, and what their buttons do.

use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use cloakroom::Key;
use cloakroom_tower::{Authenticated, Problem, Session};
use http::{StatusCode, header};
use serde::Deserialize;

use super::cart::{CART, Cart, Change, Line};
use super::catalogue::{self, PRODUCTS, Product};
use super::money::Cents;
use crate::account::demo::Account;
use crate::http::ErrorPage;
use crate::page::{self, Frame};

/// What was bought last.
const RECEIPT: Key<Cart> = Key::new("receipt");

#[derive(Template)]
#[template(path = "landing.html")]
struct LandingPage {
    frame: Frame,
}

#[derive(Template)]
#[template(path = "shop.html")]
struct ShopPage {
    frame: Frame,
    products: &'static [Product],
}

#[derive(Template)]
#[template(path = "product.html")]
struct ProductPage {
    frame: Frame,
    product: &'static Product,
}

#[derive(Template)]
#[template(path = "cart.html")]
struct CartPage {
    frame: Frame,
    lines: Vec<Line>,
    total: Cents,
}

#[derive(Template)]
#[template(path = "receipt.html")]
struct ReceiptPage {
    frame: Frame,
    name: &'static str,
    lines: Vec<Line>,
    total: Cents,
}

#[derive(Deserialize)]
pub(super) struct CartForm {
    product: String,
    change: Change,
    /// The page whose button it was.
    back: Back,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Back {
    Shop,
    Product,
    Cart,
}

/// Looks at no session, so it costs no call to the store and is the same for everybody.
pub(super) async fn landing() -> Response {
    let page = page::render_as(StatusCode::OK, &LandingPage { frame: Frame::bare() });
    ([(header::CACHE_CONTROL, "no-cache")], page).into_response()
}

pub(super) async fn shop(session: Session) -> Result<Response, Problem> {
    Ok(page::render_private(&ShopPage { frame: Frame::of(&session)?, products: &PRODUCTS }))
}

pub(super) async fn product(session: Session, Path(slug): Path<String>) -> Result<Response, Problem> {
    let Some(product) = catalogue::product(&slug) else { return Ok(no_such_product()) };
    Ok(page::render_private(&ProductPage { frame: Frame::of(&session)?, product }))
}

pub(super) async fn cart(session: Session) -> Result<Response, Problem> {
    let cart = session.get(CART)?.unwrap_or_default();
    let (lines, total) = (cart.lines().collect(), cart.total());
    Ok(page::render_private(&CartPage { frame: Frame::of(&session)?, lines, total }))
}

/// The change is a function of the cart as it then is, not a cart: two tabs can't undo each other's.
pub(super) async fn change_cart(session: Session, Form(form): Form<CartForm>) -> Result<Response, Problem> {
    let Some(product) = catalogue::product(&form.product) else { return Ok(no_such_product()) };
    let change = form.change;
    session.update(CART, move |cart: &mut Cart| cart.change(product, change))?;
    let back = form.back.path(product);
    let message = match (change, form.back) {
        (Change::More, Back::Shop | Back::Product) => format!("{} is in your cart.", product.name),
        (Change::Remove, _) => format!("{} is out of your cart.", product.name),
        (Change::More | Change::Fewer, _) => return Ok(page::redirect(&back)),
    };
    Ok(page::redirect_saying(&session, &back, &message)?)
}

/// Takes the cart out of the session, so that of two presses of the button one buys; the other is told.
pub(super) async fn check_out(visitor: Authenticated) -> Result<Response, Problem> {
    let Some(cart) = visitor.take(CART)?.filter(|cart| !cart.is_empty()) else {
        return Ok(page::redirect_saying(&visitor, "/cart", "There is nothing to check out.")?);
    };
    visitor.insert(RECEIPT, &cart)?;
    Ok(page::redirect("/receipt"))
}

pub(super) async fn receipt(visitor: Authenticated) -> Result<Response, Problem> {
    let (Some(account), Some(bought)) = (Account::signed_in(&visitor), visitor.get(RECEIPT)?) else {
        return Ok(page::redirect("/cart"));
    };
    let (lines, total) = (bought.lines().collect(), bought.total());
    Ok(page::render_private(&ReceiptPage { frame: Frame::of(&visitor)?, name: account.name, lines, total }))
}

fn no_such_product() -> Response {
    ErrorPage { text: "There is no such thing in this shop.", ..ErrorPage::of(StatusCode::NOT_FOUND) }
        .into_response()
}

impl LandingPage {
    fn art(slug: &str) -> &'static str {
        catalogue::product(slug).map_or("", |product| product.art)
    }
}

impl Back {
    /// In the shop, back to the very card whose button was pressed.
    fn path(self, product: &Product) -> String {
        match self {
            Back::Shop => format!("/shop#{}", product.slug),
            Back::Product => format!("/shop/{}", product.slug),
            Back::Cart => "/cart".to_owned(),
        }
    }
}
