//! How much room each RateLimitConfig has in memory, so that none takes another's.
//!
//! A config may take one more counter while it holds fewer than are still free: one that is
//! flooded with values stops at half of the room, a second one at half of the rest. What is held
//! is never taken away before it has ended, so a share can only be kept by leaving room in time.
//! A few counters of each config are free of this, and those whose number the rules bound.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use metrics::{Counter, counter};
use parking_lot::RwLock;

/// So many counters each config may hold whatever the others do.
const ALWAYS: usize = 64;
/// One bucket for so many counters, beside them.
const COUNTERS_PER_BUCKET: usize = 8;
/// Configs shown by name in metrics; the others are shown together, as `other`.
const MOST_NAMED: u32 = 1_000;

/// Who a slot in memory is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge(u32);

/// In a [`Charge`]: the slot is a bucket.
const BUCKET: u32 = 1 << 31;

impl Charge {
    /// Whether the slot is a bucket.
    pub(super) fn is_bucket(self) -> bool {
        self.0 & BUCKET != 0
    }
}

/// What is held, by config.
#[derive(Debug)]
pub(super) struct Shares {
    counters: Room,
    buckets: Room,
    holders: RwLock<Holders>,
}

/// Room for slots of one sort, and how much of it is taken.
#[derive(Debug)]
struct Room {
    most: usize,
    taken: AtomicUsize,
}

#[derive(Debug, Default)]
struct Holders {
    by_config: HashMap<Box<str>, Arc<Holder>, ahash::RandomState>,
    by_number: Vec<Arc<Holder>>,
    unused: Vec<u32>,
}

/// One config.
struct Holder {
    config: Box<str>,
    number: u32,
    counters: AtomicUsize,
    buckets: AtomicUsize,
    /// Whether it was short of room, and may still be.
    short: AtomicBool,
    metrics: OnceLock<[Counter; 2]>,
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holder").field("config", &self.config).field("counters", &self.counters).finish_non_exhaustive()
    }
}

/// What is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// A counter.
    Counter,
    /// A counter of which there are only as many as rules: there is always room.
    RulesCounter,
    /// A bucket.
    Bucket,
    /// A bucket of which there are only so many for each rule: there is always room.
    LastBucket,
}

/// What became of a hit for whose counter there was no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Counted in a bucket.
    Coarse,
    /// Said to be over its limit.
    Denied,
}

impl Shares {
    /// Room for `most` counters.
    pub(super) fn new(most: usize) -> Shares {
        let room = |most| Room { most, taken: AtomicUsize::new(0) };
        Shares { counters: room(most), buckets: room(most / COUNTERS_PER_BUCKET), holders: RwLock::default() }
    }

    /// Takes room for one more slot of `config`, if its share has any.
    pub(super) fn take(&self, config: &str, want: Want) -> Option<Charge> {
        self.of(config, |holder| {
            let (room, held, tag) = match want {
                Want::Counter | Want::RulesCounter => (&self.counters, &holder.counters, 0),
                Want::Bucket | Want::LastBucket => (&self.buckets, &holder.buckets, BUCKET),
            };
            let free = room.most.saturating_sub(room.taken.load(Ordering::Relaxed));
            let has = held.load(Ordering::Relaxed);
            let bounded = matches!(want, Want::RulesCounter | Want::LastBucket);
            if has >= free.max(ALWAYS) && !bounded {
                return None;
            }
            room.taken.fetch_add(1, Ordering::Relaxed);
            held.fetch_add(1, Ordering::Relaxed);
            Some(Charge(holder.number | tag))
        })
    }

