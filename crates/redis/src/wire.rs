//! A connection as it is dialed: to one server, or to a cluster.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, Pipeline, RedisResult, Role, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
};

use crate::{
    address::{Address, Endpoint, Login, Servers},
    cluster::Nodes,
    failure::Failure,
};

/// How long making a connection may take, with all that is said at its beginning.
pub(crate) const DIAL_MAX: Duration = Duration::from_secs(2);

/// How long one of several servers may take to be connected to: the others are tried after it.
const SERVER_MAX: Duration = Duration::from_millis(600);

/// All calls share it; the clones are handles on it.
#[derive(Clone)]
pub(crate) enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A new connection.
pub(crate) struct Dialed {
    pub(crate) wire: Wire,
    /// The nodes of a cluster, or the master that the sentinels named. Of a server that is alone there is nothing to know.
    pub(crate) nodes: Nodes,
}

/// What became of a question.
pub(crate) struct Sent {
    pub(crate) result: RedisResult<Value>,
    /// Another node of the cluster had the key than the one that had it before.
    pub(crate) is_redirected: bool,
}

impl Dialed {
    pub(crate) async fn to(address: &Address) -> Result<Self, Failure> {
        let one = |connection| Self { wire: Wire::One(connection), nodes: Nodes::default() };
        match &address.servers {
            Servers::One(endpoint) => {
                Ok(one(connect(address, address.connection_info(endpoint)?, DIAL_MAX).await?))
            }
            Servers::Socket(path) => Ok(one(connect(address, address.socket_info(path)?, DIAL_MAX).await?)),
            Servers::Cluster(nodes) => {
                let known = nodes.iter().cloned().collect();
                Self::to_cluster(address, Nodes::ask(address, &known).await?).await
            }
            Servers::Sentinel { sentinels, master, login } => {
                let mut failure = None;
                for sentinel in sentinels {
                    match through(address, sentinel, login, master).await {
                        Ok(dialed) => return Ok(dialed),
                        // That a sentinel can't be reached says less than what another one says.
                        Err(error) if failure.is_none() || !error.is_unreachable() => failure = Some(error),
                        Err(_) => {}
                    }
                }
                Err(failure.unwrap_or_else(|| Failure::unfit("has no sentinel in the URL")))
            }
        }
    }

    /// By those nodes that answer: waiting for the others would hold up everybody.
    pub(crate) async fn to_cluster(address: &Address, nodes: Nodes) -> Result<Self, Failure> {
        let infos = nodes.awake.iter().map(|node| address.connection_info(node));
        let builder = ClusterClient::builder(infos.collect::<RedisResult<Vec<_>>>()?)
            // A change whose answer was lost may have been made: whether it is asked for again is decided by the caller.
            .retries(0)
            .connection_timeout(SERVER_MAX)
            .response_timeout(address.timeout);
        let connection = address.trusting(builder)?.build()?.get_async_connection().await?;
        Ok(Self { wire: Wire::Cluster(connection), nodes })
    }
}

pub(crate) async fn connect(
    address: &Address,
    info: ConnectionInfo,
    max: Duration,
) -> RedisResult<MultiplexedConnection> {
    // Calls bring a deadline of their own.
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(max)).set_response_timeout(None);
    let client = address.client(info)?;
    let dial = client.get_multiplexed_async_connection_with_config(&config);
    // A server that hangs accepts connections and says nothing.
    match tokio::time::timeout(max, dial).await {
        Ok(dialed) => dialed,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

/// Asks a sentinel for the master, and the master whether it is one: after a failover a sentinel may not know yet.
async fn through(
    address: &Address,
    sentinel: &Endpoint,
    login: &Login,
    name: &str,
) -> Result<Dialed, Failure> {
    let mut asked = connect(address, address.sentinel_info(sentinel, login)?, SERVER_MAX).await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let answer = tokio::time::timeout(SERVER_MAX, question.query_async::<Option<(String, u16)>>(&mut asked));
    let answer = answer.await.map_err(|_| Failure::Late(SERVER_MAX))??;
    let Some((host, port)) = answer else {
        return Err(Failure::unfit(
            "isn't known to the sentinels: see the name in their `sentinel monitor` line",
        ));
    };
    let endpoint = Endpoint { host, port };
    let mut master = connect(address, address.connection_info(&endpoint)?, SERVER_MAX).await?;
    let question = redis::cmd("ROLE");
    let role = tokio::time::timeout(SERVER_MAX, question.query_async::<Role>(&mut master));
    match role.await.map_err(|_| Failure::Late(SERVER_MAX))?? {
        Role::Primary { .. } => {
            let nodes = Nodes { masters: [endpoint].into(), ..Nodes::default() };
            Ok(Dialed { wire: Wire::One(master), nodes })
        }
        _ => {
            Err(std::io::Error::new(std::io::ErrorKind::NotConnected, "what the sentinels name is a replica"))
                .map_err(|error| Failure::from(redis::RedisError::from(error)))
        }
    }
}

impl Wire {
    pub(crate) async fn send(&mut self, command: &Cmd) -> Sent {
        let (result, is_redirected) = match self {
            Self::One(connection) => (connection.send_packed_command(command).await, false),
            Self::Cluster(connection) => match connection.req_packed_command(command).await {
                Err(error) => match redirection(&error) {
                    Some(node) => (redirected(connection, command, node, error).await, true),
                    None => (Err(error), false),
                },
                answered => (answered, false),
            },
        };
        Sent { result: result.and_then(Value::extract_error), is_redirected }
    }

    /// To this node of a cluster, or to any.
    pub(crate) async fn send_to(&mut self, command: &Cmd, node: Option<&Endpoint>) -> RedisResult<Value> {
        let Self::Cluster(connection) = self else { return self.send(command).await.result };
        let node = match node {
            Some(Endpoint { host, port }) => {
                SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port }
            }
            None => SingleNodeRoutingInfo::Random,
        };
        connection.route_command(command.clone(), RoutingInfo::SingleNode(node)).await?.extract_error()
    }
}

/// Where else a question is to go.
fn redirection(error: &redis::RedisError) -> Option<SingleNodeRoutingInfo> {
    let (place, _slot) = error.redirect_node()?;
    let (host, port) = place.rsplit_once(':')?;
    Some(SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port: port.parse().ok()? })
}

/// Follows a redirection while keys are on their way from one node to another. What the other node answers counts, and so
/// does that it doesn't: the redirection says only that the first one has done nothing.
async fn redirected(
    connection: &mut ClusterConnection,
    command: &Cmd,
    node: SingleNodeRoutingInfo,
    error: redis::RedisError,
) -> RedisResult<Value> {
    let is_asked = error.code() == Some("ASK");
    let mut pipeline = Pipeline::new();
    if is_asked {
        pipeline.cmd("ASKING");
    }
    pipeline.add_command(command.clone());
    let mut values = connection.route_pipeline(pipeline, usize::from(is_asked), 1, node).await?;
    values.pop().ok_or(error)
}
