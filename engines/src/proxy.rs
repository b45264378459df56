//! A proxy that does to a connection what networks do: it delays, hangs, cuts, and loses answers. It counts the turns
//! a conversation takes, too.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// A proxy in front of one server. Connections through it end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    turns: AtomicU64,
    lost: AtomicU64,
    open: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    streams: Vec<TcpStream>,
    is_hanging: bool,
    /// How many connections were made, and of those how many, the first ones, lead nowhere any more.
    made: u64,
    swallowed: u64,
    is_refusing: bool,
    is_over: bool,
    delay: Duration,
    /// How many of the answers to come are lost, each with its connection.
    answers_to_lose: u32,
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Answer,
}

const POLL: Duration = Duration::from_millis(2);

impl Proxy {
    /// Listens on a free port, in front of the server at this address.
    ///
    /// # Panics
    /// If there is no port to be had.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            target,
            state: Mutex::default(),
            turns: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            open: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = accepting.state();
                let (is_over, is_refusing) = (state.is_over, state.is_refusing);
                drop(state);
                match stream {
                    _ if is_over => return,
                    Ok(stream) if !is_refusing => accepting.connect(stream),
                    _ => {}
                }
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often the direction of a conversation turned to the server since the start: round trips, where they aren't
    /// pipelined.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::SeqCst)
    }

    /// How many answers were lost by [`Proxy::lose_answers`].
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// How many connections go through it.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Loses the next answers: what is asked reaches the server, and is done; its answer doesn't come, for the
    /// connection is cut.
    pub fn lose_answers(&self, count: u32) {
        self.shared.state().answers_to_lose = count;
    }

    /// Holds every byte back for this long.
    pub fn delay(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// Holds every byte back until [`Proxy::resume`]; connections stay open.
    pub fn hang(&self) {
        self.shared.state().is_hanging = true;
    }

    /// Holds back for ever what is sent on the connections there are; they stay open, as those to a host that went away.
    /// New ones are as good as ever.
    pub fn swallow(&self) {
        let mut state = self.shared.state();
        state.swallowed = state.made;
    }

    /// Cuts every connection, and refuses new ones until [`Proxy::resume`].
    pub fn refuse(&self) {
        let mut state = self.shared.state();
        state.is_refusing = true;
        state.cut();
    }

    /// Cuts every connection once.
    pub fn cut(&self) {
        self.shared.state().cut();
    }

    /// Goes on as if nothing had been.
    pub fn resume(&self) {
        let mut state = self.shared.state();
        (state.is_hanging, state.is_refusing, state.answers_to_lose) = (false, false, 0);
        state.delay = Duration::ZERO;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_over = true;
        state.cut();
        drop(state);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn cut(&mut self) {
        for stream in self.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.target) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let turn = Arc::new(Mutex::new(Way::Answer));
        let number = {
            let mut state = self.state();
            state.made += 1;
            state.made
        };
        for (from, to, way) in [(&client, &server, Way::Request), (&server, &client, Way::Answer)] {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
            let (shared, turn) = (Arc::clone(self), Arc::clone(&turn));
            self.open.fetch_add(usize::from(way == Way::Request), Ordering::SeqCst);
            thread::spawn(move || {
                let _ = shared.pump(&from, &to, way, (&turn, number));
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                shared.open.fetch_sub(usize::from(way == Way::Request), Ordering::SeqCst);
            });
        }
        self.state().streams.extend([client, server]);
    }

    fn pump(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        way: Way,
        (turn, number): (&Mutex<Way>, u64),
    ) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 || !self.lets_pass(way, number) {
                return Ok(());
            }
            let before =
                std::mem::replace(&mut *turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner), way);
            if way == Way::Request && before == Way::Answer {
                self.turns.fetch_add(1, Ordering::SeqCst);
            }
            to.write_all(&buffer[..length])?;
        }
    }

    /// Waits as long as bytes are held back. False: they are lost.
    fn lets_pass(&self, way: Way, number: u64) -> bool {
        loop {
            let mut state = self.state();
            if state.is_over {
                return false;
            }
            if way == Way::Answer && state.answers_to_lose > 0 {
                state.answers_to_lose -= 1;
                self.lost.fetch_add(1, Ordering::SeqCst);
                return false;
            }
            if !state.is_hanging && number > state.swallowed {
                let delay = state.delay;
                drop(state);
                thread::sleep(delay);
                return true;
            }
            drop(state);
            thread::sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each byte with itself, and tells how many it got.
    fn echo() -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, received) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&received);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() {
                        count.fetch_add(1, Ordering::SeqCst);
                        let _ = stream.write_all(&byte);
                    }
                });
            }
        });
        (address, received)
    }

    fn ask(stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])
    }

    #[test]
    fn turns_are_counted() {
        let proxy = Proxy::start(echo().0);
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        for _ in 0..3 {
            ask(&mut stream).unwrap();
        }
        assert_eq!(proxy.turns(), 3);
        assert_eq!(proxy.connections(), 1);
    }

    #[test]
    fn a_lost_answer_was_given_and_cuts_its_connection() {
        let (address, received) = echo();
        let proxy = Proxy::start(address);
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        ask(&mut stream).unwrap();
        proxy.lose_answers(1);
        assert!(ask(&mut stream).is_err());
        assert_eq!((received.load(Ordering::SeqCst), proxy.lost()), (2, 1));
        ask(&mut TcpStream::connect(proxy.address()).unwrap()).unwrap();
    }

    #[test]
    fn what_hangs_goes_on_and_what_is_refused_comes_back() {
        let proxy = Proxy::start(echo().0);
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        proxy.hang();
        assert!(ask(&mut stream).is_err());
        proxy.resume();
        stream.set_read_timeout(None).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        ask(&mut stream).unwrap();
        proxy.swallow();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(ask(&mut stream).is_err());
        ask(&mut TcpStream::connect(proxy.address()).unwrap()).unwrap();
        proxy.refuse();
        assert!(ask(&mut stream).is_err());
        let refused = TcpStream::connect(proxy.address()).and_then(|mut stream| ask(&mut stream));
        assert!(refused.is_err());
        proxy.resume();
        ask(&mut TcpStream::connect(proxy.address()).unwrap()).unwrap();
    }
}
