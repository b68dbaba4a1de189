//! The rules of one domain, shaped for looking up a request's entries.
//!
//! At each level: the node with the entry's key and value, else the first
//! wildcard in the file's order that matches, else the node with the key alone.
//! There is no way back up, and a descriptor must end where a rule stands.
//!
//! Keys and values are kept apart: where envoyproxy/ratelimit joins them with
//! `_`, so that (`a`, `b_c`) and (`a_b`, `c`) are one, here they are two.

use std::sync::Arc;

use smallvec::SmallVec;

use super::stats::RuleStats;
use super::wildcard::Wildcard;
use limit::{CounterId, Limit, digest};
use rules::config::index::ByText;
use rules::request::Entries;

/// The rules of one domain.
#[derive(Debug, Default)]
pub struct Domain {
    /// Its name in requests.
    pub name: Box<str>,
    /// The first level.
    pub level: Level,
}

/// The nodes of one level.
#[derive(Debug, Default)]
pub struct Level {
    /// By key.
    pub keys: ByText<Values>,
    /// Those whose key has a wildcard: they match the entry's `key_value`.
    pub loose: Vec<Wild>,
}

/// The nodes of one key.
#[derive(Debug, Default)]
pub struct Values {
    /// By value.
    pub exact: ByText<Node>,
    /// By pattern, in the file's order.
    pub wild: Vec<Wild>,
    /// For any other value.
    pub any: Option<Box<Node>>,
}

/// A node with a wildcard.
#[derive(Debug)]
pub struct Wild {
    /// Its place in the level.
    pub order: usize,
    /// What it matches.
    pub pattern: Wildcard,
    /// The node.
    pub node: Node,
}

/// A node.
#[derive(Debug, Default)]
pub struct Node {
    /// Its limit, if it has one.
    pub rule: Option<Box<FileRule>>,
    /// What may follow.
    pub children: Level,
    /// Whether the request's value goes into the metric's name.
    pub value_to_metric: bool,
    /// The pattern that stands for all values it matches, in counters and in metrics.
    pub shared: Option<Box<str>>,
    /// Its value in the file, or none.
    pub value: Box<str>,
}

/// A rule.
#[derive(Debug)]
pub struct FileRule {
    /// `domain.key_value.key`, as in metrics and on `/rlconfig`.
    pub key: Box<str>,
    /// What it is called in answers, or nothing.
    pub name: Box<str>,
    /// What it allows; none lets everything pass.
    pub limit: Option<Limit>,
    /// What the file says of `requests_per_unit`, also where there is no limit.
    pub requests_per_unit: u32,
    /// Counts, but never refuses.
    pub shadow: bool,
    /// Refuses only when all quotas of the request are used up.
    pub quota: bool,
    /// Whether its metrics are named by the request's keys and values.
    pub detailed: bool,
    /// The names of limits that do not apply where this one does.
    pub replaces: Box<[Box<str>]>,
    /// For Envoy, while the limit holds.
    pub metadata: Option<proto::google::protobuf::Struct>,
    /// Its counters under its own key.
    pub stats: Arc<RuleStats>,
    /// The counter, where the request's values have no part in it.
    pub single: Option<CounterId>,
    /// What its counters have in common.
    pub id: CounterId,
    /// Told apart by this from others of the same descriptors that count alike.
    pub alike: usize,
    /// What its metrics' keys end in, beyond those of the descriptor's first limit.
    pub suffix: Box<str>,
    /// More limits of the same descriptors.
    pub more: Box<[FileRule]>,
}

/// How an entry led to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By key and value.
    Exact,
    /// By a wildcard.
    Wildcard,
    /// By the key alone.
    Key,
}

