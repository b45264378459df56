//! Servers of the tests' own, which answer as they are told.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// Answers each command with this; the connection is closed instead where there is no answer.
pub(crate) fn serve(
    listener: TcpListener,
    answer: impl Fn(&[String]) -> Option<String> + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || converse(&stream, &*answer));
        }
    });
}

pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn converse(mut stream: &TcpStream, answer: &dyn Fn(&[String]) -> Option<String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let count: usize = line.trim()[1..].parse().unwrap();
        let mut words = Vec::new();
        for _ in 0..count {
            line.clear();
            reader.read_line(&mut line)?;
            let mut word = vec![0; line.trim()[1..].parse::<usize>().unwrap() + 2];
            reader.read_exact(&mut word)?;
            words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
        }
        line.clear();
        words[0].make_ascii_uppercase();
        let Some(answer) = answer(&words) else { return stream.shutdown(std::net::Shutdown::Both) };
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

pub(crate) fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// What a server of this version tells of itself.
pub(crate) fn info(version: &str, is_cluster: bool) -> String {
    let cluster = u8::from(is_cluster);
    bulk(&format!("redis_version:{version}\r\nrole:master\r\ncluster_enabled:{cluster}\r\n"))
}
