//! Ports that are free.

use std::net::{Ipv4Addr, TcpListener};

/// A port of this machine that was free a moment ago.
///
/// # Panics
/// If none is to be had.
#[must_use]
pub fn free_port() -> u16 {
    free_ports(1)[0]
}

/// So many ports, each of which was free a moment ago; no two are the same.
///
/// # Panics
/// If they aren't to be had.
#[must_use]
pub fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let listeners: Vec<_> = (0..count).map(bind).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}
