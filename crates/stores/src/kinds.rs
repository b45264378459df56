//! The kinds of storage there are: each is a line of [`ALL`] and the function that opens it.

use cloakroom::{
    Error, MemoryStore,
    store::{Answer, Store},
};

use crate::RingPlace;

/// A kind of storage, as its URLs name it.
pub(crate) struct Kind {
    /// The URL's part before the colon. Some kinds have several.
    pub(crate) schemes: &'static [&'static str],
    /// What a URL looks like.
    pub(crate) form: &'static str,
    /// The feature that compiles it in.
    pub(crate) feature: &'static str,
    /// None: it isn't compiled in.
    pub(crate) driver: Option<Driver>,
}

/// What a driver does with a whole URL.
#[derive(Clone, Copy)]
pub(crate) struct Driver {
    /// Finds out what can be found out without a connection.
    pub(crate) check: fn(&str) -> Result<(), Error>,
    /// Opens the store.
    pub(crate) open: fn(&str) -> Answer<'_, Box<dyn Store>>,
    /// Opens it for a diagnosis, and makes nothing that isn't there.
    pub(crate) inspect: fn(&str) -> Answer<'_, Box<dyn Store>>,
    /// Where the key ring is that the URL names.
    pub(crate) ring: fn(&str) -> Result<Option<RingPlace>, Error>,
    /// The steps that make its tables, for who makes them by hand.
    pub(crate) migrations: fn() -> &'static [&'static str],
}

/// Of storage that needs no key ring.
const NO_RING: fn(&str) -> Result<Option<RingPlace>, Error> = |_| Ok(None);

/// Of storage that has no tables.
const NO_MIGRATIONS: fn() -> &'static [&'static str] = || &[];

pub(crate) const ALL: &[Kind] = &[
    Kind { schemes: &["memory"], form: "memory:", feature: "", driver: Some(MEMORY) },
    Kind { schemes: &["sqlite"], form: "sqlite:PATH", feature: "sqlite", driver: SQLITE_IF_BUILT },
    Kind { schemes: &["dynamodb"], form: "dynamodb://TABLE", feature: "dynamodb", driver: DYNAMODB_IF_BUILT },
    Kind {
        schemes: &["sealed"],
        form: "sealed:?keys=FILE&revocations=URL",
        feature: "sealed",
        driver: SEALED_IF_BUILT,
    },
    Kind {
        schemes: &["postgres", "postgresql"],
        form: "postgres://USER:PASSWORD@HOST/DATABASE",
        feature: "postgres",
        driver: POSTGRES,
    },
    Kind {
        schemes: &["mysql", "mariadb"],
        form: "mysql://USER:PASSWORD@HOST/DATABASE",
        feature: "mysql",
        driver: MYSQL,
    },
    Kind {
        schemes: &[
            "redis",
            "rediss",
            "redis+sentinel",
            "rediss+sentinel",
            "redis+cluster",
            "rediss+cluster",
            "redis+unix",
            "unix",
        ],
        form: "redis://HOST, redis+sentinel://HOST,HOST/MASTER, redis+cluster://HOST,HOST, unix:///PATH",
        feature: "redis",
        driver: REDIS,
    },
    Kind { schemes: &["memcached"], form: "memcached://HOST,HOST", feature: "memcached", driver: MEMCACHED },
];

/// The kind whose URLs start so.
pub(crate) fn of_scheme(scheme: &str) -> Option<&'static Kind> {
    ALL.iter().find(|kind| kind.schemes.contains(&scheme))
}

#[cfg(any(
    feature = "dynamodb",
    feature = "memcached",
    feature = "mysql",
    feature = "postgres",
    feature = "redis"
))]
fn boxed<'a, S: Store>(
    opening: impl Future<Output = Result<S, Error>> + Send + 'a,
) -> Answer<'a, Box<dyn Store>> {
    Answer::later(async { Ok(Box::new(opening.await?) as _) })
}

const MEMORY: Driver = Driver {
    check: |url| match url {
        "memory:" => Ok(()),
        _ => Err(Error::invalid("a memory store has no name: write `memory:`")),
    },
    open: |_| Answer::ready(Ok(Box::new(MemoryStore::new()))),
    inspect: |_| Answer::ready(Ok(Box::new(MemoryStore::new()))),
    ring: NO_RING,
    migrations: NO_MIGRATIONS,
};

