//! How hits use a limit up, and how it comes back. Pure: a counter's state, a hit and the time in, the state after out.
//!
//! | algorithm | lets through | counts what it refuses |
//! |---|---|---|
//! | fixed window | the limit in each window; up to twice that around a boundary | yes, as Gloo and envoyproxy/ratelimit do |
//! | sliding window | the limit in each window, the last one fading out as this one goes on | no |
//! | token bucket | at once the burst, then an even rate | no |

use std::num::NonZeroU32;
use std::time::Duration;

use crate::request::Change;
use crate::window::{Limit, Moment, Window};

/// How hits use a limit up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Counts start over at every multiple of the window's length.
    #[default]
    FixedWindow,
    /// The count of the window before fades out evenly.
    SlidingWindow,
    /// Tokens come back one by one, up to a burst.
    TokenBucket {
        /// The most that pass at once.
        burst: NonZeroU32,
    },
}

/// What a counter holds between hits; what it means is the algorithm's affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    first: u64,
    second: u64,
}

/// What a hit comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How much of the limit is used, this hit included; more than there is if it is refused.
    pub count: u64,
    /// What the counter holds if the hit is counted.
    pub counted: State,
    /// What it holds if not.
    pub uncounted: State,
    /// How much of the limit is used without this hit.
    pub before: u64,
}

/// Fractions of a token below this are rounding.
const DUST: f64 = 1e-9;

/// What `change` comes to on a counter of `limit` that holds `state`.
pub fn step(limit: &Limit, state: Option<State>, change: Change, window: Window, now: Moment) -> Step {
    match limit.algorithm() {
        Algorithm::FixedWindow => fixed(state, change, window),
        Algorithm::SlidingWindow => sliding(state, change, window, now),
        Algorithm::TokenBucket { .. } => bucket(limit, state, change, now),
    }
}

/// How long a counter must be kept for what it holds to matter. Told by what it holds, not
/// by the hit: one that read the clock before the turn must not shorten the life of the window begun.
pub fn lasts(limit: &Limit, state: State, now: Moment) -> Duration {
    let end = |windows: u64| {
        let end = state.first.saturating_add(windows.saturating_mul(limit.length().as_secs()));
        Duration::from_millis(end.saturating_mul(1000).saturating_sub(now.0))
    };
    match limit.algorithm() {
        Algorithm::FixedWindow => end(1),
        Algorithm::SlidingWindow => end(2),
        Algorithm::TokenBucket { .. } => {
            Duration::from_millis(state.first.saturating_sub(now.0)) + limit.refill(f64::from_bits(state.second))
        }
    }
}

/// The window a counter is in. A hit that read the clock just before the turn
/// counts in the window that has begun: never too little. A window further back
/// means the clock was set back, and is believed.
fn turned(held: u64, window: Window) -> Option<u64> {
    let behind = held.saturating_sub(window.start.0);
    (window.start.0 <= held && behind <= window.length.get().into()).then_some(held)
}

fn fixed(state: Option<State>, change: Change, window: Window) -> Step {
    let current = state.filter(|state| turned(state.first, window).is_some());
    let uncounted = current.unwrap_or(State { first: window.start.0, second: 0 });
    let count = match change {
        Change::Add(hits) => uncounted.second.saturating_add(hits.into()),
        Change::Refund(hits) => uncounted.second.saturating_sub(hits.into()),
    };
    Step { count, counted: State { second: count, ..uncounted }, uncounted, before: uncounted.second }
}

fn sliding(state: Option<State>, change: Change, window: Window, now: Moment) -> Step {
    let length = u64::from(window.length.get());
    let (start, this, last) = match state {
        None => (window.start.0, 0, 0),
        Some(State { first, second }) => {
            let (this, last) = (second >> 32, second & u64::from(u32::MAX));
            match turned(first, window) {
                Some(start) => (start, this, last),
                None if window.start.0 == first.saturating_add(length) => (window.start.0, 0, this),
                None => (window.start.0, 0, 0),
            }
        }
    };
    let millis = length * 1000;
    let left = millis - now.0.saturating_sub(start * 1000).min(millis);
    // Rounded up: what fades out is never gone too soon.
    let faded = (u128::from(last) * u128::from(left)).div_ceil(u128::from(millis)) as u64;
    let hold = |this: u64| State { first: start, second: this.min(u32::MAX.into()) << 32 | last };
    let before = faded + this;
    let (count, after) = match change {
        Change::Add(hits) => (before + u64::from(hits), this + u64::from(hits)),
        Change::Refund(hits) => (faded + this.saturating_sub(hits.into()), this.saturating_sub(hits.into())),
    };
    Step { count, counted: hold(after), uncounted: hold(this), before }
}

fn bucket(limit: &Limit, state: Option<State>, change: Change, now: Moment) -> Step {
    let used = match state {
        // A clock that was set back gives nothing back.
        Some(State { first, second }) => {
            (f64::from_bits(second) - limit.refilled(now.0.saturating_sub(first))).max(0.0)
        }
        None => 0.0,
    };
    let at = state.map_or(now.0, |state| state.first.max(now.0));
    let hold = |used: f64| State { first: at, second: used.to_bits() };
    let whole = |used: f64| (used - DUST).ceil().max(0.0) as u64;
    let after = match change {
        Change::Add(hits) => used + f64::from(hits),
        Change::Refund(hits) => (used - f64::from(hits)).max(0.0),
    };
    Step { count: whole(after), counted: hold(after), uncounted: hold(used), before: whole(used) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use api::gloo::rate_limit_config::Unit;
    use proptest::prelude::*;

    use super::*;

    /// Counts as a store does: what is over is not counted, but by a fixed window.
    fn admit(limit: &Limit, state: &mut Option<State>, hits: u32, now: u64) -> bool {
        let now = Moment(now);
        let step = step(limit, *state, Change::Add(hits), limit.window(now.secs()), now);
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
            let after = |state, change| step(&limit, state, change, window, now);
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
}
