//! Counters in Redis: one round trip a request, shared with whatever else is waiting.
//!
//! Requests leave their hits with a driver, which sends all that have gathered
//! as one script call; see [`batch`]. While there is no working connection
//! requests fail at once, so that a dead Redis costs nobody any time: Envoy
//! then lets pass or not, as its owner told it.

mod batch;
mod driver;
mod scan;
mod url;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::{CountPolicy, CounterStore, Counts, Found, Hit, StoreError};
use crate::algorithm::Algorithm;
use crate::config::rule::CounterId;
use crate::request::Change;
use crate::window::{Limit, Moment};

pub use driver::Driver;
pub use url::RedisUrl;

/// Requests that may wait to be sent; beyond this the store counts as down.
const MOST_WAITING: usize = 8192;
/// Counters outlive their window by so much, for servers whose clocks are behind.
const GRACE: Duration = Duration::from_secs(10);
/// And by up to so much more, so that not all of them end in the same instant.
const SPREAD_MILLIS: u64 = 10_000;

/// How Redis is used.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where it is.
    pub url: RedisUrl,
    /// What all our keys begin with.
    pub prefix: String,
    /// How long a request may wait for its counts.
    pub budget: Duration,
}

impl RedisSettings {
    /// The defaults for the Redis at `url`.
    pub fn new(url: RedisUrl) -> Self {
        Self { url, prefix: "waykeeper:".to_owned(), budget: Duration::from_millis(50) }
    }
}

/// A handle on the counters in Redis.
#[derive(Debug, Clone)]
pub struct Redis {
    jobs: mpsc::Sender<Job>,
    up: Arc<AtomicBool>,
    prefix: Arc<str>,
    budget: Duration,
    scanner: scan::Scanner,
}

/// One request's hits.
#[derive(Debug)]
struct Job {
    ops: Vec<Op>,
    reply: oneshot::Sender<Result<Counts, StoreError>>,
    /// After this nobody waits for the counts, and the hits must not be made.
    until: Instant,
}

/// One change to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Op {
    key: String,
    change: Change,
    /// How long the key lives from its creation.
    ttl: Duration,
    limit: Limit,
    policy: CountPolicy,
    shadow: bool,
}

impl Redis {
    /// A handle, and the driver that must run for it to be of any use.
    ///
    /// # Errors
    /// When the URL is none that can be used.
    pub fn new(settings: RedisSettings) -> anyhow::Result<(Redis, Driver)> {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        let up = Arc::new(AtomicBool::new(false));
        let driver = Driver::new(&settings, receiver, up.clone())?;
        let scanner = scan::Scanner(Arc::new(driver.client()));
        let redis = Redis { jobs: sender, up, prefix: settings.prefix.into(), budget: settings.budget, scanner };
        Ok((redis, driver))
    }

    /// Whether there is a working connection.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Up to `most` counters in use, of configs whose ids begin with `config`, whoever counted them.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn found(&self, config: &str, most: usize) -> Result<Vec<Found>, StoreError> {
        self.scanner.scan(&self.prefix, config, most).await
    }

    /// Forgets the counters of `hits`; how many of them were known.
    ///
    /// # Errors
    /// When Redis does not answer; some may be forgotten then.
    pub async fn forget(&self, hits: &[Hit<'_>]) -> Result<usize, StoreError> {
        self.scanner.forget(&hits.iter().map(|hit| self.key(hit)).collect::<Vec<_>>()).await
    }

    /// The same for counters found.
    ///
    /// # Errors
    /// When Redis does not answer; some may be forgotten then.
    pub async fn forget_found(&self, found: &[Found]) -> Result<usize, StoreError> {
        self.scanner.forget(&found.iter().map(|one| one.key.clone()).collect::<Vec<_>>()).await
    }

    fn key(&self, hit: &Hit<'_>) -> String {
        // The config is there for people; the digest alone tells counters apart.
        let mut key = format!("{}{}:{:032x}", self.prefix, hit.config, hit.counter.0);
        if hit.limit.algorithm() == Algorithm::FixedWindow {
            key.push_str(&format!(":{}", hit.window.start.0));
        }
        key
    }

    fn op(&self, hit: &Hit<'_>, now: Moment) -> Op {
        let matters = match hit.limit.algorithm() {
            Algorithm::FixedWindow => hit.window.left(now.secs()),
            Algorithm::SlidingWindow => 2 * hit.limit.length(),
            Algorithm::TokenBucket { burst } => hit.limit.refill(burst.get().into()),
        };
        Op {
            key: self.key(hit),
            change: hit.change,
            ttl: matters + GRACE + spread(hit.counter),
            limit: hit.limit,
            policy: hit.policy,
            shadow: hit.shadow,
        }
    }
}

/// By how much a counter outlives its window, beside [`GRACE`].
fn spread(counter: CounterId) -> Duration {
    Duration::from_millis(counter.0 as u64 % SPREAD_MILLIS)
}

impl CounterStore for Redis {
    async fn hit(&self, hits: &[Hit<'_>], now: Moment) -> Result<Counts, StoreError> {
        if hits.is_empty() {
            return Ok(Counts::new());
        }
        if !self.is_up() {
            return Err(StoreError::Down);
        }
        let (reply, answer) = oneshot::channel();
        let until = Instant::now() + self.budget;
        let job = Job { ops: hits.iter().map(|hit| self.op(hit, now)).collect(), reply, until };
        self.jobs.try_send(job).map_err(|_| StoreError::Down)?;
        match tokio::time::timeout_at(until.into(), answer).await {
            Ok(Ok(counts)) => counts,
            Ok(Err(_)) => Err(StoreError::Down),
            Err(_) => Err(StoreError::Late),
        }
    }
}
