//! Records as items, and items as records.
//!
//! One table, whose keys are `pk` and `sk`, both text. Each key begins with the prefix of the settings:
//!
//! | pk | sk | item |
//! |---|---|---|
//! | `cloakroom#s#<id>` | `s` | a session, or the tombstone in its place |
//! | `cloakroom#u#<subject>` | the id in hexadecimal, so in the order of ids | an entry of the index |
//! | `cloakroom#r#<subject>` | `r` | the subject's last revocation |
//! | `cloakroom#cut` | `c` | before which instant all sessions have ended |

use std::{
    collections::HashMap,
    fmt::Write as _,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use cloakroom::{
    Data, Error, Record, SessionId, Subject, Timestamp, Version,
    store::{Authority, EndReason, Loaded, Revocation, Summary, Times, Tombstone},
};

/// An item as the table has it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The keys' names, and the attribute by which DynamoDB removes what nobody needs any more.
pub(crate) const PK: &str = "pk";
pub(crate) const SK: &str = "sk";
pub(crate) const TTL: &str = "ttl";

/// How much longer than it is needed an item is kept: more than clocks differ.
const SLACK: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The keys of one application's items.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) prefix: String,
}

impl Keys {
    pub(crate) fn session(&self, id: SessionId) -> Item {
        key(self.session_pk(id), "s".to_owned())
    }

    pub(crate) fn session_pk(&self, id: SessionId) -> String {
        format!("{}#s#{id}", self.prefix)
    }

    pub(crate) fn entry(&self, subject: &Subject, id: SessionId) -> Item {
        key(self.subject(subject), entry_sk(id))
    }

    /// The partition of all of a subject's entries.
    pub(crate) fn subject(&self, subject: &Subject) -> String {
        format!("{}#u#{subject}", self.prefix)
    }

    pub(crate) fn revocation(&self, subject: &Subject) -> Item {
        key(format!("{}#r#{subject}", self.prefix), "r".to_owned())
    }

    pub(crate) fn cut(&self) -> Item {
        key(format!("{}#cut", self.prefix), "c".to_owned())
    }

    pub(crate) fn session_item(&self, record: &Record, now: Timestamp) -> Result<Item, Error> {
        let times = &record.times;
        let mut item = self.session(record.id);
        item.insert("version".into(), number(record.version.write_id()));
        if let Some(subject) = &record.subject {
            item.insert("subject".into(), text(subject.as_str()));
        }
        item.insert("created_ms".into(), time(times.created));
        item.insert("started_ms".into(), time(times.started));
        item.insert("active_ms".into(), time(times.active));
        item.insert("end_ms".into(), time(times.end));
        item.insert("idle_s".into(), number(times.idle_s.into()));
        // For touches and conditions: DynamoDB adds, and neither multiplies nor adds in a condition.
        let idle_ms = u64::from(times.idle_s) * 1_000;
        item.insert("idle_ms".into(), number(idle_ms));
        item.insert("idle_end_ms".into(), number(times.active.as_millis().saturating_add(idle_ms)));
        if let Some(client) = &record.client {
            item.insert("client".into(), text(client));
        }
        item.insert("authority".into(), AttributeValue::B(Blob::new(record.authority.encode()?)));
        item.insert("data".into(), AttributeValue::S(record.data.to_json()));
        item.insert(TTL.into(), ttl(record.expires(), now));
        Ok(item)
    }

    pub(crate) fn entry_item(&self, subject: &Subject, record: &Record, now: Timestamp) -> Item {
        let mut item = self.entry(subject, record.id);
        item.insert("id".into(), AttributeValue::S(record.id.to_string()));
        item.insert(TTL.into(), ttl(record.times.end, now));
        item
    }

    pub(crate) fn tombstone_item(&self, tombstone: &Tombstone, now: Timestamp) -> Item {
        let mut item = self.session(tombstone.id);
        item.insert("version".into(), number(tombstone.version.write_id()));
        item.insert("ended_ms".into(), time(tombstone.at));
        item.insert("ended_why".into(), text(tombstone.reason.as_str()));
        item.insert("end_ms".into(), time(tombstone.expires));
        item.insert(TTL.into(), ttl(tombstone.expires, now));
        item
    }

