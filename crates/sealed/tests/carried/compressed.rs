//! Sessions that are compressed before they are sealed: how much fits depends on what it is.

use cloakroom::{Error, Key, Session, Subject};

use crate::fixture::{Browser, Fleet, Node};

const TEXT: Key<String> = Key::new("text");
const OTHER: Key<String> = Key::new("other");

async fn node() -> Node {
    let fleet = Fleet::new();
    fleet.node_of(fleet.sealed().await.compressed())
}

/// Hexadecimal digits: half of it can be packed away.
fn noise(characters: usize) -> String {
    let mut bytes = vec![0; characters.div_ceil(2)];
    getrandom::fill(&mut bytes).unwrap();
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits[..characters].to_owned()
}

#[tokio::test]
async fn text_has_more_room_than_the_cookie_has() {
    let (node, mut browser) = (node().await, Browser::default());
    let text = "umbrella, gloves, scarf; ".repeat(400);
    node.visit(&mut browser, |session| session.insert(TEXT, &text)).await.unwrap();
    assert!(browser.value.as_ref().unwrap().len() < 1_000);
    assert_eq!(node.request(&browser).await.unwrap().session.get(TEXT).unwrap(), Some(text));
}

/// Bug: of what doesn't fit, the handler heard nothing: its response was an error. Cause: how small it gets was tried out
/// when it was sealed. Mend: also when the handler changes it, once it is more than surely fits.
#[tokio::test]
async fn what_does_not_fit_is_told_to_the_handler_with_the_largest_entries() {
    let (node, mut browser) = (node().await, Browser::default());
    let kept = noise(3_000);
    node.visit(&mut browser, |session| session.insert(OTHER, &kept)).await.unwrap();
    let large = noise(4_000);
    let is_told = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(error.is_too_large(), "{error}");
        assert!(
            error.to_string().contains("`text` 40") && error.to_string().contains("`other` 3002"),
            "{error}"
        );
    };
    let append = {
        let large = large.clone();
        move |text: &mut String| text.push_str(&large)
    };
    let outcome = node
        .visit(&mut browser, |session| {
            is_told(session.insert(TEXT, &large));
            is_told(session.insert_new(TEXT, &large).map(|_| ()));
            is_told(session.update(TEXT, append));
            // It is as it was, and has room for what fits.
            assert_eq!((session.get(TEXT)?, session.get(OTHER)?.as_ref()), (None, Some(&kept)));
            session.insert(TEXT, &noise(1_000))?;
            is_told(session.update(TEXT, move |text| *text = large.clone()));
            assert_eq!(session.get(TEXT)?.map(|text| text.len()), Some(1_000));
            session.remove(OTHER)?;
            session.insert(TEXT, &noise(4_000))
        })
        .await
        .unwrap();
    assert!(outcome.set_cookie.is_some());
    let session = node.request(&browser).await.unwrap().session;
    assert_eq!((session.get(TEXT).unwrap().unwrap().len(), session.get(OTHER).unwrap()), (4_000, None));
}

/// What the handler was allowed is sealed, however near to the limit it is, and whoever logs in.
#[tokio::test]
async fn what_the_handler_may_do_is_never_an_error_of_the_response() {
    let node = node().await;
    let (mut allowed, mut refused) = (0, 0);
    for characters in (4_000..6_000).step_by(13) {
        let mut browser = Browser::default();
        let (text, subject) = (noise(characters), Subject::new(noise(60)).unwrap());
        let is_allowed = |session: &Session| session.insert(TEXT, &text).is_ok();
        let mut is_in = false;
        let grow = |session: &Session| {
            is_in = is_allowed(session);
            Ok(())
        };
        node.visit(&mut browser, grow).await.unwrap();
        if is_in {
            node.visit(&mut browser, |session| session.login(subject.clone())).await.unwrap();
            assert_eq!(node.user(&browser).await.as_deref(), Some(subject.as_str()));
        }
        *(if is_in { &mut allowed } else { &mut refused }) += 1;
    }
    assert!(allowed > 10 && refused > 10, "{allowed} {refused}");
}

/// A long name takes room from the data: the login is told, and the session stays.
#[tokio::test]
async fn a_login_without_room_for_its_subject_is_refused_in_the_handler() {
    let node = node().await;
    let mut is_refused = false;
    for characters in (3_000..6_000).step_by(25) {
        let (mut browser, text) = (Browser::default(), noise(characters));
        let name = Subject::new(noise(255)).unwrap();
        let request = node.request(&browser).await.unwrap();
        if request.session.insert(TEXT, &text).is_err() {
            break;
        }
        if let Err(error) = request.session.login(name) {
            assert!(error.is_too_large() && error.to_string().contains("`text`"), "{error}");
            is_refused = true;
        }
        request.respond(&mut browser).await.unwrap();
    }
    assert!(is_refused);
}
