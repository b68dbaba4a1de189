//! Time as the limiter sees it: whole seconds, cut into windows that begin at multiples of their length.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::gloo::rate_limit_config::Unit;

use crate::algorithm::Algorithm;

/// A moment, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSecs(pub u64);

/// A moment, in milliseconds since 1970: what counters that fill up evenly need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The second it lies in.
    pub fn secs(self) -> UnixSecs {
        UnixSecs(self.0 / 1000)
    }
}

impl From<UnixSecs> for Moment {
    fn from(secs: UnixSecs) -> Self {
        Moment(secs.0.saturating_mul(1000))
    }
}

/// Where the service takes the time from. Everything below it is given the time as a value.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Moment;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

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

    /// The same over so many units; `None` where that is longer than we can count.
    pub fn times(self, units: NonZeroU32) -> Option<Limit> {
        Some(Limit { seconds: self.seconds.checked_mul(units)?, ..self })
    }

    /// The same, used up in another way.
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
        let same = std::mem::discriminant(&self.algorithm) == std::mem::discriminant(&other.algorithm);
        same && self.unit == other.unit && self.seconds == other.seconds
    }

    /// The length of a window.
    pub fn length(&self) -> Duration {
        Duration::from_secs(self.seconds.get().into())
    }

    /// The most that passes at once: counts beyond it are over the limit.
    pub fn amount(&self) -> u64 {
        match self.algorithm {
            // A rate of none lets none pass, whatever the burst.
            Algorithm::TokenBucket { burst } if self.requests_per_unit > 0 => burst.get().into(),
            _ => self.requests_per_unit.into(),
        }
    }

    /// Of an even rate, how much comes back in so many milliseconds.
    pub(crate) fn refilled(&self, millis: u64) -> f64 {
        millis as f64 * f64::from(self.requests_per_unit) / (f64::from(self.seconds.get()) * 1000.0)
    }

    /// Of an even rate, how long until so much has come back.
    pub(crate) fn refill(&self, used: f64) -> Duration {
        let seconds = used * f64::from(self.seconds.get()) / f64::from(self.requests_per_unit.max(1));
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// How long until `count` of it is free again, in the window `window`.
    pub fn reset(&self, count: u64, window: Window, now: UnixSecs) -> Duration {
        match self.algorithm {
            Algorithm::FixedWindow => window.left(now),
            Algorithm::SlidingWindow if count == 0 => Duration::ZERO,
            Algorithm::SlidingWindow => window.left(now) + self.length(),
            Algorithm::TokenBucket { .. } => {
                let whole = self.refill(count.min(self.amount()) as f64);
                Duration::from_secs(whole.as_secs() + u64::from(whole.subsec_nanos() > 0))
            }
        }
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
