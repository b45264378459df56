//! Where a login may lead.

/// The path, if following it leads nowhere but to this site: for the `next` of a login page, which anybody can choose
/// who makes a link to it.
///
/// Not every address that starts with `/` is such a path. Browsers read `\` as `/`, and pass over tabs and line breaks
/// (WHATWG URL, section 4.4); two slashes lead to another site.
///
/// ```
/// use cloakroom_tower::local_path;
///
/// assert_eq!(local_path("/account?tab=2"), Some("/account?tab=2"));
/// for elsewhere in ["//evil.example", "/\\evil.example", "/\t/evil.example", "https://evil.example", ""] {
///     assert_eq!(local_path(elsewhere), None);
/// }
/// ```
#[must_use]
pub fn local_path(next: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte > b' ' && byte != b'\\' && byte != 0x7f;
    let is_local = next.starts_with('/') && !next.starts_with("//") && next.bytes().all(is_plain);
    is_local.then_some(next)
}
