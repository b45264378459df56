//! What parallel requests write is kept, all of it; and what a request loses, it says.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::support::{in_parallel, on_every_store, on_every_store_but_cookies};

const PARALLEL_WRITES: &str = "of parallel writes that each return a cookie, the browser keeps the last";

#[test]
fn fifty_parallel_sets_of_distinct_keys_keep_fifty() {
    on_every_store_but_cookies(PARALLEL_WRITES, |probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        in_parallel(50, |index, start| {
            let mut tab = visitor.tab(probe);
            start.wait();
            // Long enough that every request has read the session before the first one writes.
            tab.get(&format!("/set?k=key-{index}&v=value-{index}&ms=200")).expect(200).expect_no_cookie();
        });
        let view = visitor.view();
        for index in 0..50 {
            assert_eq!(view.text(&format!("key-{index}")), Some(format!("value-{index}").as_str()));
        }
        assert_eq!(view.data.len(), 50);
    });
}

#[test]
fn two_hundred_parallel_increments_give_two_hundred() {
    on_every_store_but_cookies(PARALLEL_WRITES, |probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        let times = in_parallel(200, |_, start| {
            let mut tab = visitor.tab(probe);
            start.wait();
            let begun = Instant::now();
            tab.get("/incr?k=count&ms=50").expect(200).expect_no_cookie();
            begun.elapsed()
        });
        assert_eq!(visitor.view().data["count"], 200);
        let slowest = times.into_iter().max().unwrap_or_default();
        println!("{:?}: the slowest of 200 increments took {} ms", probe.store, slowest.as_millis());
        assert!(slowest < Duration::from_secs(5), "no increment came near the deadline: {slowest:?}");
    });
}

/// The first write of an anonymous visitor makes the session, so before it two tabs would make two.
#[test]
fn two_tabs_fill_one_session() {
    on_every_store_but_cookies(PARALLEL_WRITES, |probe| {
        let mut visitor = probe.visitor();
        visitor.get("/set?k=first&v=umbrella").expect(200);
        let tabs = in_parallel(2, |index, start| {
            let mut tab = visitor.tab(probe);
            start.wait();
            for item in 0..20 {
                tab.get(&format!("/set?k=tab-{index}-{item}&v=x")).expect(200).expect_no_cookie();
                tab.get("/incr?k=items").expect(200).expect_no_cookie();
            }
            tab.view()
        });
        let view = visitor.view();
        assert_eq!((view.data.len(), view.data["items"].as_i64()), (1 + 40 + 1, Some(40)));
        // Each tab saw all of its own items, however many of the other's.
        for (index, seen) in tabs.iter().enumerate() {
            let own = seen.data.keys().filter(|key| key.starts_with(&format!("tab-{index}-"))).count();
            assert_eq!(own, 20);
        }
    });
}

#[test]
fn the_last_of_several_writes_to_one_key_wins_and_none_is_refused() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        in_parallel(30, |index, start| {
            let mut tab = visitor.tab(probe);
            start.wait();
            tab.get(&format!("/set?k=same&v=value-{index}&ms=20")).expect(200);
        });
        let written: BTreeSet<_> = (0..30).map(|index| format!("value-{index}")).collect();
        let view = visitor.view();
        assert!(view.text("same").is_some_and(|value| written.contains(value)), "{view:?}");
        assert_eq!(view.data.len(), 1);
    });
}

#[test]
fn every_change_has_another_version_and_no_read_has() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        let mut versions = BTreeSet::new();
        for round in 0..20 {
            visitor.get(&format!("/set?k=round&v={round}")).expect(200);
            let version = visitor.view().version;
            assert_eq!(visitor.view().version, version);
            visitor.get("/slowread").expect(200);
            assert_eq!(visitor.view().version, version);
            assert!(versions.insert(version), "a version was used twice");
        }
    });
}

#[test]
fn values_come_back_as_they_were_sent() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        // Unicode, quotes and line breaks, NUL and other control characters, JSON, SQL, half an escape, and nothing.
        let values = [
            ("%F0%9F%A7%A5%20Gr%C3%B6%C3%9Fe", "🧥 Größe"),
            ("%22%5C%0D%0A%27%3B", "\"\\\r\n';"),
            ("%00%01%1F%7F", "\0\u{1}\u{1f}\u{7f}"),
            ("%7B%22a%22%3A%5B1%5D%7D", r#"{"a":[1]}"#),
            ("'%3BDROP%20TABLE%20session%3B--", "';DROP TABLE session;--"),
            ("%5Cu00", "\\u00"),
            ("", ""),
        ];
        for (index, (encoded, _)) in values.iter().enumerate() {
            visitor.get(&format!("/set?k=%E2%82%AC{index}&v={encoded}")).expect(200);
        }
        let view = visitor.view();
        for (index, (_, value)) in values.iter().enumerate() {
            assert_eq!(view.text(&format!("€{index}")), Some(*value));
        }
    });
}

#[test]
fn a_value_that_is_too_large_is_refused_and_the_record_untouched() {
    on_every_store(|probe| {
        let large = "x".repeat(16 * 1024);
        let mut anonymous = probe.visitor();
        anonymous.get(&format!("/set?k=large&v={large}")).expect_problem(500);
        assert!(anonymous.view().is_nobody());

        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        visitor.get("/set?k=small&v=kept").expect(200);
        let before = visitor.view();
        visitor.get(&format!("/set?k=large&v={large}")).expect_problem(500);
        // Nor in place of what is there.
        visitor.get(&format!("/set?k=small&v={large}")).expect_problem(500);
        assert_eq!(visitor.view(), before);

        // Nor in pieces: the limit is the record's.
        let piece = "x".repeat(if probe.is_sealed() { 1_200 } else { 6 * 1024 });
        visitor.get(&format!("/set?k=one&v={piece}")).expect(200);
        visitor.get(&format!("/set?k=two&v={piece}")).expect(200);
        let before = visitor.view();
        visitor.get(&format!("/set?k=three&v={piece}")).expect_problem(500);
        assert_eq!(visitor.view(), before);
        visitor.get("/set?k=two&v=short").expect(200);
        visitor.get(&format!("/set?k=three&v={piece}")).expect(200);
    });
}

/// Each would fit alone: the one that is merged second has to fail, and to leave the first one's value be.
#[test]
fn what_is_too_large_together_is_found_when_it_is_merged() {
    on_every_store_but_cookies(PARALLEL_WRITES, |probe| {
        let mut visitor = probe.visitor();
        visitor.log_in("ada");
        let half = "x".repeat(9 * 1024);
        let mut statuses = in_parallel(2, |index, start| {
            let mut tab = visitor.tab(probe);
            start.wait();
            let reply = tab.get(&format!("/set?k=half-{index}&v={half}&ms=300")).expect_no_cookie();
            reply.status
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 500]);
        let view = visitor.view();
        assert_eq!(view.data.len(), 1);
        assert!(view.data.values().all(|value| value.as_str() == Some(half.as_str())));
    });
}

#[test]
fn a_value_of_another_type_is_refused_and_stays() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.get("/set?k=word&v=umbrella").expect(200);
        let before = visitor.view();
        visitor.get("/incr?k=word").expect_problem(500);
        assert_eq!(visitor.view(), before);
    });
}
