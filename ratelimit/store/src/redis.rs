//! Counters in Redis: one round trip a request, shared with whatever else is waiting.
//!
//! Requests leave their hits with a [`node`], which sends all that have gathered
//! as one script call; see [`batch`]. One server and a Sentinel's master have one
//! node, a Cluster has one for each master ([`cluster`]). What counters are called there,
//! and which of them share a key, is [`naming`]'s; what a call does, that of the scripts in `lua`. While there is no
//! working connection requests fail at once, so that a dead Redis costs nobody
//! any time: Envoy then lets pass or not, as its owner told it.

mod access;
mod args;
mod asking;
mod batch;
mod cluster;
mod connect;
mod driver;
mod gate;
mod naming;
mod node;
mod parts;
mod scan;
mod sentinel;
mod slots;
mod url;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};

use super::{CounterStore, Found, OnStoreFailure, StoreError};
use limit::{Change, CounterId, Limit, Moment, Window};
use limit::{CountPolicy, Counts, Hit};

use cluster::{Map, Router};
use driver::Task;
use gate::Gate;
use naming::Naming;
use node::{Node, Source};
use scan::{Masters, Scanner};
use url::Topology;

pub use access::{Login, Place, Tls};
pub use args::{Answer, RedisArgs, Tag};
pub use driver::Driver;
pub use parts::RedisParts;
pub use url::RedisUrl;

/// Counters outlive their window by so much, for servers whose clocks are behind.
const GRACE: Duration = Duration::from_secs(10);
/// And by up to so much more unless told otherwise, so that not all of them end in the same instant.
const SPREAD: Duration = Duration::from_secs(10);

/// How Redis is used.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where it is.
    pub url: RedisUrl,
    /// What all our keys begin with.
    pub prefix: String,
    /// How long a request may wait for its counts.
    pub budget: Duration,
    /// What is kept together in a Cluster.
    pub together: Together,
    /// What is answered while it fails. (Not by a [`Redis`], but by [`super::Resilient`] around it.)
    pub on_failure: OnStoreFailure,
    /// By how much at most the ends of keys are spread.
    pub spread: Duration,
    /// Another Redis for counters whose window is a second or less.
    pub per_second: Option<Box<RedisSettings>>,
}

/// What is in one slot of a Cluster, and so decided in one atomic step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Together {
    /// One counter. The counters of a busy RateLimitConfig are spread over all nodes.
    #[default]
    Counter,
    /// All counters of a RateLimitConfig, on one node.
    Config,
}

impl RedisSettings {
    /// The defaults for the Redis at `url`.
    pub fn new(url: RedisUrl) -> Self {
        let budget = Duration::from_millis(50);
        Self {
            url,
            prefix: "waykeeper:".to_owned(),
            budget,
            together: Together::default(),
            on_failure: OnStoreFailure::default(),
            spread: SPREAD,
            per_second: None,
        }
    }
}

/// A handle on the counters in Redis.
#[derive(Debug, Clone)]
pub struct Redis {
    /// For all counters, or for those of more than a second.
    pool: Pool,
    per_second: Option<Pool>,
}

/// The counters of one [`RedisSettings`].
#[derive(Debug, Clone)]
struct Pool {
    route: Route,
    naming: Naming,
    budget: Duration,
    scanner: Scanner,
}

#[derive(Debug, Clone)]
enum Route {
    One(Lane),
    Cluster(Arc<ArcSwap<Map>>),
}

/// The way to one Redis process.
#[derive(Debug, Clone)]
struct Lane {
    letters: mpsc::Sender<Letter>,
    gate: Arc<Gate>,
}

/// One request's hits in one slot.
#[derive(Debug)]
struct Job {
    ops: Vec<Op>,
    reply: oneshot::Sender<Result<Counts, StoreError>>,
    /// After this nobody waits for the counts, and the hits must not be made.
    until: Instant,
}

/// A job on its way.
#[derive(Debug)]
struct Letter {
    job: Job,
    /// The slot of its keys; 0 where there are none.
    slot: u16,
    way: Way,
}

/// How a job may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In one call with others of its slot.
    Together,
    /// In a call of its own: the slot is on the move.
    Alone,
    /// In a call of its own, to the node the slot moves to.
    Asking,
}

