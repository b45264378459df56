//! What is said about servers that are set up badly.

use cloakroom::{
    clock::{Clock as _, SystemClock},
    store::{Finding, Severity, Store as _},
};
use cloakroom_redis::RedisStore;
use engines::{Breakable as _, Engine as _, Redis, RedisCluster, shared};

use crate::fixture::{prefix, run, with_prefix};

async fn examined(url: &str) -> Vec<Finding> {
    let store = RedisStore::open(url).await.unwrap();
    store.diagnose(SystemClock.now()).await.unwrap()
}

#[track_caller]
fn find<'a>(findings: &'a [Finding], subject: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.subject == subject).unwrap_or_else(|| panic!("{findings:?}"))
}

#[test]
fn a_server_that_is_well_has_no_problems() {
    run(async {
        let durable = Redis::start_durable();
        for url in [with_prefix(&durable.url(), &prefix()), with_prefix(&shared::<RedisCluster>(), &prefix())]
        {
            let findings = examined(&url).await;
            assert!(findings.iter().all(|finding| finding.severity < Severity::Problem), "{findings:?}");
        }
        let findings = examined(&with_prefix(&durable.url(), &prefix())).await;
        for subject in ["version", "clock", "latency", "eviction policy", "persistence", "permissions"] {
            assert_eq!(find(&findings, subject).severity, Severity::Fine, "{findings:?}");
        }
    });
}

/// The bug: `volatile-*` was told as a matter of some sessions that end early. Every key has a time to live, so it takes
/// the index too, and logging out everywhere becomes a silent nothing.
#[test]
fn eviction_is_a_problem_whatever_the_policy() {
    run(async {
        for policy in ["volatile-lru", "volatile-ttl", "allkeys-lru"] {
            let redis = Redis::with(&["--maxmemory", "64mb", "--maxmemory-policy", policy]);
            let findings = examined(&with_prefix(&redis.url(), &prefix())).await;
            let finding = find(&findings, "eviction policy");
            assert_eq!(finding.severity, Severity::Problem);
            for words in [policy, "logging out everywhere", "maxmemory-policy noeviction"] {
                assert!(finding.message.contains(words), "{finding:?}");
            }
        }
        let unbounded = Redis::with(&["--maxmemory-policy", "volatile-lru"]);
        let findings = examined(&with_prefix(&unbounded.url(), &prefix())).await;
        assert_eq!(find(&findings, "eviction policy").severity, Severity::Warning);
    });
}

/// The bug: a user who may run scripts by their text alone passed, and then every change was refused.
#[test]
fn commands_that_the_user_may_not_run_are_named() {
    run(async {
        let redis = Redis::start();
        let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
        let all = "+mget +get +evalsha +eval +set +setrange +getrange +exists +pttl +pexpire +zadd +zrangebylex +zrem \
                   +time +info +ping +client";
        for (name, taken, missing) in
            [("ann", "", ""), ("bob", "-evalsha", "EVALSHA"), ("eve", "-zrem", "ZREM")]
        {
            let mut command = redis::cmd("ACL");
            command.arg("SETUSER").arg(name).arg("on").arg(">secret").arg("~shop:*").arg("resetchannels");
            for rule in all.split_whitespace().chain(taken.split_whitespace()) {
                command.arg(rule);
            }
            command.exec(&mut connection).unwrap();
            let url = redis.url().replace("redis://", &format!("redis://{name}:secret@"));
            let findings = examined(&with_prefix(&url, "shop:")).await;
            let finding = find(&findings, "permissions");
            let is_fine = finding.severity == Severity::Fine;
            assert!(
                is_fine == missing.is_empty() && finding.message.contains(missing),
                "{name}: {finding:?}"
            );
        }
        let left: Vec<String> = redis::cmd("KEYS").arg("shop:*probe*").query(&mut connection).unwrap();
        for key in left {
            let ttl_ms: i64 = redis::cmd("PTTL").arg(&key).query(&mut connection).unwrap();
            assert!(ttl_ms != -1, "{key} was left for ever");
        }
    });
}
