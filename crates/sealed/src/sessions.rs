//! The carrier: sessions sealed into their cookies.

mod store;
mod wish;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use cloakroom::{
    CoreError, Data, Error, Policy, Record, SessionId, Subject, Timestamp,
    carrier::{self, Carrier, Cut, CutAnswer, FIXED_BYTES_MAX, Honour, Opened, SUBJECT_BYTES, Sealed, Stamp},
    clock::{Clock, SystemClock},
    cookie::{Parts, capacity},
    event::Rejection,
    keyring::LiveRing,
    store::{Answer, Store},
};

use crate::{
    draft::{Noted, Wish},
    list::Presented,
    log::random,
    node::Node,
    overwritten::{Issued, Overwritten},
    packed,
    rings::Rings,
    salt::salt,
    seal::{OVERHEAD_BYTES, Rejected},
    settings::ListSettings,
};

/// Sessions that travel in their cookies, encrypted and authenticated: no store is asked when one is read or changed.
///
/// ```
/// # async fn example() -> Result<(), cloakroom::Error> {
/// use cloakroom::{
///     MemoryStore, Sessions,
///     keyring::{LiveRing, RingFile},
/// };
/// use cloakroom_sealed::{ListSettings, SealedSessions};
///
/// let ring = LiveRing::open(RingFile::new("cloakroom.keys")).await?;
/// // A store that all nodes share; one in memory will do for a single process.
/// let list = Box::new(MemoryStore::new());
/// let sealed = SealedSessions::with_list(ring, list, ListSettings::default()).await?;
/// let sessions = Sessions::builder(sealed).build()?;
/// # Ok(())
/// # }
/// ```
pub struct SealedSessions {
    rings: Rings,
    /// None: what was handed out can't be taken back.
    node: Option<Arc<Node>>,
    lifetime_max: Option<Duration>,
    /// How many cookies a session is cut over at most.
    parts_max: usize,
    is_compressed: bool,
    bound: OnceLock<Bound>,
    overwritten: Overwritten,
}

/// What is known once the sessions are built.
struct Bound {
    cookie_name: Box<str>,
    lifetime_max: Duration,
    /// How far apart the nodes' clocks may be, for logins in progress.
    clock_skew_max: Duration,
    /// The longest that a session can be when it is inflated.
    plain_bytes_max: usize,
}

/// Left for a description of the client, which comes on top of the data.
const CLIENT_BYTES: usize = 64;

/// The longest subject and description that a session can have.
const SUBJECT_BYTES_MAX: usize = 255;
const CLIENT_BYTES_MAX: usize = 255;

/// Less isn't worth a session.
const DATA_BYTES_MIN: usize = 256;

impl SealedSessions {
    /// Sealed sessions whose logout, and all other revocations, are noted in a list in this store. Nodes that share the
    /// store share the list.
    ///
    /// # Errors
    /// [`Error::is_unsupported`] for a store that may forget what it acknowledged, as Memcached does;
    /// [`Error::is_unavailable`] if it can't be reached.
    pub async fn with_list(
        ring: LiveRing,
        store: Box<dyn Store>,
        settings: ListSettings,
    ) -> Result<Self, Error> {
        Self::with_list_and_clock(ring, store, settings, SystemClock).await
    }

    /// As [`SealedSessions::with_list`], with the clock that the sessions have: for tests that move the time.
    ///
    /// # Errors
    /// Those of [`SealedSessions::with_list`].
    pub async fn with_list_and_clock(
        ring: LiveRing,
        store: Box<dyn Store>,
        settings: ListSettings,
        clock: impl Clock,
    ) -> Result<Self, Error> {
        if store.index().is_none() {
            return Err(Error::unsupported(format!(
                "the {} store can't hold the revocation list: it may forget entries, and revoked sessions would be \
                 honoured again; choose one that can list a subject's sessions",
                store.kind()
            )));
        }
        let node = Node::start(store, settings, Box::new(clock)).await?;
        Ok(Self::new(ring, Some(node)))
    }

