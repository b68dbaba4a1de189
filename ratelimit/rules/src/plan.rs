//! Which rules govern a request, and which counters they move. Pure.
//!
//! A descriptor begins with `generic_key=<namespace>.<name>`, which names the
//! RateLimitConfig; one that nobody knows refuses the request. If `generic_key=solo.setDescriptor.uniqueValue` comes next
//! the rest is a set, otherwise it is a path in the tree.

use std::ops::Deref;
use std::ptr;

use api::gloo::rate_limit_config::{SET_DESCRIPTOR_MARKER, SimpleDescriptor};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::beside::Beside;
use crate::config::index::{Config, Entry, Index, WeightScope};
use crate::config::rule::{Rule, Style, is_apart};
use crate::request::{Descriptor, Entries, Request};
use limit::{Change, CounterId, Hit, Limit, UnixSecs, Window};

/// What is to be counted for a request, and what each descriptor came to.
#[derive(Debug)]
pub struct Plan<'i> {
    /// The number of the request's domain among those served.
    pub domain: Option<usize>,
    /// The rules that govern, in order of descriptors.
    pub counted: SmallVec<[Counted<'i>; 4]>,
    /// What each descriptor came to.
    pub outcomes: SmallVec<[Outcome; 4]>,
}

/// What a descriptor came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Rules govern it: those in [`Plan::counted`] with its number.
    Limited,
    /// Rules match it, all outweighed by others.
    Outweighed,
    /// It is let through on purpose, uncounted.
    Unlimited,
    /// No rule knows it.
    Miss,
    /// Its RateLimitConfig cannot be used: refused.
    Broken,
    /// It names a RateLimitConfig that nobody knows: refused.
    Unknown,
}

impl Outcome {
    /// Whether it is refused because nobody can say what limits it. Envoy takes an error for a
    /// pass, so this is an answer.
    pub fn is_refused(self) -> bool {
        matches!(self, Outcome::Broken | Outcome::Unknown)
    }
}

/// A rule that governs a descriptor.
#[derive(Debug)]
pub struct Counted<'i> {
    /// The number of the descriptor in the request.
    pub descriptor: usize,
    /// The rule.
    pub rule: RuleRef<'i>,
    /// What it allows: the rule's own limit, or the request's.
    pub limit: Limit,
    /// The counter.
    pub counter: CounterId,
    /// The stretch of time that is counted in.
    pub window: Window,
    /// What happens to the counter.
    pub change: Change,
}

impl<'i> Counted<'i> {
    /// What the store is asked to count.
    pub fn hit(&self) -> Hit<'_> {
        Hit {
            config: &self.rule.config,
            counter: self.counter,
            rule: self.rule.id(),
            limit: self.limit,
            window: self.window,
            change: self.change,
            policy: self.rule.policy,
            shadow: self.rule.shadow,
        }
    }
}

/// A rule of the index, or one made up for a request that carries its own limit.
#[derive(Debug)]
pub enum RuleRef<'i> {
    /// From the configuration.
    Known(&'i Rule),
    /// For this request.
    MadeUp(Box<Rule>),
}

impl Deref for RuleRef<'_> {
    type Target = Rule;

    fn deref(&self) -> &Rule {
        match self {
            RuleRef::Known(rule) => rule,
            RuleRef::MadeUp(rule) => rule,
        }
    }
}

impl Plan<'_> {
    /// The changes to make, in order.
    pub fn hits(&self) -> SmallVec<[Hit<'_>; 4]> {
        self.counted.iter().map(Counted::hit).collect()
    }
}

/// A tree rule that matched, before weights are compared.
struct Matched<'i> {
    /// That of the index: the same config is in the same place.
    config: &'i str,
    counted: Counted<'i>,
}

