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
use limit::{Change, CounterId, UnixSecs};

const SHARDS: usize = 16;
/// What one entry takes.
const ENTRY_BYTES: usize = 40;
/// Less room than this makes no cache; that server's library takes as much whatever it is told.
const LEAST_BYTES: usize = 512 * 1024;
/// When it is full, the one that ends first among this many makes room for a new one.
const SAMPLE: usize = 8;

/// Counters known to be used up.
#[derive(Debug)]
pub struct Exhausted {
    shards: Box<[Mutex<Shard>]>,
    most_per_shard: usize,
    evicted: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    expired: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    seen: HashMap<CounterId, Seen, ahash::RandomState>,
    /// When it was last looked through for what has ended.
    swept: u64,
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
            most_per_shard: bytes.max(LEAST_BYTES) / ENTRY_BYTES / SHARDS,
            evicted: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        })
    }

    fn shard(&self, counter: CounterId) -> Option<&Mutex<Shard>> {
        self.shards.get(counter.0 as usize % SHARDS)
    }

    /// Whether `counted` is over its limit whatever the store would say.
    pub fn holds(&self, counted: &Counted<'_>) -> bool {
        if matches!(counted.change, Change::Refund(_)) {
            return false;
        }
        let seen = self.shard(counted.counter).and_then(|shard| shard.lock().seen.get(&counted.counter).copied());
        let holds = seen
            .is_some_and(|seen| seen.start == counted.window.start && seen.limit >= counted.limit.requests_per_unit);
        if holds { &self.hits } else { &self.misses }.fetch_add(1, Ordering::Relaxed);
        holds
    }

    /// Remembers that `counted` was seen over its limit.
    pub(crate) fn remember(&self, counted: &Counted<'_>, now: UnixSecs) {
        let limit = counted.limit.requests_per_unit;
        let new = Seen { start: counted.window.start, end: counted.window.end(), limit };
        let Some(shard) = self.shard(counted.counter) else { return };
        let mut shard = shard.lock();
        let Shard { seen, swept } = &mut *shard;
        if let Some(seen) = seen.get_mut(&counted.counter) {
            let limit = if seen.start == new.start { seen.limit.max(limit) } else { limit };
            *seen = Seen { limit, ..new };
            return;
        }
        if seen.len() >= self.most_per_shard && *swept < now.0 {
            *swept = now.0;
            let before = seen.len();
            seen.retain(|_, seen| seen.end > now);
            self.expired.fetch_add((before - seen.len()) as u64, Ordering::Relaxed);
        }
        if seen.len() >= self.most_per_shard {
            // It costs a question to the store, no more.
            let first = seen.iter().take(SAMPLE).min_by_key(|(_, seen)| seen.end).map(|(counter, _)| *counter);
            if first.is_some_and(|counter| seen.remove(&counter).is_some()) {
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        seen.insert(counted.counter, new);
    }

    /// Forgets `counter`: hits were given back.
    pub fn forget(&self, counter: CounterId) {
        if let Some(shard) = self.shard(counter) {
            shard.lock().seen.remove(&counter);
        }
    }

    /// How it is doing, under envoyproxy/ratelimit's names.
    pub fn gauges(&self) -> [(&'static str, u64); 6] {
        let (hits, misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        let entries = self.shards.iter().map(|shard| shard.lock().seen.len() as u64).sum();
        [
            ("ratelimit.localcache.entryCount", entries),
            ("ratelimit.localcache.evacuateCount", self.evicted.load(Ordering::Relaxed)),
            ("ratelimit.localcache.expiredCount", self.expired.load(Ordering::Relaxed)),
            ("ratelimit.localcache.hitCount", hits),
            ("ratelimit.localcache.lookupCount", hits + misses),
            ("ratelimit.localcache.missCount", misses),
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use api::gloo::rate_limit_config::Unit;

    use super::*;
    use limit::Limit;

    fn counted(counter: u128, at: u64) -> Counted<'static> {
        let limit = Limit::new(1, Unit::Minute).unwrap();
        let (counter, window) = (CounterId(counter), limit.window(UnixSecs(at)));
        Counted { descriptor: 0, rule: None, limit, counter, window, change: Change::Add(1), metric: None }
    }

    #[test]
    fn a_small_one_holds_what_that_servers_would_and_makes_room_for_what_is_new() {
        assert!(Exhausted::new(0).is_none());
        let small = Exhausted::new(1000).unwrap();
        let now = UnixSecs(60);
        for id in 0..6_000 {
            small.remember(&counted(id, 60), now);
        }
        assert!((0..6_000).all(|id| small.holds(&counted(id, 60))));
        for id in 0..100_000 {
            small.remember(&counted(id << 4, 60), now);
            assert!(small.holds(&counted(id << 4, 60)), "the newest is there");
        }
        let entries = |name: &str| small.gauges().iter().find(|(known, _)| known.ends_with(name)).unwrap().1;
        assert!(entries("entryCount") <= (LEAST_BYTES / ENTRY_BYTES) as u64);
        assert!(entries("evacuateCount") > 90_000);
        small.remember(&counted(1 << 90, 180), UnixSecs(180));
        assert!(entries("expiredCount") > 0, "what has ended goes first");
    }
}
