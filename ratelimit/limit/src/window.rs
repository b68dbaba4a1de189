//! Time cut into windows that begin at multiples of their length.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::time::UnixSecs;

/// A stretch of time in which hits are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Its first second.
    pub start: UnixSecs,
    /// How many seconds it has.
    pub length: NonZeroU32,
}

impl Window {
    /// Of those that are `length` long, the one that `now` lies in.
    pub fn at(now: UnixSecs, length: NonZeroU32) -> Window {
        Window { start: UnixSecs(now.0 - now.0 % u64::from(length.get())), length }
    }

    /// The first second after it.
    pub fn end(&self) -> UnixSecs {
        UnixSecs(self.start.0.saturating_add(self.length.get().into()))
    }

    /// How long from `now` until it ends.
    pub fn left(&self, now: UnixSecs) -> Duration {
        Duration::from_secs(self.end().0.saturating_sub(now.0))
    }
}