    /// Gives room back.
    pub(super) fn give_back(&self, charges: impl Iterator<Item = Charge>) {
        let mut holders = None;
        for charge in charges {
            let holders = holders.get_or_insert_with(|| self.holders.read());
            let Some(holder) = holders.by_number.get((charge.0 & !BUCKET) as usize) else { continue };
            let (room, held) = match charge.is_bucket() {
                false => (&self.counters, &holder.counters),
                true => (&self.buckets, &holder.buckets),
            };
            room.taken.fetch_sub(1, Ordering::Relaxed);
            held.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Notes what became of a hit of `config` for whose counter there was no room.
    pub(super) fn was_short(&self, config: &str, fate: Fate) {
        self.of(config, |holder| {
            let [coarse, denied] = holder.metrics();
            match fate {
                Fate::Coarse => coarse.increment(1),
                Fate::Denied => denied.increment(1),
            }
            // Read first: a flood comes by here.
            if !holder.short.load(Ordering::Relaxed) && !holder.short.swap(true, Ordering::Relaxed) {
                let counters = holder.counters.load(Ordering::Relaxed);
                tracing::warn!(
                    config,
                    counters,
                    room = self.counters.most,
                    ?fate,
                    "no room for more of its counters: new values are limited too early, never too late; see --counters"
                );
            }
        });
    }

    /// Forgets who holds nothing, and says of who has room again that it has.
    pub(super) fn tidy(&self) {
        let free = self.counters.most.saturating_sub(self.counters.taken.load(Ordering::Relaxed));
        let mut holders = self.holders.write();
        let Holders { by_config, unused, .. } = &mut *holders;
        by_config.retain(|config, holder| {
            let [counters, buckets] = [&holder.counters, &holder.buckets].map(|held| held.load(Ordering::Relaxed));
            let has_room = buckets == 0 && counters < free.max(ALWAYS);
            if has_room && holder.short.swap(false, Ordering::Relaxed) {
                tracing::info!(config, counters, "there is room for its counters again");
            }
            let holds = counters > 0 || buckets > 0;
            if !holds {
                unused.push(holder.number);
            }
            holds
        });
    }

    /// The configs that are short of room, in order.
    pub(super) fn short(&self) -> Vec<Box<str>> {
        let holders = self.holders.read();
        let short = holders.by_config.values().filter(|holder| holder.short.load(Ordering::Relaxed));
        let mut short: Vec<Box<str>> = short.map(|holder| holder.config.clone()).collect();
        short.sort();
        short
    }

    /// How many counters there is room for, how many are held, and how many buckets.
    pub(super) fn fill(&self) -> [usize; 3] {
        [self.counters.most, self.counters.taken.load(Ordering::Relaxed), self.buckets.taken.load(Ordering::Relaxed)]
    }

    /// `work` with what `config` holds. Nobody is forgotten meanwhile.
    fn of<T>(&self, config: &str, work: impl FnOnce(&Holder) -> T) -> T {
        {
            let holders = self.holders.read();
            if let Some(holder) = holders.by_config.get(config) {
                return work(holder);
            }
        }
        let mut holders = self.holders.write();
        let holder = holders.add(config);
        work(&holder)
    }
}

impl Holders {
    fn add(&mut self, config: &str) -> Arc<Holder> {
        if let Some(holder) = self.by_config.get(config) {
            return holder.clone();
        }
        let new = u32::try_from(self.by_number.len()).unwrap_or(u32::MAX);
        let number = self.unused.pop().unwrap_or(new);
        let holder = Arc::new(Holder {
            config: config.into(),
            number,
            counters: AtomicUsize::new(0),
            buckets: AtomicUsize::new(0),
            short: AtomicBool::new(false),
            metrics: OnceLock::new(),
        });
        match self.by_number.get_mut(number as usize) {
            Some(place) => *place = holder.clone(),
            None => self.by_number.push(holder.clone()),
        }
        self.by_config.insert(config.into(), holder.clone());
        holder
    }
}

impl Holder {
    /// Hits counted in buckets, and hits denied.
    fn metrics(&self) -> &[Counter; 2] {
        self.metrics.get_or_init(|| {
            let config = if self.number < MOST_NAMED { &*self.config } else { "other" };
            ["coarse", "denied"].map(
                |answer| counter!("ratelimit_memory_short_hits", "config" => config.to_owned(), "answer" => answer),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn who_holds_anything_be_it_one_bucket_is_not_forgotten() {
        let shares = Shares::new(0);
        let bucket = shares.take("ns.bucket", Want::Bucket).unwrap();
        let counter = shares.take("ns.counter", Want::Counter).unwrap();
        shares.tidy();
        let third = shares.take("ns.third", Want::Counter).unwrap();
        assert!(bucket.is_bucket() && !counter.is_bucket());
        assert!(third != counter && third.0 != bucket.0 & !BUCKET, "another's room is charged to it");
        shares.give_back([bucket, counter, third].into_iter());
        assert_eq!(shares.fill(), [0, 0, 0]);
        shares.tidy();
        assert!(shares.holders.read().by_config.is_empty());
    }
}
