//! What the demo shop sells.

use super::money::Cents;

/// One thing on sale.
#[derive(Debug)]
pub(crate) struct Product {
    /// Its name in addresses, forms and carts.
    pub(crate) slug: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) price: Cents,
    pub(crate) blurb: &'static str,
    /// A drawing, as SVG that stands in the page itself.
    pub(crate) art: &'static str,
    /// The ground it stands on: the end of a class name in the stylesheet.
    pub(crate) ground: &'static str,
}

/// In the order in which they are shown.
pub(crate) static PRODUCTS: [Product; 8] = [
    Product {
        slug: "overcoat",
        name: "The Night Porter",
        kind: "Overcoat",
        price: Cents(28_900),
        blurb: "Double-breasted navy wool with four brass buttons and pockets deep enough for a novel. \
                Stays warm until the last tram.",
        art: include_str!("../../assets/art/overcoat.svg"),
        ground: "sky",
    },
    Product {
        slug: "raincoat",
        name: "Drizzle",
        kind: "Raincoat",
        price: Cents(12_900),
        blurb: "Waxed cotton in a yellow that cheers up a whole street. The hood stays where you put it.",
        art: include_str!("../../assets/art/raincoat.svg"),
        ground: "mist",
    },
    Product {
        slug: "bowler",
        name: "Matinee",
        kind: "Bowler hat",
        price: Cents(8_450),
        blurb: "Firm felt, an oxblood band, and a brim that remembers its manners.",
        art: include_str!("../../assets/art/bowler.svg"),
        ground: "rose",
    },
    Product {
        slug: "beanie",
        name: "Snowed In",
        kind: "Knitted hat",
        price: Cents(3_400),
        blurb: "Two zigzags, one very large bobble. Knitted from wool that doesn't itch.",
        art: include_str!("../../assets/art/beanie.svg"),
        ground: "sage",
    },
    Product {
        slug: "scarf",
        name: "Encore",
        kind: "Scarf",
        price: Cents(4_900),
        blurb: "Two metres of lambswool: once around for autumn, twice for winter, three times for applause.",
        art: include_str!("../../assets/art/scarf.svg"),
        ground: "sand",
    },
    Product {
        slug: "umbrella",
        name: "Curtain Call",
        kind: "Umbrella",
        price: Cents(5_950),
        blurb: "Eight ribs, a chestnut crook, and a canopy the colour of the stage curtain.",
        art: include_str!("../../assets/art/umbrella.svg"),
        ground: "mist",
    },
    Product {
        slug: "gloves",
        name: "Hand in Hand",
        kind: "Gloves",
        price: Cents(6_500),
        blurb: "Soft tan leather, shearling cuffs. They button to each other, so that neither gets lost.",
        art: include_str!("../../assets/art/gloves.svg"),
        ground: "sky",
    },
    Product {
        slug: "tag",
        name: "Number 27",
        kind: "Brass tag",
        price: Cents(1_250),
        blurb: "The very thing this is about: hand in your coat, keep the number. Whoever holds it gets the coat.",
        art: include_str!("../../assets/art/tag.svg"),
        ground: "sage",
    },
];

pub(crate) fn product(slug: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.slug == slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_found_by_its_slug() {
        for expected in &PRODUCTS {
            let found = product(expected.slug).expect("it is in the catalogue");
            assert_eq!(found.name, expected.name);
        }
        assert!(product("wardrobe").is_none());
    }
}
