//! So many requests in so many seconds: what every algorithm works from.

use std::num::NonZeroU32;
use std::time::Duration;

/// So many requests in so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub requests: u32,
    /// In how many seconds.
    pub seconds: NonZeroU32,
}

impl Rate {
    /// The seconds as a time.
    pub fn length(self) -> Duration {
        Duration::from_secs(self.seconds.get().into())
    }

    /// Given back evenly, how much comes back in so many milliseconds.
    pub fn refilled(self, millis: u64) -> f64 {
        millis as f64 * f64::from(self.requests) / (f64::from(self.seconds.get()) * 1000.0)
    }

    /// Given back evenly, how long until so much has come back.
    pub fn refill(self, used: f64) -> Duration {
        let seconds = used * f64::from(self.seconds.get()) / f64::from(self.requests.max(1));
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}
