//! Any bytes as `Cookie` headers: a few canonical tokens, all of them in the input, or none.
#![no_main]

use cloakroom_core::{Token, cookie::CookiePolicy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let policy = CookiePolicy::default();
    let headers = || bytes.split(|byte| *byte == b'\n');
    let tokens: Vec<Token> = policy.tokens(headers()).collect();
    assert!(tokens.len() <= 3, "{} candidates", tokens.len());
    for token in &tokens {
        let text = token.expose();
        assert!(Token::parse(text.as_bytes()).is_some_and(|again| again.expose() == text), "not canonical");
        assert!(bytes.windows(text.len()).any(|window| window == text.as_bytes()), "made up");
    }
    for value in policy.values(headers()) {
        assert!(value.len() <= bytes.len());
    }
});
