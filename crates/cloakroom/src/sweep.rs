//! Removing what has expired, in the background.

use std::sync::{Arc, Weak, atomic::Ordering};

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
/// one tries again. Where there is no runtime yet, or it ends, a later request begins anew.
pub(crate) fn in_background(engine: &Arc<Engine>) {
    let Ok(runtime) = Handle::try_current() else { return };
    if !engine.is_sweeping.swap(true, Ordering::Relaxed) {
        runtime.spawn(run(Sweeping(Arc::downgrade(engine))));
    }
}

/// Says that it is over when it is dropped: with its runtime, or because somebody who was told of a session panicked.
struct Sweeping(Weak<Engine>);

impl Drop for Sweeping {
    fn drop(&mut self) {
        if let Some(engine) = self.0.upgrade() {
            engine.is_sweeping.store(false, Ordering::Relaxed);
        }
    }
}

async fn run(sweeping: Sweeping) {
    while let Some(period) = sweeping.0.upgrade().map(|engine| engine.sweep_period) {
        sleep(period).await;
        while let Some(engine) = sweeping.0.upgrade()
            && once(&engine, BATCH).await.unwrap_or(false)
        {
            tokio::task::yield_now().await;
        }
    }
}
