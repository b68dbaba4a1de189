//! Where hits are added up.

pub mod memory;
pub mod redis;

use std::future::Future;

use smallvec::SmallVec;

use crate::plan::Hit;
use crate::window::UnixSecs;

pub use memory::Memory;
pub use redis::Redis;

/// The counts after a request's hits, one for each, in order.
pub type Counts = SmallVec<[u64; 4]>;

/// Adds hits up, exactly: of all who ever hit a counter no two see the same sum.
pub trait CounterStore: Send + Sync + 'static {
    /// Applies `hits` in order and returns each counter's value after its hit.
    fn hit(&self, hits: &[Hit<'_>], now: UnixSecs) -> impl Future<Output = Result<Counts, StoreError>> + Send;
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
    /// In Redis.
    Redis(Redis),
}

impl CounterStore for Store {
    async fn hit(&self, hits: &[Hit<'_>], now: UnixSecs) -> Result<Counts, StoreError> {
        match self {
            Store::Memory(memory) => memory.hit(hits, now).await,
            Store::Redis(redis) => redis.hit(hits, now).await,
        }
    }
}
