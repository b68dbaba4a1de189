//! How hits use a limit up, and how it comes back. Pure: a counter's state, a hit and the time in, the state after out.
//!
//! | algorithm | lets through | counts what it refuses |
//! |---|---|---|
//! | fixed window | the limit in each window; up to twice that around a boundary | yes, as Gloo and envoyproxy/ratelimit do |
//! | sliding window | the limit in each window, the last one fading out as this one goes on | no |
//! | token bucket | at once the burst, then an even rate | no |
//!
//! To add one: a file beside these with its [`Way`], a variant and its line in [`Algorithm::way`], and for
//! Redis a script of the same name in `ratelimit-store`.

mod fixed_window;
mod sliding_window;
mod token_bucket;
mod way;

use std::num::NonZeroU32;

pub use way::{State, Step, Way};

/// How hits use a limit up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Counts start over at every multiple of the window's length.
    #[default]
    FixedWindow,
    /// The count of the window before fades out evenly.
    SlidingWindow,
    /// Tokens come back one by one, up to a burst.
    TokenBucket {
        /// The most that pass at once.
        burst: NonZeroU32,
    },
}

impl Algorithm {
    /// Hands what it does to `with`: the one place that tells algorithms apart.
    pub fn way<T>(self, with: impl FnOnce(&dyn Way) -> T) -> T {
        match self {
            Algorithm::FixedWindow => with(&fixed_window::FixedWindow),
            Algorithm::SlidingWindow => with(&sliding_window::SlidingWindow),
            Algorithm::TokenBucket { burst } => with(&token_bucket::TokenBucket { burst }),
        }
    }

    /// See [`Way::letter`].
    pub fn letter(self) -> char {
        self.way(|way| way.letter())
    }

    /// See [`Way::counts_refused`].
    pub fn counts_refused(self) -> bool {
        self.way(|way| way.counts_refused())
    }

    /// See [`Way::starts_over`].
    pub fn starts_over(self) -> bool {
        self.way(|way| way.starts_over())
    }
}
