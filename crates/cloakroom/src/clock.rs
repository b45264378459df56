//! Where the time and random bytes come from.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use cloakroom_core::Timestamp;

use crate::Error;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// The time a moment ago: never later than now, and never earlier than an earlier answer. It is asked as each
    /// request arrives, so it should cost next to nothing.
    fn just_now(&self) -> Timestamp {
        self.now()
    }
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::ZERO + since_1970
    }

    /// The time of the kernel's last tick, some milliseconds ago: reading it takes a fifth of the time, and far less
    /// on machines whose precise clock needs a system call.
    #[cfg(target_os = "linux")]
    fn just_now(&self) -> Timestamp {
        use nix::time::{ClockId, clock_gettime};

        match clock_gettime(ClockId::CLOCK_REALTIME_COARSE) {
            Ok(tick) => match (u64::try_from(tick.tv_sec()), u64::try_from(tick.tv_nsec())) {
                (Ok(s), Ok(ns)) => {
                    Timestamp::from_millis(s.saturating_mul(1000).saturating_add(ns / 1_000_000))
                }
                _ => self.now(),
            },
            Err(_) => self.now(),
        }
    }
}

/// A clock that stands still until it is told to go on: for tests, which then need not wait for a timeout.
///
/// ```
/// use cloakroom::clock::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::default();
/// let before = clock.now();
/// clock.clone().advance(Duration::from_secs(60));
/// assert_eq!(clock.now().since(before), Duration::from_secs(60));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Lets time pass, on every clone of this clock.
    pub fn advance(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

/// Stands at 2001-09-09T01:46:40Z.
impl Default for ManualClock {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1_000_000_000_000)))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A cryptographic source of random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer.
    ///
    /// # Errors
    /// [`Error::is_entropy`] if there are no such bytes to be had. Nothing weaker may be given instead.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Error>;
}

/// The operating system's random number generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Error> {
        if buffer.len() <= WRITE_ID_BYTES { buffered(buffer) } else { from_os(buffer) }
    }
}

/// Ids and secrets always come from the system straight away. A write id only has to be unique, so a thread asks the
/// system for many at once: it is needed for every write, and asking takes longer than all the rest of one.
const WRITE_ID_BYTES: usize = 8;

struct Buffer {
    bytes: [u8; 512],
    left: usize,
}

thread_local! {
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer { bytes: [0; 512], left: 0 }) };
}

fn buffered(out: &mut [u8]) -> Result<(), Error> {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.left < out.len() {
            buffer.left = 0;
            from_os(&mut buffer.bytes)?;
            buffer.left = buffer.bytes.len();
        }
        let start = buffer.left - out.len();
        out.copy_from_slice(&buffer.bytes[start..buffer.left]);
        buffer.left = start;
        Ok(())
    })
}

fn from_os(buffer: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(buffer).map_err(|error| cloakroom_core::Error::entropy(error).into())
}

/// A clock and a source of random bytes.
pub(crate) struct Sources {
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) entropy: Box<dyn Entropy>,
}

impl Default for Sources {
    fn default() -> Self {
        Self { clock: Box::new(SystemClock), entropy: Box::new(OsEntropy) }
    }
}
