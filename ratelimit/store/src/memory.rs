//! Counters in this process: exact under any number of threads, bounded, swept.
//!
//! Each RateLimitConfig has a share of the room ([`shares`]). A counter it has no room for is
//! counted together with others of its rule in a bucket: such callers are limited too early and
//! never too late. Nothing that still counts is thrown away to make room.

mod shard;
mod shares;

#[cfg(test)]
mod tests;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use limit::trial::{Change, Trial, trial};
use limit::{CountPolicy, CounterId, Counts, Hit, Moment, State, Step, UnixSecs};

use super::{CounterStore, StoreError};
use shard::{Seat, Shard, Taken};
use shares::Shares;

/// Counters are kept in so many parts, each behind a lock of its own.
const SHARDS: usize = 64;

/// What becomes of a hit for whose counter a RateLimitConfig has no room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Counted together with hits of other values of its rule, so that each is limited too early rather than too late.
    #[default]
    Coarse,
    /// Over its limit.
    Deny,
}

/// Counters by id, each with what its algorithm keeps.
#[derive(Debug)]
pub struct Memory {
    shards: Box<[Mutex<Shard>]>,
    shares: Shares,
    when_full: WhenFull,
}

impl Memory {
    /// Room for about `most` counters; what there is no room for is counted coarsely.
    pub fn new(most: usize) -> Self {
        Self::with(most, WhenFull::default())
    }

    /// Room for `most` counters; `when_full` says what becomes of hits there is no room for.
    pub fn with(most: usize, when_full: WhenFull) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, shares: Shares::new(most), when_full }
    }

    /// Forgets counters that ended before `now`.
    pub fn sweep(&self, now: UnixSecs) {
        for shard in &self.shards {
            shard.lock().sweep(now, &self.shares);
        }
        self.shares.tidy();
    }

    /// How many counters there are, ended ones not yet swept included.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The RateLimitConfigs that have no room for more counters, by id.
    pub fn short(&self) -> Vec<Box<str>> {
        self.shares.short()
    }

    /// How many counters there is room for, how many there are, and how many buckets.
    pub fn fill(&self) -> [usize; 3] {
        self.shares.fill()
    }

    /// Forgets `counter`; whether it was known.
    pub fn forget(&self, counter: CounterId) -> bool {
        let Some(shard) = self.shards.get(place(counter)) else { return false };
        let forgotten = shard.lock().forget(counter);
        self.shares.give_back(forgotten.into_iter());
        forgotten.is_some()
    }

    /// One after the other.
    fn each(&self, hits: &[Hit<'_>], now: Moment) -> Counts {
        let one = |hit: &Hit<'_>| match self.shards.get(place(hit.counter)) {
            Some(shard) => shard.lock().hit(hit, now, self),
            None => u64::MAX,
        };
        hits.iter().map(one).collect()
    }

    /// All at once: those that count only with the others are counted if none is over.
    fn together(&self, hits: &[Hit<'_>], now: Moment) -> Counts {
        // In order, so that no two requests wait for each other.
        let mut places: SmallVec<[usize; 4]> = hits.iter().map(|hit| place(hit.counter)).collect();
        places.sort_unstable();
        places.dedup();
        let shards = places.into_iter().filter_map(|place| Some((place, self.shards.get(place)?.lock())));
        let mut shards: SmallVec<[(usize, MutexGuard<'_, Shard>); 4]> = shards.collect();
        let mut seats: SmallVec<[Seat<'_>; 4]> = SmallVec::new();
        for (number, hit) in hits.iter().enumerate() {
            // One counter has one seat, however often it is hit.
            let same = hits
                .iter()
                .zip(&seats)
                .take(number)
                .find(|(other, seat)| other.counter == hit.counter && (seat.room != Taken::None || !hit.creates()));
            let shard = shards.iter_mut().find(|(at, _)| *at == place(hit.counter));
            seats.push(match (same, shard) {
                (Some((_, seat)), _) => {
                    let hit = Hit { counter: seat.hit.counter, ..*hit };
                    let room = if let Taken::Now(_) = seat.room { Taken::Already } else { seat.room };
                    Seat { hit, state: seat.state, room }
                }
                (None, Some((_, shard))) => shard.seat(hit, now, self),
                (None, None) => Seat { hit: *hit, state: None, room: Taken::Denied },
            });
        }
        let hits: SmallVec<[Hit<'_>; 4]> = seats.iter().map(|seat| seat.hit).collect();
        let held = seats.iter().map(|seat| (seat.room != Taken::Denied).then_some(seat.state));
        let held: SmallVec<[Option<Option<State>>; 4]> = held.collect();
        let step = |hit: &Hit<'_>, state| {
            let Step { before, count, counted, .. } = hit.limit.step(state, hit.change, hit.window, now);
            Change { before, count, counted: Some(counted) }
        };
        let Trial { counts, changed } = trial(&hits, &held, step);
        for (counter, state) in changed {
            let Some(hit) = hits.iter().find(|hit| hit.counter == counter) else { continue };
            let charge = seats.iter_mut().filter(|seat| seat.hit.counter == counter).find_map(|seat| match seat.room {
                Taken::Now(charge) => {
                    seat.room = Taken::Already;
                    Some(charge)
                }
                _ => None,
            });
            let shard = shards.iter_mut().find(|(at, _)| *at == place(counter));
            if let (Some((_, shard)), Some(state)) = (shard, state) {
                shard.keep(hit, state, charge, now);
            }
        }
        // A counter made for this request and not counted after all is taken out again.
        self.shares.give_back(seats.iter().filter_map(|seat| match seat.room {
            Taken::Now(charge) => Some(charge),
            _ => None,
        }));
        counts
    }
}

fn place(counter: CounterId) -> usize {
    // The id is a digest: its bits are as good as any hash.
    counter.0 as usize % SHARDS
}

impl CounterStore for Memory {
    async fn hit(&self, hits: &[Hit<'_>], now: Moment) -> Result<Counts, StoreError> {
        if hits.iter().any(|hit| hit.policy == CountPolicy::WhenAllowed) {
            Ok(self.together(hits, now))
        } else {
            Ok(self.each(hits, now))
        }
    }
}
