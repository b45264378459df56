//! Whether what a handler wants fits into the cookie that the session travels in: the handler is told, and not the
//! response.

use cloakroom_core::{Data, Subject, delta::Delta, policy::CarryOver};

use crate::{CoreError, Error, carrier::SUBJECT_BYTES, sessions::Engine};

/// Whether a login leaves room for the data that stays: the handler is told, and not the response.
pub(crate) fn check_room(data: Option<Data>, subject: &Subject, engine: &Engine) -> Result<(), Error> {
    let stays = data.filter(|_| engine.policy.carry_over == CarryOver::All).unwrap_or_default();
    let room = engine.data_bytes_max.saturating_sub(subject.as_str().len().saturating_sub(SUBJECT_BYTES));
    let bytes = stays.as_bytes().len();
    if bytes > room {
        let entries = stays.iter().map(|(name, value)| (name, value.len()));
        return Err(CoreError::too_large(bytes, room, entries).into());
    }
    Ok(engine.check_data(&stays, subject.as_str().len())?)
}

impl Engine {
    /// Refuses an entry with which the session wouldn't fit into its cookie, where its length alone doesn't tell: so that
    /// the handler is told, and not the response. What was too large before may shrink.
    pub(crate) fn check_entry(
        &self,
        subject_bytes: usize,
        loaded: &Data,
        delta: &Delta,
        name: &str,
        json: &[u8],
    ) -> Result<(), CoreError> {
        if self.data_bytes_sure == self.data_bytes_max {
            return Ok(());
        }
        let after = delta.apply_to_loaded_with(loaded, name, json);
        self.check_data(&after, subject_bytes).or_else(|error| {
            let before = delta.apply_to_loaded(loaded).unwrap_or_default();
            let is_smaller = after.as_bytes().len() < before.as_bytes().len();
            if is_smaller && self.check_data(&before, subject_bytes).is_err() { Ok(()) } else { Err(error) }
        })
    }

    fn check_data(&self, data: &Data, subject_bytes: usize) -> Result<(), CoreError> {
        // Over the most that is allowed it is refused for that.
        let is_sure = data.as_bytes().len() <= self.data_bytes_sure.saturating_sub(subject_bytes);
        if is_sure || data.as_bytes().len() > self.data_bytes_max {
            return Ok(());
        }
        self.carrier().map_or(Ok(()), |carrier| carrier.check_data(data, subject_bytes))
    }
}
