//! Who was given what of which limit, and what to tell whom when somebody reports or time passes. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use super::rules::governing;
use super::{Action, Bucket, IDLE, Order, Strategy, StreamId, TIME_TO_LIVE, Usage, tokens};
use limit::{Algorithm, CounterId, Limit, UnixSecs};
use rules::config::index::Index;

/// Buckets of one stream that are governed; more get no assignment.
const MOST_OF_A_STREAM: usize = 10_000;
/// Of all streams.
const MOST_BUCKETS: usize = 100_000;
/// Buckets that share one limit; more get no assignment.
const MOST_SHARERS: usize = 1_000;
/// Limits of which is known what was used of them, by whoever.
const MOST_POOLS: usize = 4 * MOST_BUCKETS;

type Holder = (StreamId, Arc<Bucket>);

/// Who was given what.
#[derive(Debug, Default)]
pub struct Ledger {
    last_stream: u64,
    /// Among how many servers each limit is divided first; none, it is all ours.
    replicas: Option<NonZeroU32>,
    /// What was given in windows that began before is not known.
    since: Option<UnixSecs>,
    pools: HashMap<CounterId, Pool>,
    held: BTreeMap<Holder, Held>,
}

/// A limit that is divided.
#[derive(Debug)]
struct Pool {
    limit: Limit,
    /// How much of it is ours to divide, in requests in a window.
    ours: u64,
    holders: BTreeSet<Holder>,
    /// In the window that begins then
    window: UnixSecs,
    /// so many were used by those who left, or given to those who hold a part.
    taken: u64,
}

impl Pool {
    /// Whether another window has begun. A clock that was put back a little says nothing of that.
    fn is_over(&self, now: UnixSecs) -> bool {
        let window = self.limit.window(now);
        window.start > self.window || window.end() < self.window
    }
}

#[derive(Debug)]
struct Held {
    domain: Arc<str>,
    limits: Vec<CounterId>,
    /// What it was given of each, in requests in a window: where there is one window, with what it has used in it.
    parts: Vec<u64>,
    how: How,
    given: Option<Strategy>,
    until: UnixSecs,
    used: UnixSecs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// One limit with windows that all share: it gets its part when a window begins, and no token comes back.
    ByWindow {
        /// What it is known to have used in this window.
        used: u64,
        /// How often it was given something in this window.
        times: u32,
        /// It was there before us in this window: only its Envoy knows what is left.
        blind: bool,
    },
    /// Tokens come back evenly, at a rate that keeps all its limits.
    Evenly,
}

impl Ledger {
    /// One of so many, each of which divides its part of every limit, rounded down, as if it were the limit.
    pub fn one_of(replicas: NonZeroU32) -> Ledger {
        Ledger { replicas: Some(replicas), ..Ledger::default() }
    }

    /// A stream begins.
    pub fn open(&mut self) -> StreamId {
        self.last_stream += 1;
        StreamId(self.last_stream)
    }

    /// `stream` says how it used `bucket`: what to tell whom.
    pub fn report(
        &mut self,
        index: &Index,
        stream: StreamId,
        domain: &Arc<str>,
        bucket: Bucket,
        usage: Usage,
        now: UnixSecs,
    ) -> Vec<Order> {
        // The first window we see from its beginning is the next.
        let since = *self.since.get_or_insert(now);
        let holder = (stream, Arc::new(bucket));
        let full = || {
            let of_stream = self.held.range((stream, Arc::default())..).take_while(|((of, _), _)| *of == stream);
            self.held.len() >= MOST_BUCKETS || of_stream.count() >= MOST_OF_A_STREAM
        };
        if !self.held.contains_key(&holder) && full() {
            return Vec::new();
        }
        let Some(limits) = governing(index, domain, &holder.1, now) else {
            return self.refuse(&holder, now);
        };
        let crowded = |(counter, _): &(CounterId, Limit)| {
            self.pools
                .get(counter)
                .is_some_and(|pool| pool.holders.len() >= MOST_SHARERS && !pool.holders.contains(&holder))
        };
        if limits.iter().any(crowded) {
            return self.refuse(&holder, now);
        }
        let mut orders = self.join(&holder, domain, &limits, now);
        let Some(held) = self.held.get_mut(&holder) else { return orders };
        if usage.allowed > 0 || usage.denied > 0 || held.given.is_none() {
            held.used = now;
        }
        if now.0.saturating_sub(held.used.0) >= IDLE {
            orders.extend(self.refuse(&holder, now));
            return orders;
        }
        if let How::ByWindow { used, blind, .. } = &mut held.how {
            let more = used.saturating_add(usage.allowed);
            // What it was not given it cannot have used: that was in windows before.
            *used = if held.given.is_some() { more.min(held.parts.iter().sum()) } else { more };
            let began = held.limits.first().and_then(|counter| self.pools.get(counter)).map(|pool| pool.window);
            *blind = !usage.new && (*blind || held.given.is_none() && began.is_some_and(|began| began < since));
        }
        if usage.new {
            // It knows of no bucket, so it fills one whatever it is told: with what is left.
            held.given = None;
        }
        let before = held.parts.clone();
        orders.extend(self.settle(&holder, true, now));
        let Some(held) = self.held.get(&holder) else { return orders };
        if held.parts.iter().zip(&before).any(|(after, before)| after < before) {
            let limits = held.limits.clone();
            orders.extend(self.serve_the_waiting(&limits, now));
        }
        orders
    }

