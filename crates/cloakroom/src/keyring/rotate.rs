//! Automatic rotation.

use std::time::Duration;

use cloakroom_core::{
    Timestamp,
    keyring::{KeyId, KeyRing, Material, Schedule, Step},
};
use tokio::{runtime::Handle, time::sleep};

use super::LiveRing;
use crate::{
    Error,
    clock::{Clock, Entropy, OsEntropy, SystemClock},
};

/// How often the schedule is looked at, at least: a machine that slept is not to be late by a month.
const LOOK_PERIOD_MAX: Duration = Duration::from_secs(60);

/// A key that nobody has: random id, random material.
///
/// # Errors
/// [`Error::is_entropy`] if there are no random bytes to be had.
pub fn fresh_key(entropy: &dyn Entropy) -> Result<(KeyId, Material), Error> {
    let (mut id, mut material) = ([0; 4], [0; Material::BYTES]);
    entropy.fill(&mut id)?;
    // Write ids may come from a buffer; a key never does.
    entropy.fill(&mut material)?;
    Ok((KeyId::from_bytes(id), Material::new(material)?))
}

/// Does what the schedule wants done at this time, and keeps the ring. Answers the steps taken: none if nothing is
/// due, or another node was faster.
///
/// # Errors
/// [`Error::is_unsupported`] if the ring can't be changed from here; otherwise what its source answers.
pub async fn apply(
    ring: &LiveRing,
    schedule: &Schedule,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Vec<Step>, Error> {
    if ring.now().plan(now, schedule).steps.is_empty() {
        return Ok(Vec::new());
    }
    ring.refresh().await?;
    let before = ring.now();
    let steps = before.plan(now, schedule).steps;
    if steps.is_empty() {
        return Ok(steps);
    }
    let mut after = KeyRing::clone(&before);
    for step in &steps {
        match *step {
            Step::Publish => {
                let (id, material) = fresh_key(entropy)?;
                after.publish(id, material, now)?;
            }
            Step::Promote(id) => after.promote(id, now, schedule)?,
            Step::Remove(id) => after.remove(id, now, schedule)?,
        }
    }
    let is_kept = ring.replace(&before, &after).await?;
    Ok(if is_kept { steps } else { Vec::new() })
}

impl LiveRing {
    /// Rotates the keys on this schedule in the background, for as long as the ring is in use: publishes, waits,
    /// promotes, and removes what has retired. Every node of a fleet may do it; one of them is first.
    pub fn rotate(&self, schedule: Schedule) {
        let Ok(runtime) = Handle::try_current() else {
            tracing::error!(target: "cloakroom", "nothing rotates the keys: call `rotate` within a Tokio runtime");
            return;
        };
        let ring = self.downgrade();
        runtime.spawn(async move {
            while let Some(ring) = ring() {
                let now = SystemClock.now();
                match apply(&ring, &schedule, now, &OsEntropy).await {
                    Ok(steps) => steps.iter().for_each(|step| {
                        tracing::info!(target: "cloakroom", "rotated the key ring: {step:?}");
                    }),
                    Err(error) => {
                        tracing::error!(target: "cloakroom", "the key ring couldn't be rotated: {error}");
                    }
                }
                let wait = ring.now().plan(now, &schedule).next.since(now);
                drop(ring);
                sleep(wait.clamp(Duration::from_secs(1), LOOK_PERIOD_MAX)).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        keyring::{RingFile, RingSource, State},
        store::Answer,
    };

    const HOUR: Duration = Duration::from_secs(3600);

    /// A ring in a store that answers, and then hangs.
    struct Hanging {
        ring: KeyRing,
        loads: AtomicUsize,
    }

    impl RingSource for Hanging {
        fn load(&self) -> Answer<'_, KeyRing> {
            match self.loads.fetch_sub(1, Ordering::SeqCst) {
                0 => Answer::later(std::future::pending()),
                _ => Answer::ready(Ok(self.ring.clone())),
            }
        }

        fn replace(&self, _: &KeyRing, _: &KeyRing) -> Answer<'_, bool> {
            Answer::later(std::future::pending())
        }
    }

    /// Bug: a node whose ring's store hung while a step was being kept never rotated again, and one that was started then
    /// waited for ever. Cause: neither had a deadline, as the reads of a running node have. Mend: they have it.
    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_is_given_up_on() {
        let (id, material) = fresh_key(&OsEntropy).unwrap();
        let ring = KeyRing::new(id, material, Timestamp::ZERO).unwrap();
        let schedule = Schedule::for_lifetime(24 * HOUR).unwrap();
        let now = Timestamp::ZERO + 31 * 24 * HOUR;
        let hanging = |loads| Hanging { ring: ring.clone(), loads: AtomicUsize::new(loads) };
        assert!(LiveRing::open(hanging(0)).await.unwrap_err().is_unavailable());
        // While it is read again before the step, and while the step is kept.
        for loads in [1, 2] {
            let live = LiveRing::open(hanging(loads)).await.unwrap();
            let error = apply(&live, &schedule, now, &OsEntropy).await.unwrap_err();
            assert!(error.is_unavailable(), "{loads}: {error}");
            assert!(live.now().is_same(&ring));
        }
    }

    /// Two nodes, one file, a month and a day: one publishes, one promotes, one removes, whoever comes first.
    #[tokio::test]
    async fn a_fleet_rotates_together() {
        let folder = std::env::temp_dir().join(format!("cloakroom-rotate-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = RingFile::new(folder.join("keys"));
        file.create().unwrap();
        let nodes = [LiveRing::open(file.clone()).await.unwrap(), LiveRing::open(file).await.unwrap()];
        let schedule = Schedule::for_lifetime(24 * HOUR).unwrap();
        let first = nodes[0].now().primary().id();
        let start = nodes[0].now().primary().since();
        let mut steps = Vec::new();
        for hour in 0..24 * 33 {
            let now = start + hour * HOUR;
            for node in &nodes {
                steps.extend(apply(node, &schedule, now, &OsEntropy).await.unwrap());
            }
        }
        assert!(
            matches!(steps[..], [Step::Publish, Step::Promote(_), Step::Remove(id)] if id == first),
            "{steps:?}"
        );
        nodes[1].refresh().await.unwrap();
        nodes[0].refresh().await.unwrap();
        assert_eq!(nodes[0].now().expose(), nodes[1].now().expose());
        assert_eq!(nodes[0].now().keys().filter(|key| key.state() == State::Primary).count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
