//! What Redis servers are asked, as they tell it themselves.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::Node;

/// Counts the commands that come to some servers, from the start on.
#[derive(Debug)]
pub struct Monitor(Arc<AtomicU64>);

impl Monitor {
    /// Counts those that name keys which begin so; without what scripts do.
    ///
    /// # Panics
    /// If a server doesn't answer.
    #[must_use]
    pub fn start(nodes: &[Node], prefix: &str) -> Self {
        let (count, key) = (Arc::new(AtomicU64::new(0)), format!("\"{prefix}"));
        for node in nodes {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, node.port)).expect("it listens");
            stream.write_all(b"MONITOR\r\n").expect("it reads");
            let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
            assert_eq!(lines.next().as_deref(), Some("+OK"));
            let (count, key) = (Arc::clone(&count), key.clone());
            thread::spawn(move || {
                let asked = lines.filter(|line| line.contains(&key) && !line.contains(" lua] "));
                for _ in asked {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self(count)
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
