//! Where a secret never is: in logs, in the store.

use std::fs;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::support::{Probe, Store, on_every_store_with};

/// Lives through everything a session can, and answers every token there was.
fn live(probe: &Probe) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut visitor = probe.visitor();
    for target in [
        "/set?k=diary&v=private-value",
        "/login?user=ada",
        "/get",
        "/set?k=diary&v=private-value",
        "/incr?k=diary",
        "/rotate",
        "/set?k=other&v=private-value",
        "/sessions",
        "/login?user=bob",
        "/set?k=diary&v=private-value",
    ] {
        visitor.get(target);
        tokens.push(visitor.token());
    }
    for token in &tokens {
        let mut replay = probe.visitor_with(token);
        replay.get("/get");
        replay.get("/set?k=diary&v=private-value");
    }
    let unknown = URL_SAFE_NO_PAD.encode([3; 32]);
    probe.visitor_with(&unknown).get("/get");
    tokens.push(unknown);
    tokens.sort();
    tokens.dedup();
    assert!(tokens.len() >= 5, "{}", tokens.len());
    tokens
}

/// The characters of a token that hold nothing but its secret.
fn secret_part(token: &str) -> &str {
    &token[22..]
}

#[test]
fn a16_2_5_nothing_logged_holds_a_token_a_secret_or_a_value() {
    on_every_store_with(&["--log", "trace"], |probe| {
        let tokens = live(probe);
        let ids: Vec<_> = tokens.iter().map(|token| &token[..21]).collect();
        let log = probe.log();
        let is_told = if probe.is_sealed() {
            log.contains("session.id=") && !tokens.iter().any(|token| log.contains(token))
        } else {
            ids.iter().any(|id| log.contains(id))
        };
        assert!(is_told && log.contains("TRACE") | log.contains("DEBUG"), "{log}");
        for token in &tokens {
            assert!(!log.contains(secret_part(token)), "a secret is logged");
        }
        assert!(!log.contains("private-value"), "a value is logged");
    });
}

/// Who reads the file, or a backup of it, finds nothing there that opens a session.
#[test]
fn the_file_holds_no_secret() {
    let probe = Probe::start(Store::Sqlite);
    let tokens = live(&probe);
    let mut files = Vec::new();
    for entry in fs::read_dir(probe.folder.path()).unwrap() {
        files.push(fs::read(entry.unwrap().path()).unwrap());
    }
    let holds =
        |bytes: &[u8]| files.iter().any(|file| file.windows(bytes.len()).any(|window| window == bytes));
    assert!(holds(b"private-value"), "the data is in the file");
    for token in &tokens {
        let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
        assert!(!holds(&bytes[16..]) && !holds(secret_part(token).as_bytes()), "a secret is in the file");
    }
}