    pub(crate) fn revocation_item(&self, subject: &Subject, revocation: &Revocation, now: Timestamp) -> Item {
        let mut item = self.revocation(subject);
        item.insert("at_ms".into(), time(revocation.at));
        if let Some(except) = revocation.except {
            item.insert("except_id".into(), AttributeValue::S(except.to_string()));
        }
        item.insert("why".into(), text(revocation.reason.as_str()));
        item.insert("version".into(), number(revocation.version.write_id()));
        item.insert("kept_to_ms".into(), time(revocation.tombstones_expire));
        item.insert(TTL.into(), ttl(revocation.at + DAY, now));
        item
    }
}

fn key(pk: String, sk: String) -> Item {
    HashMap::from([(PK.into(), AttributeValue::S(pk)), (SK.into(), AttributeValue::S(sk))])
}

/// The id's bytes in hexadecimal: texts are ordered as the ids are.
pub(crate) fn entry_sk(id: SessionId) -> String {
    id.as_bytes().iter().fold(String::with_capacity(32), |mut text, byte| {
        // Writing to a text doesn't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The session that an entry of the index names.
pub(crate) fn entry_id(item: &Item) -> Result<SessionId, Error> {
    let sk = item.text_of(SK)?;
    let bytes = u128::from_str_radix(sk, 16).ok().filter(|_| sk.len() == 32);
    bytes.map(|bytes| SessionId::from_bytes(bytes.to_be_bytes())).ok_or_else(|| item.damaged(SK))
}

/// When DynamoDB may remove what is needed until this instant. The time that is left is the caller's, the clock it is
/// counted on the real one, for DynamoDB's is.
pub(crate) fn ttl(until: Timestamp, now: Timestamp) -> AttributeValue {
    let real = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    number((real + until.since(now) + SLACK).as_secs())
}

/// For a touch, which adds the session's own idle timeout: [`ttl`] without it.
pub(crate) fn ttl_base(active: Timestamp, now: Timestamp) -> AttributeValue {
    ttl(active, now)
}

pub(crate) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn time(time: Timestamp) -> AttributeValue {
    number(time.as_millis())
}

/// As DynamoDB counts: names and values. Of a number, which takes less, the digits.
pub(crate) fn bytes_of(item: &Item) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        _ => 1,
    };
    item.iter().map(|(name, attribute)| name.len() + value(attribute)).sum()
}

/// What the condition of a write looks at: what is stored in a session's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) version: Version,
    pub(crate) subject: Option<Subject>,
    pub(crate) started: Timestamp,
    pub(crate) end: Timestamp,
    expires: Timestamp,
    is_tombstone: bool,
}

impl Stored {
    pub(crate) fn of(item: &Item) -> Result<Self, Error> {
        let (version, end) = (item.version()?, item.time("end_ms")?);
        if item.contains_key("ended_ms") {
            let started = Timestamp::ZERO;
            return Ok(Self { version, subject: None, started, end, expires: end, is_tombstone: true });
        }
        let times = times(item)?;
        let (subject, started) = (item.subject()?, times.started);
        Ok(Self { version, subject, started, end, expires: times.expires(), is_tombstone: false })
    }

    /// Whether it is a session, and lives.
    pub(crate) fn is_alive(&self, cut: Timestamp, now: Timestamp) -> bool {
        !self.is_tombstone && self.expires > now && self.started >= cut
    }
}

/// What a load finds in this item.
pub(crate) fn loaded(id: SessionId, item: &Item, cut: Timestamp, now: Timestamp) -> Result<Loaded, Error> {
    if item.contains_key("ended_ms") {
        let tombstone = tombstone(id, item)?;
        return Ok(if tombstone.expires > now { Loaded::Ended(tombstone) } else { Loaded::Absent });
    }
    let times = times(item)?;
    if times.expires() <= now || times.started < cut {
        return Ok(Loaded::Absent);
    }
    let authority = item.get("authority").and_then(|value| value.as_b().ok());
    let authority = authority.ok_or_else(|| item.damaged("authority"))?;
    Ok(Loaded::Found(Arc::new(Record {
        id,
        version: item.version()?,
        subject: item.subject()?,
        authority: Authority::decode(authority.as_ref()).map_err(|_| item.damaged("authority"))?,
        times,
        client: item.client()?,
        data: Data::from_json(item.text_of("data")?).map_err(|_| item.damaged("data"))?,
    })))
}

