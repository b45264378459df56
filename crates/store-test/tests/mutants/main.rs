//! The suite's own test: for each rule of the contract there is a store that breaks it, and the suite must fail on it.
//!
//! And the other way round: for each case there is a store that fails it, so none is there for show.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod broken;
mod index;
mod mutant;
mod place;
#[path = "../reference/mod.rs"]
mod reference;
mod steps;

use std::{
    collections::BTreeSet,
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use broken::Broken;
use cloakroom_store_test::Case;
use parking_lot::Mutex;
use place::Place;

/// Each broken rule, with cases that must fail on it. Others may fail as well.
const CAUGHT_BY: &[(Broken, &[&str])] = {
    use Broken::*;
    &[
        // On a store with nothing broken, the cases for stores that lack something fail.
        (
            Nothing,
            &[
                "a_store_declared_without_an_index_has_none",
                "a_store_declared_without_listing_revokes_and_lists_nothing",
                "a_store_declared_without_a_sweep_removes_nothing",
            ],
        ),
        (KindIsAPhrase, &["the_kind_is_one_word"]),
        (EmptyClientIsNone, &["every_field_round_trips"]),
        (ValuesAreNormalized, &["values_round_trip_byte_for_byte"]),
        (NamesAreTrimmed, &["names_round_trip_and_never_mix"]),
        (
            LargeDataIsCut,
            &["the_largest_record_round_trips", "a_record_too_large_is_stored_whole_or_refused"],
        ),
        (IdsEndAtAZero, &["ids_that_look_alike_never_mix"]),
        (VersionsAreDoubles, &["versions_of_all_64_bits_round_trip_and_compare"]),
        (TimesAre32Bits, &["times_far_away_round_trip"]),
        (SubjectsAreCut, &["subjects_round_trip"]),
        (HistoryIsCut, &["an_authority_with_a_history_round_trips"]),
        (
            ExpiredIsServed,
            &["a7_3_1_an_idle_session_is_gone_at_its_timeout", "random_operations_agree_with_a_model"],
        ),
        (
            ExpiryIsInclusive,
            &["a7_3_1_an_idle_session_is_gone_at_its_timeout", "a_tombstone_is_gone_when_it_expires"],
        ),
        (
            ExpiryIsRounded,
            &[
                "a7_3_1_an_idle_session_is_gone_at_its_timeout",
                "a7_3_1_of_many_sessions_exactly_the_expired_are_gone",
            ],
        ),
        (
            IdleIsIgnored,
            &[
                "a7_3_1_activity_moves_the_idle_timeout",
                "a7_3_1_what_expired_meanwhile_is_gone_after_opening_again",
            ],
        ),
        (
            AbsoluteIsIgnored,
            &[
                "a7_3_2_constant_activity_never_passes_the_absolute_end",
                "a7_3_2_activity_from_the_future_never_moves_the_absolute_end",
            ],
        ),
        (TombstonesStay, &["a_tombstone_is_gone_when_it_expires"]),
        (OwnClock, &["a_created_session_is_found"]),
        (
            WritesIgnoreExpiry,
            &[
                "r_revive_a_replace_after_expiry_is_gone",
                "r_revive_a_touch_after_expiry_is_gone",
                "r_revive_an_end_of_what_is_gone_leaves_nothing",
                "a7_3_1_every_operation_draws_the_line_at_the_same_instant",
            ],
        ),
        (CreateForgets, &["a_created_session_is_found"]),
        (CreateOverwrites, &["a_create_never_overwrites_a_living_session"]),
        (CreateOverwritesExpired, &["r_revive_a_create_never_overwrites_an_expired_session"]),
        (
            CreateOverwritesTombstones,
            &["r_revive_a_create_never_overwrites_a_tombstone", "a7_4_1_an_end_is_final"],
        ),
        (
            CreateIsTwoSteps,
            &[
                "of_racing_creates_exactly_one_is_stored",
                "of_two_writes_one_is_stored_wherever_the_first_is_held_up",
            ],
        ),
        (CreateIsHalved, &["a_create_dropped_at_any_await_is_made_or_not"]),
        (
            ReplaceUpserts,
            &[
                "r_revive_a_replace_after_an_end_is_gone",
                "r_revive_a_replace_after_expiry_is_gone",
                "r_revive_a_replace_of_an_unknown_session_is_gone",
                "r_revive_writes_after_a_sweep_are_gone",
                "r_revive_an_end_beats_writes_in_progress",
                "r_revive_what_had_ended_stays_ended_after_opening_again",
                "random_operations_agree_with_a_model",
            ],
        ),
        (
            ReplaceKeepsTimes,
            &[
                "a_replace_stores_every_field",
                "a7_3_1_timeouts_are_each_sessions_own",
                "n_reauth_a_replace_begins_both_timeouts_anew",
            ],
        ),
        (
            ReplaceIgnoresVersion,
            &[
                "a_replace_with_another_version_conflicts_and_changes_nothing",
                "of_racing_replaces_exactly_one_is_stored",
                "no_update_is_lost",
                "no_update_is_lost_between_two",
            ],
        ),
        (ReplaceChangesOthers, &["a_replace_leaves_other_sessions_alone"]),
        (
            ReplaceIsTwoSteps,
            &[
                "of_racing_replaces_exactly_one_is_stored",
                "no_update_is_lost",
                "r_revive_an_end_beats_writes_in_progress",
                "r_revive_an_end_beats_a_write_held_up_at_any_await",
                "of_two_writes_one_is_stored_wherever_the_first_is_held_up",
            ],
        ),
        (
            ReplaceIsHalved,
            &[
                "a_replace_dropped_at_any_await_is_made_or_not",
                "no_write_sees_the_answer_to_another_that_was_dropped",
            ],
        ),
        (TouchForgets, &["a_touch_moves_activity_and_nothing_else"]),
        (
            TouchBumpsVersion,
            &[
                "a_touch_moves_activity_and_nothing_else",
                "a_touch_is_in_no_writes_way",
                "touches_never_disturb_a_writer",
            ],
        ),
        (TouchMovesBack, &["a_touch_never_moves_activity_back", "random_operations_agree_with_a_model"]),
        (TouchTouchesOthers, &["a_touch_leaves_other_sessions_alone"]),
        (
            TouchUpserts,
            &[
                "r_revive_a_touch_after_an_end_is_gone",
                "r_revive_a_touch_after_expiry_is_gone",
                "r_revive_a_touch_of_an_unknown_session_is_gone",
            ],
        ),
        (TouchMovesTheEnd, &["a7_3_2_constant_activity_never_passes_the_absolute_end"]),
        (
            TouchIsTwoSteps,
            &[
                "touches_never_disturb_a_writer",
                "a_touch_held_up_at_any_await_undoes_no_write",
                "r_revive_an_end_beats_a_write_held_up_at_any_await",
            ],
        ),
        (EndForgets, &["an_end_leaves_its_tombstone"]),
        (EndLosesTheReason, &["an_end_leaves_its_tombstone"]),
        (
            EndIgnoresVersion,
            &[
                "a_conditional_end_conflicts_with_another_version",
                "a_conditional_end_and_a_replace_exclude_each_other",
            ],
        ),
        (EndAlwaysCompares, &["an_unconditional_end_asks_for_no_version"]),
        (EndReplacesTombstones, &["a7_4_1_an_end_is_final"]),
        (EndEndsOthers, &["an_end_leaves_other_sessions_alone"]),
        (EndUpserts, &["r_revive_an_end_of_what_is_gone_leaves_nothing"]),
        (
            EndIsTwoSteps,
            &[
                "of_racing_ends_exactly_one_is_stored",
                "of_two_writes_one_is_stored_wherever_the_first_is_held_up",
            ],
        ),
        (EndIsHalved, &["an_end_dropped_at_any_await_is_made_or_not"]),
        (
            SweepTakesTheLiving,
            &[
                "a_sweep_removes_what_has_expired_and_nothing_else",
                "sweeps_under_load_take_nothing_that_lives",
                "a_sweep_dropped_at_any_await_takes_nothing_that_lives",
            ],
        ),
        (SweepReportsNothing, &["a_sweep_removes_what_has_expired_and_nothing_else"]),
        (SweepReportsTwice, &["a_sweep_removes_what_has_expired_and_nothing_else"]),
        (SweepForgetsSubjects, &["a_sweep_removes_what_has_expired_and_nothing_else"]),
        (SweepGoesByTheFirstExpiry, &["a_sweep_goes_by_the_latest_expiry"]),
        (SweepIgnoresTheAbsoluteEnd, &["a7_3_2_a_sweep_removes_active_sessions_at_their_absolute_end"]),
        (SweepIsUnbounded, &["a_sweep_is_bounded_and_says_whether_more_is_left"]),
        (SweepNeverSaysMore, &["a_sweep_is_bounded_and_says_whether_more_is_left"]),
        (SweepAlwaysSaysMore, &["a_sweep_is_bounded_and_says_whether_more_is_left"]),
        (SweepKeepsTombstones, &["a_sweep_removes_expired_tombstones_only"]),
        (SweepTakesAllTombstones, &["a_sweep_removes_expired_tombstones_only"]),
        (SweepCountsSessionsOnly, &["a_sweep_counts_tombstones_too"]),
        (SweepDropsNotes, &["a_revocation_is_remembered_for_a_day"]),
        (ListsEverybody, &["a7_5_2_a_subject_lists_its_own_sessions"]),
        (ListsTheExpired, &["a_session_that_is_gone_is_not_listed"]),
        (ListIsUnordered, &["a_listing_is_ordered_and_paged_by_id"]),
        (ListShowsFirstTimes, &["a_listing_shows_activity"]),
        (PagesOverlap, &["a_listing_is_ordered_and_paged_by_id"]),
        (
            PagesSkip,
            &["a_listing_is_ordered_and_paged_by_id", "pages_list_each_lasting_session_exactly_once"],
        ),
        (PagesGoByPosition, &["pages_go_on_where_they_left_off_whatever_shifts"]),
        (LimitComesBeforeLife, &["a_page_is_filled_with_living_sessions"]),
        (SubjectsFoldCase, &["subjects_that_look_alike_never_mix"]),
        (RefusedWritesAreIndexed, &["a_refused_write_lists_nothing"]),
        (
            IndexIgnoresReplace,
            &[
                "a_login_lists_the_session",
                "the_index_follows_a_change_of_subject",
                "a7_4_2_no_login_slips_past_a_revocation",
                "random_operations_with_the_index_agree_with_a_model",
            ],
        ),
        (
            IndexKeepsTheFormerSubject,
            &[
                "the_index_follows_a_change_of_subject",
                "end_subject_goes_by_the_present_subject",
                "a_revocation_goes_by_the_present_subject",
            ],
        ),
        (IndexGapsAtReplace, &["a_session_is_listed_while_a_write_to_it_is_held_up_at_any_await"]),
        (IndexFollowsLater, &["after_a_storm_the_index_agrees_with_the_records"]),
        (IndexComesAfterTheRecord, &["the_index_agrees_with_records_whose_writes_were_dropped"]),
        (
            EndSubjectOnlyUnlists,
            &[
                "a7_4_2_end_subject_ends_all_sessions_of_the_subject",
                "a7_4_2_all_sessions_of_a_revoked_subject_are_gone",
                "a7_4_2_a_revocation_by_one_holds_for_the_other",
                "r_revive_a_revocation_holds_after_opening_again",
                "r_revive_a_revocation_beats_writes_in_progress",
                "r_revive_a_write_held_up_at_any_await_survives_no_revocation",
                "of_racing_revocations_one_is_noted_and_all_hold",
                "random_operations_with_revocations_agree_with_a_model",
            ],
        ),
        (
            EndSubjectIgnoresTheException,
            &[
                "a7_4_3_end_subject_spares_the_one_excepted",
                "a7_4_3_the_one_excepted_stays_through_several_revocations",
            ],
        ),
        (EndSubjectEndsLaterOnes, &["sessions_that_begin_after_a_revocation_live"]),
        (EndSubjectEndsTheExpired, &["end_subject_ends_only_what_lives"]),
        (EndSubjectStopsAtAPage, &["end_subject_ends_a_thousand_sessions"]),
        (
            EndSubjectNotesLast,
            &[
                "a7_4_2_no_login_slips_past_a_revocation",
                "a7_4_2_no_login_slips_past_a_revocation_held_up_at_any_await",
                "a7_4_2_no_login_gets_past_a_revocation",
                "a7_4_2_no_login_gets_past_a_revocation_held_up_at_any_await",
            ],
        ),
        (
            EndSubjectIsTwoSteps,
            &[
                "of_racing_revocations_each_session_is_ended_by_one",
                "end_subject_never_ends_a_session_that_has_changed_hands",
                "end_subject_held_up_at_any_await_spares_what_has_changed_hands",
            ],
        ),
        (EndSubjectIsHalved, &["end_subject_of_the_index_dropped_at_any_await_can_be_done_again"]),
        (NotesKeepTheFirst, &["the_last_revocation_is_noted"]),
        (NotesKeepWhatCameLast, &["the_later_of_two_revocations_is_noted"]),
        (NotesForgetTheException, &["the_last_revocation_is_noted"]),
        (NotesStay, &["a_revocation_is_remembered_for_a_day"]),
        (CutIsInclusive, &["a7_4_5_sessions_started_before_an_instant_are_gone"]),
        (
            CutGoesByCreation,
            &[
                "a7_4_5_a_session_authenticated_since_the_instant_stays",
                "a_note_outlives_the_end_of_all_sessions",
            ],
        ),
        (CutMovesBack, &["r_revive_earlier_instants_are_ignored"]),
        (
            CutIsMadeOnce,
            &[
                "a7_4_5_a_login_under_way_at_the_instant_comes_too_late",
                "a7_4_5_no_login_slips_past_the_end_of_all",
            ],
        ),
        (CutIsSeenByLoadsOnly, &["a7_4_5_sessions_started_before_an_instant_are_gone"]),
        (FindIgnoresExpiry, &["a7_3_1_an_idle_session_is_gone_at_its_timeout"]),
        (FindIgnoresTheCut, &["a7_4_5_sessions_started_before_an_instant_are_gone"]),
        (FindRemembersTheEnded, &["a7_4_1_an_end_is_final"]),
        (CutOvershoots, &["end_started_before_of_the_index_dropped_at_any_await_can_be_done_again"]),
        (LoadTakesAndPutsBack, &["a_load_dropped_at_any_await_leaves_no_trace"]),
        (
            LoadsShareAnswers,
            &[
                "no_load_sees_the_answer_to_another_that_was_dropped",
                "many_sessions_at_once_never_mix",
                "loads_of_one_moment_are_each_answered_for_themselves",
            ],
        ),
        (ReplacesShareAnswers, &["no_write_sees_the_answer_to_another_that_was_dropped"]),
        (
            LocksStay,
            &[
                "a_load_dropped_at_any_await_leaves_no_trace",
                "a_touch_dropped_at_any_await_is_made_or_not",
                "a_sweep_dropped_at_any_await_takes_nothing_that_lives",
                "a_question_to_the_index_dropped_at_any_await_leaves_no_trace",
                "a_revocation_dropped_at_any_await_can_be_done_again",
            ],
        ),
        (OpenForgetsTouches, &["what_was_acknowledged_is_there_after_opening_again"]),
        (
            OpenForgetsLastWrites,
            &["what_was_acknowledged_is_there_after_opening_again", "no_update_is_lost_over_many_openings"],
        ),
        (OpenForgetsTombstones, &["r_revive_what_had_ended_stays_ended_after_opening_again"]),
        (OpenForgetsTheIndex, &["the_index_is_there_after_opening_again"]),
        (OpenForgetsNotes, &["the_index_is_there_after_opening_again"]),
        (OpenForgetsTheCut, &["the_index_is_there_after_opening_again"]),
        (OpenForgetsHowLongItWasClosed, &["a7_3_1_what_expired_meanwhile_is_gone_after_opening_again"]),
        (CloseDropsWrites, &["a_close_loses_nothing_that_was_acknowledged"]),
        (CloseIsIgnored, &["after_a_close_calls_fail"]),
        (
            LoadsAreCached,
            &["a_change_by_one_is_seen_by_the_other", "a7_4_1_an_end_by_one_is_final_for_the_other"],
        ),
        (NotesAreNotShared, &["the_index_is_one_to_both"]),
        (CutIsNotShared, &["the_index_is_one_to_both"]),
        (CloseClosesAll, &["a_close_of_one_leaves_the_other_open"]),
    ]
};

#[test]
fn every_broken_rule_is_caught() {
    // Failures are what is wanted here: their messages would only hide that of this test.
    panic::set_hook(Box::new(|_| {}));
    let pairs: Vec<_> =
        CAUGHT_BY.iter().flat_map(|(broken, names)| names.iter().map(|name| (*broken, *name))).collect();
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((broken, name)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if passes(*broken, name) {
                        missed.lock().push((broken, name));
                    }
                }
            });
        }
    });
    let _ = panic::take_hook();
    let missed = missed.into_inner();
    assert!(missed.is_empty(), "these cases pass on stores they should fail on: {missed:#?}");
}

#[test]
fn every_case_catches_something() {
    let catching: BTreeSet<_> = CAUGHT_BY.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let all: BTreeSet<_> = Case::<Place>::all().iter().map(|case| case.name).collect();
    let idle: Vec<_> = all.difference(&catching).collect();
    assert!(idle.is_empty(), "no broken store is known to fail these cases: {idle:#?}");
    let unknown: Vec<_> = catching.difference(&all).collect();
    assert!(unknown.is_empty(), "no such cases: {unknown:#?}");
}

/// Without this, a mistake in the mutants' own code could pass for a caught mutant.
#[test]
fn a_mutant_with_nothing_broken_passes() {
    let lacking = CAUGHT_BY[0].1;
    for case in Case::<Place>::all() {
        assert!(lacking.contains(&case.name) || passes(Broken::Nothing, case.name), "{}", case.name);
    }
}

fn passes(broken: Broken, name: &str) -> bool {
    let case = Case::all().into_iter().find(|case| case.name == name).unwrap();
    panic::catch_unwind(|| (case.run)(Place::new(broken))).is_ok()
}
