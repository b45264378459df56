//! The demo shop: a landing page, things to buy, a cart.

pub(crate) mod cart;
mod catalogue;
mod money;
mod pages;

use axum::Router;
use axum::routing::{get, post};

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(pages::landing))
        .route("/shop", get(pages::shop))
        .route("/shop/{product}", get(pages::product))
        .route("/cart", get(pages::cart).post(pages::change_cart))
        .route("/checkout", post(pages::check_out))
        .route("/receipt", get(pages::receipt))
}
