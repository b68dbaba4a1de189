//! Counts start over at every multiple of the window's length. A counter holds the window's start and its count.

use std::time::Duration;

use super::way::{State, Step, Way, turned, until_end};
use crate::change::Change;
use crate::rate::Rate;
use crate::time::{Moment, UnixSecs};
use crate::window::Window;

/// As Gloo and envoyproxy/ratelimit count.
pub(super) struct FixedWindow;

impl Way for FixedWindow {
    fn letter(&self) -> char {
        'F'
    }

    fn counts_refused(&self) -> bool {
        true
    }

    fn starts_over(&self) -> bool {
        true
    }

    fn amount(&self, rate: Rate) -> u64 {
        rate.requests.into()
    }

    fn step(&self, _: Rate, state: Option<State>, change: Change, window: Window, _: Moment) -> Step {
        let current = state.filter(|state| turned(state.first, window).is_some());
        let uncounted = current.unwrap_or(State { first: window.start.0, second: 0 });
        let count = match change {
            Change::Add(hits) => uncounted.second.saturating_add(hits.into()),
            Change::Refund(hits) => uncounted.second.saturating_sub(hits.into()),
        };
        Step { count, counted: State { second: count, ..uncounted }, uncounted, before: uncounted.second }
    }

    fn lasts(&self, rate: Rate, state: State, now: Moment) -> Duration {
        until_end(state.first, 1, rate, now)
    }

    fn matters(&self, _: Rate, window: Window, now: UnixSecs) -> Duration {
        window.left(now)
    }

    fn reset(&self, _: Rate, _: u64, window: Window, now: UnixSecs) -> Duration {
        window.left(now)
    }
}
