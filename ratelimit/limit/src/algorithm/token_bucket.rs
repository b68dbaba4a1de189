//! Tokens come back one by one, up to a burst. A counter holds a moment, and how many tokens were gone then.

use std::num::NonZeroU32;
use std::time::Duration;

use super::way::{State, Step, Way};
use crate::change::Change;
use crate::rate::Rate;
use crate::time::{Moment, UnixSecs};
use crate::window::Window;

/// Fractions of a token below this are rounding.
const DUST: f64 = 1e-9;

/// At once the burst, then an even rate.
pub(super) struct TokenBucket {
    pub(super) burst: NonZeroU32,
}

impl Way for TokenBucket {
    fn letter(&self) -> char {
        'B'
    }

    fn counts_refused(&self) -> bool {
        false
    }

    fn starts_over(&self) -> bool {
        false
    }

    fn amount(&self, rate: Rate) -> u64 {
        // A rate of none lets none pass, whatever the burst.
        if rate.requests > 0 { self.burst.get().into() } else { 0 }
    }

    fn step(&self, rate: Rate, state: Option<State>, change: Change, _: Window, now: Moment) -> Step {
        let used = match state {
            // A clock that was set back gives nothing back.
            Some(State { first, second }) => {
                (f64::from_bits(second) - rate.refilled(now.0.saturating_sub(first))).max(0.0)
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

    fn lasts(&self, rate: Rate, state: State, now: Moment) -> Duration {
        Duration::from_millis(state.first.saturating_sub(now.0)) + rate.refill(f64::from_bits(state.second))
    }

    fn matters(&self, rate: Rate, _: Window, _: UnixSecs) -> Duration {
        rate.refill(self.burst.get().into())
    }

    fn reset(&self, rate: Rate, count: u64, _: Window, _: UnixSecs) -> Duration {
        let whole = rate.refill(count.min(self.amount(rate)) as f64);
        Duration::from_secs(whole.as_secs() + u64::from(whole.subsec_nanos() > 0))
    }
}
