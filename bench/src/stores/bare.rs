//! The least that a read of a session could be: one value by its key, through the client that the store uses.

use std::sync::{Arc, Mutex};

use mysql_async::{Conn, prelude::Queryable as _};
use tokio::sync::Semaphore;
use tokio_postgres::types::ToSql;

use crate::stores::{Read, SESSIONS};

/// About as long as a stored session of these measurements.
const VALUE: [u8; 240] = [b'x'; 240];

/// As the store's default.
const MYSQL_CONNECTIONS: usize = 16;

/// GET.
pub(super) async fn redis(url: &str) -> Read {
    let client = redis::Client::open(url).expect("the URL is an engine's");
    let mut connection = client.get_multiplexed_async_connection().await.expect("the engine was started");
    for number in 0..SESSIONS {
        let mut set = redis::cmd("SET");
        set.arg(key(number)).arg(&VALUE[..]);
        set.query_async::<()>(&mut connection).await.expect("the engine stores");
    }
    Arc::new(move |number| {
        let mut connection = connection.clone();
        Box::pin(async move {
            let get = redis::cmd("GET").arg(key(number)).query_async::<Vec<u8>>(&mut connection).await;
            assert_eq!(get.expect("the engine answers").len(), VALUE.len());
        })
    })
}

/// SELECT by the primary key, prepared, on as many connections as the store uses for reads; the client pipelines them.
pub(super) async fn postgres(url: &str) -> Read {
    let mut readers = Vec::new();
    for number in 0..4 {
        let (client, connection) =
            tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("it was started");
        tokio::spawn(connection);
        if number == 0 {
            let table = "CREATE TABLE bare (id text PRIMARY KEY, value bytea NOT NULL)";
            client.batch_execute(table).await.expect("a new database takes a table");
            for number in 0..SESSIONS {
                let row: [&(dyn ToSql + Sync); 2] = [&key(number), &&VALUE[..]];
                client.execute("INSERT INTO bare VALUES ($1, $2)", &row).await.expect("the engine stores");
            }
        }
        let select =
            client.prepare("SELECT value FROM bare WHERE id = $1").await.expect("the table is there");
        readers.push(Arc::new((client, select)));
    }
    Arc::new(move |number| {
        let reader = Arc::clone(&readers[number % readers.len()]);
        Box::pin(async move {
            let (client, select) = &*reader;
            let row = client.query_one(select, &[&key(number)]).await.expect("the engine answers");
            assert_eq!(row.get::<_, &[u8]>(0).len(), VALUE.len());
        })
    })
}

/// SELECT by the primary key, prepared, on as many connections as the store opens. They are kept: the client's own pool
/// would reset each after every read, which takes longer than the read.
pub(super) async fn mysql(url: &str) -> Read {
    let mut idle = Vec::new();
    for number in 0..MYSQL_CONNECTIONS {
        let mut connection = Conn::from_url(url).await.expect("the engine was started");
        if number == 0 {
            let table =
                "CREATE TABLE bare (id VARBINARY(64) PRIMARY KEY, value BLOB NOT NULL) ENGINE = InnoDB";
            connection.query_drop(table).await.expect("a new database takes a table");
            for number in 0..SESSIONS {
                let row = (key(number), &VALUE[..]);
                connection.exec_drop("INSERT INTO bare VALUES (?, ?)", row).await.expect("the engine stores");
            }
        }
        let select = connection.prep("SELECT value FROM bare WHERE id = ?").await.expect("it is there");
        idle.push((connection, select));
    }
    let idle = Arc::new((Semaphore::new(MYSQL_CONNECTIONS), Mutex::new(idle)));
    Arc::new(move |number| {
        let idle = Arc::clone(&idle);
        Box::pin(async move {
            let (turns, idle) = &*idle;
            let _turn = turns.acquire().await.expect("it is never closed");
            let taken = idle.lock().expect("nobody panics").pop();
            let (mut connection, select) = taken.expect("as many turns as connections");
            let value: Option<Vec<u8>> =
                connection.exec_first(&select, (key(number),)).await.expect("it answers");
            assert_eq!(value.map(|value| value.len()), Some(VALUE.len()));
            idle.lock().expect("nobody panics").push((connection, select));
        })
    })
}

/// As long as a session's key is.
fn key(number: usize) -> String {
    format!("cloakroom:s:{number:022}")
}
