//! Money, in whole cents.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Mul};

/// An amount in euro cents. Never a fraction, so nothing is ever rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cents(pub(crate) u32);

impl Add for Cents {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Mul<u32> for Cents {
    type Output = Self;

    fn mul(self, quantity: u32) -> Self {
        Self(self.0.saturating_mul(quantity))
    }
}

impl Sum for Cents {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (euros, cents) = (self.0 / 100, self.0 % 100);
        match euros / 1_000 {
            0 => write!(f, "€{euros}.{cents:02}"),
            thousands => write!(f, "€{thousands},{:03}.{cents:02}", euros % 1_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        assert_eq!(Cents(5).to_string(), "€0.05");
        assert_eq!(Cents(18_900).to_string(), "€189.00");
        assert_eq!((Cents(49_950) * 3 + Cents(1)).to_string(), "€1,498.51");
        assert_eq!([Cents(100), Cents(250)].into_iter().sum::<Cents>(), Cents(350));
    }
}