/// Plans `request` at `now`.
pub fn plan<'i>(index: &'i Index, request: &Request<'_>, now: UnixSecs) -> Plan<'i> {
    let domain = index.domain(request.domain);
    let (counted, outcomes) = (SmallVec::new(), SmallVec::with_capacity(request.descriptors.len()));
    let mut plan = Plan { domain, counted, outcomes };
    let mut matched: SmallVec<[Matched<'i>; 4]> = SmallVec::with_capacity(request.descriptors.len());
    for (number, descriptor) in request.descriptors.iter().enumerate() {
        let outcome = match domain.and(addressed(index, descriptor.entries)) {
            None => Outcome::Miss,
            Some((_, Addressed::Nothing(outcome))) => outcome,
            Some((entries, Addressed::Tree(config))) => {
                let before = matched.len();
                let found = |counted| matched.push(Matched { config: &config.id, counted });
                let outcome = in_tree(config, number, entries, descriptor, now, found);
                debug_assert_eq!(outcome == Outcome::Limited, matched.len() > before);
                outcome
            }
            Some((entries, Addressed::Sets(config))) => {
                in_sets(config, number, entries, descriptor, now, &mut plan.counted)
            }
        };
        plan.outcomes.push(outcome);
    }
    keep_heaviest(matched, index.weights(), &mut plan);
    plan
}

enum Addressed<'i> {
    Tree(&'i Config),
    Sets(&'i Config),
    /// No rules, for this reason.
    Nothing(Outcome),
}

/// The config that the first entry names, and the entries that are the user's own.
fn addressed<'i, 'r>(index: &'i Index, entries: Entries<'r>) -> Option<(Entries<'r>, Addressed<'i>)> {
    let (first, rest) = entries.split_first()?;
    if first.key != "generic_key" {
        return None;
    }
    let config = match index.config(&first.value) {
        Some(Entry::Serving(config)) => config,
        Some(Entry::Broken) => return Some((rest, Addressed::Nothing(Outcome::Broken))),
        None => return Some((rest, Addressed::Nothing(Outcome::Unknown))),
    };
    match rest.split_first() {
        Some((second, rest)) if second.key == "generic_key" && second.value == SET_DESCRIPTOR_MARKER => {
            Some((rest, Addressed::Sets(config)))
        }
        _ => Some((rest, Addressed::Tree(config))),
    }
}

fn in_tree<'i>(
    config: &'i Config,
    number: usize,
    entries: Entries<'_>,
    descriptor: &Descriptor<'_>,
    now: UnixSecs,
    mut found: impl FnMut(Counted<'i>),
) -> Outcome {
    let node = config.tree.find(entries);
    let rules = node.map(|node| node.rules.as_slice()).unwrap_or_default();
    for rule in first_if_overridden(rules, descriptor) {
        let limit = descriptor.limit.unwrap_or(rule.limit);
        let values = entries.iter().zip(&rule.parts).filter(|(_, part)| is_apart(part));
        let counter = rule.counter(limit, values.map(|(entry, _)| entry.value.as_str()));
        found(counted(number, RuleRef::Known(rule), limit, counter, descriptor, now));
    }
    match (rules, descriptor.limit, node) {
        ([_, ..], ..) => Outcome::Limited,
        ([], Some(limit), _) => {
            found(made_up(config, number, entries, limit, descriptor, now));
            Outcome::Limited
        }
        ([], None, Some(node)) if node.is_unlimited() => Outcome::Unlimited,
        ([], None, _) => Outcome::Miss,
    }
}

fn in_sets<'i>(
    config: &'i Config,
    number: usize,
    entries: Entries<'_>,
    descriptor: &Descriptor<'_>,
    now: UnixSecs,
    found: &mut SmallVec<[Counted<'i>; 4]>,
) -> Outcome {
    let considered = config.sets.considered(entries);
    let before = found.len();
    for set in &considered {
        for rule in first_if_overridden(&set.rules, descriptor) {
            let limit = descriptor.limit.unwrap_or(rule.limit);
            let counter = rule.counter(limit, set.values(entries));
            found.push(counted(number, RuleRef::Known(rule), limit, counter, descriptor, now));
        }
    }
    match descriptor.limit {
        _ if found.len() > before => Outcome::Limited,
        Some(limit) => {
            found.push(made_up(config, number, entries, limit, descriptor, now));
            Outcome::Limited
        }
        None if considered.is_empty() => Outcome::Miss,
        None => Outcome::Unlimited,
    }
}

/// A limit in the request takes the place of all limits of a rule.
fn first_if_overridden<'i>(rules: &'i [Rule], descriptor: &Descriptor<'_>) -> &'i [Rule] {
    match descriptor.limit {
        Some(_) => rules.get(..1).unwrap_or_default(),
        None => rules,
    }
}

fn counted<'i>(
    number: usize,
    rule: RuleRef<'i>,
    limit: Limit,
    counter: CounterId,
    descriptor: &Descriptor<'_>,
    now: UnixSecs,
) -> Counted<'i> {
    Counted { descriptor: number, rule, limit, counter, window: limit.window(now), change: descriptor.change }
}

/// A rule for exactly `entries`, for a request that carries a limit where the configuration has none.
fn made_up<'i>(
    config: &Config,
    number: usize,
    entries: Entries<'_>,
    limit: Limit,
    descriptor: &Descriptor<'_>,
    now: UnixSecs,
) -> Counted<'i> {
    let part = |entry: &proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry| {
        SimpleDescriptor { key: entry.key.clone(), value: entry.value.clone(), ..SimpleDescriptor::default() }
    };
    let parts = entries.iter().map(part).collect();
    let rule = Rule::new(&config.id, parts, Style::Override, limit, Beside::none());
    let counter = rule.counter(limit, [].into_iter());
    counted(number, RuleRef::MadeUp(Box::new(rule)), limit, counter, descriptor, now)
}

/// Of the matched tree rules keeps the heaviest, and those that always apply.
fn keep_heaviest<'i>(matched: SmallVec<[Matched<'i>; 4]>, scope: WeightScope, plan: &mut Plan<'i>) {
    let heaviest: SmallVec<[u32; 4]> = matched
        .iter()
        .map(|one| {
            let rivals =
                matched.iter().filter(|other| scope == WeightScope::Request || ptr::eq(other.config, one.config));
            rivals.map(|other| other.counted.rule.weight).max().unwrap_or(0)
        })
        .collect();
    plan.counted.reserve(matched.len());
    for (one, heaviest) in matched.into_iter().zip(heaviest) {
        if one.counted.rule.weight == heaviest || one.counted.rule.always_apply {
            plan.counted.push(one.counted);
        } else if let Some(outcome) = plan.outcomes.get_mut(one.counted.descriptor) {
            *outcome = Outcome::Outweighed;
        }
    }
    plan.counted.sort_by_key(|counted| counted.descriptor);
}
