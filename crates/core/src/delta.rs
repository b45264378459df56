//! What one request changed, in a form that can be applied again to a fresher record.

use std::borrow::Cow;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Data, Error, Key,
    data::{self, Value},
};

/// A request's changes to a session's data: sets, removals, and updates that can be replayed.
///
/// While a handler runs, changes are seen through [`Delta::get`] on top of the record as it was loaded. When the
/// record was changed meanwhile, [`Delta::apply`] merges them into the fresh one: sets and removals by name, updates
/// by running them again on the fresh value.
///
/// ```
/// use cloakroom_core::{Data, Key, delta::Delta};
///
/// const VISITS: Key<u32> = Key::new("visits");
///
/// let (loaded, mut delta) = (Data::from_json(r#"{"visits":1}"#)?, Delta::new(16_384));
/// delta.update(&loaded, VISITS, |visits| *visits += 1)?;
/// // Another request counted to five meanwhile: no visit is lost.
/// let fresh = Data::from_json(r#"{"visits":5}"#)?;
/// assert_eq!(delta.apply(&fresh)?.map(|data| data.to_json()).as_deref(), Some(r#"{"visits":6}"#));
/// # Ok::<(), cloakroom_core::Error>(())
/// ```
pub struct Delta {
    bytes_max: usize,
    cleared: bool,
    /// At most one for each name.
    changes: Vec<Change>,
}

struct Change {
    name: Cow<'static, str>,
    guard: Option<Guard>,
    base: Base,
    updates: Updates,
    /// The value as this request sees it, once `updates` have run.
    updated: Option<Value>,
}

/// What a change is built on.
enum Base {
    Stored,
    Value(Value),
    Nothing,
}

/// What must hold of the stored value for the change to be made at all.
enum Guard {
    Same(Value),
    Absent,
}

type Update = Box<dyn Fn(Option<&[u8]>) -> Result<Value, Error> + Send + Sync>;

/// In the order they were made. Most names are updated once, and need no list.
#[derive(Default)]
struct Updates {
    first: Option<Update>,
    others: Vec<Update>,
}

impl Updates {
    fn push(&mut self, update: Update) {
        match self.first {
            None => self.first = Some(update),
            Some(_) => self.others.push(update),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Update> {
        self.first.iter().chain(&self.others)
    }
}

impl Delta {
    /// No changes yet, to data that may take so many bytes.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, cleared: false, changes: Vec::new() }
    }

    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.cleared && self.changes.is_empty()
    }

    /// The JSON text of an entry as this request sees it.
    #[must_use]
    pub fn get<'a>(&'a self, loaded: &'a Data, name: &str) -> Option<&'a [u8]> {
        match self.changes.iter().find(|change| change.name == name) {
            Some(change) => change.seen(),
            None if self.cleared => None,
            None => loaded.get(name),
        }
    }

    /// Sets an entry.
    ///
    /// # Errors
    /// [`Error::is_value`] if the value can't be written as JSON, [`Error::is_too_large`] if the data would be; then
    /// nothing is changed.
    pub fn insert<T: Serialize>(&mut self, loaded: &Data, key: Key<T>, value: &T) -> Result<(), Error> {
        let value = key.encode(value)?;
        self.insert_json(loaded, key, value)
    }

    /// As [`Delta::insert`], of a value that [`Key::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::is_too_large`] if the data would be; then nothing is changed.
    pub fn insert_json<T>(&mut self, loaded: &Data, key: Key<T>, value: Vec<u8>) -> Result<(), Error> {
        let old = self.get(loaded, key.name()).map(<[u8]>::len);
        self.check_size(loaded, key.name(), old, value.len())?;
        self.change(key.into_name()).rebase(Base::Value(value));
        Ok(())
    }

