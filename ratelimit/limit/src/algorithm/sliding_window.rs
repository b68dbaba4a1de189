//! The count of the window before fades out evenly. A counter holds a window's start, its count, and that of the one before.

use std::time::Duration;

use super::way::{State, Step, Way, turned, until_end};
use crate::change::Change;
use crate::rate::Rate;
use crate::time::{Moment, UnixSecs};
use crate::window::Window;

/// No burst at a window's boundary.
pub(super) struct SlidingWindow;

impl Way for SlidingWindow {
    fn letter(&self) -> char {
        'S'
    }

    fn counts_refused(&self) -> bool {
        false
    }

    fn starts_over(&self) -> bool {
        false
    }

    fn amount(&self, rate: Rate) -> u64 {
        rate.requests.into()
    }

    fn step(&self, _: Rate, state: Option<State>, change: Change, window: Window, now: Moment) -> Step {
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

    fn lasts(&self, rate: Rate, state: State, now: Moment) -> Duration {
        until_end(state.first, 2, rate, now)
    }

    fn matters(&self, rate: Rate, _: Window, _: UnixSecs) -> Duration {
        2 * rate.length()
    }

    fn reset(&self, rate: Rate, count: u64, window: Window, now: UnixSecs) -> Duration {
        if count == 0 { Duration::ZERO } else { window.left(now) + rate.length() }
    }
}
