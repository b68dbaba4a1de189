//! What is answered while a store fails.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smallvec::SmallVec;

use super::{CounterStore, Memory, StoreError};
use limit::{Algorithm, Moment};
use limit::{Counts, Hit};

/// What is answered while a store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStoreFailure {
    /// An error: Envoy does what its owner told it to do on failure.
    #[default]
    Error,
    /// Nothing is over its limit.
    Allow,
    /// Everything is over its limit.
    Deny,
    /// Hits are counted in this process, each limit divided by so many
    /// replicas and rounded up.
    Local {
        /// How many processes like this one share the limits.
        replicas: NonZeroU32,
    },
}

/// Asks a store, and answers by itself while that fails.
///
/// The store is asked every time, and is expected to fail at once while it is
/// known to be away: so the first good answer is the end of the failure. What
/// was counted here in the meantime is not carried over.
#[derive(Debug, Clone)]
pub struct Resilient<S> {
    store: S,
    on_failure: OnStoreFailure,
    local: Arc<Memory>,
    failing: Arc<AtomicBool>,
}

impl<S: CounterStore> Resilient<S> {
    /// `store`, and `on_failure` while it fails; for [`OnStoreFailure::Local`]
    /// with room for `counters` in this process.
    pub fn new(store: S, on_failure: OnStoreFailure, counters: usize) -> Self {
        Self { store, on_failure, local: Arc::new(Memory::new(counters)), failing: Arc::default() }
    }

    /// Another way to what `self` asks. While that fails the two count together here: one
    /// process has one share.
    pub fn beside(&self, store: S) -> Self {
        Self { store, on_failure: self.on_failure, local: self.local.clone(), failing: Arc::default() }
    }

    /// The store itself.
    pub fn inner(&self) -> &S {
        &self.store
    }

    /// Whether the last request was answered from here.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// The counters of [`OnStoreFailure::Local`], which somebody must sweep.
    pub fn local(&self) -> &Arc<Memory> {
        &self.local
    }

    fn note(&self, failure: Option<&StoreError>) {
        let failing = failure.is_some();
        // Read first: every request comes by here.
        if self.failing.load(Ordering::Relaxed) != failing && self.failing.swap(failing, Ordering::Relaxed) != failing {
            match failure {
                Some(why) => tracing::warn!(%why, on_failure = ?self.on_failure, "the counter store fails"),
                None => tracing::info!("the counter store answers again"),
            }
        }
    }
}

impl<S: CounterStore> CounterStore for Resilient<S> {
    async fn hit(&self, hits: &[Hit<'_>], now: Moment) -> Result<Counts, StoreError> {
        let error = match self.store.hit(hits, now).await {
            Ok(counts) => {
                self.note(None);
                return Ok(counts);
            }
            Err(error) => error,
        };
        self.note(Some(&error));
        match self.on_failure {
            OnStoreFailure::Error => Err(error),
            OnStoreFailure::Allow => Ok(Counts::from_elem(0, hits.len())),
            OnStoreFailure::Deny => Ok(Counts::from_elem(u64::MAX, hits.len())),
            OnStoreFailure::Local { replicas } => {
                let shares: SmallVec<[Hit<'_>; 4]> = hits.iter().map(|hit| share(hit, replicas)).collect();
                let counts = self.local.hit(&shares, now).await?;
                Ok(counts.into_iter().map(|count| for_all(count, replicas)).collect())
            }
        }
    }
}

/// `hit` with the limit that is left to one of `replicas` servers.
fn share<'h>(hit: &Hit<'h>, replicas: NonZeroU32) -> Hit<'h> {
    let mut limit = hit.limit;
    if let Algorithm::TokenBucket { burst } = limit.algorithm() {
        let burst = NonZeroU32::new(burst.get().div_ceil(replicas.get())).unwrap_or(NonZeroU32::MIN);
        limit = limit.by(Algorithm::TokenBucket { burst });
    }
    limit.requests_per_unit = limit.requests_per_unit.div_ceil(replicas.get());
    Hit { limit, ..*hit }
}

/// What `count` hits here stand for when all replicas get as many: more than a
/// limit exactly if `count` is more than the limit divided by the replicas, rounded up.
fn for_all(count: u64, replicas: NonZeroU32) -> u64 {
    match count {
        0 => 0,
        count => (count - 1).saturating_mul(replicas.get().into()).saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::*;
    use limit::{Change, CountPolicy, CounterId, Limit};

    const NOW: Moment = Moment(60_000);

    /// Fails while it is told to.
    #[derive(Clone, Default)]
    struct Shaky(Arc<Mutex<Option<StoreError>>>);

    impl CounterStore for Shaky {
        async fn hit(&self, hits: &[Hit<'_>], _: Moment) -> Result<Counts, StoreError> {
            match &*self.0.lock() {
                Some(error) => Err(error.clone()),
                None => Ok(Counts::from_elem(7, hits.len())),
            }
        }
    }

    fn hit(change: Change) -> Hit<'static> {
        let limit = Limit::new(10, api::gloo::rate_limit_config::Unit::Minute).unwrap();
        let (counter, window) = (CounterId(1), limit.window(NOW.secs()));
        Hit {
            config: "ns.name",
            counter,
            rule: counter,
            limit,
            window,
            change,
            policy: CountPolicy::Always,
            shadow: false,
        }
    }

    #[tokio::test]
    async fn the_chosen_answer_is_given_until_the_store_answers_again() {
        let two = NonZeroU32::new(2).unwrap();
        for (on_failure, expected) in [
            (OnStoreFailure::Error, Err(StoreError::Late)),
            (OnStoreFailure::Allow, Ok(Counts::from_slice(&[0, 0]))),
            (OnStoreFailure::Deny, Ok(Counts::from_slice(&[u64::MAX, u64::MAX]))),
            (OnStoreFailure::Local { replicas: two }, Ok(Counts::from_slice(&[1, 3]))),
        ] {
            let shaky = Shaky::default();
            let store = Resilient::new(shaky.clone(), on_failure, 100);
            let hits = [hit(Change::Add(1)), hit(Change::Add(1))];
            let good = Ok(Counts::from_slice(&[7, 7]));
            assert_eq!(store.hit(&hits, NOW).await, good);
            *shaky.0.lock() = Some(StoreError::Late);
            assert_eq!(store.hit(&hits, NOW).await, expected);
            assert!(store.is_failing());
            *shaky.0.lock() = None;
            assert_eq!(store.hit(&hits, NOW).await, good);
            assert!(!store.is_failing());
        }
    }

    #[test]
    fn of_a_burst_each_replica_has_its_share_too() {
        let burst = |burst: u32| Algorithm::TokenBucket { burst: burst.try_into().unwrap() };
        let whole = hit(Change::Add(1)).limit;
        let of = |limit| share(&Hit { limit, ..hit(Change::Add(1)) }, 4.try_into().unwrap()).limit;
        assert_eq!((of(whole.by(burst(9))).amount(), of(whole.by(burst(1))).amount()), (3, 1));
        assert_eq!(of(whole.by(burst(9))).requests_per_unit, 3);
        assert_eq!((of(whole).amount(), of(whole).algorithm()), (3, whole.algorithm()));
    }

    proptest! {
        #[test]
        fn a_share_is_the_limit_over_the_replicas_rounded_up(limit in 0u64..1000, replicas in 1u32..50, count in 0u64..1100) {
            let share = limit.div_ceil(replicas.into());
            let over = for_all(count, NonZeroU32::new(replicas).unwrap()) > limit;
            prop_assert_eq!(over, count > share, "limit {} replicas {} count {}", limit, replicas, count);
        }
    }
}
