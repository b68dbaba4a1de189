//! One part of the counters, behind one lock: what is held for each, and where a hit finds room.
//!
//! A hit whose counter is not there, and for which its RateLimitConfig has no room, is counted in
//! a bucket: a counter that it shares with other values of its rule and window.

use std::collections::HashMap;

use super::shares::{Charge, Fate, Shares, Want};
use super::{Memory, SHARDS, WhenFull};
use limit::{CounterId, Hit, Moment, State, UnixSecs, digest};

/// Of each rule and window, so many buckets; and so few, where there is no room for those either: one in each shard.
const BUCKETS: [u64; 2] = [4096, SHARDS as u64];

/// Some of the counters.
#[derive(Debug, Default)]
pub(super) struct Shard {
    counters: HashMap<Key, Slot, ahash::RandomState>,
    /// How many of them are buckets.
    buckets: usize,
    /// When all counters were last looked through for ones that ended.
    swept: u64,
}

/// A counter's id, in halves: a counter then takes 40 bytes, where a 128-bit number's alignment makes it 48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key(u64, u64);

impl From<CounterId> for Key {
    fn from(id: CounterId) -> Key {
        Key((id.0 >> 64) as u64, id.0 as u64)
    }
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// The second from which on it says nothing any more.
    until: u32,
    charge: Charge,
}

impl Slot {
    fn new(hit: &Hit<'_>, state: State, charge: Charge, now: Moment) -> Slot {
        let lasts = hit.limit.lasts(state, now).as_secs();
        let until = now.secs().0.saturating_add(lasts).saturating_add(1);
        Slot { state, until: u32::try_from(until).unwrap_or(u32::MAX), charge }
    }
}

/// Where a hit is counted, and on what it comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat<'h> {
    /// The hit; of a bucket, on that instead of on its counter.
    pub(super) hit: Hit<'h>,
    /// What is held there; for a new counter of values that were counted in a bucket, what that holds:
    /// nothing that was counted for them is lost.
    pub(super) state: Option<State>,
    pub(super) room: Taken,
}

/// Whose room a seat is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// The counter or bucket is there.
    Already,
    /// Newly taken, to be given back if nothing is counted.
    Now(Charge),
    /// There is no counter, and the hit makes none.
    None,
    /// There is no room: the hit is over its limit.
    Denied,
}

impl Shard {
    /// How many counters and buckets there are.
    pub(super) fn len(&self) -> usize {
        self.counters.len()
    }

    /// Forgets `counter`; whose room it was in, if it was there.
    pub(super) fn forget(&mut self, counter: CounterId) -> Option<Charge> {
        let slot = self.counters.remove(&counter.into())?;
        self.buckets -= usize::from(slot.charge.is_bucket());
        Some(slot.charge)
    }

    /// Counts `hit` by itself and tells what is counted then; the most there is if there is no room.
    pub(super) fn hit(&mut self, hit: &Hit<'_>, now: Moment, memory: &Memory) -> u64 {
        if let Some(slot) = self.counters.get_mut(&hit.counter.into()) {
            let step = hit.limit.step(Some(slot.state), hit.change, hit.window, now);
            if hit.counts(step.count) {
                *slot = Slot::new(hit, step.counted, slot.charge, now);
            }
            return step.count;
        }
        let Seat { hit, state, room } = self.seat(hit, now, memory);
        if room == Taken::Denied {
            return u64::MAX;
        }
        let step = hit.limit.step(state, hit.change, hit.window, now);
        let charge = if let Taken::Now(charge) = room { Some(charge) } else { None };
        if hit.counts(step.count) && room != Taken::None {
            self.keep(&hit, step.counted, charge, now);
        } else {
            memory.shares.give_back(charge.into_iter());
        }
        step.count
    }

