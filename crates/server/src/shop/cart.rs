//! The cart, as a session keeps it.

use std::collections::BTreeMap;

use cloakroom::Key;
use serde::{Deserialize, Serialize};

use super::catalogue::{self, Product};
use super::money::Cents;

/// What is in the visitor's cart.
pub(crate) const CART: Key<Cart> = Key::new("cart");

/// The most of one product that a cart takes.
const QUANTITY_MAX: u32 = 9;

/// How many of which product, by slug. Bounded by the catalogue: only products that exist go in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Cart {
    quantities: BTreeMap<String, u32>,
}

/// One row of the cart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) product: &'static Product,
    pub(crate) quantity: u32,
}

/// What a button does to one product in the cart.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Change {
    More,
    Fewer,
    Remove,
}

impl Cart {
    /// Makes one change. It is made again when another request has changed the cart meanwhile, so it says what to do
    /// ("one more") and not what should come out ("now three").
    pub(crate) fn change(&mut self, product: &Product, change: Change) {
        let quantity = self.quantities.get(product.slug).copied().unwrap_or_default();
        let changed = match change {
            Change::More => quantity.saturating_add(1).min(QUANTITY_MAX),
            Change::Fewer => quantity.saturating_sub(1),
            Change::Remove => 0,
        };
        if changed == 0 {
            self.quantities.remove(product.slug);
        } else {
            self.quantities.insert(product.slug.to_owned(), changed);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items() == 0
    }

    /// In the catalogue's order. A product that has left the catalogue since is left out.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        catalogue::PRODUCTS.iter().filter_map(|product| {
            let quantity = *self.quantities.get(product.slug)?;
            Some(Line { product, quantity })
        })
    }

    /// How many items in all.
    pub(crate) fn items(&self) -> u32 {
        self.lines().map(|line| line.quantity).sum()
    }

    pub(crate) fn total(&self) -> Cents {
        self.lines().map(|line| line.total()).sum()
    }
}

impl Line {
    pub(crate) fn is_full(&self) -> bool {
        self.quantity >= QUANTITY_MAX
    }

    pub(crate) fn total(&self) -> Cents {
        self.product.price * self.quantity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(slug: &str) -> &'static Product {
        catalogue::product(slug).expect("in the catalogue")
    }

    #[test]
    fn a_cart_counts_and_adds_up() {
        let mut cart = Cart::default();
        cart.change(product("umbrella"), Change::More);
        cart.change(product("umbrella"), Change::More);
        cart.change(product("scarf"), Change::More);
        assert_eq!(cart.items(), 3);
        assert_eq!(cart.total(), product("umbrella").price * 2 + product("scarf").price);
        cart.change(product("umbrella"), Change::Remove);
        assert_eq!(cart.lines().map(|line| line.product.slug).collect::<Vec<_>>(), ["scarf"]);
        cart.change(product("scarf"), Change::Fewer);
        assert!(cart.is_empty());
    }

    #[test]
    fn a_quantity_stays_between_none_and_its_bound() {
        let mut cart = Cart::default();
        cart.change(product("tag"), Change::Fewer);
        assert_eq!(cart, Cart::default());
        for _ in 0..=QUANTITY_MAX {
            cart.change(product("tag"), Change::More);
        }
        assert_eq!(cart.items(), QUANTITY_MAX);
        assert!(cart.lines().all(|line| line.is_full()));
    }

    #[test]
    fn a_product_that_left_the_catalogue_is_not_counted() {
        let cart = Cart { quantities: [("top-hat".to_owned(), 2)].into() };
        assert!(cart.is_empty());
        assert_eq!(cart.total(), Cents(0));
    }
}
