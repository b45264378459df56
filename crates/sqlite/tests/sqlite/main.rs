//! What is SQLite's alone, and the suite that every store passes.

mod conformance;
mod damage;
mod disk_full;
mod fixture;
mod opening;
mod processes;
mod readable;
mod sweeping;
mod writing;