    /// Time passes: gives out what a new window has, renews what is about to end, abandons what nobody uses.
    pub fn tick(&mut self, index: &Index, now: UnixSecs) -> Vec<Order> {
        let stale = self.pools.iter().filter(|(_, pool)| pool.is_over(now));
        let stale: Vec<CounterId> = stale.map(|(counter, _)| *counter).collect();
        let mut orders: Vec<Order> = stale.into_iter().flat_map(|counter| self.begin_window(counter, now)).collect();
        let half = |held: &Held| held.until.0 <= now.0.saturating_add(TIME_TO_LIVE / 2);
        let due: Vec<Holder> =
            self.held.iter().filter(|(_, held)| half(held)).map(|(holder, _)| holder.clone()).collect();
        for holder in due {
            let Some(held) = self.held.get(&holder) else { continue };
            let (idle, domain) = (now.0.saturating_sub(held.used.0) >= IDLE, held.domain.clone());
            match governing(index, &domain, &holder.1, now) {
                Some(limits) if !idle => {
                    orders.extend(self.join(&holder, &domain, &limits, now));
                    orders.extend(self.settle(&holder, false, now));
                }
                _ => orders.extend(self.refuse(&holder, now)),
            }
        }
        orders
    }

    /// `stream` ended: what it had left is divided among the others. Its Envoy is gone, or comes back and
    /// reports again; one that is only cut off may use what it was given until that runs out.
    pub fn close(&mut self, stream: StreamId, now: UnixSecs) -> Vec<Order> {
        let of_stream = self.held.range((stream, Arc::default())..).take_while(|((of, _), _)| *of == stream);
        let holders: Vec<Holder> = of_stream.map(|(holder, _)| holder.clone()).collect();
        let orders: Vec<Order> = holders.iter().flat_map(|holder| self.forget(holder, now)).collect();
        orders.into_iter().filter(|order| order.stream != stream).collect()
    }

