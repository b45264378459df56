//! Engines that many tests use at once, each in a namespace of its own.

use std::{any::Any, env, fmt, panic, sync::Mutex};

use crate::{DynamoDb, MariaDb, Memcached, MySql, Postgres, Redis, RedisCluster, Valkey};

/// A kind of engine.
pub trait Engine: Sized + Send + 'static {
    /// In one word, as `--without` takes it: `redis`.
    const NAME: &'static str;

    /// Starts one.
    fn start() -> Self;

    /// Where it is, as a store's URL.
    fn url(&self) -> String;
}

/// Where an engine is that was started for many tests.
#[derive(Debug)]
pub struct Shared {
    /// The variable that tells tests about it.
    pub variable: String,
    /// Its URL.
    pub url: String,
}

impl Shared {
    /// Tells of a running engine.
    pub fn of<E: Engine>(engine: &E) -> Self {
        Self { variable: variable::<E>(), url: engine.url() }
    }
}

/// The URL of an engine that other tests use as well: the one that `cargo xtask test` started, or one that lives as
/// long as this process.
///
/// # Panics
/// If it can't be started.
#[must_use]
pub fn shared<E: Engine>() -> String {
    static STARTED: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());
    env::var(variable::<E>()).unwrap_or_else(|_| {
        let mut started = STARTED.lock().unwrap();
        if let Some(engine) = started.iter().find_map(|engine| engine.downcast_ref::<E>()) {
            return engine.url();
        }
        let engine = E::start();
        let url = engine.url();
        started.push(Box::new(engine));
        url
    })
}

fn variable<E: Engine>() -> String {
    format!("CLOAKROOM_ENGINE_{}", E::NAME.to_uppercase().replace('-', "_"))
}

/// Engines that run for many tests, until this is dropped.
#[derive(Default)]
pub struct Running {
    engines: Vec<Box<dyn Any + Send>>,
    shared: Vec<Shared>,
}

impl Running {
    /// Starts every kind of engine but for those of these names.
    ///
    /// # Errors
    /// The name of one that doesn't start; why not was printed.
    pub fn start(without: &[String]) -> Result<Self, &'static str> {
        let running = Self::default().with::<DynamoDb>(without)?;
        let running = running.with::<MariaDb>(without)?.with::<Memcached>(without)?;
        let running = running.with::<MySql>(without)?.with::<Postgres>(without)?;
        let running = running.with::<Redis>(without)?.with::<RedisCluster>(without)?;
        let running = running.with::<Valkey>(without)?;
        Ok(running)
    }

    /// Where they are.
    #[must_use]
    pub fn shared(&self) -> &[Shared] {
        &self.shared
    }

    /// A line in [`Running::start`] for each kind.
    fn with<E: Engine>(mut self, without: &[String]) -> Result<Self, &'static str> {
        // Whoever leaves out `redis` leaves out `redis-cluster` too.
        let is_of = |name: &String| E::NAME == name || E::NAME.starts_with(&format!("{name}-"));
        if without.iter().any(is_of) {
            return Ok(self);
        }
        let engine = panic::catch_unwind(E::start).map_err(|_| E::NAME)?;
        self.shared.push(Shared::of(&engine));
        self.engines.push(Box::new(engine));
        Ok(self)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Running").field(&self.shared).finish()
    }
}
