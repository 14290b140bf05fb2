//! Things in the order of their last use.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// How many that were not used for long one operation removes: no single one pays for a whole crowd.
const REMOVED_AT_ONCE: usize = 64;

/// A map that knows which of its entries was used last, and forgets those not used for `ttl`, if there is one.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Every entry once; the lowest number was used longest ago.
    by_use: BTreeMap<u64, K>,
    uses: u64,
    ttl: Option<Duration>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    used: u64,
    at: Instant,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, ttl: Some(ttl) }
    }

    /// Forgets nothing by itself.
    pub(super) fn for_good() -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, ttl: None }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value, if it was used within `ttl`; looking is a use.
    pub(super) fn get<Q>(&mut self, key: &Q, now: Instant) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let ttl = self.ttl;
        let entry = self.entries.get_mut(key).filter(|entry| entry.is_live(ttl, now))?;
        if let Some(key) = self.by_use.remove(&entry.used) {
            self.uses += 1;
            entry.used = self.uses;
            entry.at = now;
            self.by_use.insert(self.uses, key);
        }
        Some(&mut entry.value)
    }

    /// Puts a value in the place of any other.
    pub(super) fn put(&mut self, key: K, value: V, now: Instant) {
        self.remove(&key);
        self.uses += 1;
        self.by_use.insert(self.uses, key.clone());
        self.entries.insert(key, Entry { value, used: self.uses, at: now });
    }

    /// The value, if it was used within `ttl`; this is not a use.
    pub(super) fn peek(&self, key: &K, now: Instant) -> Option<&V> {
        let entry = self.entries.get(key).filter(|entry| entry.is_live(self.ttl, now))?;
        Some(&entry.value)
    }

    /// Everything there, what was used longest ago first.
    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.by_use.values()
    }

    /// When it was used last.
    pub(super) fn last_use(&self, key: &K) -> Option<Instant> {
        self.entries.get(key).map(|entry| entry.at)
    }

    /// What was used at or after this moment; all of it, if there is none.
    pub(super) fn used_since(&self, moment: Option<Instant>) -> impl Iterator<Item = &K> {
        let used = move |key: &&K| self.last_use(key) >= moment;
        self.by_use.values().rev().take_while(used)
    }

    pub(super) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let entry = self.entries.remove(key)?;
        self.by_use.remove(&entry.used);
        Some(entry.value)
    }

    /// Removes the entry that was used longest ago.
    pub(super) fn remove_oldest(&mut self) -> Option<V> {
        let (_, key) = self.by_use.pop_first()?;
        Some(self.entries.remove(&key)?.value)
    }

    /// Removes some of those not used for `ttl`.
    pub(super) fn remove_expired(&mut self, now: Instant) -> Vec<V> {
        let mut removed = Vec::new();
        while removed.len() < REMOVED_AT_ONCE && self.oldest_expired(now) {
            removed.extend(self.remove_oldest());
        }
        removed
    }

    fn oldest_expired(&self, now: Instant) -> bool {
        let oldest = self.by_use.first_key_value().and_then(|(_, key)| self.entries.get(key));
        oldest.is_some_and(|entry| !entry.is_live(self.ttl, now))
    }
}

impl<V> Entry<V> {
    fn is_live(&self, ttl: Option<Duration>, now: Instant) -> bool {
        ttl.is_none_or(|ttl| self.at + ttl > now)
    }
}