/// The way to a rule.
#[derive(Debug)]
pub struct Found<'i> {
    /// The rule.
    pub rule: &'i FileRule,
    /// The nodes passed, the rule's own last.
    pub steps: SmallVec<[(&'i Node, How); 4]>,
}

impl Level {
    /// The node that `key` and `value` lead to.
    pub fn step(&self, key: &str, value: &str) -> Option<(&Node, How)> {
        let values = self.keys.get(key);
        if let Some(node) = values.and_then(|values| values.exact.get(value)) {
            return Some((node, How::Exact));
        }
        let wild = values.and_then(|values| first(&values.wild, value));
        let loose = if self.loose.is_empty() { None } else { first(&self.loose, &format!("{key}_{value}")) };
        let best = match (wild, loose) {
            (Some(one), Some(other)) => Some(if one.order < other.order { one } else { other }),
            (one, other) => one.or(other),
        };
        match best {
            Some(wild) => Some((&wild.node, How::Wildcard)),
            None => values.and_then(|values| values.any.as_deref()).map(|node| (node, How::Key)),
        }
    }
}

/// Who writes a pattern's own text as the value means that pattern.
fn first<'w>(wild: &'w [Wild], value: &str) -> Option<&'w Wild> {
    if wild.is_empty() {
        return None;
    }
    let literal = wild.iter().find(|one| &*one.pattern.text == value);
    literal.or_else(|| wild.iter().find(|one| one.pattern.matches(value)))
}

impl Domain {
    /// The rule that `entries` lead to, all of them.
    pub fn find(&self, entries: Entries<'_>) -> Option<Found<'_>> {
        let mut steps: SmallVec<[(&Node, How); 4]> = SmallVec::new();
        let mut level = &self.level;
        for entry in entries {
            let (node, how) = level.step(&entry.key, &entry.value)?;
            steps.push((node, how));
            level = &node.children;
        }
        let (last, _) = steps.last()?;
        let rule = last.rule.as_deref()?;
        Some(Found { rule, steps })
    }

    /// The counter of `entries` under `limit`, each value counted apart but for those that share one;
    /// `rule` is the one among those found that counts.
    pub fn counter(&self, entries: Entries<'_>, found: Option<(&Found<'_>, &FileRule)>, limit: Limit) -> CounterId {
        if let Some(single) = found.and_then(|(_, rule)| rule.single) {
            return single;
        }
        let (found, alike) = (found.map(|(found, _)| found), found.map_or(0, |(_, rule)| rule.alike));
        let shared = |at: usize| found.and_then(|found| found.steps.get(at)?.0.shared.as_deref());
        let values = entries.iter().enumerate().map(|(at, entry)| match shared(at) {
            Some(pattern) => (entry.key.as_str(), pattern, true),
            None => (entry.key.as_str(), entry.value.as_str(), false),
        });
        counter(&self.name, values, limit, alike)
    }
}

/// The counter of a descriptor: key, value or pattern, and which of the two it is.
/// Limits of the same descriptors that count alike are told apart by `alike`.
pub fn counter<'v>(
    domain: &str,
    entries: impl Iterator<Item = (&'v str, &'v str, bool)>,
    limit: Limit,
    alike: usize,
) -> CounterId {
    digest(|part| {
        part(b"waykeeper file 1");
        part(domain.as_bytes());
        // With the unit, or an hour's and a day's counts would be one when their windows begin together.
        part(&limit.unit().number().to_le_bytes());
        for (key, value, pattern) in entries {
            part(key.as_bytes());
            part(if pattern { b"*" } else { b"=" });
            part(value.as_bytes());
        }
        // What has but one limit of one unit keeps the counters it had before there were others.
        if limit.units() != 1 || alike != 0 {
            part(&limit.units().to_le_bytes());
            part(&(alike as u64).to_le_bytes());
        }
    })
}

impl Found<'_> {
    /// The key of its metrics, where the request has a part in it.
    pub(crate) fn metric_key(&self, domain: &str, entries: Entries<'_>) -> Option<String> {
        let shares = self.steps.iter().any(|(node, how)| *how == How::Wildcard && node.shared.is_some());
        if !self.rule.detailed && !self.steps.iter().any(|(node, _)| node.value_to_metric) {
            return None;
        }
        let mut key = domain.to_owned();
        for ((node, how), entry) in self.steps.iter().zip(entries) {
            key.push('.');
            key.push_str(&entry.key);
            let pattern = node.shared.as_deref().filter(|_| *how == How::Wildcard);
            let value = match (pattern, how) {
                (Some(pattern), _) => pattern,
                (None, _) if self.rule.detailed => &entry.value,
                (None, How::Exact) => &entry.value,
                (None, _) if node.value_to_metric => &entry.value,
                (None, _) => &node.value,
            };
            // A detailed metric shows the separator also of an empty value, unless a pattern is shared.
            if !value.is_empty() || (self.rule.detailed && !shares) {
                key.push('_');
                key.push_str(value);
            }
        }
        (key != *self.rule.key).then_some(key)
    }
}
