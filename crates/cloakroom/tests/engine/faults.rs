//! The store fails.
