//! What algorithms let through, hit after hit.
#![allow(clippy::unwrap_used)]

use std::num::NonZeroU32;

use api::gloo::rate_limit_config::Unit;
use proptest::prelude::*;
use ratelimit_limit::{Algorithm, Change, Limit, Moment, State};

/// Counts as a store does: what is over is not counted, but by a fixed window.
fn admit(limit: &Limit, state: &mut Option<State>, hits: u32, now: u64) -> bool {
    let now = Moment(now);
    let step = limit.step(*state, Change::Add(hits), limit.window(now.secs()), now);
    let passes = step.count <= limit.amount();
    let counts = passes || limit.algorithm() == Algorithm::FixedWindow;
    *state = Some(if counts { step.counted } else { step.uncounted });
    passes
}

fn ten_a_minute(algorithm: Algorithm) -> Limit {
    Limit::new(10, Unit::Minute).unwrap().by(algorithm)
}

fn bucket_of(burst: u32) -> Algorithm {
    Algorithm::TokenBucket { burst: NonZeroU32::new(burst).unwrap() }
}

#[test]
fn a_sliding_window_lets_no_burst_through_at_the_boundary() {
    let limit = ten_a_minute(Algorithm::SlidingWindow);
    let mut state = None;
    let begin = 60_000 * 1000;
    assert_eq!((0..20).filter(|_| admit(&limit, &mut state, 1, begin + 59_999)).count(), 10);
    assert_eq!((0..20).filter(|_| admit(&limit, &mut state, 1, begin + 60_000)).count(), 0);
    assert_eq!((0..20).filter(|_| admit(&limit, &mut state, 1, begin + 90_000)).count(), 5, "half has faded");
    assert_eq!((0..20).filter(|_| admit(&limit, &mut state, 1, begin + 300_000)).count(), 10, "all has");
}

#[test]
fn a_bucket_gives_its_burst_at_once_and_then_one_at_a_time() {
    let limit = ten_a_minute(bucket_of(3));
    let mut state = None;
    let count = |state: &mut _, at: u64| (0..20).filter(|_| admit(&limit, state, 1, at)).count();
    assert_eq!(count(&mut state, 1_000_000), 3);
    assert_eq!(count(&mut state, 1_005_999), 0);
    assert_eq!(count(&mut state, 1_006_000), 1, "one every six seconds");
    assert_eq!(count(&mut state, 1_000_000), 0, "a clock set back gives nothing");
    assert_eq!(count(&mut state, 2_000_000), 3, "never more than the burst");
}

#[test]
fn looks_cost_nothing_and_refunds_give_back() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow, bucket_of(10)] {
        let limit = ten_a_minute(algorithm);
        let (now, window) = (Moment(60_000_000), limit.window(Moment(60_000_000).secs()));
        let after = |state, change| limit.step(state, change, window, now);
        assert_eq!(after(None, Change::Add(0)).count, 0);
        let seven = after(None, Change::Add(7));
        assert_eq!((seven.count, after(Some(seven.counted), Change::Add(0)).count), (7, 7), "{algorithm:?}");
        let three = after(Some(seven.counted), Change::Refund(4));
        assert_eq!((three.count, after(Some(three.counted), Change::Refund(9)).count), (3, 0), "{algorithm:?}");
        assert_eq!(after(Some(seven.counted), Change::Add(5)).before, 7);
    }
}

proptest! {
    #[test]
    fn no_window_admits_more_than_its_limit(
        amount in 0u32..20, pauses in prop::collection::vec((0u64..20_000, 1u32..4), 1..200), slide in any::<bool>(),
    ) {
        let algorithm = if slide { Algorithm::SlidingWindow } else { Algorithm::FixedWindow };
        let limit = Limit::new(amount, Unit::Minute).unwrap().by(algorithm);
        let mut state = None;
        let mut now = 1_000_000_000;
        let mut admitted = std::collections::BTreeMap::<u64, u64>::new();
        for (pause, hits) in pauses {
            now += pause;
            if admit(&limit, &mut state, hits, now) {
                *admitted.entry(now / 60_000).or_default() += u64::from(hits);
            }
        }
        prop_assert!(admitted.values().all(|hits| *hits <= amount.into()), "{admitted:?}");
    }

    #[test]
    fn a_bucket_admits_no_more_than_its_burst_and_its_rate(
        rate in 1u32..50, burst in 1u32..20, pauses in prop::collection::vec((0u64..5_000, 1u32..4), 1..200),
    ) {
        let limit = Limit::new(rate, Unit::Minute).unwrap().by(bucket_of(burst));
        let mut state = None;
        let begin = 1_000_000_000;
        let (mut now, mut admitted) = (begin, Vec::new());
        for (pause, hits) in pauses {
            now += pause;
            if admit(&limit, &mut state, hits, now) {
                admitted.push((now, u64::from(hits)));
            }
        }
        for (first, from) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (at, hits) in &admitted[first..] {
                sum += hits;
                let most = f64::from(burst) + f64::from(rate) * (at - from.0) as f64 / 60_000.0;
                prop_assert!(sum as f64 <= most + 1e-6, "{sum} in {} ms", at - from.0);
            }
        }
    }
}
