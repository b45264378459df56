//! Keys of a cluster that are elsewhere than they were.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use cloakroom::{Error, store::Store as _};
use cloakroom_redis::RedisStore;

use crate::{
    fake,
    fixture::{T0, anonymous, changed, run},
};

/// The bug: whatever went wrong at the node that a change was redirected to, the redirection was reported, which says that
/// nothing was done. The change was made there, its answer was lost, it was asked for again and met itself: a conflict, and
/// the library applied it once more. The mend: what went wrong there is what is reported.
#[test]
fn a_redirected_change_whose_answer_is_lost_is_in_doubt() {
    run(async {
        let ((first, one), (second, other)) = (fake::listener(), fake::listener());
        let node = |port: u16| format!("*3\r\n{}:{port}\r\n{}", fake::bulk("127.0.0.1"), fake::bulk("id"));
        let slots = format!("*1\r\n*4\r\n:0\r\n:16383\r\n{}{}", node(one.port()), node(other.port()));
        let common = move |words: &[String]| match &*words[0] {
            "CLUSTER" => Some(slots.clone()),
            "INFO" => Some(fake::info("7.2.0", true)),
            "PING" => Some("+PONG\r\n".to_owned()),
            _ => Some("+OK\r\n".to_owned()),
        };
        let made = Arc::new(AtomicU32::new(0));
        let (count, also) = (Arc::clone(&made), common.clone());
        fake::serve(first, move |words| match &*words[0] {
            "EVALSHA" | "EVAL" => Some(format!("-MOVED 1 {other}\r\n")),
            _ => common(words),
        });
        fake::serve(second, move |words| match &*words[0] {
            // The first time it is made; from then on, the record has another version.
            "EVALSHA" | "EVAL" if count.fetch_add(1, Ordering::SeqCst) == 0 => None,
            "EVALSHA" | "EVAL" => Some(fake::bulk("C")),
            _ => also(words),
        });
        let store = RedisStore::open(&format!("redis+cluster://{one}")).await.unwrap();
        let record = anonymous(1);
        let answer = store.replace(Arc::new(changed(&record)), record.version, T0).await;
        assert!(made.load(Ordering::SeqCst) >= 1, "it never got there: {answer:?}");
        assert!(answer.as_ref().is_err_and(Error::is_unavailable), "{answer:?}");
    });
}
