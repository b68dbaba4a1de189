//! Moments.

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
