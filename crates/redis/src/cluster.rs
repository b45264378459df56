//! What a cluster looks like at this moment: its masters, and which of its nodes answer.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future;
use redis::Value;
use tokio::time::timeout;

use crate::{
    address::{Address, Endpoint},
    failure::Failure,
    wire::connect,
};

/// As most of those nodes see it that answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes {
    /// Which hold keys.
    pub(crate) masters: BTreeSet<Endpoint>,
    /// These, and their replicas.
    pub(crate) all: BTreeSet<Endpoint>,
    /// Which answered.
    pub(crate) awake: BTreeSet<Endpoint>,
}

/// How long a node may take to be connected to and asked; all are asked at once.
const NODE_MAX: Duration = Duration::from_millis(600);

impl Nodes {
    /// Asks these nodes of a cluster. One that answers is enough.
    pub(crate) async fn ask(address: &Address, known: &BTreeSet<Endpoint>) -> Result<Self, Failure> {
        let asked = known.iter().map(async |node| {
            let seen = timeout(NODE_MAX, Self::as_seen_by(address, node)).await;
            (node, seen.unwrap_or(Err(Failure::Late(NODE_MAX))))
        });
        let (mut views, mut awake, mut failure): (Vec<(usize, Self)>, _, _) =
            (Vec::new(), BTreeSet::new(), None);
        for (node, seen) in future::join_all(asked).await {
            match seen {
                Ok(view) => {
                    awake.insert(node.clone());
                    match views.iter_mut().find(|(_, other)| other.masters == view.masters) {
                        Some((count, other)) => (*count, other.all) = (*count + 1, &other.all | &view.all),
                        None => views.push((1, view)),
                    }
                }
                // That a node can't be reached says less than what another one says.
                Err(error) if failure.is_none() || !error.is_unreachable() => failure = Some(error),
                Err(_) => {}
            }
        }
        // One that was away for a while has yet to hear what the others know.
        match views.into_iter().max_by_key(|(count, _)| *count) {
            Some((_, view)) => Ok(Self { awake, ..view }),
            None => Err(failure.unwrap_or_else(|| Failure::unfit("has no node in the URL"))),
        }
    }

    async fn as_seen_by(address: &Address, node: &Endpoint) -> Result<Self, Failure> {
        let mut connection = connect(address, address.connection_info(node)?, NODE_MAX).await?;
        let mut question = redis::cmd("CLUSTER");
        question.arg("SLOTS");
        let slots = question.query_async::<Value>(&mut connection).await?;
        let view = Self::read(&slots, node).filter(|view| !view.masters.is_empty());
        view.ok_or_else(|| {
            Failure::unfit("is a cluster without slots: assign them by `redis-cli --cluster create`")
        })
    }

    /// Ranges of slots, each with its master and then its replicas.
    fn read(slots: &Value, asked: &Endpoint) -> Option<Self> {
        let Value::Array(ranges) = slots else { return None };
        let mut nodes = Self::default();
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let owners = parts.get(2..)?.iter().map(|node| endpoint(node, asked));
            let owners = owners.collect::<Option<Vec<_>>>()?;
            nodes.masters.insert(owners.first()?.clone());
            nodes.all.extend(owners);
        }
        Some(nodes)
    }

    /// How many masters gave way to others since.
    pub(crate) fn failovers_since(before: &BTreeSet<Endpoint>, masters: &BTreeSet<Endpoint>) -> usize {
        // A master that only joined, or that left when its keys had moved away, took nobody's place.
        before.difference(masters).count().min(masters.difference(before).count())
    }
}

/// A node that doesn't know its own address leaves it out: it is where it was asked.
fn endpoint(node: &Value, asked: &Endpoint) -> Option<Endpoint> {
    let Value::Array(parts) = node else { return None };
    let [host, Value::Int(port), ..] = &parts[..] else { return None };
    let host = match host {
        Value::BulkString(host) => str::from_utf8(host).ok().filter(|host| !matches!(*host, "" | "?")),
        _ => None,
    };
    Some(Endpoint { host: host.unwrap_or(&asked.host).to_owned(), port: u16::try_from(*port).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16) -> Endpoint {
        Endpoint { host: "a".into(), port }
    }

    #[test]
    fn masters_are_told_from_replicas() {
        let text = "*2\r\n*4\r\n:0\r\n:9\r\n*3\r\n$1\r\na\r\n:1\r\n$1\r\nx\r\n*3\r\n$1\r\na\r\n:2\r\n$1\r\ny\r\n\
                    *3\r\n:10\r\n:16383\r\n*3\r\n$0\r\n\r\n:3\r\n$1\r\nz\r\n";
        let slots = redis::parse_redis_value(text.as_bytes()).unwrap();
        let nodes = Nodes::read(&slots, &node(9)).unwrap();
        assert_eq!(nodes.masters, BTreeSet::from([node(1), node(3)]));
        assert_eq!(nodes.all, BTreeSet::from([node(1), node(2), node(3)]));
        assert!(Nodes::read(&Value::Okay, &node(9)).is_none());
    }

    #[test]
    fn a_failover_is_one_that_gives_way_and_one_that_takes_over() {
        let masters = |ports: &[u16]| ports.iter().copied().map(node).collect();
        for (before, now, count) in [
            (&[1, 2, 3][..], &[1, 2, 3][..], 0),
            (&[1, 2, 3], &[1, 2, 4], 1),
            (&[1, 2, 3], &[4, 5, 3], 2),
            (&[1, 2, 3], &[1, 2, 3, 4], 0),
            (&[1, 2, 3], &[1, 2], 0),
            (&[], &[1], 0),
        ] {
            assert_eq!(Nodes::failovers_since(&masters(before), &masters(now)), count, "{before:?} {now:?}");
        }
    }
}
