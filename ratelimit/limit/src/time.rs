//! Moments, and where they are taken from.

use std::time::{SystemTime, UNIX_EPOCH};

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
