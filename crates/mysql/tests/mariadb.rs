//! The store on MariaDB.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

#[path = "suite/mod.rs"]
mod mariadb;

use engines::MariaDb as Server;