    /// Sets an entry that isn't there yet; `false`, and no change, if it is. Should another request set it first,
    /// applying the change tells that it lost.
    ///
    /// # Errors
    /// As for [`Delta::insert`].
    pub fn insert_new<T: Serialize>(&mut self, loaded: &Data, key: Key<T>, value: &T) -> Result<bool, Error> {
        let value = key.encode(value)?;
        self.insert_new_json(loaded, key, value)
    }

    /// As [`Delta::insert_new`], of a value that [`Key::encode`] wrote.
    ///
    /// # Errors
    /// As for [`Delta::insert_json`].
    pub fn insert_new_json<T>(&mut self, loaded: &Data, key: Key<T>, value: Vec<u8>) -> Result<bool, Error> {
        if self.get(loaded, key.name()).is_some() {
            return Ok(false);
        }
        self.check_size(loaded, key.name(), None, value.len())?;
        let guard = self.is_untouched(key.name()).then_some(Guard::Absent);
        let change = self.change(key.into_name());
        change.guard = change.guard.take().or(guard);
        change.rebase(Base::Value(value));
        Ok(true)
    }

    /// Removes an entry.
    pub fn remove<T>(&mut self, key: Key<T>) {
        self.change(key.into_name()).rebase(Base::Nothing);
    }

    /// Removes an entry and returns it. Of several requests that take the same value at once only one is stored;
    /// applying the others tells that they lost.
    ///
    /// # Errors
    /// [`Error::is_value`] if it was written as another type; then it stays.
    pub fn take<T: DeserializeOwned>(&mut self, loaded: &Data, key: Key<T>) -> Result<Option<T>, Error> {
        let Some(value) = self.get(loaded, key.name()) else { return Ok(None) };
        let taken = key.decode(value)?;
        let stored = loaded.get(key.name()).filter(|_| self.depends_on_stored(key.name()));
        let guard = stored.map(|stored| Guard::Same(stored.into()));
        let change = self.change(key.into_name());
        change.guard = change.guard.take().or(guard);
        change.rebase(Base::Nothing);
        Ok(Some(taken))
    }

    /// Changes an entry by a function that can be run again: on the value as loaded now, and on the fresh value if
    /// another request changed it meanwhile. A missing entry starts from `T::default()`.
    ///
    /// # Errors
    /// [`Error::is_value`] if it was written as another type or can't be written as JSON, [`Error::is_too_large`] if
    /// the data would be; then nothing is changed.
    pub fn update<T>(
        &mut self,
        loaded: &Data,
        key: Key<T>,
        update: impl Fn(&mut T) + Send + Sync + 'static,
    ) -> Result<(), Error>
    where
        T: Default + Serialize + DeserializeOwned + 'static,
    {
        self.update_if(loaded, key, update, |_, _| Ok(()))
    }