/// One change to one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Op {
    /// Of a fixed window its page, otherwise the counter's own.
    key: String,
    counter: CounterId,
    window: Window,
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
    /// When a TLS file cannot be used.
    pub fn new(settings: RedisSettings) -> anyhow::Result<(Redis, Driver)> {
        let (pool, task) = Pool::new(&settings)?;
        let mut tasks = vec![task];
        let per_second = match &settings.per_second {
            Some(settings) => {
                let (pool, task) = Pool::new(settings)?;
                tasks.push(task);
                Some(pool)
            }
            None => None,
        };
        Ok((Redis { pool, per_second }, Driver(tasks)))
    }

    /// Whether there are working connections to everything.
    pub fn is_up(&self) -> bool {
        self.pool.is_up() && self.per_second.as_ref().is_none_or(Pool::is_up)
    }

    /// Up to `most` counters in use, of configs whose ids begin with `config`, whoever counted them.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn found(&self, config: &str, most: usize) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        for pool in self.pools() {
            found.extend(pool.found(config, most.saturating_sub(found.len())).await?);
        }
        Ok(found)
    }

    /// Forgets the counters of `hits`; how many of them were known.
    ///
    /// # Errors
    /// When Redis does not answer; some may be forgotten then.
    pub async fn forget(&self, hits: &[Hit<'_>]) -> Result<usize, StoreError> {
        let mut known = 0;
        for hit in hits {
            let (_, pool) = self.pool(hit);
            let key = pool.naming.key(hit);
            let in_page = hit.limit.algorithm().starts_over();
            known += pool.scanner.forget(&[(&key, in_page.then_some(hit.counter))]).await?;
        }
        Ok(known)
    }

    /// Forgets counters that [`Self::found`] has found.
    ///
    /// # Errors
    /// When Redis does not answer; some may be forgotten then.
    pub async fn forget_found(&self, found: &[Found]) -> Result<usize, StoreError> {
        let keys: Vec<_> = found.iter().map(|one| (&*one.key, one.start.map(|_| one.counter))).collect();
        let mut known = 0;
        for pool in self.pools() {
            known += pool.scanner.forget(&keys).await?;
        }
        Ok(known)
    }

    fn pools(&self) -> impl Iterator<Item = &Pool> {
        std::iter::once(&self.pool).chain(&self.per_second)
    }

    fn pool(&self, hit: &Hit<'_>) -> (bool, &Pool) {
        match &self.per_second {
            Some(pool) if hit.window.length.get() <= 1 => (true, pool),
            _ => (false, &self.pool),
        }
    }
}

impl Pool {
    fn new(settings: &RedisSettings) -> anyhow::Result<(Pool, Task)> {
        let RedisUrl { topology, access, .. } = &settings.url;
        let (budget, at) = (settings.budget, settings.url.to_string());
        // Mistakes in files come to light now, not with the first connection.
        let access = access.opened()?;
        let (route, task, masters) = match topology {
            Topology::Single(place) => {
                let (node, lane) = Node::new(Source::Fixed(access.clone(), place.clone()), budget, at, None);
                (Route::One(lane), Task::Node(Box::new(node)), Masters::One(place.clone()))
            }
            Topology::Sentinel { master, sentinels } => {
                let sentinels = sentinel::Sentinels {
                    master: master.clone(),
                    places: sentinels.clone(),
                    ask_as: settings.url.sentinel_access(&access),
                    access: access.clone(),
                };
                let named = Masters::Named(Arc::new(sentinels.clone()));
                let (node, lane) =
                    Node::new(Source::Sentinel(Box::new(sentinel::Watch::new(sentinels))), budget, at, None);
                (Route::One(lane), Task::Node(Box::new(node)), named)
            }
            Topology::Cluster(seeds) => {
                let (router, map) = Router::new(seeds.clone(), access.clone(), budget);
                (Route::Cluster(map.clone()), Task::Cluster(Box::new(router)), Masters::Cluster(map))
            }
        };
        let prefix = settings.prefix.as_str().into();
        let naming = Naming { prefix, together: settings.together, spread: settings.spread };
        let scanner = Scanner { access, masters, naming: naming.clone() };
        Ok((Pool { route, naming, budget, scanner }, task))
    }

    fn is_up(&self) -> bool {
        match &self.route {
            Route::One(lane) => lane.gate.is_up(),
            Route::Cluster(map) => map.load().is_up(),
        }
    }

