//! Counters in this process: exact under any number of threads, bounded, swept.

use std::collections::HashMap;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::{CountPolicy, CounterStore, Counts, Hit, StoreError};
use crate::algorithm::{self, Algorithm, State, Step};
use crate::config::rule::CounterId;
use crate::request::Change;
use crate::window::{Moment, UnixSecs};

const SHARDS: usize = 64;

/// Counters by id, each with what its algorithm keeps.
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
    counters: HashMap<Key, Slot, ahash::RandomState>,
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
}

impl Slot {
    fn new(hit: &Hit<'_>, state: State, now: Moment) -> Slot {
        let lasts = algorithm::lasts(&hit.limit, state, now).as_secs();
        let until = now.secs().0.saturating_add(lasts).saturating_add(1);
        Slot { state, until: u32::try_from(until).unwrap_or(u32::MAX) }
    }
}

impl Memory {
    /// Room for about `most` counters.
    pub fn new(most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, most_per_shard: most.div_ceil(SHARDS).max(1) }
    }

    /// Forgets counters that ended before `now`.
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

    /// Forgets `counter`; whether it was known.
    pub fn forget(&self, counter: CounterId) -> bool {
        self.shards.get(place(counter)).is_some_and(|shard| shard.lock().counters.remove(&counter.into()).is_some())
    }

    fn shard(&self, counter: CounterId) -> Result<MutexGuard<'_, Shard>, StoreError> {
        Ok(self.shards.get(place(counter)).ok_or(StoreError::Full)?.lock())
    }

    /// One after the other.
    fn each(&self, hits: &[Hit<'_>], now: Moment) -> Result<Counts, StoreError> {
        hits.iter().map(|hit| self.shard(hit.counter)?.hit(hit, now, self.most_per_shard)).collect()
    }

    /// All at once: those that count only with the others are counted if none is over.
    fn together(&self, hits: &[Hit<'_>], now: Moment) -> Result<Counts, StoreError> {
        // In order, so that no two requests wait for each other.
        let mut places: SmallVec<[usize; 4]> = hits.iter().map(|hit| place(hit.counter)).collect();
        places.sort_unstable();
        places.dedup();
        let mut shards: SmallVec<[(usize, MutexGuard<'_, Shard>); 4]> = SmallVec::new();
        for place in places {
            shards.push((place, self.shards.get(place).ok_or(StoreError::Full)?.lock()));
        }
        let found = |hit: &Hit<'_>| {
            let shard = shards.iter().find(|(at, _)| *at == place(hit.counter));
            shard.and_then(|(_, shard)| shard.counters.get(&hit.counter.into())).map(|slot| slot.state)
        };
        let mut trial = Trial::default();
        let mut readings = trial.run(hits, now, found, |hit, step| !is_over(hit, step));
        let over = |(hit, count): (&Hit<'_>, &u64)| !hit.shadow && is_added(hit) && *count > hit.limit.amount();
        let refused: SmallVec<[CounterId; 4]> =
            hits.iter().zip(&readings).filter(|one| over(*one)).map(|(hit, _)| hit.counter).collect();
        if !refused.is_empty() {
            trial = Trial::default();
            let alone = trial.run(hits, now, found, |_, _| false);
            // What was over stays over: hits on one counter may be over only together, and then none is counted.
            for ((hit, reading), alone) in hits.iter().zip(&mut readings).zip(alone) {
                if !refused.contains(&hit.counter) {
                    *reading = alone;
                }
            }
        }
        // Room for all of them first, or some would be counted and some not.
        for (at, shard) in &mut shards {
            let here = trial.0.iter().filter(|one| one.creates && place(one.hit.counter) == *at);
            let more = here.filter(|one| !shard.counters.contains_key(&one.hit.counter.into())).count();
            shard.room(more, now, self.most_per_shard)?;
        }
        for one in trial.0 {
            if let Some((_, shard)) = shards.iter_mut().find(|(at, _)| *at == place(one.hit.counter)) {
                shard.keep(&one.hit, one.state, one.creates, now, self.most_per_shard)?;
            }
        }
        Ok(readings)
    }
}

/// What counters would hold, hit after hit.
#[derive(Default)]
struct Trial<'h>(SmallVec<[Tried<'h>; 4]>);

/// What one counter would hold.
struct Tried<'h> {
    hit: Hit<'h>,
    state: State,
    /// Whether one of its hits makes the counter, if there is none.
    creates: bool,
}

