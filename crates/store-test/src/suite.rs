//! One test for each case.

use std::{future::Future, time::Duration};

use crate::Harness;

/// Makes one `#[test]` of each case: `suite!(harness)`, with what the store declares behind it. See the
/// [crate's documentation](crate).
#[macro_export]
macro_rules! suite {
    ($harness:expr $(, $($declared:tt)*)?) => {
        $crate::__declare! { [$harness] index sweep volatile lone; $($($declared)*)? }
    };
}

/// Reads what the store declares, then names the groups of cases that apply.
#[doc(hidden)]
#[macro_export]
macro_rules! __declare {
    ([$harness:expr] $index:ident $sweep:ident $kept:ident $reach:ident; without: index $(, $($rest:tt)*)?) => {
        $crate::__declare! { [$harness] no_index $sweep $kept $reach; $($($rest)*)? }
    };
    ([$harness:expr] $index:ident $sweep:ident $kept:ident $reach:ident; without: listing $(, $($rest:tt)*)?) => {
        $crate::__declare! { [$harness] no_listing $sweep $kept $reach; $($($rest)*)? }
    };
    ([$harness:expr] $index:ident $sweep:ident $kept:ident $reach:ident; without: sweep $(, $($rest:tt)*)?) => {
        $crate::__declare! { [$harness] $index no_sweep $kept $reach; $($($rest)*)? }
    };
    ([$harness:expr] $index:ident $sweep:ident $kept:ident $reach:ident; durable $(, $($rest:tt)*)?) => {
        $crate::__declare! { [$harness] $index $sweep durable $reach; $($($rest)*)? }
    };
    ([$harness:expr] $index:ident $sweep:ident $kept:ident $reach:ident; shared $(, $($rest:tt)*)?) => {
        $crate::__declare! { [$harness] $index $sweep $kept shared; $($($rest)*)? }
    };
    ([$harness:expr] $index:ident $sweep:ident $kept:ident $reach:ident;) => {
        $crate::__cases! { store => __tests [$harness] }
        $crate::__cases! { $index => __tests [$harness] }
        $crate::__cases! { $sweep => __tests [$harness] }
        $crate::__cases! { $kept $index => __tests [$harness] }
        $crate::__cases! { $reach $index => __tests [$harness] }
    };
}

