//! Which rules of a domain govern a request, and which counters they move. Pure.

use std::sync::Arc;

use smallvec::SmallVec;

use super::domains::{Domains, Lookup};
use super::stats::{RuleStats, Stats};
use super::tree::FileRule;
use limit::{Change, CounterId, Limit, UnixSecs, Window};
use rules::request::{Entries, Request};

/// What is to be counted for a request, and what each descriptor came to.
#[derive(Debug)]
pub struct Plan<'i> {
    /// One for each descriptor, in order.
    pub outcomes: SmallVec<[Outcome; 4]>,
    /// The rules that govern, in order of descriptors.
    pub counted: SmallVec<[Counted<'i>; 4]>,
    /// Whether anybody configured the domain.
    pub domain_known: bool,
    /// A source that may govern a descriptor and cannot be used.
    pub broken: Option<&'i Arc<str>>,
}

/// What a descriptor came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// So many rules govern it: those in [`Plan::counted`] from this number on.
    Counted(usize, usize),
    /// It is let through on purpose, uncounted.
    Unlimited,
    /// Its rule is replaced by another's.
    Replaced,
    /// No rule knows it.
    Miss,
}

/// A rule that governs a descriptor.
#[derive(Debug)]
pub struct Counted<'i> {
    /// The number of the descriptor in the request.
    pub descriptor: usize,
    /// The rule; none where the request carries its own limit.
    pub rule: Option<&'i FileRule>,
    /// What it allows.
    pub limit: Limit,
    /// The counter.
    pub counter: CounterId,
    /// The stretch of time that is counted in.
    pub window: Window,
    /// What happens to the counter.
    pub change: Change,
    /// The key of its metrics, where the request has a part in it.
    pub metric: Option<String>,
}

/// Why there is no plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLoaded;

/// Plans `request` at `now`.
///
/// # Errors
/// When nothing has been loaded yet.
pub fn plan<'i>(domains: &'i Domains, request: &Request<'_>, now: UnixSecs) -> Result<Plan<'i>, NotLoaded> {
    let mut plan = Plan { outcomes: SmallVec::new(), counted: SmallVec::new(), domain_known: true, broken: None };
    let (domain, missing) = match domains.look_up(request.domain) {
        Lookup::Known(domain, missing) => (domain, missing),
        Lookup::NotLoaded => return Err(NotLoaded),
        other => {
            if let Lookup::Broken(source) = other {
                plan.broken = Some(source);
            }
            plan.domain_known = false;
            plan.outcomes.extend(request.descriptors.iter().map(|_| Outcome::Miss));
            return Ok(plan);
        }
    };
    let mut replaced: SmallVec<[&str; 4]> = SmallVec::new();
    for (number, descriptor) in request.descriptors.iter().enumerate() {
        let entries = descriptor.entries;
        let count = |rule, limit: Limit, counter, metric| Counted {
            descriptor: number,
            rule,
            limit,
            counter,
            window: limit.window(now),
            change: descriptor.change,
            metric,
        };
        let first = plan.counted.len();
        // A limit in the request takes the place of the look-up.
        if let Some(limit) = descriptor.limit {
            let counter = domain.counter(entries, None, limit);
            plan.counted.push(count(None, limit, counter, Some(override_key(request.domain, entries))));
        } else if let Some(found) = domain.find(entries) {
            for rule in std::iter::once(found.rule).chain(&found.rule.more) {
                replaced.extend(rule.replaces.iter().map(|name| &**name));
                if let Some(limit) = rule.limit {
                    let counter = domain.counter(entries, Some((&found, rule)), limit);
                    let metric = found.metric_key(request.domain, entries).map(|key| key + &rule.suffix);
                    plan.counted.push(count(Some(rule), limit, counter, metric));
                }
            }
            if plan.counted.len() == first {
                plan.outcomes.push(Outcome::Unlimited);
                continue;
            }
        } else {
            plan.broken = plan.broken.or(missing);
        }
        plan.outcomes.push(match plan.counted.len() - first {
            0 => Outcome::Miss,
            rules => Outcome::Counted(first, rules),
        });
    }
    if !replaced.is_empty() {
        plan.drop_replaced(&replaced);
    }
    Ok(plan)
}

impl<'i> Plan<'i> {
    fn drop_replaced(&mut self, replaced: &[&str]) {
        for outcome in &mut self.outcomes {
            if let Outcome::Counted(..) = outcome {
                *outcome = Outcome::Replaced;
            }
        }
        for counted in std::mem::take(&mut self.counted) {
            let name = counted.rule.map_or("", |rule| &*rule.name);
            if !name.is_empty() && replaced.contains(&name) {
                continue;
            }
            if let Some(outcome) = self.outcomes.get_mut(counted.descriptor) {
                *outcome = match *outcome {
                    Outcome::Counted(first, rules) => Outcome::Counted(first, rules + 1),
                    _ => Outcome::Counted(self.counted.len(), 1),
                };
            }
            self.counted.push(counted);
        }
    }
}

impl<'i> Counted<'i> {
    /// Where its hits are counted on the metrics port.
    pub fn stats(&self, domain: &str, stats: &Stats) -> StatsOf<'i> {
        match (&self.metric, self.rule) {
            (None, Some(rule)) => StatsOf::Rule(&rule.stats),
            (Some(key), _) => StatsOf::Request(stats.of_request(domain, key)),
            (None, None) => StatsOf::Request(stats.of_request(domain, domain)),
        }
    }
}

/// The counters of a rule, or of a key a request had a part in.
#[derive(Debug)]
pub enum StatsOf<'i> {
    /// The rule's.
    Rule(&'i RuleStats),
    /// Looked up for this request.
    Request(Arc<RuleStats>),
}

impl std::ops::Deref for StatsOf<'_> {
    type Target = RuleStats;

    fn deref(&self) -> &RuleStats {
        match self {
            StatsOf::Rule(stats) => stats,
            StatsOf::Request(stats) => stats,
        }
    }
}

/// The key of a limit that a request carries: its entries, values where they have one.
fn override_key(domain: &str, entries: Entries<'_>) -> String {
    let mut key = domain.to_owned();
    for entry in entries {
        key.push('.');
        key.push_str(&entry.key);
        if !entry.value.is_empty() {
            key.push('_');
            key.push_str(&entry.value);
        }
    }
    key
}
