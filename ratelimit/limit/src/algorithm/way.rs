//! What an algorithm must be able to say and do; each has a file of its own beside this one.

use std::time::Duration;

use crate::change::Change;
use crate::rate::Rate;
use crate::time::{Moment, UnixSecs};
use crate::window::Window;

/// What a counter holds between hits; what it means is the algorithm's affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub(super) first: u64,
    pub(super) second: u64,
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

/// A way in which hits use up a rate.
pub trait Way {
    /// Tells its counters from those of other algorithms, in their names and in scripts. Never to be changed.
    fn letter(&self) -> char;

    /// Whether what it refuses is counted all the same.
    fn counts_refused(&self) -> bool;

    /// Whether a counter says nothing beyond the window it was made in, so that the next window has another one.
    fn starts_over(&self) -> bool;

    /// The most that passes at once: counts beyond it are over the limit.
    fn amount(&self, rate: Rate) -> u64;

    /// What `change` comes to on a counter that holds `state`.
    fn step(&self, rate: Rate, state: Option<State>, change: Change, window: Window, now: Moment) -> Step;

    /// How long a counter must be kept for what it holds to matter. Told by what it holds, not
    /// by the hit: one that read the clock before the turn must not shorten the life of the window begun.
    fn lasts(&self, rate: Rate, state: State, now: Moment) -> Duration;

    /// How long a counter may matter after a hit in `window`, whatever it holds.
    fn matters(&self, rate: Rate, window: Window, now: UnixSecs) -> Duration;

    /// How long until `count` of it is free again.
    fn reset(&self, rate: Rate, count: u64, window: Window, now: UnixSecs) -> Duration;
}

/// The window a counter is in. A hit that read the clock just before the turn
/// counts in the window that has begun: never too little. A window further back
/// means the clock was set back, and is believed.
pub(super) fn turned(held: u64, window: Window) -> Option<u64> {
    let behind = held.saturating_sub(window.start.0);
    (window.start.0 <= held && behind <= window.length.get().into()).then_some(held)
}

/// From `now` to the end of so many windows of `rate` from the second `start` on.
pub(super) fn until_end(start: u64, windows: u64, rate: Rate, now: Moment) -> Duration {
    let end = start.saturating_add(windows.saturating_mul(rate.seconds.get().into()));
    Duration::from_millis(end.saturating_mul(1000).saturating_sub(now.0))
}