    /// As [`Delta::update`], if `admit` lets the result pass, which it is given as JSON text; and with it the changes made
    /// before.
    ///
    /// # Errors
    /// As for [`Delta::update`], and that of `admit`; then nothing is changed.
    pub fn update_if<T>(
        &mut self,
        loaded: &Data,
        key: Key<T>,
        update: impl Fn(&mut T) + Send + Sync + 'static,
        admit: impl FnOnce(&Self, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error>
    where
        T: Default + Serialize + DeserializeOwned + 'static,
    {
        let kept = key.clone();
        let update: Update = Box::new(move |value| {
            let mut value = value.map_or_else(|| Ok(T::default()), |value| kept.decode(value))?;
            update(&mut value);
            kept.encode(&value)
        });
        let old = self.get(loaded, key.name());
        let updated = update(old)?;
        admit(self, &updated)?;
        self.check_size(loaded, key.name(), old.map(<[u8]>::len), updated.len())?;
        let change = self.change(key.into_name());
        change.updated = Some(updated);
        change.updates.push(update);
        Ok(())
    }

    /// Removes every entry, those of the application and the library's own, also ones that another request is
    /// adding at the same time.
    pub fn clear(&mut self) {
        self.cleared = true;
        // A taken value stays taken once: its guard outlives the clearing.
        self.changes.retain_mut(|change| {
            change.rebase(Base::Nothing);
            change.guard.is_some()
        });
    }

    /// The changes made to the data that the request began with. `None` if a condition doesn't hold.
    #[must_use]
    pub fn apply_to_loaded(&self, loaded: &Data) -> Option<Data> {
        self.merge(loaded, loaded, |change, _| Ok(change.seen().map(Cow::Borrowed))).ok().flatten()
    }

    /// The same, with one more entry set.
    #[must_use]
    pub fn apply_to_loaded_with(&self, loaded: &Data, name: &str, value: &[u8]) -> Data {
        let data = self.apply_to_loaded(loaded).unwrap_or_default();
        data.with([(name, Some(value))].into_iter())
    }

    /// The changes made to fresher data, updates run again. `None` if a condition no longer holds: a value to be
    /// taken was taken or changed, or a name to be new is there.
    ///
    /// # Errors
    /// [`Error::is_value`] if an update meets a value of another type, [`Error::is_too_large`] if the merged data
    /// would be.
    pub fn apply(&self, fresh: &Data) -> Result<Option<Data>, Error> {
        self.apply_to_kept(fresh, fresh)
    }

    /// The changes made to what is kept of the data when the session gets another owner. Conditions are looked up in
    /// all of it; updates are run again on what is kept, or the rest would come along in their results.
    pub(crate) fn apply_to_kept(&self, stored: &Data, kept: &Data) -> Result<Option<Data>, Error> {
        let merged = self.merge(stored, kept, Change::replay)?;
        match &merged {
            Some(data) if data.as_bytes().len() > self.bytes_max.max(kept.as_bytes().len()) => {
                let entries = data.iter().map(|(name, value)| (name, value.len()));
                Err(Error::too_large(data.as_bytes().len(), self.bytes_max, entries))
            }
            _ => Ok(merged),
        }
    }

    fn merge<'a>(
        &'a self,
        conditions: &Data,
        stored: &'a Data,
        value_of: impl Fn(&'a Change, Option<&'a [u8]>) -> Result<Option<Cow<'a, [u8]>>, Error>,
    ) -> Result<Option<Data>, Error> {
        let mut changed = Vec::with_capacity(self.changes.len());
        for change in &self.changes {
            if !change.guard_holds(conditions) {
                return Ok(None);
            }
            let base = stored.get(&change.name).filter(|_| !self.cleared);
            changed.push((&*change.name, value_of(change, base)?));
        }
        changed.sort_unstable_by_key(|(name, _)| *name);
        let nothing = Data::new();
        let kept = if self.cleared { &nothing } else { stored };
        Ok(Some(kept.with(changed.iter().map(|(name, value)| (*name, value.as_deref())))))
    }

    /// Refuses growth over the limit; what shrinks may stay over it, or data stored under a higher limit couldn't be
    /// mended. `old` is the length of the value as this request sees it.
    fn check_size(
        &self,
        loaded: &Data,
        name: &str,
        old: Option<usize>,
        value_bytes: usize,
    ) -> Result<(), Error> {
        let entry =
            |name: &str, value: Option<&[u8]>| value.map_or(0, |value| data::entry_bytes(name, value.len()));
        let mut bytes = if self.cleared { 0 } else { loaded.as_bytes().len() };
        for change in &self.changes {
            let stored = loaded.get(&change.name).filter(|_| !self.cleared);
            bytes = bytes - entry(&change.name, stored) + entry(&change.name, change.seen());
        }
        let old = old.map_or(0, |bytes| data::entry_bytes(name, bytes));
        let new = data::entry_bytes(name, value_bytes);
        let after = bytes - old + new;
        if after > self.bytes_max && new > old {
            let changed =
                self.changes.iter().map(|change| (&*change.name, change.seen().map_or(0, <[u8]>::len)));
            let kept = loaded.iter().filter(|(name, _)| self.is_untouched(name));
            let kept = kept.map(|(name, value)| (name, value.len()));
            let others = changed.chain(kept).filter(|(other, _)| *other != name);
            Err(Error::too_large(after, self.bytes_max, others.chain([(name, value_bytes)])))
        } else {
            Ok(())
        }
    }

    /// The one change of this name, as it is or new.
    fn change(&mut self, name: Cow<'static, str>) -> &mut Change {
        let at = self.changes.iter().position(|change| change.name == name).unwrap_or_else(|| {
            let base = if self.cleared { Base::Nothing } else { Base::Stored };
            let change = Change { name, guard: None, base, updates: Updates::default(), updated: None };
            self.changes.push(change);
            self.changes.len() - 1
        });
        &mut self.changes[at]
    }

    fn is_untouched(&self, name: &str) -> bool {
        !self.cleared && self.changes.iter().all(|change| change.name != name)
    }

    fn depends_on_stored(&self, name: &str) -> bool {
        match self.changes.iter().find(|change| change.name == name) {
            Some(change) => matches!(change.base, Base::Stored),
            None => !self.cleared,
        }
    }
}

impl Change {
    fn rebase(&mut self, base: Base) {
        self.base = base;
        self.updates = Updates::default();
        self.updated = None;
    }

