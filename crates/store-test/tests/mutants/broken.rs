//! The ways in which stores go wrong.

/// One rule of the contract, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nothing is: the reference store itself.
    Nothing,

    // What is stored.
    KindIsAPhrase,
    EmptyClientIsNone,
    ValuesAreNormalized,
    NamesAreTrimmed,
    LargeDataIsCut,
    IdsEndAtAZero,
    VersionsAreDoubles,
    TimesAre32Bits,
    SubjectsAreCut,
    HistoryIsCut,

    // Time.
    ExpiredIsServed,
    ExpiryIsInclusive,
    ExpiryIsRounded,
    IdleIsIgnored,
    AbsoluteIsIgnored,
    TombstonesStay,
    OwnClock,
    WritesIgnoreExpiry,

    // What is found at once.
    FindIgnoresExpiry,
    FindIgnoresTheCut,
    FindRemembersTheEnded,

    // create
    CreateForgets,
    CreateOverwrites,
    CreateOverwritesExpired,
    CreateOverwritesTombstones,
    CreateIsTwoSteps,
    CreateIsHalved,

    // replace
    ReplaceUpserts,
    ReplaceKeepsTimes,
    ReplaceIgnoresVersion,
    ReplaceChangesOthers,
    ReplaceIsTwoSteps,
    ReplaceIsHalved,

    // touch
    TouchForgets,
    TouchBumpsVersion,
    TouchMovesBack,
    TouchTouchesOthers,
    TouchUpserts,
    TouchMovesTheEnd,
    TouchIsTwoSteps,

    // end
    EndForgets,
    EndLosesTheReason,
    EndIgnoresVersion,
    EndAlwaysCompares,
    EndReplacesTombstones,
    EndEndsOthers,
    EndUpserts,
    EndIsTwoSteps,
    EndIsHalved,

    // sweep
    SweepTakesTheLiving,
    SweepReportsNothing,
    SweepReportsTwice,
    SweepForgetsSubjects,
    SweepGoesByTheFirstExpiry,
    SweepIgnoresTheAbsoluteEnd,
    SweepIsUnbounded,
    SweepNeverSaysMore,
    SweepAlwaysSaysMore,
    SweepKeepsTombstones,
    SweepTakesAllTombstones,
    SweepCountsSessionsOnly,
    SweepDropsNotes,

    // The index.
    ListsEverybody,
    ListsTheExpired,
    ListIsUnordered,
    ListShowsFirstTimes,
    PagesOverlap,
    PagesSkip,
    PagesGoByPosition,
    LimitComesBeforeLife,
    SubjectsFoldCase,
    RefusedWritesAreIndexed,
    IndexIgnoresReplace,
    IndexKeepsTheFormerSubject,
    IndexGapsAtReplace,
    IndexFollowsLater,
    IndexComesAfterTheRecord,

    // end_subject and its notes
    EndSubjectOnlyUnlists,
    EndSubjectIgnoresTheException,
    EndSubjectEndsLaterOnes,
    EndSubjectEndsTheExpired,
    EndSubjectStopsAtAPage,
    EndSubjectNotesLast,
    EndSubjectIsTwoSteps,
    EndSubjectIsHalved,
    NotesKeepTheFirst,
    NotesKeepWhatCameLast,
    NotesForgetTheException,
    NotesStay,

    // end_started_before
    CutIsInclusive,
    CutGoesByCreation,
    CutMovesBack,
    CutIsMadeOnce,
    CutIsSeenByLoadsOnly,
    CutOvershoots,

    // Calls that are dropped.
    LoadTakesAndPutsBack,
    LoadsShareAnswers,
    ReplacesShareAnswers,
    LocksStay,

    // Closing and opening again.
    OpenForgetsTouches,
    OpenForgetsLastWrites,
    OpenForgetsTombstones,
    OpenForgetsTheIndex,
    OpenForgetsNotes,
    OpenForgetsTheCut,
    OpenForgetsHowLongItWasClosed,
    CloseDropsWrites,
    CloseIsIgnored,

    // Several stores on one place.
    LoadsAreCached,
    NotesAreNotShared,
    CutIsNotShared,
    CloseClosesAll,
}
