//! A ring that is kept elsewhere, as this program knows it.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cloakroom_core::keyring::{KeyId, KeyRing, Schedule};
use parking_lot::{Mutex, RwLock};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::unknown::{Met, Unknown};
use crate::{Error, deadline::within, store::Answer};

/// Where a ring is kept.
pub trait RingSource: Send + Sync + 'static {
    /// The ring as it is kept now.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if that can't be told at present, [`Error::is_invalid`] for what is no ring.
    fn load(&self) -> Answer<'_, KeyRing>;

    /// Keeps another ring in its place, unless it has been changed meanwhile; `false` if it has.
    ///
    /// # Errors
    /// [`Error::is_unsupported`] if the ring can't be changed from here; [`Error::is_unavailable`] if keeping it failed.
    fn replace(&self, expected: &KeyRing, ring: &KeyRing) -> Answer<'_, bool>;

    /// Whether reading it again can ever give another ring.
    fn can_change(&self) -> bool {
        true
    }
}

/// A key ring that other programs change. Cheap to clone; all clones follow it together.
///
/// It never forgets a ring because a newer one can't be read: then it goes on with the one it has.
#[derive(Clone)]
pub struct LiveRing {
    shared: Arc<Shared>,
}

struct Shared {
    source: Box<dyn RingSource>,
    ring: RwLock<Arc<KeyRing>>,
    /// Rises whenever the ring is another.
    edition: AtomicU64,
    /// Held while the ring is read, so that a crowd of requests reads it once.
    reading: tokio::sync::Mutex<()>,
    unknown: Mutex<Unknown>,
}

/// How long a read or a change may take.
const DEADLINE: Duration = Duration::from_secs(10);
impl LiveRing {
    /// The ring that this source keeps.
    ///
    /// # Errors
    /// What [`RingSource::load`] answers; [`Error::is_unavailable`] if it answers nothing for ten seconds.
    pub async fn open(source: impl RingSource) -> Result<Self, Error> {
        let began = Instant::now();
        let ring = within(DEADLINE, "key ring's", source.load()).await?;
        let live = Self::of(Box::new(source), ring);
        live.shared.unknown.lock().end_read(began);
        Ok(live)
    }

    /// A ring that never changes.
    #[must_use]
    pub fn fixed(ring: KeyRing) -> Self {
        Self::of(Box::new(Fixed(ring.clone())), ring)
    }

    /// The ring in an environment variable, such as `CLOAKROOM_KEYS`. It is read once: to rotate, change the variable
    /// and restart, first with the new key pending everywhere, then with it as the primary.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if the variable isn't set or holds no ring.
    pub fn from_environment(name: &str) -> Result<Self, Error> {
        let text = std::env::var(name).map_err(|_| {
            Error::invalid(format!("{name} isn't set: put there what `cloakroom keys new` prints"))
        })?;
        let ring = KeyRing::parse(&text).map_err(|error| Error::invalid(format!("{name}: {error}")))?;
        Ok(Self::fixed(ring))
    }

