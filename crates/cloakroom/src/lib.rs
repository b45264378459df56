//! Placeholder.
mod error;
pub mod store;

pub use cloakroom_core::{Data, Error as CoreError, Key, Lifetime, Policy, Record, SessionId, Subject, Timestamp, Token, Version};
pub use error::Error;
