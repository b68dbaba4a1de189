//! Parts of limits in the only words Envoy has for them: token buckets.
//!
//! Seen in Envoy 1.40: a bucket's rate is taken from whole seconds (less than one
//! would be a rate without end). Of two buckets with as many tokens only the
//! nanoseconds tell whether they are the same, and the same one stays as it is. One
//! that takes another's place is as full as that was; after a blanket rule it is full.
//! So intervals are whole seconds, their nanoseconds say which bucket is meant, and
//! what is to be full comes behind a rule that denies all, in one message.

use std::time::Duration;

use super::Strategy;
use limit::{Algorithm, Limit, Window};

/// The slowest that Envoy lets tokens come back: one in so many seconds.
const NEVER: u64 = 365 * 86_400;
/// Windows that are told apart, and how often one bucket may change within each.
const WINDOWS: u64 = 1_000_000_000 / (2 * TIMES);
const TIMES: u64 = 32;

/// So many in this window, and no more until the next one begins.
pub fn once(requests: u64, window: Window, times: u32) -> Strategy {
    if requests == 0 {
        return Strategy::DenyAll;
    }
    let number = window.start.0 / u64::from(window.length.get()) % WINDOWS;
    // Odd, where those of `evenly` are even.
    let which = (number * TIMES + u64::from(times) % TIMES) * 2 + 1;
    Strategy::Tokens { most: number_of(requests), tokens: 1, every: seconds(NEVER, which) }
}

/// At a rate, and so many at once, that no part is used up before its window ends, whenever that begins.
pub fn evenly(parts: &[(u64, Limit)]) -> Strategy {
    let at_once = |(part, limit): &(u64, Limit)| match limit.algorithm() {
        Algorithm::TokenBucket { burst } => u64::from(burst.get()) * part / u64::from(limit.requests_per_unit.max(1)),
        _ => part.div_ceil(2),
    };
    let Some(most) = parts.iter().map(at_once).min() else { return Strategy::AllowAll };
    // A bucket that holds `most` lets `most + tokens - 1` pass before a window's end.
    let tokens = |(part, limit): &(u64, Limit)| match limit.algorithm() {
        Algorithm::TokenBucket { .. } => *part,
        _ => (part + 1).saturating_sub(most),
    };
    let rates = parts.iter().map(|one| (tokens(one), one.1.length().as_secs().max(1)));
    let slowest = rates.min_by_key(|(tokens, length)| u128::from(*tokens) * (1 << 64) / u128::from(*length));
    match slowest {
        Some((tokens, length)) if most > 0 && tokens > 0 => {
            Strategy::Tokens { most: number_of(most), tokens: number_of(tokens), every: seconds(length, length * 2) }
        }
        _ => Strategy::DenyAll,
    }
}

fn seconds(seconds: u64, which: u64) -> Duration {
    Duration::new(seconds, (which % 1_000_000_000) as u32)
}

fn number_of(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
