//! Web sessions without I/O.
//!
//! This crate decides; it never acts. It holds the [session token](token), the stored [`Record`], the
//! [data and its delta](data), the [lifetimes](lifetime), the [cookie] and the lifecycle: one pure function,
//! [`exchange::plan`], from a record, a request's intent, a policy and the time to what must be stored and what must
//! be sent. No socket, clock or random number generator appears here: the time and random bytes are arguments. That
//! makes the whole lifecycle testable without a runtime.
//!
//! Applications use the `cloakroom` crate, which carries these plans out; stores need [`Record`] and [`Data`].

mod authority;
mod authority_keys;
pub mod carried;
pub mod cookie;
pub mod data;
pub mod delta;
mod error;
pub mod exchange;
pub mod guard;
mod hmac;
pub mod keyring;
pub mod lifetime;
mod plain_text;
pub mod policy;
pub mod record;
mod time;
pub mod token;

pub use authority_keys::{Authenticity, AuthorityKeys};
pub use data::{Data, Key};
pub use error::Error;
pub use lifetime::Lifetime;
pub use policy::Policy;
pub use record::{Record, Subject, Version};
pub use time::Timestamp;
pub use token::{Secret, SessionId, Token};