    /// Sealed sessions that nothing can take back: `logout` deletes the browser's cookie, and a copy of it stays good
    /// until it expires. So does every cookie from before a login or a rotation: who plants a cookie, or steals one, has
    /// the session that a login makes of it. Asking for a way to end sessions fails, and no event tells of an end.
    #[must_use]
    pub fn insecure_without_revocation(ring: LiveRing) -> Self {
        tracing::warn!(
            target: "cloakroom",
            "sealed sessions have no revocation list: a logout ends none, and copies of a cookie stay good until it expires"
        );
        Self::new(ring, None)
    }

    fn new(ring: LiveRing, node: Option<Arc<Node>>) -> Self {
        Self {
            rings: Rings::new(ring),
            node,
            lifetime_max: None,
            parts_max: 1,
            is_compressed: false,
            bound: OnceLock::new(),
            overwritten: Overwritten::default(),
        }
    }

    /// The longest absolute timeout that a session may be given; the policy's by default. Revocations of all of a
    /// subject's sessions are remembered for this long, and a retired key must be kept for it.
    ///
    /// Raise it on all nodes first, and only then let sessions live longer: what a node with the shorter one ends is
    /// remembered for the shorter time, and a session that lives longer would be honoured again after it. Lower it in the
    /// opposite order: sessions that would live longer than it end that much earlier.
    #[must_use]
    pub fn lifetime_max(mut self, lifetime_max: Duration) -> Self {
        self.lifetime_max = Some(lifetime_max);
        self
    }

    fn bound(&self) -> Result<&Bound, Error> {
        self.bound.get().ok_or_else(|| Error::invalid("sealed sessions must be built before they are used"))
    }

    /// Cuts sessions that don't fit into one cookie over several, at most four; one by default. Each request carries all
    /// of them in one header, and many servers and proxies refuse headers over 8 KiB: raise their limits for more than
    /// two. A browser that mixes parts of two responses has no session any more.
    #[must_use]
    pub fn split_over(mut self, cookies_max: usize) -> Self {
        self.parts_max = cookies_max;
        self
    }

    /// Compresses sessions before they are sealed, and pads them to multiples of 256 bytes; not by default. Who can put
    /// data into a session and watch its cookie's length may learn of other data in it, although padding hides most of
    /// that: so leave it off where secrets and what strangers send lie in one session.
    ///
    /// How much fits depends on the data. A change that makes more of it than would surely fit is tried out, and refused
    /// where the handler makes it.
    #[must_use]
    pub fn compressed(mut self) -> Self {
        self.is_compressed = true;
        self
    }

    /// The most bytes that fit into cookies of this name when they are sealed.
    fn sealed_bytes_max(&self, cookie_name: &str) -> usize {
        (capacity(cookie_name, self.parts_max) * 3 / 4).saturating_sub(OVERHEAD_BYTES)
    }

    /// What they leave for data.
    fn room(&self, cookie_name: &str) -> usize {
        self.sealed_bytes_max(cookie_name).saturating_sub(FIXED_BYTES_MAX + SUBJECT_BYTES + CLIENT_BYTES)
    }

    /// What is sealed, if browsers keep the cookie.
    fn encoded(&self, record: &Record, stamp: Stamp) -> Result<Vec<u8>, Error> {
        let bound = self.bound()?;
        if record.times.lifetime().absolute() > bound.lifetime_max {
            return Err(Error::invalid(format!(
                "a session was given an absolute timeout over {} s: raise the sealed sessions' `lifetime_max`",
                bound.lifetime_max.as_secs()
            )));
        }
        let encoded = carrier::encode(record, stamp)?;
        let encoded_bytes = encoded.len();
        let plain = if self.is_compressed { packed::pack(&encoded) } else { Some(encoded) };
        let bytes_max = self.sealed_bytes_max(&bound.cookie_name);
        let Some(plain) = plain.filter(|plain| plain.len() <= bytes_max) else {
            let data = record.data.as_bytes().len();
            let room = (bytes_max + data).saturating_sub(encoded_bytes);
            let entries = record.data.iter().map(|(name, value)| (name, value.len()));
            return Err(CoreError::too_large(data, room, entries).into());
        };
        Ok(plain)
    }
}

