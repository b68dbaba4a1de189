//! Quotas for Envoys that limit by themselves (RLQS): each limit is divided among those who ask. Pure.
//!
//! An Envoy describes requests by a bucket, a map of texts. Its entry `config`
//! names the RateLimitConfig, the others are a set, so the rules of the set
//! style govern. A limit is divided evenly among the buckets of all streams that
//! it governs, and divided anew when one comes or goes: what was last handed
//! out never sums to more than the limit. Where several limits govern a bucket
//! it gets a rate that keeps them all.

pub mod service;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::gloo::rate_limit_config::{SET_DESCRIPTOR_MARKER, Unit};
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;

use crate::algorithm::Algorithm;
use crate::config::index::Index;
use crate::config::rule::CounterId;
use crate::plan::{Outcome, plan};
use crate::request::Request;
use crate::window::{Limit, UnixSecs};

/// How long an assignment holds; it is renewed after half of that.
pub const TIME_TO_LIVE: u64 = 60;
/// A bucket nobody reported for so many seconds is abandoned.
pub const IDLE: u64 = 600;
/// Buckets of one stream that are governed; more get no assignment.
const MOST_OF_A_STREAM: usize = 10_000;
/// Of all streams.
const MOST_BUCKETS: usize = 100_000;
/// Buckets that share one limit; more get no assignment.
const MOST_SHARERS: usize = 1_000;
/// Tokens come back at most so often.
const SHORTEST_FILL: Duration = Duration::from_millis(50);

/// A stream, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

/// What an Envoy calls some of its requests.
pub type Bucket = BTreeMap<String, String>;

/// What to tell a stream about one of its buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Whom.
    pub stream: StreamId,
    /// About which.
    pub bucket: Arc<Bucket>,
    /// What.
    pub action: Action,
}

/// What becomes of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is limited so, for [`TIME_TO_LIVE`].
    Assign(Strategy),
    /// It is forgotten.
    Abandon,
}

/// How a bucket is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Not at all: no rule governs it.
    AllowAll,
    /// So many in each unit; 0 lets none pass.
    PerUnit(u32, Unit),
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

type Holder = (StreamId, Arc<Bucket>);

/// Who was given what.
#[derive(Debug, Default)]
pub struct Ledger {
    last_stream: u64,
    /// For each limit, the buckets it governs.
    pools: HashMap<CounterId, BTreeSet<Holder>>,
    held: BTreeMap<Holder, Held>,
}

#[derive(Debug)]
struct Held {
    domain: Arc<str>,
    /// The limits that govern it, and the counters they are divided by.
    limits: Vec<(CounterId, Limit)>,
    given: Option<Strategy>,
    until: UnixSecs,
    reported: UnixSecs,
}

/// What governs a bucket; none where nothing may be said of it.
fn governing(index: &Index, domain: &str, bucket: &Bucket, now: UnixSecs) -> Option<Vec<(CounterId, Limit)>> {
    let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
    let mut entries = vec![entry("generic_key", bucket.get("config")?), entry("generic_key", SET_DESCRIPTOR_MARKER)];
    let own = bucket.iter().filter(|(key, _)| *key != "config");
    entries.extend(own.map(|(key, value)| entry(key, value)));
    let descriptors = vec![RateLimitDescriptor { entries, ..Default::default() }];
    let message = RateLimitRequest { domain: domain.to_owned(), descriptors, hits_addend: 1 };
    let request = Request::read(&message).ok()?;
    // Unknown or unusable: what happens then is its owner's to choose, as `no_assignment_behavior`.
    index.config(bucket.get("config")?)?;
    let plan = plan(index, &request, now);
    plan.domain?;
    if plan.outcomes.first() == Some(&Outcome::Broken) {
        return None;
    }
    let enforced = plan.counted.iter().filter(|counted| !counted.rule.shadow);
    Some(enforced.map(|counted| (counted.counter, counted.limit)).collect())
}

impl Ledger {
    /// A stream begins.
    pub fn open(&mut self) -> StreamId {
        self.last_stream += 1;
        StreamId(self.last_stream)
    }

