use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A settings file of its own, removed at the end.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "cloakroom-settings-{}-{}.toml",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("the temporary folder can be written");
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, String> {
    let file = File::new(file);
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let values = flags
        .iter()
        .map(|(name, value)| (Key::named(name).expect("a setting"), (*value).to_owned()))
        .collect();
    let flags = Flags { config: Some(file.0.clone()), values };
    Settings::load(flags, &environment)
        .map_err(|faults| faults.to_string().replace(&*file.0.to_string_lossy(), "FILE"))
}

fn refusal(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load(file, environment, flags).expect_err("these settings are wrong")
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let settings = load("", &[], &[]).expect("nothing is wrong");
    assert_eq!(settings.listen.value.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.store.value, StoreUrl::sqlite("cloakroom.db"));
    assert_eq!((settings.idle_timeout_s.value, settings.absolute_timeout_s.value), (1_800, 86_400));
    assert_eq!(settings.transport(), Transport::LoopbackHttp);
}

#[test]
fn the_later_source_wins() {
    let file = "log = \"error\"\nstore_deadline_ms = 1\nshutdown_grace_s = 1\n";
    let environment = [("CLOAKROOM_STORE_DEADLINE_MS", "2"), ("CLOAKROOM_SHUTDOWN_GRACE_S", "2")];
    let settings = load(file, &environment, &[("shutdown_grace_s", "3")]).expect("nothing is wrong");
    assert_eq!(settings.log.value.to_string(), "error");
    assert_eq!(settings.store_deadline_ms.value, 2);
    assert_eq!(settings.shutdown_grace_s.value, 3);
    assert_eq!(settings.shutdown_grace_s.origin.to_string(), "--shutdown-grace-s");
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_likely_one() {
    let said = refusal("\n[session]\nidle_timeout = 60\n", &[], &[]);
    assert!(said.contains("FILE:3: there is no setting session.idle_timeout\n"), "{said}");
    assert!(said.contains("Did you mean session.idle_timeout_s?"), "{said}");
    let misplaced = refusal("idle_timeout_s = 60", &[], &[]);
    assert!(misplaced.contains("Did you mean session.idle_timeout_s?"), "{misplaced}");
    let unlike = refusal("colour = \"red\"", &[], &[]);
    assert!(unlike.contains("The settings are: listen, public_url,"), "{unlike}");
}

#[test]
fn a_wrong_type_is_refused_with_its_line() {
    let said = refusal("log = \"info\"\nsession.idle_timeout_s = \"60\"\nlisten = 8080", &[], &[]);
    assert!(said.contains("FILE:2: session.idle_timeout_s is text, not a number"), "{said}");
    assert!(said.contains("FILE:3: listen is a number, not text"), "{said}");
    assert!(said.contains("whole number of seconds from 1 to 34560000"), "{said}");
    let section = refusal("session = 3", &[], &[]);
    assert!(section.contains("FILE:1: there is no setting session\n"), "{section}");
}

#[test]
fn a_wrong_value_is_refused_with_its_source() {
    for (key, value) in [
        ("listen", "localhost:8080"),
        ("listen", "127.0.0.1"),
        ("public_url", "http://shop.example"),
        ("public_url", "https://shop.example/app"),
        ("public_url", "https://me@shop.example"),
        ("public_url", "shop.example"),
        ("store", "sqlite:"),
        ("store", "sqlite://host/file"),
        ("store", "memory:x"),
        ("store", "abacus://127.0.0.1"),
        ("store", "cloakroom.db"),
        ("store_deadline_ms", "0"),
        ("session.idle_timeout_s", "0"),
        ("session.idle_timeout_s", "-1"),
        ("session.absolute_timeout_s", "34560001"),
        ("session.rotation_period_s", "soon"),
        ("insecure_plain_http", "yes"),
        ("cookie.name", "two words"),
        ("cookie.name", ""),
        ("log", "loud=very"),
    ] {
        let key = Key::named(key).expect("a setting");
        let from_variable = refusal("", &[(&key.variable(), value)], &[]);
        assert!(from_variable.contains(&format!("{}: is ", key.variable())), "{from_variable}");
        let from_flag = refusal("", &[], &[(key.name, value)]);
        assert!(from_flag.contains(&format!("--{}: is ", key.flag())), "{from_flag}");
    }
}

#[test]
fn a_syntax_error_is_refused_with_its_line() {
    let said = refusal("log = \"info\"\nlisten = \n", &[], &[]);
    assert!(said.contains("FILE:2: "), "{said}");
    let twice = refusal("log = \"info\"\nlog = \"warn\"\n", &[], &[]);
    assert!(twice.contains("FILE:2: duplicate key"), "{twice}");
}

#[test]
fn contradictions_blame_what_was_written() {
    let idle = refusal("[session]\nidle_timeout_s = 90000", &[], &[]);
    assert!(idle.contains("FILE:2: session.idle_timeout_s is 90000, longer than"), "{idle}");
    let absolute = refusal("", &[("CLOAKROOM_SESSION_ABSOLUTE_TIMEOUT_S", "60")], &[]);
    assert!(absolute.contains("CLOAKROOM_SESSION_ABSOLUTE_TIMEOUT_S: is 60, shorter than"), "{absolute}");
    let rotation = refusal("", &[], &[("session.rotation_period_s", "86400")]);
    assert!(rotation.contains("--session-rotation-period-s: is 86400"), "{rotation}");
    let both = refusal("insecure_plain_http = true\npublic_url = \"https://shop.example\"", &[], &[]);
    assert!(both.contains("FILE:1: insecure_plain_http contradicts public_url"), "{both}");
}

#[test]
fn plain_http_beyond_this_machine_has_to_be_asked_for_by_name() {
    let listen = [("listen", "0.0.0.0:8080")];
    assert!(refusal("", &[], &listen).contains("--listen: is 0.0.0.0:8080, which the network can reach"));
    let asked = load("insecure_plain_http = true", &[], &listen).expect("it was asked for");
    assert_eq!(asked.transport(), Transport::InsecureHttp);
    let proxied =
        load("public_url = \"https://Shop.example:443/\"", &[], &listen).expect("a proxy is in front");
    assert_eq!(proxied.transport(), Transport::Https);
    assert_eq!(proxied.public_url.value.as_ref().map(PublicUrl::origin), Some("https://shop.example"));
}

#[test]
fn a_variable_is_refused_only_when_it_was_surely_meant() {
    let said = refusal("", &[("CLOAKROOM_LISTN", "127.0.0.1:0")], &[]);
    assert!(said.contains("CLOAKROOM_LISTN: is not a setting\n    Did you mean CLOAKROOM_LISTEN?"), "{said}");
    let settings =
        load("", &[("CLOAKROOM_SERVICE_HOST", "10.0.0.7"), ("LISTEN", "no")], &[]).expect("not ours");
    assert_eq!(settings.strangers, ["CLOAKROOM_SERVICE_HOST"]);
}

#[test]
fn a_missing_file_is_refused_only_when_it_was_named() {
    let named = Flags { config: Some("/nonexistent/cloakroom.toml".into()), values: Vec::new() };
    let said = Settings::load(named, &[]).expect_err("the file is missing").to_string();
    assert!(said.contains("--config: the settings file /nonexistent/cloakroom.toml can't be read"), "{said}");
    let variable = [("CLOAKROOM_CONFIG".to_owned(), "/nonexistent/cloakroom.toml".to_owned())];
    let said = Settings::load(Flags::default(), &variable).expect_err("the file is missing").to_string();
    assert!(said.contains("CLOAKROOM_CONFIG: the settings file"), "{said}");
}

#[test]
fn what_check_config_prints_is_a_settings_file_that_gives_the_same() {
    let given =
        "public_url = \"https://shop.example\"\ncookie.name = \"__Host-shop\"\nlog = \"a=debug,info\"";
    let printed =
        load(given, &[], &[("session.rotation_period_s", "900")]).expect("nothing is wrong").to_string();
    assert!(printed.contains("# --session-rotation-period-s"), "{printed}");
    let again = load(&printed, &[], &[]).expect("what was printed can be read");
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap_or_default().trim().to_owned()).collect()
    };
    assert_eq!(values(&printed), values(&again.to_string()));
}

/// Bug: settings of keys were dropped in silence where they say nothing, among them "never rotate"; or refused by the
/// library in words that name none of them, after the ring had been opened and a step taken. Mend: they are contradictions.
#[cfg(feature = "sealed")]
#[test]
fn settings_of_keys_that_say_nothing_are_refused() {
    let sealed = "store = \"sealed:?keys=k&revocations=none\"\n";
    for file in ["[keys]\nrotate_days = 0\n", "[keys]\nrotate_days = 30\n"] {
        for before in ["", sealed] {
            let told = refusal(&format!("{before}{file}"), &[], &[]);
            assert!(
                told.contains("says nothing without keys.file") && told.contains("`rotate_days=`"),
                "{told}"
            );
        }
    }
    let told = refusal(&format!("{sealed}[keys]\nfile = \"k\"\nrotate_days = 30\n"), &[], &[]);
    assert!(told.contains("keys.file") && told.contains("`keys=`"), "{told}");
    assert!(load("[keys]\nfile = \"k\"\nrotate_days = 0\n", &[], &[]).is_ok());
}
