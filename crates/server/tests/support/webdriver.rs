//! Chromium, driven by the WebDriver protocol (W3C) through chromedriver: JSON over HTTP, and no more of it than these
//! tests use.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

use crate::server::Folder;

const CHROMIUM: &str = "/usr/bin/chromium";
const CHROMEDRIVER: &str = "/usr/bin/chromedriver";

/// The key under which an element's reference travels, fixed by the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One browser with a profile of its own; it is ended with its driver.
pub struct Browser {
    driver: Child,
    agent: Agent,
    /// The session's address at the driver.
    session: String,
    _profile: Folder,
}

/// An element of the page that is shown.
pub struct Element<'a> {
    browser: &'a Browser,
    id: String,
}

impl Browser {
    /// A browser, if the run is to have any: with `CLOAKROOM_BROWSER_TESTS=1`. Otherwise it says that the test was left
    /// out.
    pub fn start(test: &str) -> Option<Self> {
        if std::env::var("CLOAKROOM_BROWSER_TESTS").as_deref() != Ok("1") {
            println!("left out: {test} (it needs Chromium, and CLOAKROOM_BROWSER_TESTS=1)");
            return None;
        }
        let binary =
            |variable: &str, standard: &str| std::env::var(variable).unwrap_or_else(|_| standard.to_owned());
        let profile = Folder::new();
        let (driver, address) = start_driver(&binary("CLOAKROOM_CHROMEDRIVER", CHROMEDRIVER));
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
        let mut browser = Self {
            driver,
            agent: config.build().into(),
            session: format!("http://{address}/session"),
            _profile: profile,
        };
        let capabilities = capabilities(&binary("CLOAKROOM_CHROMIUM", CHROMIUM), browser._profile.path());
        let created = browser.command("POST", "", &capabilities);
        let id = created["sessionId"].as_str().expect("a session id").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        Some(browser)
    }

    pub fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    pub fn back(&self) {
        self.leaving(|| {
            self.command("POST", "/back", &json!({}));
        });
    }

    pub fn path(&self) -> String {
        let url = self.command("GET", "/url", &Value::Null);
        let url = url.as_str().expect("an address");
        let after_scheme = url.split_once("://").expect("a scheme").1;
        after_scheme.find('/').map_or("/", |at| &after_scheme[at..]).to_owned()
    }

    /// Opens another tab, and goes to it. Answers its handle.
    pub fn new_tab(&self) -> String {
        let made = self.command("POST", "/window/new", &json!({ "type": "tab" }));
        let handle = made["handle"].as_str().expect("a handle").to_owned();
        self.go_to_tab(&handle);
        handle
    }

    pub fn tab(&self) -> String {
        self.command("GET", "/window", &Value::Null).as_str().expect("a handle").to_owned()
    }

    pub fn go_to_tab(&self, handle: &str) {
        self.command("POST", "/window", &json!({ "handle": handle }));
    }

    /// The first element that a CSS selector matches.
    pub fn find(&self, selector: &str) -> Element<'_> {
        let query = json!({ "using": "css selector", "value": selector });
        let found = self.try_command("POST", "/element", &query);
        let found = found.unwrap_or_else(|error| panic!("{selector}: {error}\n{}", self.source()));
        let id = found[ELEMENT].as_str().expect("a reference").to_owned();
        Element { browser: self, id }
    }

    /// Presses a button that leads to another page, and waits for that page.
    pub fn press(&self, selector: &str) {
        let button = self.find(selector);
        self.leaving(|| button.click());
    }

    /// The page's text, as people see it.
    pub fn text(&self) -> String {
        self.find("body").text()
    }

    pub fn source(&self) -> String {
        self.command("GET", "/source", &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// What a script that runs in the page evaluates to.
    pub fn evaluate(&self, expression: &str) -> Value {
        self.command(
            "POST",
            "/execute/sync",
            &json!({ "script": format!("return {expression}"), "args": [] }),
        )
    }

    /// Every cookie in the browser's jar that this page's address gets, those out of scripts' reach included.
    pub fn cookies(&self) -> Vec<Value> {
        self.command("GET", "/cookie", &Value::Null).as_array().expect("a list").clone()
    }

    /// Does what leads to another page, and waits until the old one has gone and the new one is complete. The driver
    /// waits by itself for a page only if the browser has begun to load it by then.
    fn leaving(&self, act: impl FnOnce()) {
        let old = self.find("html").id;
        act();
        let is_gone = || self.try_command("GET", &format!("/element/{old}/name"), &Value::Null).is_err();
        wait_until("the page has changed", is_gone);
        wait_until("the page is complete", || self.evaluate("document.readyState") == "complete");
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_command(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_command(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let url = format!("{}{path}", self.session);
        let text = body.to_string();
        let reply = match method {
            "GET" => self.agent.get(&url).call(),
            "DELETE" => self.agent.delete(&url).call(),
            _ => self.agent.post(&url).header("content-type", "application/json").send(&text),
        };
        let text = reply.expect("the driver answers").body_mut().read_to_string().expect("text");
        let mut reply: Value = serde_json::from_str(&text).expect("the driver speaks JSON");
        let value = reply["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", value["message"])),
            None => Ok(value),
        }
    }
}

impl Element<'_> {
    pub fn click(&self) {
        self.browser.command("POST", &format!("/element/{}/click", self.id), &json!({}));
    }

    pub fn type_in(&self, text: &str) {
        self.browser.command("POST", &format!("/element/{}/value", self.id), &json!({ "text": text }));
    }

    pub fn text(&self) -> String {
        let text = self.browser.command("GET", &format!("/element/{}/text", self.id), &Value::Null);
        text.as_str().expect("text").to_owned()
    }
}

/// Ends the browser in order where it can, and the driver in any case.
impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    const TRIES_MAX: u32 = 1_000;
    for _ in 0..TRIES_MAX {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain until {what}");
}

/// Starts the driver on a port that it chooses, and answers its address. It gives up if the port it chose on one kind of
/// address is taken on the other.
fn start_driver(binary: &str) -> (Child, String) {
    (0..5).find_map(|_| try_to_start(binary)).unwrap_or_else(|| panic!("{binary} ended without listening"))
}

fn try_to_start(binary: &str) -> Option<(Child, String)> {
    let started = Command::new(binary).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut driver = started.unwrap_or_else(|error| panic!("{binary} can't be started: {error}"));
    let mut lines = BufReader::new(driver.stdout.take().expect("its output is piped"));
    let mut line = String::new();
    while !line.contains("started successfully on port") {
        line.clear();
        let count = lines.read_line(&mut line).expect("its output can be read");
        if count == 0 {
            let _ = driver.wait();
            return None;
        }
    }
    let digits = line.trim_end().trim_end_matches('.').rsplit(' ').next().expect("a port");
    let address = format!("127.0.0.1:{digits}");
    // What it says later must not fill the pipe.
    thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    Some((driver, address))
}

fn capabilities(binary: &str, profile: &std::path::Path) -> Value {
    let profile = format!("--user-data-dir={}", profile.display());
    // No sandbox: containers that tests run in forbid it, and nothing but our own pages is shown. The rest keeps the
    // browser from asking for anything elsewhere.
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        &profile,
    ];
    json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "binary": binary, "args": arguments } } } })
}
