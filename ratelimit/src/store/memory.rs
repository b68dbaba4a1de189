//! Counters in this process: exact under any number of threads, bounded, swept.
//!
//! Each RateLimitConfig has a share of the room ([`shares`]). A counter it has no room for is
//! counted together with others of its rule in a bucket: such callers are limited too early and
//! never too late. Nothing that still counts is thrown away to make room.

mod shares;

use std::collections::HashMap;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::{CountPolicy, CounterStore, Counts, Hit, StoreError};
use crate::algorithm::{self, Algorithm, State, Step};
use crate::config::rule::{CounterId, digest};
use crate::request::Change;
use crate::window::{Moment, UnixSecs};
use shares::{Charge, Fate, Shares, Want};

const SHARDS: usize = 64;
/// Of each rule and window, so many buckets; and so few, where there is no room for those either: one in each shard.
const BUCKETS: [u64; 2] = [4096, SHARDS as u64];

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

#[derive(Debug, Default)]
struct Shard {
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
        let lasts = algorithm::lasts(&hit.limit, state, now).as_secs();
        let until = now.secs().0.saturating_add(lasts).saturating_add(1);
        Slot { state, until: u32::try_from(until).unwrap_or(u32::MAX), charge }
    }
}

/// Where a hit is counted, and on what it comes.
#[derive(Debug, Clone, Copy)]
struct Seat<'h> {
    /// The hit; of a bucket, on that instead of on its counter.
    hit: Hit<'h>,
    /// What is held there; for a new counter of values that were counted in a bucket, what that holds:
    /// nothing that was counted for them is lost.
    state: Option<State>,
    room: Taken,
}

/// Whose room a seat is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// The counter or bucket is there.
    Already,
    /// Newly taken, to be given back if nothing is counted.
    Now(Charge),
    /// There is no counter, and the hit makes none.
    None,
    /// There is no room: the hit is over its limit.
    Denied,
}

impl Memory {
    /// Room for about `most` counters; what there is no room for is counted coarsely.
    pub fn new(most: usize) -> Self {
        Self::with(most, WhenFull::default())
    }

    /// The same, with a choice of what becomes of hits there is no room for.
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
        self.shards.iter().map(|shard| shard.lock().counters.len()).sum()
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
        let forgotten = shard.lock().counters.remove(&counter.into());
        self.shares.give_back(forgotten.iter().map(|slot| slot.charge));
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
                .find(|(other, seat)| other.counter == hit.counter && (seat.room != Taken::None || !creates(hit)));
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
        let mut trial = Trial::default();
        let mut readings = trial.run(&seats, now, |hit, step| !is_over(hit, step));
        let over = |(seat, count): (&Seat<'_>, &u64)| {
            !seat.hit.shadow && is_added(&seat.hit) && *count > seat.hit.limit.amount()
        };
        let refused: SmallVec<[CounterId; 4]> =
            seats.iter().zip(&readings).filter(|one| over(*one)).map(|(seat, _)| seat.hit.counter).collect();
        if !refused.is_empty() {
            trial = Trial::default();
            let alone = trial.run(&seats, now, |_, _| false);
            // What was over stays over: hits on one counter may be over only together, and then none is counted.
            for ((seat, reading), alone) in seats.iter().zip(&mut readings).zip(alone) {
                if !refused.contains(&seat.hit.counter) {
                    *reading = alone;
                }
            }
        }
        for one in trial.0 {
            let charge =
                seats.iter_mut().filter(|seat| seat.hit.counter == one.hit.counter).find_map(|seat| match seat.room {
                    Taken::Now(charge) => {
                        seat.room = Taken::Already;
                        Some(charge)
                    }
                    _ => None,
                });
            if let Some((_, shard)) = shards.iter_mut().find(|(at, _)| *at == place(one.hit.counter)) {
                shard.keep(&one.hit, one.state, charge, now);
            }
        }
        // What was not counted after all needs no room.
        self.shares.give_back(seats.iter().filter_map(|seat| match seat.room {
            Taken::Now(charge) => Some(charge),
            _ => None,
        }));
        readings
    }
}

/// What counters would hold, hit after hit.
#[derive(Default)]
struct Trial<'h>(SmallVec<[Tried<'h>; 4]>);

