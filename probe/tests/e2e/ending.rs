//! An end is final: for the token, for requests under way, and across a restart.

use std::{thread, time::Duration};

use crate::support::{Probe, Reply, Store, Visitor, in_parallel, on_every_store};

/// Time for a request to have read its session, so that what happens next happens while it is under way.
const UNDER_WAY: Duration = Duration::from_millis(200);

/// Fails unless the token of a session that has just ended opens and changes nothing.
#[track_caller]
fn is_dead(probe: &Probe, token: &str) {
    let mut visitor = probe.visitor_with(token);
    assert!(visitor.view().is_nobody());
    visitor.get("/set?k=a&v=revived").expect_problem(409);
    visitor.get("/incr?k=n").expect_problem(409);
    visitor.get("/rotate").expect_problem(401);
    visitor.get("/logout").expect(200).expect_no_cookie();
    for target in probe.targets(&["/sessions"]) {
        visitor.get(target).expect(401).expect_no_cookie();
    }
    assert!(visitor.view().is_nobody());
    assert_eq!(visitor.token(), token, "the cookie was left alone");
}

/// How many sessions a new login of this user finds, its own included; nothing where none are listed.
fn sessions_of(probe: &Probe, user: &str) -> Option<usize> {
    // A login in the very millisecond of a revocation counts as one in progress then, and is refused.
    thread::sleep(Duration::from_millis(2));
    let mut visitor = probe.visitor();
    visitor.log_in(user);
    let listed = probe.targets(&["/sessions"]).pop().map(|target| visitor.get(target).expect(200).body);
    visitor.get("/logout").expect(200);
    listed.map(|listed| listed.matches("\"id\"").count())
}

#[test]
fn a7_4_1_w_06_a_logout_is_final() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        visitor.get("/set?k=cart&v=umbrella").expect(200);
        let anonymous = visitor.token();
        let first = visitor.log_in("ada");
        let token = visitor.log_in("ada");
        visitor.get("/logout").expect(200);
        assert!(!visitor.has_cookie(), "the logout deletes the cookie");

        for token in [&token, &first, &anonymous] {
            is_dead(probe, token);
        }
        assert!(matches!(sessions_of(probe, "ada"), None | Some(1)));
    });
}

#[test]
fn a_login_with_an_ended_token_begins_another_session() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        let token = visitor.log_in("ada");
        visitor.get("/set?k=cart&v=umbrella").expect(200);
        let before = visitor.view();
        visitor.get("/logout").expect(200);

        let mut again = probe.visitor_with(&token);
        again.log_in("ada");
        let view = again.view();
        assert!(view.id.is_some() && view.id != before.id);
        assert_eq!((view.subject.as_deref(), view.data.len()), (Some("ada"), 0));
        is_dead(probe, &token);
    });
}

#[test]
fn c_delete_the_cookie_is_deleted_with_the_attributes_it_was_set_with() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        let set = visitor.get("/login?user=ada").expect(200);
        let cleared = visitor.get("/logout").expect(200);
        let scope = |reply: &Reply| {
            let attributes = reply.header("set-cookie").unwrap().split("; ").map(str::to_owned);
            attributes.skip(1).filter(|attribute| !attribute.starts_with("Max-Age=")).collect::<Vec<_>>()
        };
        assert_eq!(scope(&cleared), scope(&set));
        let expected = "__Host-session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Secure";
        assert_eq!(cleared.header("set-cookie"), Some(expected));
    });
}

fn write_in_flight_is_lost(probe: &Probe, begin: impl Fn(&mut Visitor), end: impl Fn(&mut Visitor)) {
    let mut visitor = probe.visitor();
    begin(&mut visitor);
    let token = visitor.token();
    let [mut setting, mut counting, mut reading] = [(); 3].map(|()| probe.visitor_with(&token));
    setting.ask("GET", "/set?k=late&v=x&ms=500");
    counting.ask("GET", "/incr?k=late-count&ms=500");
    reading.ask("GET", "/slowread?ms=500");
    thread::sleep(UNDER_WAY);
    end(&mut visitor);

    setting.answer("GET").expect_problem(409);
    counting.answer("GET").expect_problem(409);
    reading.answer("GET").expect(200).expect_no_cookie();
    is_dead(probe, &token);
}

#[test]
fn r_revive_a_write_in_flight_at_a_logout_is_lost_and_says_so() {
    on_every_store(|probe| {
        let logout = |visitor: &mut Visitor| drop(visitor.get("/logout").expect(200));
        write_in_flight_is_lost(probe, |visitor| drop(visitor.log_in("ada")), logout);
        assert!(matches!(sessions_of(probe, "ada"), None | Some(1)));
        write_in_flight_is_lost(probe, |visitor| drop(visitor.get("/set?k=cart&v=x").expect(200)), logout);
    });
}