/// Every case, by group. Handed on to another macro, which makes tests or a list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __cases {
    (store => $then:ident $with:tt) => {
        $crate::$then! { $with
            records::every_field_round_trips,
            records::values_round_trip_byte_for_byte,
            records::names_round_trip_and_never_mix,
            records::the_largest_record_round_trips,
            records::a_record_too_large_is_stored_whole_or_refused,
            records::ids_that_look_alike_never_mix,
            records::versions_of_all_64_bits_round_trip_and_compare,
            records::times_far_away_round_trip,
            records::subjects_round_trip,
            records::an_authority_with_a_history_round_trips,
            create::a_created_session_is_found,
            create::the_kind_is_one_word,
            create::a_create_never_overwrites_a_living_session,
            create::r_revive_a_create_never_overwrites_an_expired_session,
            create::r_revive_a_create_never_overwrites_a_tombstone,
            replace::a_replace_stores_every_field,
            replace::a_replace_with_another_version_conflicts_and_changes_nothing,
            replace::a_replace_leaves_other_sessions_alone,
            replace::r_revive_a_replace_after_an_end_is_gone,
            replace::r_revive_a_replace_after_expiry_is_gone,
            replace::r_revive_a_replace_of_an_unknown_session_is_gone,
            touch::a_touch_moves_activity_and_nothing_else,
            touch::a_touch_never_moves_activity_back,
            touch::a_touch_is_in_no_writes_way,
            touch::a_touch_leaves_other_sessions_alone,
            touch::r_revive_a_touch_after_an_end_is_gone,
            touch::r_revive_a_touch_after_expiry_is_gone,
            touch::r_revive_a_touch_of_an_unknown_session_is_gone,
            end::an_end_leaves_its_tombstone,
            end::a_tombstone_is_gone_when_it_expires,
            end::a_conditional_end_conflicts_with_another_version,
            end::an_unconditional_end_asks_for_no_version,
            end::a7_4_1_an_end_is_final,
            end::an_end_leaves_other_sessions_alone,
            end::r_revive_an_end_of_what_is_gone_leaves_nothing,
            expiry::a7_3_1_an_idle_session_is_gone_at_its_timeout,
            expiry::a7_3_1_activity_moves_the_idle_timeout,
            expiry::a7_3_1_every_operation_draws_the_line_at_the_same_instant,
            expiry::a7_3_1_timeouts_are_each_sessions_own,
            expiry::a7_3_2_constant_activity_never_passes_the_absolute_end,
            expiry::a7_3_2_activity_from_the_future_never_moves_the_absolute_end,
            expiry::n_reauth_a_replace_begins_both_timeouts_anew,
            expiry::a7_3_1_of_many_sessions_exactly_the_expired_are_gone,
            concurrency::of_racing_creates_exactly_one_is_stored,
            concurrency::of_racing_replaces_exactly_one_is_stored,
            concurrency::of_racing_ends_exactly_one_is_stored,
            concurrency::no_update_is_lost,
            concurrency::r_revive_an_end_beats_writes_in_progress,
            concurrency::a_conditional_end_and_a_replace_exclude_each_other,
            concurrency::touches_never_disturb_a_writer,
            concurrency::of_two_writes_one_is_stored_wherever_the_first_is_held_up,
            concurrency::r_revive_an_end_beats_a_write_held_up_at_any_await,
            concurrency::a_touch_held_up_at_any_await_undoes_no_write,
            concurrency::many_sessions_at_once_never_mix,
            concurrency::loads_of_one_moment_are_each_answered_for_themselves,
            cancellation::a_load_dropped_at_any_await_leaves_no_trace,
            cancellation::a_create_dropped_at_any_await_is_made_or_not,
            cancellation::a_replace_dropped_at_any_await_is_made_or_not,
            cancellation::a_touch_dropped_at_any_await_is_made_or_not,
            cancellation::an_end_dropped_at_any_await_is_made_or_not,
            cancellation::a_sweep_dropped_at_any_await_takes_nothing_that_lives,
            cancellation::no_load_sees_the_answer_to_another_that_was_dropped,
            cancellation::no_write_sees_the_answer_to_another_that_was_dropped,
            model::random_operations_agree_with_a_model,
        }
    };
    (revoke => $then:ident $with:tt) => {
        $crate::$then! { $with
            revoking::a7_4_2_all_sessions_of_a_revoked_subject_are_gone,
            revoking::a7_4_3_the_one_excepted_stays_through_several_revocations,
            revoking::a_revocation_goes_by_the_present_subject,
            revoking::sessions_that_begin_after_a_revocation_live,
            revoking::a7_4_2_no_login_gets_past_a_revocation,
            revoking::a7_4_2_no_login_gets_past_a_revocation_held_up_at_any_await,
            revoking::r_revive_a_revocation_beats_writes_in_progress,
            revoking::r_revive_a_write_held_up_at_any_await_survives_no_revocation,
            revoking::a_revocation_dropped_at_any_await_can_be_done_again,
            revoking::of_racing_revocations_one_is_noted_and_all_hold,
            revocation::the_last_revocation_is_noted,
            revocation::the_later_of_two_revocations_is_noted,
            revocation::a_revocation_is_remembered_for_a_day,
            model::random_operations_with_revocations_agree_with_a_model,
        }
    };
    (index => $then:ident $with:tt) => {
        $crate::__cases! { revoke => $then $with }
        $crate::$then! { $with
            listing::a7_5_2_a_subject_lists_its_own_sessions,
            listing::a_listing_is_ordered_and_paged_by_id,
            listing::a_page_is_filled_with_living_sessions,
            listing::a_login_lists_the_session,
            listing::the_index_follows_a_change_of_subject,
            listing::a_refused_write_lists_nothing,
            listing::a_session_that_is_gone_is_not_listed,
            listing::a_listing_shows_activity,
            listing::subjects_that_look_alike_never_mix,
            revocation::a7_4_2_end_subject_ends_all_sessions_of_the_subject,
            revocation::a7_4_3_end_subject_spares_the_one_excepted,
            revocation::end_subject_ends_only_what_lives,
            revocation::end_subject_goes_by_the_present_subject,
            revocation::end_subject_ends_a_thousand_sessions,
            revocation::a7_4_5_sessions_started_before_an_instant_are_gone,
            revocation::a7_4_5_a_session_authenticated_since_the_instant_stays,
            revocation::r_revive_earlier_instants_are_ignored,
            revocation::a7_4_5_a_login_under_way_at_the_instant_comes_too_late,
            revocation::a_note_outlives_the_end_of_all_sessions,
            index_races::pages_list_each_lasting_session_exactly_once,
            index_races::pages_go_on_where_they_left_off_whatever_shifts,
            index_races::a7_4_2_no_login_slips_past_a_revocation,
            index_races::a7_4_2_no_login_slips_past_a_revocation_held_up_at_any_await,
            index_races::of_racing_revocations_each_session_is_ended_by_one,
            index_races::end_subject_never_ends_a_session_that_has_changed_hands,
            index_races::end_subject_held_up_at_any_await_spares_what_has_changed_hands,
            index_races::a_session_is_listed_while_a_write_to_it_is_held_up_at_any_await,
            index_races::after_a_storm_the_index_agrees_with_the_records,
            index_races::a7_4_5_no_login_slips_past_the_end_of_all,
            cancellation::the_index_agrees_with_records_whose_writes_were_dropped,
            cancellation::a_question_to_the_index_dropped_at_any_await_leaves_no_trace,
            cancellation::end_subject_of_the_index_dropped_at_any_await_can_be_done_again,
            cancellation::end_started_before_of_the_index_dropped_at_any_await_can_be_done_again,
            model::random_operations_with_the_index_agree_with_a_model,
        }
    };
    (no_listing => $then:ident $with:tt) => {
        $crate::__cases! { revoke => $then $with }
        $crate::__cases! { without_listing => $then $with }
    };
    (without_listing => $then:ident $with:tt) => {
        $crate::$then! { $with
            revoking::a_store_declared_without_listing_revokes_and_lists_nothing,
        }
    };
    (no_index => $then:ident $with:tt) => {
        $crate::$then! { $with
            listing::a_store_declared_without_an_index_has_none,
        }
    };
    (sweep => $then:ident $with:tt) => {
        $crate::$then! { $with
            sweep::a_sweep_removes_what_has_expired_and_nothing_else,
            sweep::a_sweep_goes_by_the_latest_expiry,
            sweep::a7_3_2_a_sweep_removes_active_sessions_at_their_absolute_end,
            sweep::a_sweep_is_bounded_and_says_whether_more_is_left,
            sweep::a_sweep_removes_expired_tombstones_only,
            sweep::a_sweep_counts_tombstones_too,
            sweep::r_revive_writes_after_a_sweep_are_gone,
            sweep::sweeps_under_load_take_nothing_that_lives,
        }
    };
    (no_sweep => $then:ident $with:tt) => {
        $crate::$then! { $with
            sweep::a_store_declared_without_a_sweep_removes_nothing,
        }
    };
    (volatile $index:ident => $then:ident $with:tt) => {};
    (lone $index:ident => $then:ident $with:tt) => {};
    (shared no_index => $then:ident $with:tt) => {
        $crate::$then! { $with
            shared::a_change_by_one_is_seen_by_the_other,
            shared::a7_4_1_an_end_by_one_is_final_for_the_other,
            shared::no_update_is_lost_between_two,
            shared::a_close_of_one_leaves_the_other_open,
        }
    };
    (shared no_listing => $then:ident $with:tt) => {
        $crate::__cases! { shared no_index => $then $with }
        $crate::$then! { $with
            shared::a7_4_2_a_revocation_by_one_holds_for_the_other,
        }
    };
    (shared index => $then:ident $with:tt) => {
        $crate::__cases! { shared no_listing => $then $with }
        $crate::$then! { $with
            shared::the_index_is_one_to_both,
        }
    };
    (durable no_index => $then:ident $with:tt) => {
        $crate::$then! { $with
            durability::what_was_acknowledged_is_there_after_opening_again,
            durability::no_update_is_lost_over_many_openings,
            durability::r_revive_what_had_ended_stays_ended_after_opening_again,
            durability::a7_3_1_what_expired_meanwhile_is_gone_after_opening_again,
            durability::a_close_loses_nothing_that_was_acknowledged,
            durability::after_a_close_calls_fail,
        }
    };
    (durable no_listing => $then:ident $with:tt) => {
        $crate::__cases! { durable no_index => $then $with }
        $crate::$then! { $with
            durability::r_revive_a_revocation_holds_after_opening_again,
        }
    };
    (durable index => $then:ident $with:tt) => {
        $crate::__cases! { durable no_listing => $then $with }
        $crate::$then! { $with
            durability::the_index_is_there_after_opening_again,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$harness:expr] $($module:ident::$case:ident,)*) => {
        $(
            #[::core::prelude::v1::test]
            fn $case() {
                $crate::run(async { $crate::cases::$module::$case($harness).await });
            }
        )*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __list {
    ([$list:ident] $($module:ident::$case:ident,)*) => {
        $(
            $list.push($crate::Case {
                name: stringify!($case),
                run: |harness| $crate::run($crate::cases::$module::$case(harness)),
            });
        )*
    };
}

/// One case of the suite, for runners other than [`suite!`].
pub struct Case<H> {
    /// Its function in [`cases`](crate::cases), without the module.
    pub name: &'static str,
    /// Runs it to its end, by [`run()`]. It panics if the store breaks the contract.
    pub run: fn(H),
}

impl<H: Harness> Case<H> {
    /// Every case there is, also those that only apply to stores of some declaration.
    #[must_use]
    #[allow(clippy::vec_init_then_push, reason = "the list comes from a macro, group by group")]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        crate::__cases! { store => __list [all] }
        crate::__cases! { index => __list [all] }
        crate::__cases! { without_listing => __list [all] }
        crate::__cases! { no_index => __list [all] }
        crate::__cases! { sweep => __list [all] }
        crate::__cases! { no_sweep => __list [all] }
        crate::__cases! { durable index => __list [all] }
        crate::__cases! { shared index => __list [all] }
        all
    }
}

/// How long a case may take. A healthy one takes a small part of it; one that takes longer hangs.
const CASE_MAX: Duration = Duration::from_secs(120);

/// Runs a case as [`suite!`] does: on a Tokio runtime of its own, with several threads.
///
/// # Panics
/// If the case panics, or hangs for two minutes.
pub fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("no Tokio runtime: {error}"));
    let outcome = runtime.block_on(async { tokio::time::timeout(CASE_MAX, case).await });
    // A store that hangs may also hang its blocking tasks: they mustn't keep the failure from being reported.
    runtime.shutdown_background();
    assert!(outcome.is_ok(), "the case hung: a call never answered within {} s", CASE_MAX.as_secs());
}