/// What one counter would hold.
struct Tried<'h> {
    hit: Hit<'h>,
    state: State,
}

impl<'h> Trial<'h> {
    /// Tries the hits on what their seats hold, counting those that wait for the others where `counted` says so.
    fn run(&mut self, seats: &[Seat<'h>], now: Moment, counted: impl Fn(&Hit<'h>, &Step) -> bool) -> Counts {
        let mut readings = Counts::new();
        for Seat { hit, state, room } in seats {
            if *room == Taken::Denied {
                readings.push(u64::MAX);
                continue;
            }
            let tried = self.0.iter().position(|one| one.hit.counter == hit.counter);
            let state = tried.and_then(|at| self.0.get(at)).map(|one| one.state).or(*state);
            let step = algorithm::step(&hit.limit, state, hit.change, hit.window, now);
            let counts = match hit.policy {
                CountPolicy::Always => counts(hit, &step),
                CountPolicy::WhenAllowed => counted(hit, &step),
            };
            readings.push(if counts || is_over(hit, &step) { step.count } else { step.before });
            if !counts {
                continue;
            }
            match tried.and_then(|at| self.0.get_mut(at)) {
                Some(one) => one.state = step.counted,
                None => self.0.push(Tried { hit: *hit, state: step.counted }),
            }
        }
        readings
    }
}

fn place(counter: CounterId) -> usize {
    // The id is a digest: its bits are as good as any hash.
    counter.0 as usize % SHARDS
}

fn is_added(hit: &Hit<'_>) -> bool {
    matches!(hit.change, Change::Add(_))
}

/// Whether the hit makes its counter, if there is none.
fn creates(hit: &Hit<'_>) -> bool {
    matches!(hit.change, Change::Add(1..))
}

fn is_over(hit: &Hit<'_>, step: &Step) -> bool {
    is_added(hit) && step.count > hit.limit.amount()
}

/// Only fixed windows count what they refuse.
fn counts(hit: &Hit<'_>, step: &Step) -> bool {
    hit.limit.algorithm() == Algorithm::FixedWindow || !is_over(hit, step)
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
        part(match hit.limit.algorithm() {
            Algorithm::FixedWindow => b"F",
            Algorithm::SlidingWindow => b"S",
            Algorithm::TokenBucket { .. } => b"B",
        });
        part(&of.to_le_bytes());
        part(&number.to_le_bytes());
    });
    let within = SHARDS as u128 - 1;
    CounterId((id.0 & !within) | (hit.counter.0 & within))
}

impl Shard {
    fn hit(&mut self, hit: &Hit<'_>, now: Moment, memory: &Memory) -> u64 {
        if let Some(slot) = self.counters.get_mut(&hit.counter.into()) {
            let step = algorithm::step(&hit.limit, Some(slot.state), hit.change, hit.window, now);
            if counts(hit, &step) {
                *slot = Slot::new(hit, step.counted, slot.charge, now);
            }
            return step.count;
        }
        let Seat { hit, state, room } = self.seat(hit, now, memory);
        if room == Taken::Denied {
            return u64::MAX;
        }
        let step = algorithm::step(&hit.limit, state, hit.change, hit.window, now);
        let charge = if let Taken::Now(charge) = room { Some(charge) } else { None };
        if counts(&hit, &step) && room != Taken::None {
            self.keep(&hit, step.counted, charge, now);
        } else {
            memory.shares.give_back(charge.into_iter());
        }
        step.count
    }

