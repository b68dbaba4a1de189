//! Answers for a while, in so many entries and bytes and no more. Pure: the time is an argument.

use std::hash::Hash;
use std::time::Instant;

use lru::LruCache;

/// How much a cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Entries.
    pub entries: usize,
    /// Bytes, as those who put something in count them.
    pub bytes: usize,
}

/// Answers, each until its time. When there are too many the one goes that was asked for least recently.
#[derive(Debug)]
pub struct Cache<K: Hash + Eq, V> {
    entries: LruCache<K, Held<V>>,
    bytes: usize,
    bounds: Bounds,
}

#[derive(Debug)]
struct Held<V> {
    value: V,
    bytes: usize,
    until: Instant,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0, bounds }
    }

    /// What is known of `key` at `now`.
    pub fn get(&mut self, key: &K, now: Instant) -> Option<V> {
        match self.entries.get(key) {
            Some(held) if now < held.until => Some(held.value.clone()),
            Some(_) => {
                self.forget(key);
                None
            }
            None => None,
        }
    }

    /// Keeps `value`, which takes `bytes`, until then. What is larger than all there is room for is not kept.
    pub fn put(&mut self, key: K, value: V, bytes: usize, until: Instant) {
        self.forget(&key);
        if bytes > self.bounds.bytes || self.bounds.entries == 0 {
            return;
        }
        while self.entries.len() >= self.bounds.entries || self.bytes > self.bounds.bytes - bytes {
            let Some((_, oldest)) = self.entries.pop_lru() else { break };
            self.bytes -= oldest.bytes;
        }
        self.bytes += bytes;
        self.entries.put(key, Held { value, bytes, until });
    }

    /// Forgets what is known of `key`.
    pub fn forget(&mut self, key: &K) {
        if let Some(held) = self.entries.pop(key) {
            self.bytes -= held.bytes;
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_one_goes_that_was_asked_for_least_recently() {
        let (mut cache, now) = (Cache::new(Bounds { entries: 2, bytes: 100 }), Instant::now());
        let until = now + Duration::from_secs(1);
        cache.put("a", 1, 10, until);
        cache.put("b", 2, 10, until);
        assert_eq!(cache.get(&"a", now), Some(1));
        cache.put("c", 3, 10, until);
        assert_eq!((cache.get(&"a", now), cache.get(&"b", now), cache.get(&"c", now)), (Some(1), None, Some(3)));
        cache.put("d", 4, 95, until);
        assert_eq!((cache.len(), cache.bytes()), (1, 95));
        cache.put("d", 5, 101, until);
        assert_eq!(cache.get(&"d", now), None, "the older answer is not given for one that has no room");
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_it_may_and_never_tells_what_is_over(
            bounds in (0..6_usize, 0..200_usize),
            steps in prop::collection::vec((0..8_u8, any::<bool>(), 0..80_usize, 0..50_u64, 0..20_u64), 0..200),
        ) {
            let bounds = Bounds { entries: bounds.0, bytes: bounds.1 };
            let mut cache = Cache::new(bounds);
            let mut now = Instant::now();
            let mut last: HashMap<u8, (usize, Instant)> = HashMap::new();
            for (number, (key, puts, bytes, lasts, passes)) in steps.into_iter().enumerate() {
                now += Duration::from_millis(passes);
                if puts {
                    let until = now + Duration::from_millis(lasts);
                    cache.put(key, number, bytes, until);
                    last.insert(key, (number, until));
                    let fits = bytes <= bounds.bytes && bounds.entries > 0;
                    prop_assert_eq!(cache.get(&key, now).is_some(), fits && lasts > 0);
                } else if let Some(value) = cache.get(&key, now) {
                    let (newest, until) = last[&key];
                    prop_assert!(value == newest && now < until);
                }
                prop_assert!(cache.len() <= bounds.entries && cache.bytes() <= bounds.bytes);
                prop_assert!(!cache.is_empty() || cache.bytes() == 0);
            }
        }
    }
}
