//! What a failed call means: what can be done about it, and whether it may be tried again.

use std::{error, fmt};

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::CancellationReason,
};
use cloakroom::Error;

/// Why a call failed, without anything that may be secret: of what the service says about a signature, and of
/// conditions and values, only the code is kept.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The service's own name for it; none if it wasn't the service that answered.
    pub(crate) code: Option<String>,
    detail: String,
}

impl Failure {
    pub(crate) fn of<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + error::Error + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => {
                let code = answer.err().code().unwrap_or("an error without a name").to_owned();
                // These tell what is missing, and of what; others may repeat what was sent.
                let is_plain = matches!(code.as_str(), "AccessDeniedException" | "ResourceNotFoundException");
                let message = answer.err().message().filter(|_| is_plain).unwrap_or_default();
                Self { detail: format!("{code} {message}").trim_end().to_owned(), code: Some(code) }
            }
            SdkError::ResponseError(_) => Self::of_chain("the answer isn't DynamoDB's", None),
            SdkError::TimeoutError(_) => Self::of_chain("no connection in time", None),
            SdkError::DispatchFailure(cause) => {
                Self::of_chain("no answer", cause.as_connector_error().map(|cause| cause as _))
            }
            other => Self::of_chain("nothing could be sent", error::Error::source(other)),
        }
    }

    fn of_chain(what: &str, mut cause: Option<&(dyn error::Error + 'static)>) -> Self {
        let mut detail = what.to_owned();
        while let Some(error) = cause {
            detail = format!("{detail}: {error}");
            cause = error.source();
        }
        Self { code: None, detail }
    }

    fn is(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    pub(crate) fn is_missing_table(&self) -> bool {
        self.is(&["ResourceNotFoundException"])
    }

    pub(crate) fn is_denied(&self) -> bool {
        self.is(&["AccessDeniedException"])
    }

    /// The credentials themselves are refused.
    pub(crate) fn is_refused(&self) -> bool {
        self.is(&[
            "UnrecognizedClientException",
            "InvalidSignatureException",
            "IncompleteSignatureException",
            "MissingAuthenticationTokenException",
            "ExpiredTokenException",
            "InvalidClientTokenId",
        ])
    }

    /// The store's error, with what to do.
    pub(crate) fn into_error(self, table: &str) -> Error {
        let what = match &self {
            failure if failure.is_missing_table() => "doesn't exist, or not in this region and account",
            failure if failure.is_denied() => {
                "may not be used so: give the credentials the rights in the manual"
            }
            failure if failure.is_refused() => {
                "refuses the credentials: they are wrong or have run out, or this machine's clock is wrong"
            }
            failure if failure.is(THROTTLED) => "is used faster than it may be: raise its capacity or limits",
            failure if failure.is(&["ValidationException"]) => {
                "refuses the call: an item is larger than DynamoDB's 400 KB, or the table isn't as it has to be"
            }
            failure if failure.code.is_none() => {
                "can't be reached: see the endpoint, the region and the network"
            }
            _ => "can't be used just now",
        };
        Error::unavailable(format!("the DynamoDB table {table} {what}"), self)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl error::Error for Failure {}

/// Whether a call that failed may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// It was turned away before anything was done, because others were in the way.
    TurnedAway,
    /// It may have been done.
    Unknown,
    /// It would fail again.
    Never,
}

const THROTTLED: &[&str] = &[
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "LimitExceededException",
];

/// A transaction on the same item, or this very one, was under way.
const IN_THE_WAY: &[&str] =
    &["TransactionConflictException", "TransactionInProgressException", "ReplicatedWriteConflictException"];

/// What the errors of single calls allow.
pub(crate) fn again<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Again {
    match error {
        SdkError::ServiceError(answer) => match answer.err().code() {
            Some(code) if THROTTLED.contains(&code) || IN_THE_WAY.contains(&code) => Again::TurnedAway,
            _ if answer.raw().status().as_u16() >= 500 => Again::Unknown,
            _ => Again::Never,
        },
        SdkError::ConstructionFailure(_) => Again::Never,
        _ => Again::Unknown,
    }
}

/// What the errors of transactions allow: one that met only others' traffic has changed nothing.
pub(crate) fn again_in_transaction(error: &SdkError<TransactWriteItemsError>) -> Again {
    let reasons = reasons(error);
    let is_passing = |reason: &CancellationReason| {
        matches!(
            reason.code(),
            None | Some("None" | "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
        )
    };
    if !reasons.is_empty() && reasons.iter().all(is_passing) {
        return Again::TurnedAway;
    }
    again(error)
}

/// Why a transaction was cancelled, by its parts; empty if it wasn't.
pub(crate) fn reasons(error: &SdkError<TransactWriteItemsError>) -> &[CancellationReason] {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
            canceled.cancellation_reasons()
        }
        _ => &[],
    }
}
