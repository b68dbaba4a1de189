//! A limit: a rate, the unit it was written in, and the algorithm that uses it up.

use std::num::NonZeroU32;
use std::time::Duration;

use api::gloo::rate_limit_config::Unit;

use crate::algorithm::{Algorithm, State, Step};
use crate::change::Change;
use crate::rate::Rate;
use crate::time::{Moment, UnixSecs};
use crate::window::Window;

/// So many requests in each window of a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// How many pass in one window.
    pub requests_per_unit: u32,
    /// The unit of a window's length; never [`Unit::Unknown`].
    unit: Unit,
    seconds: NonZeroU32,
    algorithm: Algorithm,
}

impl Limit {
    /// `None` for [`Unit::Unknown`].
    pub fn new(requests_per_unit: u32, unit: Unit) -> Option<Limit> {
        let seconds = NonZeroU32::new(unit.seconds()?)?;
        Some(Limit { requests_per_unit, unit, seconds, algorithm: Algorithm::default() })
    }

    /// This many requests over `units` units of time instead of one; `None` where that is longer than we can count.
    pub fn times(self, units: NonZeroU32) -> Option<Limit> {
        Some(Limit { seconds: self.seconds.checked_mul(units)?, ..self })
    }

    /// This limit, counted by `algorithm`.
    pub fn by(self, algorithm: Algorithm) -> Limit {
        Limit { algorithm, ..self }
    }

    /// The unit; never [`Unit::Unknown`].
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// How it is used up.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Of how many units a window is.
    pub fn units(&self) -> u32 {
        self.seconds.get() / self.unit.seconds().unwrap_or(1)
    }

    /// Whether counts towards the two may be one: only how much passes may differ.
    pub fn counts_like(&self, other: &Limit) -> bool {
        self.algorithm.letter() == other.algorithm.letter() && self.unit == other.unit && self.seconds == other.seconds
    }

    /// The length of a window.
    pub fn length(&self) -> Duration {
        self.rate().length()
    }

    /// The most that passes at once: counts beyond it are over the limit.
    pub fn amount(&self) -> u64 {
        self.algorithm.way(|way| way.amount(self.rate()))
    }

    /// What `change` comes to on a counter that holds `state`.
    pub fn step(&self, state: Option<State>, change: Change, window: Window, now: Moment) -> Step {
        self.algorithm.way(|way| way.step(self.rate(), state, change, window, now))
    }

    /// How long a counter that holds `state` must be kept.
    pub fn lasts(&self, state: State, now: Moment) -> Duration {
        self.algorithm.way(|way| way.lasts(self.rate(), state, now))
    }

    /// How long a counter may matter after a hit in `window`, whatever it holds.
    pub fn matters(&self, window: Window, now: UnixSecs) -> Duration {
        self.algorithm.way(|way| way.matters(self.rate(), window, now))
    }

    /// How long until `count` of it is free again, in the window `window`.
    pub fn reset(&self, count: u64, window: Window, now: UnixSecs) -> Duration {
        self.algorithm.way(|way| way.reset(self.rate(), count, window, now))
    }

    /// The window that `now` lies in.
    pub fn window(&self, now: UnixSecs) -> Window {
        Window::at(now, self.seconds)
    }

    fn rate(&self) -> Rate {
        Rate { requests: self.requests_per_unit, seconds: self.seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixSecs;

    #[test]
    fn windows_begin_at_multiples_of_their_length() {
        let minute = Limit::new(1, Unit::Minute).unwrap();
        let window = minute.window(UnixSecs(1_000_000_019));
        assert_eq!(window.start, UnixSecs(1_000_000_019 / 60 * 60));
        assert_eq!(window.left(UnixSecs(window.start.0)), Duration::from_secs(60));
        assert_eq!(window.left(UnixSecs(window.end().0 - 1)), Duration::from_secs(1));
    }

    #[test]
    fn weeks_begin_on_thursdays_as_the_epoch_did() {
        let week = Limit::new(1, Unit::Week).unwrap();
        assert_eq!(week.window(UnixSecs(8 * 86_400)).start, UnixSecs(7 * 86_400));
    }

    #[test]
    fn an_unknown_unit_makes_no_limit() {
        assert_eq!(Limit::new(1, Unit::Unknown), None);
    }

    #[test]
    fn a_limit_of_none_lets_nothing_through_whatever_its_burst() {
        let burst = NonZeroU32::new(5).unwrap_or(NonZeroU32::MIN);
        for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::TokenBucket { burst }] {
            let amount = |requests| Limit::new(requests, Unit::Minute).map(|limit| limit.by(algorithm).amount());
            assert_eq!(amount(0), Some(0), "{algorithm:?}");
            let one = if algorithm == (Algorithm::TokenBucket { burst }) { 5 } else { 1 };
            assert_eq!(amount(1), Some(one), "{algorithm:?}");
        }
    }
}
