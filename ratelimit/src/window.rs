//! Time as the limiter sees it: whole seconds, cut into windows that begin at multiples of their length.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::gloo::rate_limit_config::Unit;

/// A moment, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSecs(pub u64);

/// Where the service takes the time from. Everything below it is given the time as a value.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> UnixSecs;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixSecs {
        UnixSecs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }
}

/// So many requests in each window of a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// How many pass in one window.
    pub requests_per_unit: u32,
    /// The length of a window; never [`Unit::Unknown`].
    unit: Unit,
    seconds: NonZeroU32,
}

impl Limit {
    /// `None` for [`Unit::Unknown`].
    pub fn new(requests_per_unit: u32, unit: Unit) -> Option<Limit> {
        Some(Limit { requests_per_unit, unit, seconds: NonZeroU32::new(unit.seconds()?)? })
    }

    /// The unit; never [`Unit::Unknown`].
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The window that `now` lies in.
    pub fn window(&self, now: UnixSecs) -> Window {
        let length = u64::from(self.seconds.get());
        Window { start: UnixSecs(now.0 - now.0 % length), length: self.seconds }
    }
}

/// A stretch of time in which hits are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Its first second.
    pub start: UnixSecs,
    /// How many seconds it has.
    pub length: NonZeroU32,
}

impl Window {
    /// The first second after it.
    pub fn end(&self) -> UnixSecs {
        UnixSecs(self.start.0.saturating_add(self.length.get().into()))
    }

    /// How long from `now` until it ends.
    pub fn left(&self, now: UnixSecs) -> Duration {
        Duration::from_secs(self.end().0.saturating_sub(now.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