    /// `stream` uses `bucket`: what to tell whom.
    pub fn report(
        &mut self,
        index: &Index,
        stream: StreamId,
        domain: &Arc<str>,
        bucket: Bucket,
        now: UnixSecs,
    ) -> Vec<Order> {
        let holder = (stream, Arc::new(bucket));
        let full = || {
            let of_stream = self.held.range((stream, Arc::default())..).take_while(|((of, _), _)| *of == stream);
            self.held.len() >= MOST_BUCKETS || of_stream.count() >= MOST_OF_A_STREAM
        };
        if !self.held.contains_key(&holder) && full() {
            return Vec::new();
        }
        let Some(limits) = governing(index, domain, &holder.1, now) else {
            return self.forget(&holder, now);
        };
        let crowded = |(counter, _): &(CounterId, Limit)| {
            self.pools.get(counter).is_some_and(|pool| pool.len() >= MOST_SHARERS && !pool.contains(&holder))
        };
        if limits.iter().any(crowded) {
            return self.forget(&holder, now);
        }
        self.take(holder, domain.clone(), limits, now, Some(now))
    }

    /// Time passes: renews what is about to end, divides anew what is free, abandons what nobody uses.
    pub fn tick(&mut self, index: &Index, now: UnixSecs) -> Vec<Order> {
        let mut orders = Vec::new();
        let half = |held: &Held| held.until.0 <= now.0.saturating_add(TIME_TO_LIVE / 2);
        let due: Vec<Holder> =
            self.held.iter().filter(|(_, held)| half(held)).map(|(holder, _)| holder.clone()).collect();
        for holder in due {
            let Some(held) = self.held.get(&holder) else { continue };
            let idle = now.0.saturating_sub(held.reported.0) >= IDLE;
            if idle {
                orders.extend(self.forget(&holder, now));
                orders.push(Order { stream: holder.0, bucket: holder.1, action: Action::Abandon });
            } else {
                let domain = held.domain.clone();
                match governing(index, &domain, &holder.1, now) {
                    Some(limits) => orders.extend(self.take(holder, domain, limits, now, None)),
                    None => {
                        orders.extend(self.forget(&holder, now));
                        orders.push(Order { stream: holder.0, bucket: holder.1, action: Action::Abandon });
                    }
                }
            }
        }
        orders
    }

    /// `stream` ended: what it had is divided among the others. Its Envoy is gone, or comes back and
    /// reports again; one that is only cut off may use what it was given until that runs out.
    pub fn close(&mut self, stream: StreamId, now: UnixSecs) -> Vec<Order> {
        let of_stream = self.held.range((stream, Arc::default())..).take_while(|((of, _), _)| *of == stream);
        let holders: Vec<Holder> = of_stream.map(|(holder, _)| holder.clone()).collect();
        let orders: Vec<Order> = holders.iter().flat_map(|holder| self.forget(holder, now)).collect();
        orders.into_iter().filter(|order| order.stream != stream).collect()
    }

