//! Cloakroom on real storage engines, end to end: engines that hang and die, answers that get lost, several processes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]
#![allow(clippy::print_stdout, reason = "what was measured stands in the test's output")]

#[path = "../e2e/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the other tests use the rest")]
mod support;

mod cancelled;
mod failover;
mod first_list;
mod hung;
mod killed;
mod load;
mod lost_answers;
mod processes;
mod round_trips;
mod sealed;
mod sealed_keys;
mod shared_keys;

/// Makes one test of each case, on each engine.
macro_rules! on_engines {
    ($($engine:ident: $type:ident;)*) => {
        $(
            mod $engine {
                use engines::$type as Server;

                #[test]
                fn what_the_first_list_demands() {
                    crate::first_list::run::<Server>();
                }

                #[test]
                fn a_hung_engine_is_answered_for_in_time_and_logs_nobody_out() {
                    crate::hung::run::<Server>();
                }

                #[test]
                fn a_killed_engine_is_back_in_use_soon_after_its_return() {
                    crate::killed::run::<Server>();
                }

                #[test]
                fn two_processes_share_a_store() {
                    crate::processes::run::<Server>();
                }

                #[test]
                fn ten_thousand_cancelled_reads_mix_up_nobody() {
                    crate::cancelled::run::<Server>();
                }

                #[test]
                fn a_write_whose_answer_is_lost_is_done_once() {
                    crate::lost_answers::run::<Server>();
                }

                #[test]
                fn round_trips_are_as_documented() {
                    crate::round_trips::run::<Server>();
                }
            }
        )*
    };
}

on_engines! {
    dynamodb: DynamoDb;
    mariadb: MariaDb;
    memcached: Memcached;
    mysql: MySql;
    postgres: Postgres;
    redis: Redis;
    valkey: Valkey;
}

/// Of several servers, some of which take the place of others.
macro_rules! on_groups {
    ($($engine:ident: $type:ident;)*) => {
        $(
            mod $engine {
                use engines::$type as Servers;

                #[test]
                fn what_the_first_list_demands() {
                    crate::first_list::run::<Servers>();
                }

                #[test]
                fn two_processes_share_a_store() {
                    crate::processes::run::<Servers>();
                }

                #[test]
                fn a_killed_master_is_replaced_under_load() {
                    crate::failover::run::<Servers>();
                }
            }
        )*
    };
}

on_groups! {
    redis_cluster: RedisCluster;
    redis_sentinel: RedisSentinel;
}

#[test]
fn round_trips_on_a_redis_cluster_are_as_documented() {
    crate::round_trips::run_on_a_cluster();
}
