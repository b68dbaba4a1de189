//! Counters in this process: exact under any number of threads, bounded, swept.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::{CounterStore, Counts, StoreError};
use crate::config::rule::CounterId;
use crate::plan::Hit;
use crate::request::Change;
use crate::window::{UnixSecs, Window};

const SHARDS: usize = 64;

/// Counters by id, each in the window it was last hit in.
///
/// When full, new counters are refused rather than old ones forgotten: a
/// forgotten counter would let pass more than its limit.
#[derive(Debug)]
pub struct Memory {
    shards: Box<[Mutex<Shard>]>,
    most_per_shard: usize,
}

#[derive(Debug, Default)]
struct Shard {
    counters: HashMap<CounterId, Slot, ahash::RandomState>,
    /// When all counters were last looked through for ones that ended.
    swept: u64,
}

#[derive(Debug)]
struct Slot {
    window: Window,
    count: u64,
}

impl Memory {
    /// Room for about `most` counters.
    pub fn new(most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, most_per_shard: most.div_ceil(SHARDS).max(1) }
    }

    /// Forgets counters whose window ended before `now`.
    pub fn sweep(&self, now: UnixSecs) {
        for shard in &self.shards {
            shard.lock().sweep(now);
        }
    }

    /// How many counters there are, ended ones not yet swept included.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().counters.len()).sum()
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn one(&self, hit: &Hit<'_>, now: UnixSecs) -> Result<u64, StoreError> {
        // The id is a digest: its bits are as good as any hash.
        let shard = self.shards.get(hit.counter.0 as usize % SHARDS).ok_or(StoreError::Full)?;
        shard.lock().hit(hit, now, self.most_per_shard)
    }
}

impl Shard {
    fn hit(&mut self, hit: &Hit<'_>, now: UnixSecs, most: usize) -> Result<u64, StoreError> {
        if let Some(slot) = self.counters.get_mut(&hit.counter) {
            slot.turn_to(hit.window);
            return Ok(slot.change(hit.change));
        }
        let creates = matches!(hit.change, Change::Add(1..));
        if !creates {
            return Ok(0);
        }
        if self.counters.len() >= most {
            if self.swept < now.0 {
                self.sweep(now);
            }
            if self.counters.len() >= most {
                return Err(StoreError::Full);
            }
        }
        let mut slot = Slot { window: hit.window, count: 0 };
        let count = slot.change(hit.change);
        self.counters.insert(hit.counter, slot);
        Ok(count)
    }

    fn sweep(&mut self, now: UnixSecs) {
        self.swept = now.0;
        self.counters.retain(|_, slot| slot.window.end() > now);
        if self.counters.capacity() > 4 * self.counters.len().max(64) {
            self.counters.shrink_to_fit();
        }
    }
}

impl Slot {
    /// Starts over in a later window. A hit that read the clock just before
    /// the turn counts in the window that has begun: never too little. A
    /// window further back means the clock was set back, and is believed.
    fn turn_to(&mut self, window: Window) {
        let behind = self.window.start.0.saturating_sub(window.start.0);
        if window.start > self.window.start || behind > window.length.get().into() {
            *self = Slot { window, count: 0 };
        }
    }

    fn change(&mut self, change: Change) -> u64 {
        self.count = match change {
            Change::Add(hits) => self.count.saturating_add(hits.into()),
            Change::Refund(hits) => self.count.saturating_sub(hits.into()),
        };
        self.count
    }
}

impl CounterStore for Memory {
    async fn hit(&self, hits: &[Hit<'_>], now: UnixSecs) -> Result<Counts, StoreError> {
        hits.iter().map(|hit| self.one(hit, now)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use api::gloo::rate_limit_config::Unit;

    use super::*;
    use crate::window::Limit;

    fn hit(counter: u128, at: u64, change: Change) -> Hit<'static> {
        let window = Limit::new(1, Unit::Minute).unwrap().window(UnixSecs(at));
        Hit { config: "ns.name", counter: CounterId(counter), window, change }
    }

    #[test]
    fn many_threads_and_one_counter_never_see_the_same_sum() {
        let memory = Memory::new(1000);
        let limit = 1000;
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1000)
                            .filter(|_| memory.one(&hit(7, 60, Change::Add(1)), UnixSecs(60)).unwrap() <= limit)
                            .count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 1000);
    }

    #[test]
    fn a_new_window_starts_over_and_a_straggler_counts_in_it() {
        let memory = Memory::new(1000);
        let one = |at, change| memory.one(&hit(1, at, change), UnixSecs(at)).unwrap();
        assert_eq!(one(119, Change::Add(5)), 5);
        assert_eq!(one(120, Change::Add(1)), 1);
        assert_eq!(one(119, Change::Add(1)), 2);
        // Set back by minutes, the clock is believed.
        assert_eq!(one(3, Change::Add(1)), 1);
    }

    #[test]
    fn looking_creates_nothing_and_refunds_stop_at_zero() {
        let memory = Memory::new(1000);
        let one = |change| memory.one(&hit(1, 60, change), UnixSecs(60)).unwrap();
        assert_eq!(one(Change::Add(0)), 0);
        assert_eq!(one(Change::Refund(3)), 0);
        assert!(memory.is_empty());
        assert_eq!(one(Change::Add(3)), 3);
        assert_eq!(one(Change::Refund(2)), 1);
        assert_eq!(one(Change::Refund(2)), 0);
        assert_eq!(one(Change::Add(u32::MAX)), u64::from(u32::MAX));
    }

    #[test]
    fn when_full_new_counters_are_refused_until_old_ones_end() {
        let memory = Memory::new(SHARDS);
        let ids: Vec<u128> = (0..2).map(|n| n * SHARDS as u128).collect();
        assert_eq!(memory.one(&hit(ids[0], 60, Change::Add(1)), UnixSecs(60)), Ok(1));
        assert_eq!(memory.one(&hit(ids[1], 60, Change::Add(1)), UnixSecs(60)), Err(StoreError::Full));
        assert_eq!(memory.one(&hit(ids[0], 60, Change::Add(1)), UnixSecs(60)), Ok(2));
        assert_eq!(memory.one(&hit(ids[1], 120, Change::Add(1)), UnixSecs(120)), Ok(1));
        assert_eq!(memory.len(), 1);
        memory.sweep(UnixSecs(180));
        assert!(memory.is_empty());
    }
}
