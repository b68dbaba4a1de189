//! The memory store: exact under threads, bounded, never too late.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use api::gloo::rate_limit_config::Unit;
use proptest::prelude::*;

use super::*;
use limit::{Algorithm, Change, Limit};

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
    assert_eq!((memory.len(), memory.is_empty()), (1, false));
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
fn values_share_a_bucket_with_few_others_while_there_is_room_for_many_buckets() {
    let memory = Memory::new(1_000);
    filled(&memory, CountPolicy::Always);
    let limit = Limit::new(1, Unit::Minute).unwrap();
    for id in 1..=20_u128 {
        let hit = of(limit, (7 << 80) | (id * SHARDS as u128), Change::Add(1), CountPolicy::Always, NOW);
        assert_eq!(all(&memory, &[hit], NOW)[0], 1, "{id}");
    }
    // Values of another rule, though they fall on the same numbers.
    for id in 1..=20_u128 {
        let value = (9 << 80) | (id * SHARDS as u128);
        let hit = Hit { rule: CounterId(RULE + 1), ..of(limit, value, Change::Add(1), CountPolicy::Always, NOW) };
        assert_eq!(all(&memory, &[hit], NOW)[0], 1, "{id}");
    }
}

#[test]
fn what_is_asked_for_stays_while_the_same_request_makes_room() {
    // Two minutes later what was counted says nothing any more, and may be swept away.
    let (memory, later) = (Memory::new(0), NOW + 120_000);
    let limit = Limit::new(1, Unit::Minute).unwrap();
    let hit = |id: u128, now| of(limit, id * SHARDS as u128, Change::Add(1), CountPolicy::WhenAllowed, now);
    for id in 1..=64 {
        assert_eq!(all(&memory, &[hit(id, NOW)], NOW)[0], 1);
    }
    assert_eq!(all(&memory, &[hit(1, later), hit(65, later)], later).to_vec(), [1, 1], "another minute");
    assert_eq!(all(&memory, &[hit(1, later)], later)[0], 2, "what passed was not counted");
}

#[test]
fn what_a_bucket_of_tokens_refuses_is_not_counted_be_it_the_first() {
    let (memory, burst) = (Memory::new(1_000), 5.try_into().unwrap());
    let limit = Limit::new(5, Unit::Minute).unwrap().by(Algorithm::TokenBucket { burst });
    let ask = |hits| all(&memory, &[of(limit, 1, Change::Add(hits), CountPolicy::Always, NOW)], NOW)[0];
    assert_eq!(ask(6), 6);
    assert!(memory.is_empty());
    assert_eq!((ask(5), ask(1)), (5, 6));
}

#[test]
fn what_is_refused_and_not_counted_takes_no_room_from_what_is() {
    for policy in [CountPolicy::Always, CountPolicy::WhenAllowed] {
        let (memory, burst) = (Memory::with(100, WhenFull::Deny), 5.try_into().unwrap());
        let limit = Limit::new(5, Unit::Minute).unwrap().by(Algorithm::TokenBucket { burst });
        let ask = |id, hits| all(&memory, &[of(limit, id, Change::Add(hits), policy, NOW)], NOW)[0];
        for id in 0..1_000 {
            assert_eq!(ask(id, 6), 6, "{policy:?}: {id}");
        }
        assert!(memory.is_empty() && memory.short().is_empty(), "{policy:?}");
        assert_eq!(ask(1_000, 5), 5, "{policy:?}");
    }
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
    let buckets = memory.fill()[2];
    for id in 0..1_000_u128 {
        let hit = of(limit, 8 << 80 | id, Change::Add(1), CountPolicy::Always, NOW);
        let hit = Hit { rule: hit.counter, ..hit };
        assert_eq!([(); 3].map(|()| all(&memory, &[hit], NOW)[0]), [1, 2, 3]);
    }
    assert_eq!(memory.fill()[2], buckets, "such a rule was counted in a bucket");
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