#[cfg(not(feature = "dynamodb"))]
const DYNAMODB_IF_BUILT: Option<Driver> = None;

#[cfg(feature = "dynamodb")]
const DYNAMODB_IF_BUILT: Option<Driver> = Some(Driver {
    check: cloakroom_dynamodb::DynamoDbStore::check,
    open: |url| boxed(cloakroom_dynamodb::DynamoDbStore::open(url)),
    inspect: |url| boxed(cloakroom_dynamodb::DynamoDbStore::inspect(url)),
    ring: NO_RING,
    migrations: NO_MIGRATIONS,
});

#[cfg(not(feature = "sqlite"))]
const SQLITE_IF_BUILT: Option<Driver> = None;

#[cfg(feature = "sqlite")]
const SQLITE_IF_BUILT: Option<Driver> = Some(SQLITE);

#[cfg(feature = "sqlite")]
pub(crate) const SQLITE: Driver = Driver {
    check: |url| match url.split_once(':').map_or("", |(_, path)| path) {
        "" => Err(Error::invalid("give the path of the session file, as in `sqlite:sessions.db`")),
        path if path.starts_with("//") => {
            Err(Error::invalid("an SQLite file has no host: its path follows the colon at once"))
        }
        _ => Ok(()),
    },
    open: open_sqlite,
    inspect: |url| match url.split_once(':').map_or("", |(_, path)| path) {
        path if std::path::Path::new(path).exists() => open_sqlite(url),
        path => Answer::ready(Err(Error::invalid(format!(
            "there is no session file at {path}: who opens it for sessions makes it"
        )))),
    },
    ring: NO_RING,
    migrations: NO_MIGRATIONS,
};

#[cfg(feature = "sqlite")]
fn open_sqlite(url: &str) -> Answer<'_, Box<dyn Store>> {
    let path = url.split_once(':').map_or("", |(_, path)| path);
    Answer::ready(cloakroom_sqlite::SqliteStore::open(path).map(|store| Box::new(store) as _))
}

#[cfg(not(feature = "sealed"))]
const SEALED_IF_BUILT: Option<Driver> = None;

#[cfg(feature = "sealed")]
const SEALED_IF_BUILT: Option<Driver> = Some(Driver {
    check: crate::sealed::check,
    open: crate::sealed::open,
    inspect: crate::sealed::inspect,
    ring: crate::sealed::ring,
    migrations: NO_MIGRATIONS,
});

#[cfg(not(feature = "redis"))]
const REDIS: Option<Driver> = None;

#[cfg(feature = "redis")]
const REDIS: Option<Driver> = Some(Driver {
    check: cloakroom_redis::RedisStore::check,
    open: |url| boxed(cloakroom_redis::RedisStore::open(url)),
    inspect: |url| boxed(cloakroom_redis::RedisStore::open(url)),
    ring: NO_RING,
    migrations: NO_MIGRATIONS,
});

#[cfg(not(feature = "memcached"))]
const MEMCACHED: Option<Driver> = None;

#[cfg(feature = "memcached")]
const MEMCACHED: Option<Driver> = Some(Driver {
    check: cloakroom_memcached::MemcachedStore::check,
    open: |url| boxed(cloakroom_memcached::MemcachedStore::open(url)),
    inspect: |url| boxed(cloakroom_memcached::MemcachedStore::open(url)),
    ring: NO_RING,
    migrations: NO_MIGRATIONS,
});

#[cfg(not(feature = "postgres"))]
const POSTGRES: Option<Driver> = None;

#[cfg(feature = "postgres")]
const POSTGRES: Option<Driver> = Some(Driver {
    check: cloakroom_postgres::PostgresStore::check,
    open: |url| boxed(cloakroom_postgres::PostgresStore::connect(url)),
    inspect: |url| boxed(cloakroom_postgres::PostgresStore::inspect(url)),
    ring: NO_RING,
    migrations: cloakroom_postgres::PostgresStore::migrations,
});

#[cfg(not(feature = "mysql"))]
const MYSQL: Option<Driver> = None;

#[cfg(feature = "mysql")]
const MYSQL: Option<Driver> = Some(Driver {
    check: cloakroom_mysql::MySqlStore::check,
    open: |url| boxed(cloakroom_mysql::MySqlStore::connect(url)),
    inspect: |url| boxed(cloakroom_mysql::MySqlStore::inspect(url)),
    ring: NO_RING,
    migrations: cloakroom_mysql::MySqlStore::migrations,
});