    /// Where `hit` is counted.
    pub(super) fn seat<'h>(&mut self, hit: &Hit<'h>, now: Moment, memory: &Memory) -> Seat<'h> {
        if let Some(state) = self.held(hit.counter, now) {
            return Seat { hit: *hit, state: Some(state), room: Taken::Already };
        }
        let mut held = None;
        if self.buckets > 0 {
            held = BUCKETS.into_iter().find_map(|of| {
                let id = bucket(hit, of);
                Some((id, self.held(id, now)?))
            });
        }
        let state = held.map(|(_, state)| state);
        if !hit.creates() {
            // What others have in the bucket is not theirs to give back.
            return Seat { hit: *hit, state: state.filter(|_| hit.adds()), room: Taken::None };
        }
        let want = if hit.counter == hit.rule { Want::RulesCounter } else { Want::Counter };
        if let Some(charge) = self.take(hit, want, now, memory) {
            return Seat { hit: *hit, state, room: Taken::Now(charge) };
        }
        let (id, room) = match (memory.when_full, held) {
            (WhenFull::Deny, _) => (hit.counter, Taken::Denied),
            (WhenFull::Coarse, Some((id, _))) if id == bucket(hit, BUCKETS[0]) => (id, Taken::Already),
            (WhenFull::Coarse, _) => match (self.take(hit, Want::Bucket, now, memory), held) {
                (Some(charge), _) => (bucket(hit, BUCKETS[0]), Taken::Now(charge)),
                (None, Some((id, _))) => (id, Taken::Already),
                (None, None) => {
                    let charge = self.take(hit, Want::LastBucket, now, memory);
                    (bucket(hit, BUCKETS[1]), charge.map_or(Taken::Denied, Taken::Now))
                }
            },
        };
        let shared = Hit { counter: id, ..*hit };
        memory.shares.was_short(hit.config, if room == Taken::Denied { Fate::Denied } else { Fate::Coarse });
        Seat { hit: shared, state, room }
    }

    /// What is held for `counter`, which is not swept away in this second.
    fn held(&mut self, counter: CounterId, now: Moment) -> Option<State> {
        let slot = self.counters.get_mut(&counter.into())?;
        slot.until = slot.until.max(u32::try_from(now.secs().0.saturating_add(1)).unwrap_or(u32::MAX));
        Some(slot.state)
    }

    /// Room for one more; what has ended makes some.
    fn take(&mut self, hit: &Hit<'_>, want: Want, now: Moment, memory: &Memory) -> Option<Charge> {
        if let Some(charge) = memory.shares.take(hit.config, want) {
            return Some(charge);
        }
        if self.swept >= now.secs().0 {
            return None;
        }
        self.sweep(now.secs(), &memory.shares);
        memory.shares.take(hit.config, want)
    }

    /// Holds `state` for the hit's counter from now on; `charge` is for one that is not there yet.
    pub(super) fn keep(&mut self, hit: &Hit<'_>, state: State, charge: Option<Charge>, now: Moment) {
        match (self.counters.get_mut(&hit.counter.into()), charge) {
            (Some(slot), _) => *slot = Slot::new(hit, state, slot.charge, now),
            (None, Some(charge)) => {
                self.buckets += usize::from(charge.is_bucket());
                self.counters.insert(hit.counter.into(), Slot::new(hit, state, charge, now));
            }
            (None, None) => {}
        }
    }

    /// Forgets what ended before `now`.
    pub(super) fn sweep(&mut self, now: UnixSecs, shares: &Shares) {
        self.swept = now.0;
        let before = self.counters.len();
        let (buckets, mut ended) = (&mut self.buckets, Vec::new());
        self.counters.retain(|_, slot| {
            let counts = u64::from(slot.until) > now.0;
            if !counts {
                *buckets -= usize::from(slot.charge.is_bucket());
                ended.push(slot.charge);
            }
            counts
        });
        if before > self.counters.len() {
            shares.give_back(ended.into_iter());
        }
        if self.counters.capacity() > 4 * self.counters.len().max(64) {
            self.counters.shrink_to_fit();
        }
    }
}

/// The bucket that a counter shares with others of its rule and window, in the same shard, if there are so many.
fn bucket(hit: &Hit<'_>, of: u64) -> CounterId {
    let number = hit.counter.0 as u64 % of;
    let id = digest(|part| {
        part(b"waykeeper bucket 1");
        part(hit.config.as_bytes());
        part(&hit.rule.0.to_le_bytes());
        part(&hit.limit.unit().number().to_le_bytes());
        part(&hit.limit.units().to_le_bytes());
        part(hit.limit.algorithm().letter().encode_utf8(&mut [0; 4]).as_bytes());
        part(&of.to_le_bytes());
        part(&number.to_le_bytes());
    });
    let within = SHARDS as u128 - 1;
    CounterId((id.0 & !within) | (hit.counter.0 & within))
}