fn tombstone(id: SessionId, item: &Item) -> Result<Tombstone, Error> {
    let (version, at, expires) = (item.version()?, item.time("ended_ms")?, item.time("end_ms")?);
    Ok(Tombstone { id, version, at, reason: item.reason("ended_why")?, expires })
}

/// The attributes that [`summary`] needs.
pub(crate) const SUMMARY: &str =
    "pk, subject, created_ms, started_ms, active_ms, end_ms, idle_s, idle_end_ms, client, ended_ms";

/// What a listing tells of a session, if it lives and is the subject's.
pub(crate) fn summary(
    id: SessionId,
    item: &Item,
    subject: &Subject,
    cut: Timestamp,
    now: Timestamp,
) -> Result<Option<Summary>, Error> {
    if item.contains_key("ended_ms") || item.subject()?.as_ref() != Some(subject) {
        return Ok(None);
    }
    let times = times(item)?;
    if times.expires() <= now || times.started < cut {
        return Ok(None);
    }
    Ok(Some(Summary { id, times, client: item.client()? }))
}

/// The noted revocation, if it is younger than a day.
pub(crate) fn revocation(item: &Item, now: Timestamp) -> Result<Option<Revocation>, Error> {
    let at = item.time("at_ms")?;
    if at + DAY <= now {
        return Ok(None);
    }
    let except = item.contains_key("except_id").then(|| item.parsed("except_id")).transpose()?;
    let (reason, version) = (item.reason("why")?, item.version()?);
    let tombstones_expire = item.time("kept_to_ms")?;
    Ok(Some(Revocation { at, except, reason, version, tombstones_expire }))
}

fn times(item: &Item) -> Result<Times, Error> {
    Ok(Times {
        created: item.time("created_ms")?,
        started: item.time("started_ms")?,
        active: item.time("active_ms")?,
        end: item.time("end_ms")?,
        idle_s: item.number("idle_s")?,
    })
}

/// Attributes of an item, read.
pub(crate) trait Attributes {
    fn text_of(&self, name: &str) -> Result<&str, Error>;
    fn number<N: FromStr>(&self, name: &str) -> Result<N, Error>;
    fn contains(&self, name: &str) -> bool;
    /// An attribute isn't what this crate writes.
    fn damaged(&self, name: &str) -> Error;

    fn parsed<T: FromStr>(&self, name: &str) -> Result<T, Error> {
        self.text_of(name)?.parse().map_err(|_| self.damaged(name))
    }

    fn time(&self, name: &str) -> Result<Timestamp, Error> {
        self.number(name).map(Timestamp::from_millis)
    }

    fn version(&self) -> Result<Version, Error> {
        self.number("version").map(Version::from_write_id)
    }

    fn reason(&self, name: &str) -> Result<EndReason, Error> {
        EndReason::parse(self.text_of(name)?).ok_or_else(|| self.damaged(name))
    }

    fn subject(&self) -> Result<Option<Subject>, Error> {
        let parse = || Subject::new(self.text_of("subject")?).map_err(|_| self.damaged("subject"));
        self.contains("subject").then(parse).transpose()
    }

    fn client(&self) -> Result<Option<Arc<str>>, Error> {
        self.contains("client").then(|| self.text_of("client").map(Arc::from)).transpose()
    }
}

impl Attributes for Item {
    fn text_of(&self, name: &str) -> Result<&str, Error> {
        let text = self.get(name).and_then(|value| value.as_s().ok());
        text.map(String::as_str).ok_or_else(|| self.damaged(name))
    }

    fn number<N: FromStr>(&self, name: &str) -> Result<N, Error> {
        let digits = self.get(name).and_then(|value| value.as_n().ok());
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.damaged(name))
    }

    fn contains(&self, name: &str) -> bool {
        self.contains_key(name)
    }

    fn damaged(&self, name: &str) -> Error {
        let pk = self.get(PK).and_then(|value| value.as_s().ok()).map_or("?", String::as_str);
        Error::corrupt(format!(
            "the item `{pk}` of the session table can't be read: its attribute `{name}` is missing or damaged; mend \
             the item, or delete it"
        ))
    }
}