    async fn found(&self, config: &str, most: usize) -> Result<Vec<Found>, StoreError> {
        self.scanner.scan(config, most).await
    }

    fn op(&self, hit: &Hit<'_>, now: Moment) -> Op {
        let matters = hit.limit.matters(hit.window, now.secs());
        Op {
            key: self.naming.key(hit),
            counter: hit.counter,
            window: hit.window,
            change: hit.change,
            ttl: matters + self.naming.beyond(hit),
            limit: hit.limit,
            policy: hit.policy,
            shadow: hit.shadow,
        }
    }

    fn slot(&self, op: &Op) -> u16 {
        match self.route {
            Route::One(_) => 0,
            Route::Cluster(_) => slots::slot(&op.key),
        }
    }

    /// Leaves `ops` with whoever has `slot`.
    fn leave(&self, slot: u16, ops: Vec<Op>) -> Result<Reply, StoreError> {
        let (reply, answer) = oneshot::channel();
        let until = Instant::now() + self.budget;
        let letter = Letter { job: Job { ops, reply, until }, slot, way: Way::Together };
        let map;
        let lane = match &self.route {
            Route::One(lane) => lane,
            Route::Cluster(shared) => {
                map = shared.load();
                map.lane(slot).ok_or(StoreError::Down)?
            }
        };
        if !lane.gate.enter() {
            return Err(StoreError::Down);
        }
        lane.try_send(letter).map_err(|_| StoreError::Down)?;
        Ok(Reply { answer, until })
    }
}

impl Lane {
    /// Gives the letter back when there is no room.
    fn try_send(&self, letter: Letter) -> Result<(), Letter> {
        self.letters.try_send(letter).map_err(mpsc::error::TrySendError::into_inner)
    }
}

/// Counts to come.
struct Reply {
    answer: oneshot::Receiver<Result<Counts, StoreError>>,
    until: Instant,
}

impl Reply {
    async fn counts(self) -> Result<Counts, StoreError> {
        match tokio::time::timeout_at(self.until.into(), self.answer).await {
            Ok(Ok(counts)) => counts,
            // It was under way when its connection was given up.
            Ok(Err(_)) | Err(_) => Err(StoreError::Late),
        }
    }
}

/// The hits that are decided in one step, and their places in the request.
struct Part<'r> {
    pool: &'r Pool,
    is_per_second: bool,
    slot: u16,
    ops: Vec<Op>,
    places: SmallVec<[usize; 4]>,
}

impl CounterStore for Redis {
    /// One atomic step for each slot of a Cluster and each pool. When a part
    /// fails the request fails; what other parts counted stays counted.
    async fn hit(&self, hits: &[Hit<'_>], now: Moment) -> Result<Counts, StoreError> {
        let mut parts: SmallVec<[Part<'_>; 1]> = SmallVec::new();
        for (n, hit) in hits.iter().enumerate() {
            let (is_per_second, pool) = self.pool(hit);
            let op = pool.op(hit, now);
            let slot = pool.slot(&op);
            match parts.iter_mut().find(|part| part.slot == slot && part.is_per_second == is_per_second) {
                Some(part) => {
                    part.ops.push(op);
                    part.places.push(n);
                }
                None => {
                    let mut ops = Vec::with_capacity(hits.len() - n);
                    ops.push(op);
                    parts.push(Part { pool, is_per_second, slot, ops, places: SmallVec::from_slice(&[n]) });
                }
            }
        }
        if let [part] = parts.as_mut_slice() {
            return part.pool.leave(part.slot, std::mem::take(&mut part.ops))?.counts().await;
        }
        let mut replies = SmallVec::<[(SmallVec<[usize; 4]>, Reply); 4]>::new();
        // When one cannot be left, those left before it go back on the way, if they were not sent yet.
        for part in parts {
            replies.push((part.places, part.pool.leave(part.slot, part.ops)?));
        }
        let mut counts = Counts::from_elem(0, hits.len());
        for (places, part) in join_all(replies.into_iter().map(|(p, reply)| async { (p, reply.counts().await) })).await
        {
            for (place, count) in places.into_iter().zip(part?) {
                if let Some(slot) = counts.get_mut(place) {
                    *slot = count;
                }
            }
        }
        Ok(counts)
    }
}
