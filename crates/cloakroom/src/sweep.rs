//! Removing what has expired, in the background.

use std::sync::{Arc, Weak};

use tokio::{runtime::Handle, time::sleep};

use crate::{Error, event::EventKind, sessions::Engine};

/// Sessions removed at a time: few enough that no request waits long for the store meanwhile.
const BATCH: usize = 1_000;

/// Sweeps once, and answers whether there may be more to remove.
pub(crate) async fn once(engine: &Engine, limit: usize) -> Result<bool, Error> {
    let swept = engine.call(engine.store.sweep(engine.now(), limit)).await?;
    for (id, subject) in &swept.expired {
        engine.tell(EventKind::Expired, Some(*id), subject.as_ref());
    }
    Ok(swept.is_more)
}

/// Sweeps from time to time for as long as the sessions are in use. A sweep that fails was told as an event; the next
/// one tries again.
pub(crate) fn in_background(engine: &Arc<Engine>) {
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(run(Arc::downgrade(engine)));
}

async fn run(engine: Weak<Engine>) {
    while let Some(period) = engine.upgrade().map(|engine| engine.sweep_period) {
        sleep(period).await;
        while let Some(engine) = engine.upgrade()
            && once(&engine, BATCH).await.unwrap_or(false)
        {
            tokio::task::yield_now().await;
        }
    }
}
