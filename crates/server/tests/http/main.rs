//! The real binary over real HTTP.

#[path = "../support/server.rs"]
mod server;
#[path = "../support/visitor.rs"]
mod visitor;

mod account;
mod cart;
mod guards;
mod pages;
mod settings;
mod stopping;
