//! Quotas for Envoys that limit by themselves (RLQS): each limit is divided among those who ask. Pure.
//!
//! An Envoy describes requests by a bucket, a map of texts. Its entry `config`
//! names the RateLimitConfig, the others are a set, so the rules of the set
//! style govern. A limit is divided evenly among the buckets of all streams that
//! it governs. Who comes later waits for what the others have left, which is known
//! when they report next: [`Ledger`]. [`tokens`] puts a part into words Envoy knows.

mod ledger;
mod rules;
pub mod service;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use ledger::Ledger;

/// How long an assignment holds; it is renewed after half of that.
pub(crate) const TIME_TO_LIVE: u64 = 60;
/// A bucket nobody used for so many seconds is abandoned.
pub const IDLE: u64 = 600;

/// A stream, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

/// What an Envoy calls some of its requests.
pub type Bucket = BTreeMap<String, String>;

/// What an Envoy says of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// How many requests passed since it last said so.
    pub allowed: u64,
    /// How many did not.
    pub denied: u64,
    /// It has never spoken of the bucket before, or not since it was told to abandon it.
    pub new: bool,
}

/// What to tell a stream about one of its buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The stream to tell.
    pub stream: StreamId,
    /// The bucket it is about.
    pub bucket: Arc<Bucket>,
    /// What to do with the bucket.
    pub action: Action,
    /// Whether all its tokens are there, whatever was left in the bucket that it had.
    pub fill: bool,
}

/// What becomes of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is limited so, for [`TIME_TO_LIVE`].
    Assign(Strategy),
    /// It is forgotten.
    Abandon,
}

/// How a bucket is limited. Envoy 1.40 has no other: of requests per unit of time it says in its log that it does
/// not know them, and goes on as if nothing were assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Not at all: no rule governs it.
    AllowAll,
    /// None passes.
    DenyAll,
    /// Tokens come back by and by.
    Tokens {
        /// The most at once.
        most: u32,
        /// How many come back
        tokens: u32,
        /// each time so much has passed.
        every: Duration,
    },
}
