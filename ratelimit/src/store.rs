//! Where hits are added up.

pub mod memory;
pub mod redis;
pub mod resilient;

use std::future::Future;

use smallvec::SmallVec;

use crate::config::rule::CounterId;
use crate::request::Change;
use crate::window::{Limit, Moment, Window};

pub use memory::Memory;
pub use redis::Redis;
pub use resilient::{OnStoreFailure, Resilient};

/// A change to one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hit<'a> {
    /// The RateLimitConfig's id, for people who read the store.
    pub config: &'a str,
    /// Which counter.
    pub counter: CounterId,
    /// What it counts towards.
    pub limit: Limit,
    /// Its window.
    pub window: Window,
    /// What happens to it.
    pub change: Change,
    /// When it happens.
    pub policy: CountPolicy,
    /// Its limit is only tried out: over it or not, it keeps no other hit from counting.
    pub shadow: bool,
}

/// When a hit is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CountPolicy {
    /// Whatever becomes of the request. (What a limit itself refuses is counted by fixed windows only.)
    #[default]
    Always,
    /// Only if no hit of the request is over its limit: all those of a request that say so, or none.
    WhenAllowed,
}

/// The counts after a request's hits, one for each, in order: how much of each limit's
/// [`Limit::amount`] is used, or would be if the hit had been counted; more than that is over.
pub type Counts = SmallVec<[u64; 4]>;

/// Adds hits up, exactly: of all who ever hit a counter no two see the same sum.
pub trait CounterStore: Send + Sync + 'static {
    /// Applies `hits` in order and returns each counter's value after its hit.
    fn hit(&self, hits: &[Hit<'_>], now: Moment) -> impl Future<Output = Result<Counts, StoreError>> + Send;
}

/// Why hits could not be counted. Envoy then does what its owner told it to do on failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no working connection; nothing was tried.
    #[error("the counter store is not reachable")]
    Down,
    /// No answer within the time we have. The hits may or may not have been counted.
    #[error("the counter store did not answer in time")]
    Late,
    /// The store answered with an error.
    #[error("the counter store refused: {0}")]
    Refused(String),
    /// No room for more counters.
    #[error("the counter store is full")]
    Full,
}

/// The store a process was set up with.
#[derive(Debug)]
pub enum Store {
    /// In this process.
    Memory(std::sync::Arc<Memory>),
    /// In Redis, with an answer of our own while it fails.
    Redis(Resilient<Redis>),
}

impl CounterStore for Store {
    async fn hit(&self, hits: &[Hit<'_>], now: Moment) -> Result<Counts, StoreError> {
        match self {
            Store::Memory(memory) => memory.hit(hits, now).await,
            Store::Redis(redis) => redis.hit(hits, now).await,
        }
    }
}