    /// What has been given, in requests in each unit, to those who hold `bucket`.
    pub fn shares_of(&self, bucket: &Bucket) -> Vec<u32> {
        let given = self.held.iter().filter(|((_, held), _)| **held == *bucket).map(|(_, held)| held.given);
        given
            .map(|given| match given {
                Some(Strategy::PerUnit(requests, _)) => requests,
                Some(Strategy::Tokens { most, .. }) => most,
                Some(Strategy::AllowAll) => u32::MAX,
                None => 0,
            })
            .collect()
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn take(
        &mut self,
        holder: Holder,
        domain: Arc<str>,
        limits: Vec<(CounterId, Limit)>,
        now: UnixSecs,
        reported: Option<UnixSecs>,
    ) -> Vec<Order> {
        let before = self.held.remove(&holder);
        let (given, was_reported) = before.as_ref().map_or((None, now), |held| (held.given, held.reported));
        let mut touched: BTreeSet<CounterId> = BTreeSet::new();
        for (counter, _) in before.iter().flat_map(|held| &held.limits) {
            if !limits.iter().any(|(other, _)| other == counter) {
                self.leave(*counter, &holder);
                touched.insert(*counter);
            }
        }
        for (counter, _) in &limits {
            if self.pools.entry(*counter).or_default().insert(holder.clone()) {
                touched.insert(*counter);
            }
        }
        // A limit that changed holds for all who share it.
        for (counter, limit) in &limits {
            for other in self.pools.get(counter).into_iter().flatten() {
                for (_, old) in self
                    .held
                    .get_mut(other)
                    .iter_mut()
                    .flat_map(|held| &mut held.limits)
                    .filter(|(id, _)| id == counter)
                {
                    if old != limit {
                        *old = *limit;
                        touched.insert(*counter);
                    }
                }
            }
        }
        let reported = reported.unwrap_or(was_reported);
        let held = Held { domain, limits, given, until: UnixSecs(now.0 + TIME_TO_LIVE), reported };
        self.held.insert(holder.clone(), held);
        let mut orders = self.divide(&touched, &holder, now);
        // Whoever asks is answered, and whoever's time runs out is renewed, changed or not.
        orders.extend(self.give(&holder, now, true));
        orders
    }

    fn forget(&mut self, holder: &Holder, now: UnixSecs) -> Vec<Order> {
        let Some(held) = self.held.remove(holder) else { return Vec::new() };
        let touched = held.limits.iter().map(|(counter, _)| *counter).collect();
        held.limits.iter().for_each(|(counter, _)| self.leave(*counter, holder));
        self.divide(&touched, holder, now)
    }

    fn leave(&mut self, counter: CounterId, holder: &Holder) {
        if let Some(pool) = self.pools.get_mut(&counter) {
            pool.remove(holder);
            if pool.is_empty() {
                self.pools.remove(&counter);
            }
        }
    }

    /// Tells all but `holder` whose part of the `touched` limits has changed.
    fn divide(&mut self, touched: &BTreeSet<CounterId>, holder: &Holder, now: UnixSecs) -> Vec<Order> {
        let pools = touched.iter().filter_map(|counter| self.pools.get(counter));
        let others: BTreeSet<Holder> = pools.flatten().filter(|other| *other != holder).cloned().collect();
        others.iter().filter_map(|other| self.give(other, now, false)).collect()
    }

    fn give(&mut self, holder: &Holder, now: UnixSecs, anyway: bool) -> Option<Order> {
        let strategy = self.strategy(holder)?;
        let held = self.held.get_mut(holder)?;
        if held.given == Some(strategy) && !anyway {
            return None;
        }
        held.given = Some(strategy);
        held.until = UnixSecs(now.0.saturating_add(TIME_TO_LIVE));
        Some(Order { stream: holder.0, bucket: holder.1.clone(), action: Action::Assign(strategy) })
    }

    /// An even part; what is left over goes to the first ones.
    fn share(&self, holder: &Holder, counter: CounterId) -> u64 {
        let (Some(pool), Some(held)) = (self.pools.get(&counter), self.held.get(holder)) else { return 0 };
        let limit = held.limits.iter().find(|(id, _)| *id == counter).map_or(0, |(_, limit)| limit.requests_per_unit);
        part(limit.into(), pool, holder)
    }

    fn strategy(&self, holder: &Holder) -> Option<Strategy> {
        let held = self.held.get(holder)?;
        let shares: Vec<Share> = (held.limits.iter())
            .filter_map(|(counter, limit)| {
                let pool = self.pools.get(counter)?;
                let burst = match limit.algorithm() {
                    Algorithm::TokenBucket { burst } => Some(part(burst.get().into(), pool, holder)),
                    _ => None,
                };
                Some(Share { requests: self.share(holder, *counter), burst, limit: *limit })
            })
            .collect();
        Some(keep_all(&shares))
    }
}

fn part(limit: u64, pool: &BTreeSet<Holder>, holder: &Holder) -> u64 {
    let all = pool.len().max(1) as u64;
    let before = pool.range(..holder.clone()).count() as u64;
    limit / all + u64::from(before < limit % all)
}

/// A part of a limit.
struct Share {
    requests: u64,
    burst: Option<u64>,
    limit: Limit,
}

/// A strategy that keeps all limits: a single one's own, else the slowest rate with the smallest burst.
fn keep_all(shares: &[Share]) -> Strategy {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let Some(slowest) = shares.iter().min_by(|one, other| {
        let rate = |share: &Share| share.requests as f64 / share.limit.length().as_secs_f64();
        rate(one).total_cmp(&rate(other))
    }) else {
        return Strategy::AllowAll;
    };
    let unit = slowest.limit.unit();
    let most = shares.iter().map(|share| share.burst.unwrap_or(share.requests)).min().unwrap_or(0);
    if slowest.requests == 0 || most == 0 {
        return Strategy::PerUnit(0, if unit == Unit::Week { Unit::Day } else { unit });
    }
    match shares {
        // Envoy has no word for weeks, nor for several units.
        [Share { requests, burst: None, limit }] if limit.units() == 1 && unit != Unit::Week => {
            Strategy::PerUnit(number(*requests), unit)
        }
        [Share { requests, burst: None, limit }] => {
            Strategy::Tokens { most: number(*requests), tokens: number(*requests), every: limit.length() }
        }
        _ => {
            let one = slowest.limit.length().div_f64(slowest.requests as f64);
            let at_once = (SHORTEST_FILL.as_secs_f64() / one.as_secs_f64()).ceil().max(1.0) as u64;
            let tokens = at_once.min(most);
            Strategy::Tokens { most: number(most), tokens: number(tokens), every: one.mul_f64(at_once as f64) }
        }
    }
}
