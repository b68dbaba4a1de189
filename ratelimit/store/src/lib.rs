//! Where hits are added up.

pub mod memory;
pub mod redis;
pub mod resilient;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use limit::{CounterId, Counts, Hit, Moment, UnixSecs};

pub use memory::{Memory, WhenFull};
pub use redis::Redis;
pub use resilient::{OnStoreFailure, Resilient};

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
}

/// The store a process was set up with.
#[derive(Debug)]
pub enum Store {
    /// In this process.
    Memory(Arc<Memory>),
    /// In Redis, with an answer of our own while it fails.
    Redis(Box<Resilient<Redis>>),
}

/// A counter as the store itself knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The RateLimitConfig's id.
    pub config: Box<str>,
    /// Which counter.
    pub counter: CounterId,
    /// The start of its window; of none where it is kept over windows.
    pub start: Option<UnixSecs>,
    /// What is counted, where that is a number.
    pub count: Option<u64>,
    /// How long until it says nothing any more.
    pub left: Duration,
    /// Its name in the store.
    pub key: String,
}

impl Store {
    /// `memory` or `redis`.
    pub fn kind(&self) -> &'static str {
        match self {
            Store::Memory(_) => "memory",
            Store::Redis(_) => "redis",
        }
    }

    /// Whether it can be asked now.
    pub fn is_up(&self) -> bool {
        match self {
            Store::Memory(_) => true,
            Store::Redis(redis) => redis.inner().is_up(),
        }
    }

    /// Up to `most` counters in use that others may have counted too, of configs whose ids begin with `config`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn found(&self, config: &str, most: usize) -> Result<Vec<Found>, StoreError> {
        match self {
            // Nobody else counts there.
            Store::Memory(_) => Ok(Vec::new()),
            Store::Redis(redis) => redis.inner().found(config, most).await,
        }
    }

    /// Forgets the counters of `hits`; how many of them were known.
    ///
    /// # Errors
    /// When the store does not answer; some may be forgotten then.
    pub async fn forget(&self, hits: &[Hit<'_>]) -> Result<usize, StoreError> {
        match self {
            Store::Memory(memory) => Ok(hits.iter().filter(|hit| memory.forget(hit.counter)).count()),
            Store::Redis(redis) => {
                // What was counted here while Redis was away is forgotten with it.
                for hit in hits {
                    redis.local().forget(hit.counter);
                }
                redis.inner().forget(hits).await
            }
        }
    }

    /// Forgets counters that were found.
    ///
    /// # Errors
    /// When the store does not answer; some may be forgotten then.
    pub async fn forget_found(&self, found: &[Found]) -> Result<usize, StoreError> {
        match self {
            Store::Memory(_) => Ok(0),
            Store::Redis(redis) => redis.inner().forget_found(found).await,
        }
    }
}

impl<S: CounterStore> CounterStore for Arc<S> {
    fn hit(&self, hits: &[Hit<'_>], now: Moment) -> impl Future<Output = Result<Counts, StoreError>> + Send {
        S::hit(self, hits, now)
    }
}

impl CounterStore for Store {
    async fn hit(&self, hits: &[Hit<'_>], now: Moment) -> Result<Counts, StoreError> {
        match self {
            Store::Memory(memory) => memory.hit(hits, now).await,
            Store::Redis(redis) => redis.hit(hits, now).await,
        }
    }
}