    /// Where `hit` is counted.
    fn seat<'h>(&mut self, hit: &Hit<'h>, now: Moment, memory: &Memory) -> Seat<'h> {
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
        if !creates(hit) {
            // What others have in the bucket is not theirs to give back.
            return Seat { hit: *hit, state: state.filter(|_| is_added(hit)), room: Taken::None };
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
    fn keep(&mut self, hit: &Hit<'_>, state: State, charge: Option<Charge>, now: Moment) {
        match (self.counters.get_mut(&hit.counter.into()), charge) {
            (Some(slot), _) => *slot = Slot::new(hit, state, slot.charge, now),
            (None, Some(charge)) => {
                self.buckets += usize::from(charge.is_bucket());
                self.counters.insert(hit.counter.into(), Slot::new(hit, state, charge, now));
            }
            (None, None) => {}
        }
    }

    fn sweep(&mut self, now: UnixSecs, shares: &Shares) {
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

impl CounterStore for Memory {
    async fn hit(&self, hits: &[Hit<'_>], now: Moment) -> Result<Counts, StoreError> {
        if hits.iter().any(|hit| hit.policy == CountPolicy::WhenAllowed) {
            Ok(self.together(hits, now))
        } else {
            Ok(self.each(hits, now))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use api::gloo::rate_limit_config::Unit;
    use proptest::prelude::*;

    use super::*;
    use crate::window::Limit;

    /// Of a rule that counts by value.
    const RULE: u128 = 0xabc;

    fn hit(counter: u128, at: u64, change: Change) -> Hit<'static> {
        let limit = Limit::new(1, Unit::Minute).unwrap();
        let window = limit.window(UnixSecs(at));
        let (counter, rule, policy) = (CounterId(counter), CounterId(RULE), CountPolicy::Always);
        Hit { config: "ns.name", counter, rule, limit, window, change, policy, shadow: false }
    }

    impl Memory {
        fn one(&self, hit: &Hit<'_>, now: UnixSecs) -> u64 {
            self.each(&[*hit], now.into())[0]
        }
    }

    #[test]
    fn many_threads_and_one_counter_never_see_the_same_sum() {
        let memory = Memory::new(1000);
        let limit = 1000;
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1000).filter(|_| memory.one(&hit(7, 60, Change::Add(1)), UnixSecs(60)) <= limit).count()
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
        let one = |at, change| memory.one(&hit(1, at, change), UnixSecs(at));
        assert_eq!(one(119, Change::Add(5)), 5);
        assert_eq!(one(120, Change::Add(1)), 1);
        assert_eq!(one(119, Change::Add(1)), 2);
        // Set back by minutes, the clock is believed.
        assert_eq!(one(3, Change::Add(1)), 1);
    }

    #[test]
    fn looking_creates_nothing_and_refunds_stop_at_zero() {
        let memory = Memory::new(1000);
        let one = |change| memory.one(&hit(1, 60, change), UnixSecs(60));
        assert_eq!(one(Change::Add(0)), 0);
        assert_eq!(one(Change::Refund(3)), 0);
        assert!(memory.is_empty());
        assert_eq!(one(Change::Add(3)), 3);
        assert_eq!(one(Change::Refund(2)), 1);
        assert_eq!(one(Change::Refund(2)), 0);
        assert_eq!(one(Change::Add(u32::MAX)), u64::from(u32::MAX));
    }

    /// Fills the share of `ns.name` with counters that end with the minute of [`NOW`].
    fn filled(memory: &Memory, policy: CountPolicy) -> u128 {
        let limit = Limit::new(1, Unit::Minute).unwrap();
        let fill = |id: &u128| {
            all(memory, &[of(limit, *id << 12, Change::Add(1), policy, NOW)], NOW);
            !memory.short().is_empty()
        };
        (1..1_000_000).find(fill).expect("a share has an end")
    }

    #[test]
    fn a_flooded_config_takes_half_of_the_room_and_no_other_config_is_any_less_exact() {
        for policy in [CountPolicy::Always, CountPolicy::WhenAllowed] {
            let memory = Memory::new(10_000);
            assert_eq!(filled(&memory, policy), 5001, "{policy:?}");
            assert_eq!(memory.short(), ["ns.name".into()] as [Box<str>; 1]);
            let limit = Limit::new(2, Unit::Hour).unwrap();
            for other in 0..20 {
                let config = format!("ns.other-{other}");
                let hit = Hit { config: &config, ..of(limit, 1 << 100 | other, Change::Add(1), policy, NOW) };
                let admitted = (0..500).filter(|_| all(&memory, &[hit], NOW)[0] <= 2).count();
                assert_eq!(admitted, 2, "{config}");
            }
            assert_eq!(memory.short(), ["ns.name".into()] as [Box<str>; 1]);
            memory.sweep(UnixSecs(NOW / 1000 + 61));
            assert!(memory.short().is_empty(), "windows have ended");
        }
    }

    #[test]
    fn values_there_is_no_room_for_are_limited_together_and_never_more_is_admitted() {
        for policy in [CountPolicy::Always, CountPolicy::WhenAllowed] {
            let memory = Memory::new(1_000);
            filled(&memory, policy);
            let limit = Limit::new(3, Unit::Minute).unwrap();
            let mut admitted = std::collections::HashMap::<u128, u32>::new();
            for round in 0..20_u128 {
                for id in 0..500_u128 {
                    let hit = of(limit, 7 << 80 | id, Change::Add(1), policy, NOW);
                    if all(&memory, &[hit], NOW)[0] <= 3 {
                        *admitted.entry(id).or_default() += 1;
                    }
                }
                // Room comes back: nothing that was counted for them is lost.
                memory.forget(CounterId((round + 1) << 12));
            }
            assert!(admitted.values().all(|times| *times <= 3), "{policy:?} {admitted:?}");
            assert!(admitted.len() > 50, "{policy:?}: the buckets are many: {}", admitted.len());
            let exact = of(limit, 1 << 12, Change::Add(0), policy, NOW);
            assert_eq!(all(&memory, &[Hit { counter: CounterId(100 << 12), ..exact }], NOW)[0], 1, "as before");
        }
    }

    #[test]
    fn a_look_sees_what_was_counted_in_a_bucket_and_a_refund_takes_nothing_of_others() {
        let memory = Memory::new(1_000);
        filled(&memory, CountPolicy::Always);
        let limit = Limit::new(3, Unit::Minute).unwrap();
        // Of one bucket.
        let [one, other] = [1_u128, 2].map(|id| id << 80 | 5);
        let ask = |id, change| all(&memory, &[of(limit, id, change, CountPolicy::Always, NOW)], NOW)[0];
        assert_eq!((ask(one, Change::Add(1)), ask(other, Change::Add(1))), (1, 2));
        assert_eq!((ask(one, Change::Refund(5)), ask(one, Change::Add(0))), (0, 2));
    }

    #[test]
    fn told_to_deny_what_there_is_no_room_for_is_over_its_limit() {
        for policy in [CountPolicy::Always, CountPolicy::WhenAllowed] {
            let memory = Memory::with(1_000, WhenFull::Deny);
            let id = filled(&memory, policy);
            let limit = Limit::new(u32::MAX, Unit::Minute).unwrap();
            let hit = |id| of(limit, id, Change::Add(1), policy, NOW);
            assert_eq!(all(&memory, &[hit(9 << 80), hit(9 << 80)], NOW).to_vec(), [u64::MAX, u64::MAX]);
            assert_eq!(all(&memory, &[hit((id - 1) << 12)], NOW)[0], 2, "what is there counts on");
        }
    }

    #[test]
    fn a_rule_that_counts_no_values_always_has_room() {
        let memory = Memory::new(1_000);
        filled(&memory, CountPolicy::Always);
        let limit = Limit::new(2, Unit::Hour).unwrap();
        for id in 0..1_000_u128 {
            let hit = of(limit, 8 << 80 | id, Change::Add(1), CountPolicy::Always, NOW);
            let hit = Hit { rule: hit.counter, ..hit };
            assert_eq!([(); 3].map(|()| all(&memory, &[hit], NOW)[0]), [1, 2, 3]);
        }
    }

    #[test]
    fn what_has_ended_makes_room_at_once() {
        let memory = Memory::new(1_000);
        filled(&memory, CountPolicy::Always);
        let later = NOW + 61_000;
        let limit = Limit::new(1, Unit::Minute).unwrap();
        for id in 0..200_u128 {
            let hit = of(limit, 9 << 80 | id, Change::Add(1), CountPolicy::Always, later);
            assert_eq!(all(&memory, &[hit], later)[0], 1);
        }
    }

    proptest! {
        /// Whatever comes, in whatever order, in no window is more admitted of any value than its limit.
        #[test]
        fn a_store_that_is_too_small_admits_no_more_than_one_that_is_not(
            requests in prop::collection::vec((prop::collection::vec((0u128..300, 0u32..3, any::<bool>()), 1..4), 0u64..9), 1..400),
            most in 0usize..200, deny in any::<bool>(),
        ) {
            let memory = Memory::with(most, if deny { WhenFull::Deny } else { WhenFull::Coarse });
            let limits = [Algorithm::FixedWindow, Algorithm::SlidingWindow];
            let limits = limits.map(|algorithm| Limit::new(3, Unit::Minute).unwrap().by(algorithm));
            let (mut now, mut admitted) = (NOW, HashMap::<(u128, u64), u32>::new());
            for (asked, pause) in requests {
                now += pause * 1000;
                let hit = |(id, hits, when): &(u128, u32, bool)| {
                    let policy = if *when { CountPolicy::WhenAllowed } else { CountPolicy::Always };
                    // Values meet in few buckets.
                    of(limits[(*id % 2) as usize], (*id << 70) | (*id % 8), Change::Add(*hits), policy, now)
                };
                let hits: Vec<_> = asked.iter().map(hit).collect();
                if all(&memory, &hits, now).iter().all(|count| *count <= 3) {
                    for (id, hits, _) in asked {
                        *admitted.entry((id, now / 60_000)).or_default() += hits;
                    }
                }
            }
            prop_assert!(admitted.values().all(|hits| *hits <= 3), "{admitted:?}");
        }
    }

    #[test]
    fn hits_that_count_only_when_allowed_count_all_or_none() {
        let memory = Memory::new(1000);
        let limit = |most| Limit::new(most, Unit::Minute).unwrap();
        let hit = |counter, most, policy| {
            let (limit, window) = (limit(most), limit(most).window(UnixSecs(60)));
            Hit {
                config: "ns.name",
                counter: CounterId(counter),
                rule: CounterId(RULE),
                limit,
                window,
                change: Change::Add(1),
                policy,
                shadow: false,
            }
        };
        let ask = |hits: &[Hit<'_>]| memory.together(hits, UnixSecs(60).into()).to_vec();
        let (small, large) = (hit(1, 2, CountPolicy::WhenAllowed), hit(2, 10, CountPolicy::WhenAllowed));
        assert_eq!(ask(&[small, large]), [1, 1]);
        assert_eq!(ask(&[small, large]), [2, 2]);
        for _ in 0..5 {
            assert_eq!(ask(&[large, small]), [2, 3], "what one refuses the other does not count");
        }
        let always = hit(3, 10, CountPolicy::Always);
        assert_eq!(ask(&[small, large, always]), [3, 2, 1], "but those that always count do");
        assert_eq!(ask(&[large, large]), [3, 4], "twice in a request is twice");
        let last = hit(4, 1, CountPolicy::WhenAllowed);
        assert_eq!(ask(&[last, last]), [1, 2], "the second is over");
        assert_eq!(ask(&[last]), [1], "so neither was counted");
        let tried_out = Hit { shadow: true, ..hit(5, 0, CountPolicy::WhenAllowed) };
        assert_eq!(ask(&[tried_out, hit(6, 1, CountPolicy::WhenAllowed)]), [1, 1]);
        assert_eq!(ask(&[tried_out, hit(6, 1, CountPolicy::WhenAllowed)]), [1, 2], "what only tries out stops nobody");
    }

    const NOW: u64 = 1_000_000_020_000;

    fn of(limit: Limit, counter: u128, change: Change, policy: CountPolicy, now: u64) -> Hit<'static> {
        let window = limit.window(Moment(now).secs());
        let (counter, rule) = (CounterId(counter), CounterId(RULE));
        Hit { config: "ns.name", counter, rule, limit, window, change, policy, shadow: false }
    }

    fn all(memory: &Memory, hits: &[Hit<'_>], now: u64) -> Counts {
        if hits.iter().any(|hit| hit.policy == CountPolicy::WhenAllowed) {
            memory.together(hits, Moment(now))
        } else {
            memory.each(hits, Moment(now))
        }
    }

    #[test]
    fn a_look_before_a_hit_on_the_same_new_counter_does_not_lose_the_hit() {
        let (memory, limit) = (Memory::new(1000), Limit::new(3, Unit::Minute).unwrap());
        let pair = [0, 1].map(|hits| of(limit, 1, Change::Add(hits), CountPolicy::WhenAllowed, NOW));
        let passes = |_: &i32| all(&memory, &pair, NOW).iter().all(|count| *count <= 3);
        assert_eq!((0..100).filter(passes).count(), 3);
    }

    #[test]
    fn a_straggler_does_not_shorten_a_counters_life() {
        for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
            let (memory, limit) = (Memory::new(1000), Limit::new(5, Unit::Minute).unwrap().by(algorithm));
            let ask = |hits, now| all(&memory, &[of(limit, 1, Change::Add(hits), CountPolicy::Always, now)], now);
            let passes = |now| (0..5).filter(|_| ask(1, now)[0] <= 5).count();
            let before = passes(NOW);
            // It read the clock a millisecond before the turn; a look is enough.
            ask(0, NOW - 1);
            memory.sweep(UnixSecs(NOW / 1000 + 5));
            assert_eq!(before + passes(NOW + 6000), 5, "{algorithm:?}");
        }
    }

    type Asked = Vec<(u128, u32, bool)>;

    fn asked() -> impl Strategy<Value = Asked> {
        prop::collection::vec((0u128..3, 0u32..3, any::<bool>()), 1..5)
    }

    proptest! {
        #[test]
        fn a_request_that_passes_is_counted_in_full_and_one_that_does_not_as_its_rules_say(
            requests in prop::collection::vec(asked(), 1..10)
        ) {
            let (memory, mut model) = (Memory::new(1000), [0_u64; 3]);
            let limit = Limit::new(4, Unit::Minute).unwrap();
            for asked in requests {
                let policy = |when| if when { CountPolicy::WhenAllowed } else { CountPolicy::Always };
                let hits: Vec<_> =
                    asked.iter().map(|(id, n, when)| of(limit, *id, Change::Add(*n), policy(*when), NOW)).collect();
                let passes = all(&memory, &hits, NOW).iter().all(|count| *count <= 4);
                let (mut tried, mut fits) = (model, true);
                for (id, hits, _) in &asked {
                    tried[*id as usize] += u64::from(*hits);
                    fits &= tried[*id as usize] <= 4;
                }
                for (id, hits, when) in &asked {
                    model[*id as usize] += if fits || !when { u64::from(*hits) } else { 0 };
                }
                prop_assert_eq!(passes, fits, "{:?}", &asked);
                for id in 0..3 {
                    let look = of(limit, id, Change::Add(0), CountPolicy::Always, NOW);
                    prop_assert_eq!(all(&memory, &[look], NOW)[0], model[id as usize], "{:?}", &asked);
                }
            }
        }

        #[test]
        fn clocks_a_little_behind_admit_no_more_than_the_limit(
            steps in prop::collection::vec((0u64..50, 1u64..40), 1..60), kind in 0u8..3
        ) {
            let algorithm = match kind {
                0 => Algorithm::FixedWindow,
                1 => Algorithm::SlidingWindow,
                _ => Algorithm::TokenBucket { burst: 5.try_into().unwrap() },
            };
            let (memory, limit) = (Memory::new(1000), Limit::new(5, Unit::Minute).unwrap().by(algorithm));
            let (mut now, mut admitted) = (NOW, 0);
            for (behind, on) in steps {
                now += on;
                let seen = now - behind.min(now - NOW);
                let hit = of(limit, 1, Change::Add(1), CountPolicy::Always, seen);
                admitted += usize::from(all(&memory, &[hit], seen)[0] <= 5);
            }
            prop_assert!(admitted <= 5, "{}", admitted);
        }
    }

    #[test]
    fn what_waits_for_others_never_deadlocks_and_never_counts_too_much() {
        let memory = Memory::new(1000);
        let limit = Limit::new(500, Unit::Minute).unwrap();
        let hit = |counter| Hit {
            config: "ns.name",
            counter: CounterId(counter),
            rule: CounterId(RULE),
            limit,
            window: limit.window(UnixSecs(60)),
            change: Change::Add(1),
            policy: CountPolicy::WhenAllowed,
            shadow: false,
        };
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8_u128)
                .map(|thread| {
                    let memory = &memory;
                    scope.spawn(move || {
                        let pair = if thread % 2 == 0 { [hit(1), hit(2)] } else { [hit(2), hit(1)] };
                        let passes = |_: &i32| {
                            let counts = memory.together(&pair, UnixSecs(60).into());
                            counts.iter().all(|count| *count <= 500)
                        };
                        (0..200).filter(passes).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 500);
    }
}
