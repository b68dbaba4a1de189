//! Counters known to be used up, so that the store need not be asked again until their window ends.
//!
//! What is remembered is a counter and a limit it was seen to be over: a later
//! request with that limit or a lower one is over as well, one with a higher
//! limit is not. A refund forgets its counter. Other servers' refunds are not
//! seen here before the window ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::plan::Counted;
use crate::config::rule::CounterId;
use crate::request::Change;
use crate::window::UnixSecs;

const SHARDS: usize = 16;
/// What one entry takes, about.
const ENTRY_BYTES: usize = 64;

/// Counters known to be used up.
#[derive(Debug)]
pub struct Exhausted {
    shards: Box<[Mutex<HashMap<CounterId, Seen, ahash::RandomState>>]>,
    most_per_shard: usize,
    hits: AtomicU64,
    misses: AtomicU64,
    expired: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    start: UnixSecs,
    end: UnixSecs,
    /// The count was seen above this.
    limit: u32,
}

impl Exhausted {
    /// Room for what `bytes` hold; none for 0.
    pub fn new(bytes: usize) -> Option<Exhausted> {
        (bytes > 0).then(|| Exhausted {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            most_per_shard: (bytes / ENTRY_BYTES / SHARDS).max(1),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        })
    }

    fn shard(&self, counter: CounterId) -> Option<&Mutex<HashMap<CounterId, Seen, ahash::RandomState>>> {
        self.shards.get(counter.0 as usize % SHARDS)
    }

    /// Whether `counted` is over its limit whatever the store would say.
    pub fn holds(&self, counted: &Counted<'_>) -> bool {
        if matches!(counted.change, Change::Refund(_)) {
            return false;
        }
        let seen = self.shard(counted.counter).and_then(|shard| shard.lock().get(&counted.counter).copied());
        let holds = seen
            .is_some_and(|seen| seen.start == counted.window.start && seen.limit >= counted.limit.requests_per_unit);
        if holds { &self.hits } else { &self.misses }.fetch_add(1, Ordering::Relaxed);
        holds
    }

    /// Remembers that `counted` was seen over its limit.
    pub fn remember(&self, counted: &Counted<'_>, now: UnixSecs) {
        let limit = counted.limit.requests_per_unit;
        let new = Seen { start: counted.window.start, end: counted.window.end(), limit };
        let Some(shard) = self.shard(counted.counter) else { return };
        let mut shard = shard.lock();
        if let Some(seen) = shard.get_mut(&counted.counter) {
            let limit = if seen.start == new.start { seen.limit.max(limit) } else { limit };
            *seen = Seen { limit, ..new };
            return;
        }
        if shard.len() >= self.most_per_shard {
            let before = shard.len();
            shard.retain(|_, seen| seen.end > now);
            self.expired.fetch_add((before - shard.len()) as u64, Ordering::Relaxed);
        }
        if shard.len() < self.most_per_shard {
            shard.insert(counted.counter, new);
        }
    }

    /// Forgets `counter`: hits were given back.
    pub fn forget(&self, counter: CounterId) {
        if let Some(shard) = self.shard(counter) {
            shard.lock().remove(&counter);
        }
    }

    /// How it is doing, under envoyproxy/ratelimit's names.
    pub fn gauges(&self) -> [(&'static str, u64); 5] {
        let (hits, misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        let entries = self.shards.iter().map(|shard| shard.lock().len() as u64).sum();
        [
            ("ratelimit.localcache.entryCount", entries),
            ("ratelimit.localcache.expiredCount", self.expired.load(Ordering::Relaxed)),
            ("ratelimit.localcache.hitCount", hits),
            ("ratelimit.localcache.lookupCount", hits + misses),
            ("ratelimit.localcache.missCount", misses),
        ]
    }
}
