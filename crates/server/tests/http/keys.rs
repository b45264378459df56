//! `cloakroom keys`, as an operator uses it.

use std::fs;

use crate::server::{Folder, Server};
use crate::visitor::Visitor;

struct Told {
    code: i32,
    out: String,
    err: String,
}

fn keys(folder: &Folder, arguments: &[&str], variable: Option<&str>) -> Told {
    let mut command = folder.cloakroom(&["keys"]);
    command.args(arguments).envs(variable.map(|ring| ("CLOAKROOM_KEYS", ring)));
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Told {
        code: output.status.code().expect("an exit code"),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

/// The keys in a ring's text: the last column.
fn secrets(text: &str) -> Vec<String> {
    text.lines().skip(2).filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}

#[test]
fn from_a_new_ring_to_a_rotated_one() {
    let folder = Folder::new();
    let file = folder.path().join("cloakroom.keys");
    let dry = keys(&folder, &["new", "--dry-run"], None);
    assert!(dry.code == 0 && dry.out.contains("would make a ring") && !file.exists(), "{}", dry.out);
    assert_eq!(keys(&folder, &["new"], None).code, 0);
    let again = keys(&folder, &["new"], None);
    assert!(again.code == 1 && again.err.contains("never overwritten"), "{}", again.err);

    let before = fs::read_to_string(&file).expect("the ring");
    let dry = keys(&folder, &["rotate", "--dry-run"], None);
    assert!(dry.out.starts_with("would have published a new key: "), "{}", dry.out);
    assert_eq!(fs::read_to_string(&file).expect("the ring"), before);
    let published = keys(&folder, &["rotate"], None);
    assert!(published.out.starts_with("published the key "), "{}{}", published.out, published.err);
    let early = keys(&folder, &["rotate"], None);
    assert!(early.code == 1 && early.err.contains("may be promoted from 20"), "{}", early.err);

    // As if it had been published long ago.
    let text = fs::read_to_string(&file).expect("the ring");
    let pending = text.lines().find(|line| line.contains(" pending ")).expect("a pending key");
    let columns: Vec<_> = pending.split_whitespace().collect();
    let aged = pending.replace(columns[2], "2020-01-01T00:00:00Z");
    fs::write(&file, text.replace(pending, &aged)).expect("the ring is written");
    let promoted = keys(&folder, &["rotate"], None);
    assert!(promoted.out.contains("retires"), "{}{}", promoted.out, promoted.err);
    let listed = keys(&folder, &["list"], None);
    for word in ["retiring", "primary", "may be removed from 20", "seals"] {
        assert!(listed.out.contains(word), "{word}: {}", listed.out);
    }
    let text = fs::read_to_string(&file).expect("the ring");
    assert_eq!(secrets(&text).len(), 2);
    for secret in secrets(&text) {
        for told in [&published, &promoted, &listed, &early] {
            assert!(!told.out.contains(&secret) && !told.err.contains(&secret));
        }
    }
    let old = listed.out.lines().nth(1).expect("a key").split_whitespace().next().expect("an id").to_owned();
    let early = keys(&folder, &["retire", &old], None);
    assert!(early.code == 1 && early.err.contains("what it sealed can live until then"), "{}", early.err);
    let compromised = keys(&folder, &["retire", &old, "--compromised"], None);
    assert!(compromised.out.contains("worthless now"), "{}", compromised.err);
    assert!(!keys(&folder, &["list"], None).out.contains(&old));
}

#[test]
fn the_primary_is_retired_only_if_it_is_compromised() {
    let folder = Folder::new();
    assert_eq!(keys(&folder, &["new"], None).code, 0);
    let list = keys(&folder, &["list"], None).out;
    let id = list.lines().nth(1).expect("a key").split_whitespace().next().expect("an id").to_owned();
    let refused = keys(&folder, &["retire", &id], None);
    assert!(
        refused.code == 1 && refused.err.contains("publish and promote another first"),
        "{}",
        refused.err
    );
    assert_eq!(keys(&folder, &["retire", &id, "--compromised"], None).code, 0);
    let list = keys(&folder, &["list"], None).out;
    assert!(list.contains("primary") && !list.contains(&id), "{list}");
    assert_eq!(keys(&folder, &["retire", "xyz"], None).code, 2);
}

#[test]
fn a_ring_for_the_environment() {
    let folder = Folder::new();
    let ring = keys(&folder, &["new", "--ring", "-"], None);
    assert!(ring.out.starts_with("cloakroom-keys 1\n"), "{}", ring.out);
    let list = keys(&folder, &["list"], Some(&ring.out));
    assert!(
        list.out.contains("primary") && !list.out.contains(&secrets(&ring.out)[0]),
        "{}{}",
        list.out,
        list.err
    );
    let rotate = keys(&folder, &["rotate"], Some(&ring.out));
    assert!(rotate.code == 1 && rotate.err.contains("can't be changed from here"), "{}", rotate.err);
    let short = ring.out.replace(&secrets(&ring.out)[0], &secrets(&ring.out)[0][..20]);
    let refused = keys(&folder, &["list"], Some(&short));
    assert!(refused.err.contains("CLOAKROOM_KEYS: line 3: a key has 15 bytes"), "{}", refused.err);
    assert!(!refused.err.contains(&secrets(&ring.out)[0][..20]));
}

#[cfg(unix)]
#[test]
fn a_ring_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    assert_eq!(keys(&folder, &["new"], None).code, 0);
    let file = folder.path().join("cloakroom.keys");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("its rights change");
    for verb in [&["list"][..], &["rotate"], &["retire", "01020304"]] {
        let refused = keys(&folder, verb, None);
        assert!(refused.code == 1 && refused.err.contains("chmod 600 cloakroom.keys"), "{}", refused.err);
    }
}

/// Stored sessions are bound with the ring: another server, without it, serves none of them, and neither does one with
/// another ring.
#[test]
fn a_server_with_keys_binds_its_sessions() {
    let folder = Folder::new();
    assert_eq!(keys(&folder, &["new"], None).code, 0);
    assert_eq!(keys(&folder, &["new", "--ring", "other.keys"], None).code, 0);
    let visitor = Visitor::new();
    let server = Server::start(&folder, &["--keys-file", "cloakroom.keys"]);
    let form = [("user", "ada"), ("password", "umbrella"), ("next", "/devices")];
    visitor.post(&server.url("/login"), &form).leads_to("/devices");
    server.kill();

    for (arguments, status, is_signed_in) in [
        (&["--keys-file", "cloakroom.keys"][..], 200, true),
        (&["--keys-file", "other.keys"], 200, false),
        (&[], 500, false),
        (&["--keys-file", "cloakroom.keys", "--keys-rotate-days", "0"], 200, true),
    ] {
        let server = Server::start(&folder, arguments);
        // A key that isn't in the ring may be one that this server hasn't heard of: it looks first, and says 503.
        let mut answers = (0..100).map(|attempt| {
            std::thread::sleep(std::time::Duration::from_millis(20) * attempt.min(5));
            visitor.get(&server.url("/shop"))
        });
        let shop = answers.find(|shop| shop.status != 503).expect("an answer that isn't 503");
        assert_eq!(
            (shop.status, shop.has("Sign out")),
            (status, is_signed_in),
            "{arguments:?}: {}",
            shop.body
        );
        assert_eq!(shop.header("set-cookie"), "", "{arguments:?}: the cookie is left alone");
        server.kill();
    }
}

#[test]
fn k_sample_a_server_does_not_start_with_a_ring_it_cannot_use() {
    let folder = Folder::new();
    let start = |arguments: &[&str], variable: Option<&str>| {
        let mut command = folder.cloakroom(&["--listen", "127.0.0.1:0"]);
        command.args(arguments).envs(variable.map(|ring| ("CLOAKROOM_KEYS", ring)));
        let output = command.output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let sample = "cloakroom-keys 1\n01020304 primary 2026-10-01T00:00:00Z 2026-10-01T00:00:00Z \
                  AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    for (arguments, variable, why) in [
        (&["--keys-file", "none.keys"][..], None, "make one with `cloakroom keys new`"),
        (&[], Some(sample), "CLOAKROOM_KEYS: line 2: a key is a row of counting bytes"),
        (&["--keys-accept-unkeyed-until", "2030-01-01T00:00:00Z"], None, "without `keys`"),
        (&["--keys-accept-unkeyed-until", "tomorrow"], None, "which is no time"),
    ] {
        let (code, told) = start(arguments, variable);
        assert!(code.is_some_and(|code| code != 0) && told.contains(why), "{why}: {code:?} {told}");
    }
}
