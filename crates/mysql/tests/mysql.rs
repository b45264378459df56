//! The store on MySQL.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

#[path = "suite/mod.rs"]
mod mysql;

use engines::MySql as Server;