impl<'h> Trial<'h> {
    /// Tries `hits` on what `held` says, counting those that wait for the others where `counted` says so.
    fn run(
        &mut self,
        hits: &[Hit<'h>],
        now: Moment,
        held: impl Fn(&Hit<'h>) -> Option<State>,
        counted: impl Fn(&Hit<'h>, &Step) -> bool,
    ) -> Counts {
        let mut readings = Counts::new();
        for hit in hits {
            let tried = self.0.iter().position(|one| one.hit.counter == hit.counter);
            let state = tried.and_then(|at| self.0.get(at)).map(|one| one.state).or_else(|| held(hit));
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
                Some(one) => {
                    one.state = step.counted;
                    one.creates |= creates(hit);
                }
                None => self.0.push(Tried { hit: *hit, state: step.counted, creates: creates(hit) }),
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

impl Shard {
    fn hit(&mut self, hit: &Hit<'_>, now: Moment, most: usize) -> Result<u64, StoreError> {
        let step = |state| algorithm::step(&hit.limit, state, hit.change, hit.window, now);
        if let Some(slot) = self.counters.get_mut(&hit.counter.into()) {
            let step = step(Some(slot.state));
            if counts(hit, &step) {
                *slot = Slot::new(hit, step.counted, now);
            }
            return Ok(step.count);
        }
        let step = step(None);
        if counts(hit, &step) {
            self.keep(hit, step.counted, creates(hit), now, most)?;
        }
        Ok(step.count)
    }

    fn keep(&mut self, hit: &Hit<'_>, state: State, creates: bool, now: Moment, most: usize) -> Result<(), StoreError> {
        if let Some(slot) = self.counters.get_mut(&hit.counter.into()) {
            *slot = Slot::new(hit, state, now);
            return Ok(());
        }
        if creates {
            self.room(1, now, most)?;
            self.counters.insert(hit.counter.into(), Slot::new(hit, state, now));
        }
        Ok(())
    }

    /// Makes sure of room for so many more.
    fn room(&mut self, more: usize, now: Moment, most: usize) -> Result<(), StoreError> {
        if more > 0 && self.counters.len() + more > most && self.swept < now.secs().0 {
            self.sweep(now.secs());
        }
        if more > 0 && self.counters.len() + more > most { Err(StoreError::Full) } else { Ok(()) }
    }

    fn sweep(&mut self, now: UnixSecs) {
        self.swept = now.0;
        self.counters.retain(|_, slot| u64::from(slot.until) > now.0);
        if self.counters.capacity() > 4 * self.counters.len().max(64) {
            self.counters.shrink_to_fit();
        }
    }
}

impl CounterStore for Memory {
    async fn hit(&self, hits: &[Hit<'_>], now: Moment) -> Result<Counts, StoreError> {
        if hits.iter().any(|hit| hit.policy == CountPolicy::WhenAllowed) {
            self.together(hits, now)
        } else {
            self.each(hits, now)
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

    fn hit(counter: u128, at: u64, change: Change) -> Hit<'static> {
        let limit = Limit::new(1, Unit::Minute).unwrap();
        let (counter, window) = (CounterId(counter), limit.window(UnixSecs(at)));
        Hit { config: "ns.name", counter, limit, window, change, policy: CountPolicy::Always, shadow: false }
    }

    impl Memory {
        fn one(&self, hit: &Hit<'_>, now: UnixSecs) -> Result<u64, StoreError> {
            Ok(self.each(&[*hit], now.into())?[0])
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
        assert_eq!(memory.one(&hit(ids[1], 120, Change::Add(1)), UnixSecs(121)), Ok(1));
        assert_eq!(memory.len(), 1);
        memory.sweep(UnixSecs(181));
        assert!(memory.is_empty());
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
                limit,
                window,
                change: Change::Add(1),
                policy,
                shadow: false,
            }
        };
        let ask = |hits: &[Hit<'_>]| memory.together(hits, UnixSecs(60).into()).unwrap().to_vec();
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
        Hit { config: "ns.name", counter: CounterId(counter), limit, window, change, policy, shadow: false }
    }

    fn all(memory: &Memory, hits: &[Hit<'_>], now: u64) -> Result<Counts, StoreError> {
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
        let passes = |_: &i32| all(&memory, &pair, NOW).unwrap().iter().all(|count| *count <= 3);
        assert_eq!((0..100).filter(passes).count(), 3);
    }

    #[test]
    fn a_straggler_does_not_shorten_a_counters_life() {
        for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
            let (memory, limit) = (Memory::new(1000), Limit::new(5, Unit::Minute).unwrap().by(algorithm));
            let ask = |hits, now| all(&memory, &[of(limit, 1, Change::Add(hits), CountPolicy::Always, now)], now);
            let passes = |now| (0..5).filter(|_| ask(1, now).unwrap()[0] <= 5).count();
            let before = passes(NOW);
            // It read the clock a millisecond before the turn; a look is enough.
            ask(0, NOW - 1).unwrap();
            memory.sweep(UnixSecs(NOW / 1000 + 5));
            assert_eq!(before + passes(NOW + 6000), 5, "{algorithm:?}");
        }
    }

    #[test]
    fn a_request_there_is_no_room_for_is_not_counted_by_half() {
        let (memory, limit) = (Memory::new(SHARDS), Limit::new(5, Unit::Minute).unwrap());
        let hit = |counter, policy| of(limit, counter, Change::Add(1), policy, NOW);
        all(&memory, &[hit(1, CountPolicy::Always)], NOW).unwrap();
        let both = [2, 1 + SHARDS as u128].map(|counter| hit(counter, CountPolicy::WhenAllowed));
        assert_eq!(all(&memory, &both, NOW), Err(StoreError::Full));
        let look = of(limit, 2, Change::Add(0), CountPolicy::Always, NOW);
        assert_eq!(all(&memory, &[look], NOW).unwrap()[0], 0);
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
                let passes = all(&memory, &hits, NOW).unwrap().iter().all(|count| *count <= 4);
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
                    prop_assert_eq!(all(&memory, &[look], NOW).unwrap()[0], model[id as usize], "{:?}", &asked);
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
                admitted += usize::from(all(&memory, &[hit], seen).unwrap()[0] <= 5);
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
                            let counts = memory.together(&pair, UnixSecs(60).into()).unwrap();
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
