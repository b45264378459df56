//! Starting with settings that can't be used, and stopping with requests in flight.

use std::{thread, time::Duration};

use crate::support::{Connection, Folder, Probe, Store, on_every_store, refused};

#[test]
fn settings_that_cant_be_used_are_refused_with_the_reason() {
    let memory = ["--store", "memory:"];
    for (arguments, reason) in [
        (&["--idle-s", "0"][..], "at least one second"),
        (&["--idle-s=-1"], "--idle-s"),
        (&["--idle-s", "soon"], "--idle-s"),
        (&["--idle-s", "60", "--absolute-s", "30"], "longer than the absolute timeout"),
        (&["--absolute-s", "60"], "longer than the absolute timeout"),
        (&["--grace-s", "0"], "under one second"),
        (&["--grace-s", "3600"], "longer than the idle timeout"),
        (&["--rotation-s", "1"], "under twice the grace"),
        (&["--rotation-s", "60", "--grace-s", "31"], "under twice the grace"),
        (&["--deadline-ms", "0"], "--deadline-ms"),
        (&["--listen", "0.0.0.0:0"], "loopback"),
        (&["--listen", "nowhere"], "127.0.0.1:0"),
        (&["--log", "loudly"], "--log"),
    ] {
        let (status, message) = refused(&[&memory, arguments].concat());
        assert_eq!(status, Some(2), "{arguments:?}: {message}");
        assert!(message.contains(reason), "{arguments:?}: {message}");
    }
    for (url, reason) in [
        ("", "memory:, sqlite:PATH"),
        ("memory", "memory:, sqlite:PATH"),
        ("memory:x", "`memory:`"),
        ("sqlite:", "sqlite:sessions.db"),
        ("sqlite:nowhere/sessions.db", "doesn't exist"),
        ("sqlite:.", "is a folder"),
        ("nosuch://user:hunter2@host", "memory:, sqlite:PATH"),
    ] {
        let (status, message) = refused(&["--store", url]);
        assert_eq!(status, Some(2), "{url}: {message}");
        assert!(message.contains(reason) && !message.contains("hunter2"), "{url}: {message}");
    }
}

#[test]
fn settings_that_go_together_are_taken() {
    for arguments in [
        &["--idle-s", "1", "--absolute-s", "1"][..],
        &["--idle-s", "30"],
        &["--rotation-s", "2"],
        &["--rotation-s", "600", "--grace-s", "300", "--deadline-ms", "1"],
    ] {
        let probe = Probe::start_with(Store::Memory, arguments);
        probe.visitor().get("/bare").expect(200);
    }
}

#[test]
fn a_stop_lets_requests_in_flight_finish() {
    on_every_store(|probe| {
        // The closure's probe is only lent; this one is stopped.
        let probe = Probe::start(probe.store);
        let mut visitor = probe.visitor();
        let token = visitor.log_in("ada");
        let (mut reading, mut writing, idle) = (visitor.tab(&probe), visitor.tab(&probe), probe.connection());
        reading.ask("GET", "/slowread?ms=600");
        writing.ask("GET", "/set?k=late&v=kept&ms=600");
        thread::sleep(Duration::from_millis(200));
        probe.ask_to_stop();
        assert_eq!(reading.answer("GET").expect(200).body, "authenticated\n");
        writing.answer("GET").expect(200);

        let (address, store) = (probe.address, probe.store);
        let (status, folder) = probe.wait();
        assert!(status.success(), "{status}");
        assert!(Connection::open(address).is_err());
        drop(idle);
        if store == Store::Sqlite {
            assert!(!folder.path().join("sessions.db-wal").exists(), "the log was merged into the file");
            let probe = Probe::start_in(folder, store, &[]);
            assert_eq!(probe.visitor_with(&token).view().text("late"), Some("kept"));
        }
    });
}

#[test]
fn a_file_that_isnt_ours_is_refused_and_untouched() {
    let folder = Folder::new();
    for content in [&b"a letter, not a database"[..], &[0; 100], &[0xff; 8192]] {
        std::fs::write(folder.database(), content).unwrap();
        let (status, message) = refused(&["--store", &format!("sqlite:{}", folder.database().display())]);
        assert!(matches!(status, Some(1 | 2)) && message.starts_with("probe: "), "{status:?} {message}");
        assert_eq!(std::fs::read(folder.database()).unwrap(), content);
    }
}
