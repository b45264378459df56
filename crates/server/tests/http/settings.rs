//! Settings, as the binary takes and refuses them.

use std::fs;
use std::net::TcpListener;
use std::process::Output;

use crate::server::{Folder, Server};
use crate::visitor::Visitor;

fn run(folder: &Folder, file: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    fs::write(folder.path().join("cloakroom.toml"), file).expect("a settings file");
    folder.cloakroom(arguments).envs(environment.iter().copied()).output().expect("it runs")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_settings_are_refused_with_the_line_at_fault() {
    let folder = Folder::new();
    let file = "store = \"memory:\"\n\n[session]\nidle_timeout_s = 90000\nidle_timeout = 60\n";
    let output = run(&folder, file, &[("CLOAKROOM_LISTEN", "localhost")], &["--store-deadline-ms", "soon"]);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(output.stdout.is_empty());
    assert!(told.contains("cloakroom.toml:5: there is no setting session.idle_timeout\n"), "{told}");
    assert!(told.contains("Did you mean session.idle_timeout_s?"), "{told}");
    assert!(told.contains("CLOAKROOM_LISTEN: is \"localhost\""), "{told}");
    assert!(told.contains("--store-deadline-ms: is \"soon\""), "{told}");
}

#[test]
fn what_the_library_refuses_names_the_setting_too() {
    let folder = Folder::new();
    let rotation = run(&folder, "\nsession.rotation_period_s = 30\n", &[], &[]);
    assert_eq!(rotation.status.code(), Some(2));
    assert!(
        told(&rotation).contains("cloakroom.toml:2: session.rotation_period_s can't be used"),
        "{}",
        told(&rotation)
    );
    let prefix = run(&folder, "", &[], &["check-config", "--cookie-name", "__Host-shop"]);
    assert_eq!(prefix.status.code(), Some(2));
    assert!(told(&prefix).contains("--cookie-name: can't be used"), "{}", told(&prefix));
    let beyond = run(&folder, "listen = \"0.0.0.0:0\"", &[], &[]);
    assert_eq!(beyond.status.code(), Some(2));
    assert!(told(&beyond).contains("cloakroom.toml:1: listen is 0.0.0.0:0, which the network can reach"));
}

#[test]
fn check_config_prints_what_is_in_effect_and_starts_nothing() {
    let folder = Folder::new();
    let file = "log = \"warn\"\nshutdown_grace_s = 3\n";
    let environment = [("CLOAKROOM_SHUTDOWN_GRACE_S", "4"), ("CLOAKROOM_STORE_DEADLINE_MS", "100")];
    let output = run(&folder, file, &environment, &["check-config", "--store-deadline-ms", "200"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    for (line, origin) in [
        ("log = \"warn\"", "# cloakroom.toml:1"),
        ("shutdown_grace_s = 4", "# CLOAKROOM_SHUTDOWN_GRACE_S"),
        ("store_deadline_ms = 200", "# --store-deadline-ms"),
        ("session.idle_timeout_s = 1800", "# default"),
        ("store = \"sqlite:cloakroom.db\"", "# default"),
    ] {
        let found = printed.lines().any(|printed| printed.starts_with(line) && printed.ends_with(origin));
        assert!(found, "{line} {origin} is missing:\n{printed}");
    }
    assert!(!folder.path().join("cloakroom.db").exists());
}

#[test]
fn a_file_elsewhere_and_a_cookie_of_another_name() {
    let folder = Folder::new();
    fs::write(folder.path().join("other.toml"), "store = \"memory:\"\ncookie.name = \"shop\"\n")
        .expect("a file");
    let server = Server::start(&folder, &["--config", "other.toml"]);
    let added = Visitor::new()
        .post(&server.url("/cart"), &[("product", "tag"), ("change", "more"), ("back", "cart")]);
    assert!(added.header("set-cookie").starts_with("shop="), "{}", added.header("set-cookie"));
    assert!(!folder.path().join("cloakroom.db").exists(), "the memory store leaves no file");
}

#[test]
fn an_address_in_use_is_told_plainly() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = run(&folder, "store = \"memory:\"", &[], &["--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains(&format!("{address} is in use by another program")), "{}", told(&output));
}

#[test]
fn a_store_that_cant_be_opened_is_told_and_left_alone() {
    let folder = Folder::new();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "these are my notes, not a database\n".repeat(100)).expect("a file");
    let output = run(&folder, "store = \"sqlite:notes.txt\"", &[], &["--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("notes.txt"), "{}", told(&output));
    assert!(fs::read_to_string(&path).expect("it is still there").starts_with("these are my notes"));
}

#[test]
fn help_names_every_setting_three_ways() {
    let folder = Folder::new();
    let output = folder.cloakroom(&["--help"]).output().expect("it runs");
    let help = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    for text in ["--session-idle-timeout-s", "CLOAKROOM_SESSION_IDLE_TIMEOUT_S", "check-config", "--config"] {
        assert!(help.contains(text), "{text} is missing:\n{help}");
    }
    assert_eq!(folder.cloakroom(&["--no-such-flag"]).output().expect("it runs").status.code(), Some(2));
}