    /// Of each who holds `bucket`, what it was given, in requests in a window, with what it has used of it.
    pub fn shares_of(&self, bucket: &Bucket) -> Vec<u64> {
        let held = self.held.iter().filter(|((_, held), _)| **held == *bucket).map(|(_, held)| held);
        held.map(|held| held.parts.iter().copied().min().unwrap_or(u64::MAX)).collect()
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Makes `holder` one of those who share `limits`, and of no others.
    fn join(&mut self, holder: &Holder, domain: &Arc<str>, limits: &[(CounterId, Limit)], now: UnixSecs) -> Vec<Order> {
        let counters: Vec<CounterId> = limits.iter().map(|(counter, _)| *counter).collect();
        let by_window = matches!(limits, [(_, limit)] if limit.algorithm() == Algorithm::FixedWindow);
        let same = |held: &Held| held.limits == counters && by_window == matches!(held.how, How::ByWindow { .. });
        let mut orders = Vec::new();
        if !self.held.get(holder).is_some_and(same) {
            let used = self.held.get(holder).map_or(now, |held| held.used);
            orders.extend(self.forget(holder, now));
            let how = if by_window { How::ByWindow { used: 0, times: 0, blind: false } } else { How::Evenly };
            let parts = vec![0; counters.len()];
            let held = Held { domain: domain.clone(), limits: counters, parts, how, given: None, until: now, used };
            self.held.insert(holder.clone(), held);
        }
        for (counter, limit) in limits {
            let window = limit.window(now).start;
            let ours = u64::from(limit.requests_per_unit / self.replicas.map_or(1, NonZeroU32::get));
            let new = || Pool { limit: *limit, ours, holders: BTreeSet::new(), window, taken: 0 };
            let pool = self.pools.entry(*counter).or_insert_with(new);
            (pool.limit, pool.ours) = (*limit, ours);
            pool.holders.insert(holder.clone());
            if pool.is_over(now) {
                orders.extend(self.begin_window(*counter, now));
            }
        }
        orders
    }

    /// Everybody gets an even part of what is new.
    fn begin_window(&mut self, counter: CounterId, now: UnixSecs) -> Vec<Order> {
        let Some(pool) = self.pools.get_mut(&counter) else { return Vec::new() };
        if pool.holders.is_empty() {
            self.pools.remove(&counter);
            return Vec::new();
        }
        pool.window = pool.limit.window(now).start;
        pool.taken = 0;
        let mut renewed = Vec::new();
        for holder in &pool.holders {
            let Some(held) = self.held.get_mut(holder) else { continue };
            let at = held.limits.iter().position(|one| *one == counter);
            if let How::ByWindow { .. } = held.how {
                held.how = How::ByWindow { used: 0, times: 0, blind: false };
                held.parts = vec![0];
                held.given = None;
                renewed.push(holder.clone());
            } else if let Some(part) = at.and_then(|at| held.parts.get(at)) {
                pool.taken += *part;
            }
        }
        renewed.iter().filter_map(|holder| self.settle(holder, true, now)).collect()
    }

    /// Gives `holder` an even part of each of its limits, as far as others have left it, and keeps what it used.
    /// What it uses in the meantime is not known where it did not just `report`; then only its time is renewed.
    fn settle(&mut self, holder: &Holder, report: bool, now: UnixSecs) -> Option<Order> {
        let held = self.held.get_mut(holder)?;
        let used = if let How::ByWindow { used, .. } = held.how { used } else { 0 };
        let mut parts = held.parts.clone();
        if report || held.given.is_none() || held.given == Some(Strategy::DenyAll) {
            for (part, counter) in parts.iter_mut().zip(&held.limits) {
                let pool = self.pools.get_mut(counter)?;
                let all = pool.ours;
                let others = pool.taken.saturating_sub(*part);
                let new = even(all, &pool.holders, holder).min(all.saturating_sub(others)).max(used);
                pool.taken = others + new;
                *part = new;
            }
        }
        let changed = held.given.is_none() || parts != held.parts;
        held.parts = parts;
        let shares = held.limits.iter().zip(&held.parts);
        let shares: Vec<(u64, Limit)> =
            shares.filter_map(|(counter, part)| Some((*part, self.pools.get(counter)?.limit))).collect();
        let mut fill = false;
        let strategy = match (&mut held.how, held.given, shares.first()) {
            (How::ByWindow { .. }, Some(given), _) if !changed => given,
            (How::ByWindow { times, blind, .. }, given, Some((part, limit))) => {
                *times += u32::from(given.is_some());
                fill = !*blind;
                tokens::once(if *blind { *part } else { part.saturating_sub(used) }, limit.window(now), *times)
            }
            _ => tokens::evenly(&shares),
        };
        let due = held.until.0 <= now.0.saturating_add(TIME_TO_LIVE / 2);
        if held.given == Some(strategy) && !fill && !due {
            return None;
        }
        held.given = Some(strategy);
        held.until = UnixSecs(now.0.saturating_add(TIME_TO_LIVE));
        Some(Order { stream: holder.0, bucket: holder.1.clone(), action: Action::Assign(strategy), fill })
    }

    /// Those who were given nothing of these limits get what is free now.
    fn serve_the_waiting(&mut self, limits: &[CounterId], now: UnixSecs) -> Vec<Order> {
        let free = |pool: &&Pool| pool.taken < pool.ours;
        let pools = limits.iter().filter_map(|counter| self.pools.get(counter)).filter(free);
        let waits = |other: &&Holder| self.held.get(*other).is_some_and(|held| held.given == Some(Strategy::DenyAll));
        let waiting: BTreeSet<Holder> = pools.flat_map(|pool| &pool.holders).filter(waits).cloned().collect();
        waiting.iter().filter_map(|other| self.settle(other, false, now)).collect()
    }

    /// Forgets `holder` and tells it so.
    fn refuse(&mut self, holder: &Holder, now: UnixSecs) -> Vec<Order> {
        let known = self.held.contains_key(holder);
        let mut orders = self.forget(holder, now);
        if known {
            orders.push(Order { stream: holder.0, bucket: holder.1.clone(), action: Action::Abandon, fill: false });
        }
        orders
    }

    fn forget(&mut self, holder: &Holder, now: UnixSecs) -> Vec<Order> {
        let Some(held) = self.held.remove(holder) else { return Vec::new() };
        let crowd = self.pools.len() > MOST_POOLS;
        for (counter, part) in held.limits.iter().zip(&held.parts) {
            let Some(pool) = self.pools.get_mut(counter) else { continue };
            let used = if let How::ByWindow { used, .. } = held.how { used } else { 0 };
            pool.holders.remove(holder);
            pool.taken = pool.taken.saturating_sub(*part) + used;
            if pool.holders.is_empty() && (crowd || pool.taken == 0) {
                self.pools.remove(counter);
            }
        }
        self.serve_the_waiting(&held.limits, now)
    }
}

/// An even part; what is left over goes to the first ones.
fn even(all: u64, holders: &BTreeSet<Holder>, holder: &Holder) -> u64 {
    let sharers = holders.len().max(1) as u64;
    let before = holders.range(..holder.clone()).count() as u64;
    all / sharers + u64::from(before < all % sharers)
}
