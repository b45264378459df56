//! Of which states a key ring in a store came.

use std::fmt;

/// The states that a ring was in, each under the random number it was given when it was kept: the last is the one it is in.
///
/// It lies within the ring's seal, so who can write the store can't make one up: an earlier state lacks the later ones'
/// numbers, and so does a ring that went another way from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History(Vec<u64>);

/// Twenty rotations' changes. Who hasn't read the ring for longer has no valid cookie to lose, and is to be restarted.
const STATES_MAX: usize = 64;

const NAME: &str = "history";

impl History {
    /// With another state behind it.
    pub(crate) fn followed_by(&self, state: u64) -> Self {
        let mut states = self.0.clone();
        if states.len() >= STATES_MAX {
            states.remove(0);
        }
        states.push(state);
        Self(states)
    }

    /// Whether this came of that, by changes or by none.
    pub(crate) fn came_of(&self, earlier: &Self) -> bool {
        earlier.0.last().is_some_and(|state| self.0.contains(state))
    }

    /// The history in a text's first line, and what follows it.
    pub(crate) fn split(text: &str) -> Option<(Self, &str)> {
        let (line, rest) = text.split_once('\n')?;
        let states = line.strip_prefix(NAME)?.split_ascii_whitespace();
        let states = states.map(|state| u64::from_str_radix(state, 16).ok());
        let states = states.collect::<Option<Vec<_>>>()?;
        (!states.is_empty() && states.len() <= STATES_MAX).then_some((Self(states), rest))
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        self.0.iter().try_for_each(|state| write!(f, " {state:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_of_a_state_is_told_from_what_went_another_way() {
        let first = History::default().followed_by(1);
        let (second, other) = (first.followed_by(2), first.followed_by(3));
        assert!(second.came_of(&first) && second.came_of(&second) && !first.came_of(&second));
        assert!(!other.came_of(&second) && !other.followed_by(4).came_of(&second));
        assert!(!first.came_of(&History::default()));
    }

    #[test]
    fn a_history_is_read_as_it_was_written_and_keeps_the_latest() {
        let mut history = History::default();
        for state in 1..=100 {
            history = history.followed_by(state << 40);
            let text = format!("{history}\nkeys\n");
            assert_eq!(History::split(&text), Some((history.clone(), "keys\n")));
            assert_eq!(history.0.last(), Some(&(state << 40)));
        }
        assert_eq!((history.0.len(), history.0[0]), (STATES_MAX, 37 << 40));
        for wrong in ["", "keys\n", "history\n", "history x\n", "history 1"] {
            assert_eq!(History::split(wrong), None, "{wrong}");
        }
    }
}