impl Carrier for SealedSessions {
    fn bind(&self, cookie_name: &str, policy: &Policy) -> Result<(), Error> {
        if policy.rotation_period.is_some() {
            return Err(Error::invalid(
                "sealed sessions have no secret to replace from time to time, and get a new cookie with every change: \
                 leave the rotation period out",
            ));
        }
        let lifetime_max = self.lifetime_max.unwrap_or(policy.lifetime.absolute());
        if lifetime_max < policy.lifetime.absolute() {
            return Err(Error::invalid("`lifetime_max` is shorter than the policy's absolute timeout"));
        }
        if !(1..=Parts::MAX).contains(&self.parts_max) {
            return Err(Error::invalid("a session is cut over at most four cookies"));
        }
        if self.data_bytes_max(cookie_name) < DATA_BYTES_MIN {
            return Err(Error::invalid("the cookie's name leaves no room for a session: shorten it"));
        }
        self.rings.bind(cookie_name, capacity(cookie_name, self.parts_max))?;
        if let Some(node) = &self.node {
            node.set_grace(policy.grace);
        }
        let plain_bytes_max =
            policy.record_bytes_max + FIXED_BYTES_MAX + SUBJECT_BYTES_MAX + CLIENT_BYTES_MAX;
        let (cookie_name, clock_skew_max) = (cookie_name.into(), policy.clock_skew_max);
        let bound = Bound { cookie_name, lifetime_max, clock_skew_max, plain_bytes_max };
        self.bound.set(bound).map_err(|_| {
            Error::invalid("these sealed sessions are in use already: make others for another cookie")
        })
    }

    fn parts_max(&self) -> usize {
        self.parts_max
    }

    fn data_bytes_max(&self, cookie_name: &str) -> usize {
        if self.is_compressed {
            // As much as the policy allows: how small it gets, nobody knows beforehand.
            return usize::MAX;
        }
        self.room(cookie_name)
    }

    fn data_bytes_sure(&self, cookie_name: &str) -> usize {
        if self.is_compressed {
            packed::sure(self.room(cookie_name))
        } else {
            self.data_bytes_max(cookie_name)
        }
    }

    fn check_data(&self, data: &Data, subject_bytes: usize) -> Result<(), CoreError> {
        let Some(bound) = self.bound.get().filter(|_| self.is_compressed) else { return Ok(()) };
        // The rest of the session is taken for as long as it can be, and for nothing that can be packed.
        let rest = FIXED_BYTES_MAX + subject_bytes.max(SUBJECT_BYTES) + CLIENT_BYTES;
        let plain = [packed::filler(rest), data.as_bytes()].concat();
        let (bytes_max, packed) = (self.sealed_bytes_max(&bound.cookie_name), packed::pack(&plain));
        if packed.is_some_and(|packed| packed.len() <= bytes_max) {
            return Ok(());
        }
        let entries = data.iter().map(|(name, value)| (name, value.len()));
        Err(CoreError::too_large(data.as_bytes().len(), bytes_max.saturating_sub(rest), entries))
    }

    fn open(&self, value: &[u8], now: Timestamp) -> Result<Opened, Error> {
        let plain = match self.rings.sealer()?.open(value) {
            Ok(plain) => plain,
            Err(Rejected::Malformed | Rejected::BadSeal) => return Ok(Opened::Rejected(Rejection::BadSeal)),
            Err(Rejected::UnknownKey(id)) => {
                self.rings.ask(id)?;
                return Ok(Opened::Rejected(Rejection::UnknownKey));
            }
        };
        // Sealed by a version of this library that wrote it in another form.
        let plain = packed::unpack(&plain, self.bound()?.plain_bytes_max);
        let Some(Ok((mut record, stamp))) = plain.map(|plain| carrier::decode(&plain)) else {
            return Ok(Opened::Rejected(Rejection::BadSeal));
        };
        // It was sealed when longer ones were allowed.
        let times = &mut record.times;
        times.end = times.end.min(times.started + self.bound()?.lifetime_max);
        if !record.is_alive(now) {
            return Ok(Opened::Rejected(Rejection::Expired));
        }
        let honour = self.honour(&record, stamp, now)?;
        if honour == Honour::Absent {
            return Ok(Opened::Rejected(Rejection::Ended));
        }
        Ok(Opened::Session(Arc::new(record), stamp, honour))
    }