#[test]
fn r_revive_a_write_in_flight_at_a_logout_everywhere_is_lost_and_says_so() {
    on_every_store(|probe| {
        write_in_flight_is_lost(
            probe,
            |visitor| drop(visitor.log_in("ada")),
            |_| {
                let mut elsewhere = probe.visitor();
                elsewhere.log_in("ada");
                elsewhere.get("/logout-all").expect(200);
            },
        );
        assert!(matches!(sessions_of(probe, "ada"), None | Some(1)));
    });
}

#[test]
fn r_revive_no_storm_of_writes_brings_a_session_back() {
    on_every_store(|probe| {
        for _ in 0..10 {
            let mut visitor = probe.visitor();
            let token = visitor.log_in("ada");
            let replies = in_parallel(24, |index, start| {
                let mut tab = probe.visitor_with(&token);
                start.wait();
                match index {
                    0 => tab.get("/logout").expect(200),
                    _ if index % 2 == 0 => tab.get(&format!("/set?k=key-{index}&v=x&ms={}", index / 4)),
                    _ => tab.get(&format!("/incr?k=count&ms={}", index / 4)),
                }
            });
            for reply in &replies[1..] {
                assert!(reply.status == 200 || reply.status == 409, "{reply:?}");
                match reply.token() {
                    // What a write carried away before the logout is as dead as the rest.
                    Some(token) if probe.is_sealed() => is_dead(probe, token),
                    token => assert_eq!(token, None, "{reply:?}"),
                }
            }
            is_dead(probe, &token);
        }
        assert!(matches!(sessions_of(probe, "ada"), None | Some(1)));
    });
}

#[test]
fn of_several_logouts_at_once_all_succeed_and_one_deletes_the_cookie() {
    on_every_store(|probe| {
        let mut visitor = probe.visitor();
        let token = visitor.log_in("ada");
        let cleared = in_parallel(10, |_, start| {
            let mut tab = probe.visitor_with(&token);
            start.wait();
            tab.get("/logout").expect(200).token().is_some()
        });
        assert_eq!(cleared.into_iter().filter(|is_cleared| *is_cleared).count(), 1);
        is_dead(probe, &token);
    });
}

#[test]
fn a7_4_2_ending_a_subjects_sessions_ends_them_all_before_it_answers() {
    on_every_store(|probe| {
        let tokens: Vec<_> = (0..12).map(|_| probe.visitor().log_in("ada")).collect();
        let mut bystander = probe.visitor();
        bystander.log_in("ada2");
        let mut visitor = probe.visitor_with(&tokens[5]);
        let ended = if probe.is_sealed() { r#"{"ended":null}"# } else { r#"{"ended":12}"# };
        assert_eq!(visitor.get("/logout-all").expect(200).expect_no_cookie().body, ended);
        for token in &tokens {
            is_dead(probe, token);
        }
        assert_eq!(bystander.view().subject.as_deref(), Some("ada2"));
        assert!(matches!(sessions_of(probe, "ada"), None | Some(1)));
    });
}

/// A login that was answered before is ended, one that came later stays, and one in between is one or the other: it
/// never ends half, with a session in the listing that opens for nobody.
#[test]
fn logging_in_while_all_sessions_are_ended_either_holds_or_says_so() {
    on_every_store(|probe| {
        for round in 0..5 {
            let user = &format!("ada-{round}");
            let before = &probe.visitor().log_in(user);
            let during = in_parallel(16, |index, start| {
                let mut visitor = if index == 0 { probe.visitor_with(before) } else { probe.visitor() };
                start.wait();
                if index == 0 {
                    visitor.get("/logout-all").expect(200);
                    return None;
                }
                let reply = visitor.get(&format!("/login?user={user}"));
                if reply.status == 200 {
                    return Some(visitor.token());
                }
                reply.expect_problem(409);
                None
            });
            is_dead(probe, before);
            let is_living = |token: &String| {
                let view = probe.visitor_with(token).view();
                assert!(view.is_nobody() || view.subject.as_ref() == Some(user), "{view:?}");
                !view.is_nobody()
            };
            let living = during.into_iter().flatten().filter(is_living).count();
            // The one more is that of who counts.
            assert!(sessions_of(probe, user).is_none_or(|count| count == living + 1));
        }
    });
}

#[test]
fn a7_4_1_ends_and_sessions_survive_a_restart() {
    let probe = Probe::start(Store::Sqlite);
    let mut visitor = probe.visitor();
    visitor.get("/set?k=cart&v=umbrella").expect(200);
    let anonymous = visitor.token();
    let kept = visitor.log_in("ada");
    let ended = probe.visitor().log_in("ada");
    probe.visitor_with(&ended).get("/logout").expect(200);
    let before = visitor.view();

    let probe = Probe::start_in(probe.kill(), Store::Sqlite, &[]);
    assert_eq!(probe.visitor_with(&kept).view(), before);
    is_dead(&probe, &ended);
    let mut attacker = probe.visitor_with(&anonymous);
    assert!(attacker.view().is_nobody());
    attacker.get("/set?k=cart&v=stolen").expect_problem(409);
}
