//! A value that is cut over several cookies: `name`, `name.2`, `name.3`, `name.4`.
//!
//! A value that fits into one cookie is that cookie's. Otherwise the first one begins with the number of parts, a digit
//! that no value begins with. Which parts belong together isn't told: whoever seals the whole finds out.

use std::time::Duration;

use super::{CookiePolicy, next_pair};

/// The most bytes that browsers keep of a cookie, name and value together (RFC 6265bis, section 5.7).
const COOKIE_BYTES_MAX: usize = 4096;

/// The bytes that the names of further parts are longer by.
const SUFFIX_BYTES: usize = 2;

/// How long a value can be that is cut over so many cookies of this name.
///
/// ```
/// use cloakroom_core::cookie::capacity;
///
/// assert_eq!(capacity("__Host-session", 1), 4096 - 14);
/// assert!(capacity("__Host-session", 4) > 16_000);
/// ```
#[must_use]
pub const fn capacity(name: &str, parts: usize) -> usize {
    let first = COOKIE_BYTES_MAX.saturating_sub(name.len());
    let others = parts.saturating_sub(1);
    let digit = if others > 0 { 1 } else { 0 };
    first.saturating_sub(digit) + others * first.saturating_sub(SUFFIX_BYTES)
}

/// The further parts that a request brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'h>([Option<&'h [u8]>; Parts::MAX - 1]);

impl<'h> Parts<'h> {
    /// How many cookies a value is cut over at most.
    pub const MAX: usize = 4;

    /// The whole value that begins with this part. `None` if a part of it isn't there.
    #[must_use]
    pub fn join(&self, first: &'h [u8]) -> Option<Vec<u8>> {
        let (count, start) = match first {
            [digit @ b'2'..=b'4', start @ ..] => (usize::from(digit - b'0'), start),
            whole => (1, whole),
        };
        let mut value = start.to_vec();
        for part in &self.0[..count - 1] {
            value.extend_from_slice((*part)?);
        }
        Some(value)
    }

    /// How many cookies the browser may have of this name, the first included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().rposition(Option::is_some).map_or(1, |last| last + 2)
    }
}

impl CookiePolicy {
    /// The further parts of the session's cookie in a request's `Cookie` headers; of each, the first.
    pub fn parts<'h>(&self, headers: impl Iterator<Item = &'h [u8]>) -> Parts<'h> {
        let mut parts = Parts::default();
        let pairs = |mut header| std::iter::from_fn(move || next_pair(&mut header));
        for pair in headers.flat_map(pairs) {
            let rest = pair.trim_ascii_start().strip_prefix(self.cookie_name().as_bytes());
            if let Some([b'.', digit @ b'2'..=b'4', b'=', value @ ..]) = rest {
                parts.0[usize::from(digit - b'2')].get_or_insert(value.trim_ascii_end());
            }
        }
        parts
    }

    /// The `Set-Cookie` values that hand the browser a sealed session: in one cookie if it fits, or else cut over
    /// several. Those that a longer one took before, so many with the first, are deleted.
    #[must_use]
    pub fn set_parts(&self, value: &str, before: usize, max_age: Duration) -> Vec<String> {
        let name = self.cookie_name();
        let mut count = 1;
        while count < Parts::MAX && capacity(name, count) < value.len() {
            count += 1;
        }
        if count == 1 {
            return [vec![self.set_sealed(value.to_owned(), max_age)], self.clear_parts(1, before)].concat();
        }
        // A sealed value is ASCII, so it can be cut anywhere.
        let (start, mut rest) = value.split_at((COOKIE_BYTES_MAX - name.len() - 1).min(value.len()));
        let mut cookies = vec![self.set_sealed(format!("{count}{start}"), max_age)];
        for number in 2..=count {
            let (part, left) = rest.split_at((COOKIE_BYTES_MAX - name.len() - SUFFIX_BYTES).min(rest.len()));
            cookies.push(self.render_as(
                &format!("{name}.{number}"),
                part.to_owned(),
                max_age.max(Duration::from_secs(1)),
            ));
            rest = left;
        }
        cookies.extend(self.clear_parts(count, before));
        cookies
    }

    /// The `Set-Cookie` values that delete the parts above `kept`, up to `before`.
    #[must_use]
    pub fn clear_parts(&self, kept: usize, before: usize) -> Vec<String> {
        let name = |number| format!("{}.{number}", self.cookie_name());
        (kept + 1..=before)
            .map(|number| self.render_as(&name(number), String::new(), Duration::ZERO))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser sends that took these cookies in.
    fn sent(cookies: &[String]) -> String {
        let pairs: Vec<_> = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
        pairs.join("; ")
    }

    #[test]
    fn a_value_is_cut_and_joined_again() {
        let policy = CookiePolicy::default();
        for bytes in [1, 4_082, 4_083, 8_000, 12_200, capacity(policy.cookie_name(), 4)] {
            let value: String = ('A'..='Z').cycle().take(bytes).collect();
            let cookies = policy.set_parts(&value, 1, Duration::from_secs(60));
            assert_eq!(cookies.len(), (1..=4).find(|n| capacity(policy.cookie_name(), *n) >= bytes).unwrap());
            for cookie in &cookies {
                let pair = cookie.split(';').next().unwrap();
                assert!(pair.len() <= COOKIE_BYTES_MAX + 1, "{}", pair.len());
                assert!(cookie.ends_with("; Secure") && cookie.contains("; HttpOnly;"));
            }
            let header = sent(&cookies);
            let headers = || std::iter::once(header.as_bytes());
            let (first, parts) = (policy.values(headers()).next().unwrap(), policy.parts(headers()));
            assert_eq!(parts.join(first).unwrap(), value.as_bytes());
            assert_eq!(parts.count(), cookies.len());
        }
    }

    #[test]
    fn what_is_left_of_a_longer_one_is_deleted() {
        let policy = CookiePolicy::default();
        let cookies = policy.set_parts("x", 3, Duration::from_secs(60));
        assert_eq!(cookies.len(), 3);
        assert!(cookies[1].starts_with("__Host-session.2=; ") && cookies[1].contains("Max-Age=0;"));
        assert!(cookies[2].starts_with("__Host-session.3=; "));
        assert!(policy.clear_parts(1, 1).is_empty());
    }

    #[test]
    fn cs_hostile_a_part_that_is_missing_makes_no_value() {
        let policy = CookiePolicy::default();
        for header in ["__Host-session=2abc", "__Host-session=3a; __Host-session.2=b", "__Host-session.2=b"] {
            let headers = || std::iter::once(header.as_bytes());
            let parts = policy.parts(headers());
            assert!(policy.values(headers()).all(|first| parts.join(first).is_none()), "{header}");
        }
        let parts = policy
            .parts(std::iter::once(&b"__Host-session.5=a; __Host-session.1=b; x__Host-session.2=c"[..]));
        assert_eq!((parts.count(), parts.join(b"9x")), (1, Some(b"9x".to_vec())));
    }
}