    fn honour(&self, record: &Record, stamp: Stamp, now: Timestamp) -> Result<Honour, Error> {
        let Some(node) = &self.node else { return Ok(Honour::Full) };
        node.check(now)?;
        let (id, subject, began) = (record.id, record.subject.as_ref(), record.times.created);
        Ok(node.honour(&Presented { id, subject, began, stamp }, now))
    }

    fn refresh(&self) -> Answer<'_, ()> {
        self.node.as_ref().map_or_else(|| Answer::ready(Ok(())), |node| Answer::later(node.refresh()))
    }

    fn begin(&self, subject: Option<&Subject>, arrived: Timestamp, now: Timestamp) -> Result<Stamp, Error> {
        let Some(node) = &self.node else { return Ok(Stamp::default()) };
        node.check(now)?;
        let revoked = subject.and_then(|subject| node.last_revocation(subject));
        let counted_from = self.counted_from(arrived)?;
        if revoked.is_some_and(|(at, _)| at >= counted_from) {
            return Err(Error::lost());
        }
        Ok(node.stamp(subject))
    }

    fn begin_ending_others(&self, subject: &Subject, arrived: Timestamp) -> Answer<'_, Stamp> {
        let Some(node) = &self.node else { return Answer::ready(Err(store::irrevocable())) };
        let subject = subject.clone();
        Answer::later(async move {
            let (arrived, kept) = (self.counted_from(arrived)?, self.kept_at_most()?);
            match node.revoke(Wish::Others { subject, arrived, kept }).await? {
                Noted::Made(stamp) => Ok(stamp),
                Noted::Superseded | Noted::Ended => Err(Error::lost()),
            }
        })
    }

    fn check(&self, record: &Record, stamp: Stamp) -> Result<(), Error> {
        // As long as the one that will be sealed, and packed no better: what is drawn at random can't be packed.
        let long = || random().map(|number| number | 1 << 63);
        let longest = Stamp { line: long()?, epoch: long()?, entries: long()?, ..stamp };
        self.encoded(record, longest).map(|_| ())
    }

    fn seal(&self, record: &Record, stamp: Stamp) -> Result<Sealed, Error> {
        let stamp = self.node.as_ref().map_or(stamp, |node| node.dated(stamp));
        let plain = self.encoded(record, stamp)?;
        let value = self.rings.sealer()?.seal(&plain, &salt()?)?;
        let Record { id, version, times, .. } = record;
        let (id, generation, version, at) = (*id, stamp.generation, *version, times.active);
        let is_overwriting = self.overwritten.note(Issued { id, generation, version, at });
        Ok(Sealed { value, is_overwriting })
    }

    fn is_overtaken(&self, id: SessionId, stamp: Stamp, arrived: Timestamp) -> bool {
        self.overwritten.is_overtaken(id, stamp.generation, arrived)
    }

    fn cut(&self, cut: Cut, _: Timestamp) -> Answer<'_, CutAnswer> {
        let Some(node) = &self.node else { return Answer::ready(Ok(CutAnswer::Never)) };
        Answer::later(async move {
            let wish = self.wish(node, &cut)?;
            Ok(match node.revoke(wish).await? {
                Noted::Made(stamp) => CutAnswer::Made(stamp),
                Noted::Superseded => CutAnswer::Superseded,
                Noted::Ended => CutAnswer::Ended,
            })
        })
    }
}

impl fmt::Debug for SealedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedSessions").field("is_revocable", &self.node.is_some()).finish_non_exhaustive()
    }
}