    /// The value as this request sees it.
    fn seen(&self) -> Option<&[u8]> {
        match (&self.updated, &self.base) {
            (Some(updated), _) => Some(updated),
            (None, Base::Value(value)) => Some(value),
            (None, Base::Stored | Base::Nothing) => None,
        }
    }

    fn replay<'a>(&'a self, stored: Option<&'a [u8]>) -> Result<Option<Cow<'a, [u8]>>, Error> {
        let mut value = match &self.base {
            Base::Stored => stored.map(Cow::Borrowed),
            Base::Value(value) => Some(Cow::Borrowed(value.as_slice())),
            Base::Nothing => None,
        };
        for update in self.updates.iter() {
            value = Some(Cow::Owned(update(value.as_deref())?));
        }
        Ok(value)
    }

    fn guard_holds(&self, stored: &Data) -> bool {
        match &self.guard {
            None => true,
            Some(Guard::Same(value)) => stored.get(&self.name) == Some(value),
            Some(Guard::Absent) => stored.get(&self.name).is_none(),
        }
    }
}

impl std::fmt::Debug for Delta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.changes.iter().map(|change| &change.name);
        f.debug_struct("Delta")
            .field("cleared", &self.cleared)
            .field("names", &names.collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Key<Vec<u32>> = Key::new("a");
    const N: Key<u32> = Key::new("n");

    fn data(json: &str) -> Data {
        Data::from_json(json).unwrap()
    }

    fn delta() -> Delta {
        Delta::new(1_000)
    }

    #[test]
    fn a_request_sees_its_own_changes() {
        let (loaded, mut delta) = (data(r#"{"n":1,"x":true}"#), delta());
        delta.update(&loaded, N, |n| *n += 1).unwrap();
        assert_eq!(delta.get(&loaded, "n"), Some(&b"2"[..]));
        delta.insert(&loaded, N, &9).unwrap();
        delta.update(&loaded, N, |n| *n += 1).unwrap();
        assert_eq!(delta.get(&loaded, "n"), Some(&b"10"[..]));
        delta.clear();
        assert_eq!((delta.get(&loaded, "n"), delta.get(&loaded, "x")), (None, None));
        delta.update(&loaded, N, |n| *n += 1).unwrap();
        assert_eq!(delta.apply_to_loaded(&loaded).unwrap().to_json(), r#"{"n":1}"#);
        assert_eq!(delta.apply(&data(r#"{"n":7,"y":0}"#)).unwrap().unwrap().to_json(), r#"{"n":1}"#);
    }

    #[test]
    fn a_value_is_taken_once() {
        let loaded = data(r#"{"n":1}"#);
        let (mut first, mut second) = (delta(), delta());
        assert_eq!((first.take(&loaded, N).unwrap(), second.take(&loaded, N).unwrap()), (Some(1), Some(1)));
        let stored = first.apply(&loaded).unwrap().unwrap();
        assert!(stored.is_empty());
        assert!(second.apply(&stored).unwrap().is_none());
        assert_eq!(second.take(&loaded, N).unwrap(), None);
    }

    #[test]
    fn clearing_after_taking_still_takes_once() {
        let (loaded, mut delta) = (data(r#"{"n":1}"#), delta());
        delta.take(&loaded, N).unwrap();
        delta.clear();
        assert!(delta.apply(&Data::new()).unwrap().is_none());
        assert!(delta.apply(&loaded).unwrap().unwrap().is_empty());
    }

    #[test]
    fn only_one_of_two_sets_a_new_name() {
        let loaded = Data::new();
        let (mut first, mut second) = (delta(), delta());
        assert!(first.insert_new(&loaded, N, &1).unwrap() && second.insert_new(&loaded, N, &2).unwrap());
        let stored = first.apply(&loaded).unwrap().unwrap();
        assert!(second.apply(&stored).unwrap().is_none());
        assert!(!first.insert_new(&loaded, N, &3).unwrap());
    }

    #[test]
    fn an_update_of_another_type_changes_nothing() {
        let (loaded, mut delta) = (data(r#"{"n":"one"}"#), delta());
        assert!(delta.update(&loaded, N, |n| *n += 1).unwrap_err().is_value());
        assert!(delta.take(&loaded, N).unwrap_err().is_value());
        assert!(delta.is_empty());
    }

    #[test]
    fn growth_over_the_limit_is_refused_and_changes_nothing() {
        let loaded = Data::new();
        let mut delta = Delta::new(20);
        let entry = |length: usize| "x".repeat(length);
        let key = Key::<String>::new("k");
        let error = delta.insert(&loaded, key.clone(), &entry(16)).unwrap_err();
        assert!(error.is_too_large() && error.to_string().contains("`k` 18"), "{error}");
        assert!(delta.is_empty());
        delta.insert(&loaded, key.clone(), &entry(15)).unwrap();
        assert_eq!(delta.apply(&loaded).unwrap().unwrap().as_bytes().len(), 20);
        assert!(delta.update(&loaded, A, |a| a.push(1)).unwrap_err().is_too_large());
        let grown = data(r#"{"other":"another request was here first"}"#);
        assert!(delta.apply(&grown).unwrap_err().is_too_large());
    }

    proptest! {
        /// Requests that load at different times and write in any order lose nothing: each counts, each keeps its
        /// own name, whatever the interleaving.
        #[test]
        fn merging_in_any_interleaving_loses_nothing(order in Just((0..8_u32).collect::<Vec<_>>()).prop_shuffle(),
                                                     staleness in proptest::collection::vec(0_usize..8, 8)) {
            let mut history = vec![Data::new()];
            for (turn, request) in order.iter().enumerate() {
                let loaded = &history[turn.saturating_sub(staleness[turn])];
                let mut delta = Delta::new(10_000);
                delta.update(loaded, N, |n| *n += 1).unwrap();
                delta.update(loaded, A, { let request = *request; move |a| a.push(request) }).unwrap();
                delta.insert(loaded, Key::named(format!("k{request}")).unwrap(), request).unwrap();
                let stored = delta.apply(history.last().unwrap()).unwrap().unwrap();
                history.push(stored);
            }
            let last = history.last().unwrap();
            prop_assert_eq!(last.get("n"), Some(&b"8"[..]));
            prop_assert_eq!(&A.decode(last.get("a").unwrap()).unwrap(), &order);
            for request in 0..8 {
                let expected = request.to_string();
                prop_assert_eq!(last.get(&format!("k{request}")), Some(expected.as_bytes()));
            }
        }
    }
}