    fn of(source: Box<dyn RingSource>, ring: KeyRing) -> Self {
        let shared = Shared {
            source,
            ring: RwLock::new(Arc::new(ring)),
            edition: AtomicU64::new(0),
            reading: tokio::sync::Mutex::new(()),
            unknown: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The ring, as it was last read.
    #[must_use]
    pub fn now(&self) -> Arc<KeyRing> {
        Arc::clone(&self.shared.ring.read())
    }

    /// Rises whenever the ring is another, so that what was made from the ring is made anew.
    #[must_use]
    pub fn edition(&self) -> u64 {
        self.shared.edition.load(Ordering::Acquire)
    }

    /// Reads the ring now; whether it is another.
    ///
    /// # Errors
    /// What [`RingSource::load`] answers; the ring stays as it was.
    pub async fn refresh(&self) -> Result<bool, Error> {
        self.shared.read().await
    }

    /// To be asked by who met a key id that isn't in the ring. `true`: this program may be behind, and is reading the
    /// ring; the request is to be answered with 503, for the next one will know. `false`: there is no such key.
    ///
    /// An id is looked for once, in a ring that is read after the id was met; that is done once a second at most,
    /// however many ids are made up.
    #[must_use]
    pub fn may_be_behind(&self, id: KeyId) -> bool {
        if !self.shared.source.can_change() || self.now().key(id).is_some() {
            return self.now().key(id).is_some();
        }
        let wait = match self.shared.unknown.lock().meet(id, Instant::now()) {
            Met::NoKey => return false,
            Met::BeingRead => return true,
            Met::ToBeRead { after } => after,
        };
        let reading = Reading(Arc::clone(&self.shared));
        let Ok(runtime) = Handle::try_current() else { return true };
        runtime.spawn(async move {
            sleep(wait).await;
            if let Err(error) = reading.0.read().await {
                tracing::warn!(target: "cloakroom", "the key ring can't be read, and a key is unknown: {error}");
            }
        });
        true
    }

    /// Reads the ring again and again in the background, for as long as it is in use. The period is to be well under
    /// the schedule's publish delay.
    pub fn follow(&self, period: Duration) {
        let Ok(runtime) = Handle::try_current() else {
            tracing::error!(target: "cloakroom", "nothing follows the key ring: call `follow` within a Tokio runtime");
            return;
        };
        let weak = Arc::downgrade(&self.shared);
        runtime.spawn(follow(weak, period));
    }

    pub(super) async fn replace(&self, expected: &KeyRing, ring: &KeyRing) -> Result<bool, Error> {
        let is_kept = {
            let _reading = self.shared.reading.lock().await;
            let is_kept = within(DEADLINE, "key ring's", self.shared.source.replace(expected, ring)).await?;
            if is_kept {
                // Known without another read, which could fail.
                self.shared.take(ring.clone());
            }
            is_kept
        };
        if !is_kept {
            self.shared.read().await?;
        }
        Ok(is_kept)
    }

    pub(super) fn downgrade(&self) -> impl Fn() -> Option<Self> + Send + 'static {
        let weak = Arc::downgrade(&self.shared);
        move || weak.upgrade().map(|shared| Self { shared })
    }
}

/// How often it is said that a ring can't be read.
const TELL_PERIOD: Duration = Duration::from_secs(60);
/// From then on it is an error: a key that was published meanwhile is about to be used by others.
const TOO_LONG: Duration = Duration::from_secs(Schedule::PUBLISH_DELAY_DEFAULT.as_secs() / 2);

async fn follow(weak: Weak<Shared>, period: Duration) {
    let (mut read, mut told) = (Instant::now(), None::<Instant>);
    loop {
        sleep(period).await;
        let Some(shared) = weak.upgrade() else { return };
        let Err(error) = shared.read().await else {
            (read, told) = (Instant::now(), None);
            continue;
        };
        if told.is_some_and(|told| told.elapsed() < TELL_PERIOD) {
            continue;
        }
        told = Some(Instant::now());
        if read.elapsed() < TOO_LONG {
            tracing::warn!(target: "cloakroom", "the key ring can't be read, so it stays as it was: {error}");
        } else {
            tracing::error!(
                target: "cloakroom",
                "the key ring couldn't be read for {} s: before long, other nodes use keys that this one doesn't have: {error}",
                read.elapsed().as_secs()
            );
        }
    }
}

impl Shared {
    async fn read(&self) -> Result<bool, Error> {
        let _reading = self.reading.lock().await;
        let began = Instant::now();
        self.unknown.lock().begin_read(began);
        let ring = within(DEADLINE, "key ring's", self.source.load()).await?;
        let is_another = self.take(ring);
        self.unknown.lock().end_read(began);
        Ok(is_another)
    }

    /// Whether it is another than before.
    fn take(&self, ring: KeyRing) -> bool {
        let is_another = !ring.is_same(&self.ring.read());
        if is_another {
            tracing::info!(target: "cloakroom", "the key ring has changed: {ring:?}");
            *self.ring.write() = Arc::new(ring);
            self.edition.fetch_add(1, Ordering::Release);
        }
        is_another
    }
}

/// Says that the ring isn't being read any more when it is dropped, even by a source that panics.
struct Reading(Arc<Shared>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.unknown.lock().is_reading = false;
    }
}

impl From<KeyRing> for LiveRing {
    /// A ring that never changes.
    fn from(ring: KeyRing) -> Self {
        Self::fixed(ring)
    }
}

impl fmt::Debug for LiveRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveRing").field(&self.now()).finish()
    }
}

struct Fixed(KeyRing);

impl RingSource for Fixed {
    fn load(&self) -> Answer<'_, KeyRing> {
        Answer::ready(Ok(self.0.clone()))
    }

    fn replace(&self, _: &KeyRing, _: &KeyRing) -> Answer<'_, bool> {
        Answer::ready(Err(Error::unsupported(
            "this key ring can't be changed from here: change where it comes from, and restart",
        )))
    }

    fn can_change(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
