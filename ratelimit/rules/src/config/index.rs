//! The compiled rules of all RateLimitConfigs, shaped for looking up a request's entries.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smallvec::SmallVec;

use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry as Said;

use super::Scope;
use super::pattern::Pattern;
use super::rule::Rule;
use crate::request::Entries;

/// A map by text that callers cannot make collide at will.
pub type ByText<T> = HashMap<Box<str>, T, ahash::RandomState>;

/// Among which rules a weight is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WeightScope {
    /// Rules of the same RateLimitConfig: objects do not disturb one another.
    #[default]
    Config,
    /// All rules the request matches.
    Request,
}

/// Everything that is served at one moment.
#[derive(Debug)]
pub struct Index {
    scope: Scope,
    configs: ByText<Entry>,
    loaded: bool,
    said: AtomicBool,
}

/// What is known under a config id.
#[derive(Debug, Clone)]
pub enum Entry {
    /// Its rules.
    Serving(Arc<Config>),
    /// It was written, but never in a form that could be used.
    Broken,
}

/// The rules of one RateLimitConfig.
#[derive(Debug)]
pub struct Config {
    /// `<namespace>.<name>`.
    pub id: Box<str>,
    /// Rules in tree style.
    pub tree: Level,
    /// Rules in set style.
    pub sets: Sets,
}

impl Index {
    /// An index of `configs` by id.
    pub fn new(scope: Scope, configs: ByText<Entry>) -> Self {
        Self { scope, configs, loaded: true, said: AtomicBool::new(false) }
    }

    /// What is served before anything was read: every RateLimitConfig is one that nobody knows.
    pub fn not_loaded(scope: Scope) -> Self {
        Self { scope, configs: ByText::default(), loaded: false, said: AtomicBool::new(false) }
    }

    /// Whether what was written has been read, be it nothing.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether nobody has yet said that something in it refuses requests; true once.
    pub fn is_said_first(&self) -> bool {
        !self.said.load(Ordering::Relaxed) && !self.said.swap(true, Ordering::Relaxed)
    }

    /// The number of `domain` among those served.
    pub fn domain(&self, domain: &str) -> Option<usize> {
        self.scope.domains.iter().position(|known| &**known == domain || &**known == "*")
    }

    /// Among which rules weights are compared.
    pub fn weights(&self) -> WeightScope {
        self.scope.weights
    }

    /// What is known under `id`.
    pub fn config(&self, id: &str) -> Option<&Entry> {
        self.configs.get(id)
    }

    /// The domains served.
    pub fn domains(&self) -> &[Box<str>] {
        &self.scope.domains
    }

    /// All objects, by id.
    pub fn entries(&self) -> Vec<(&str, &Entry)> {
        let mut entries: Vec<_> = self.configs.iter().map(|(id, entry)| (&**id, entry)).collect();
        entries.sort_by_key(|(id, _)| *id);
        entries
    }
}

/// The nodes of one level of a tree, by key, then by value.
#[derive(Debug, Default)]
pub struct Level(pub ByText<Values>);

/// The nodes of one key.
#[derive(Debug, Default)]
pub struct Values {
    /// By value.
    pub exact: ByText<Node>,
    /// By a condition on the value, in order.
    pub matching: Vec<(Pattern, Node)>,
    /// For any other value.
    pub any: Option<Box<Node>>,
}

impl Values {
    /// All nodes of the key.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.exact.values().chain(self.matching.iter().map(|(_, node)| node)).chain(self.any.as_deref())
    }
}

/// A node of a tree.
#[derive(Debug, Default)]
pub struct Node {
    /// Its limits, if it has any; all hold.
    pub rules: Vec<Rule>,
    /// What may follow.
    pub children: Level,
}

impl Node {
    /// Whether descriptors that end here are let through on purpose.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.rules.is_empty() && self.children.0.is_empty()
    }
}

impl Level {
    /// The node `entries` lead to, all of them, at each level by value before by a condition
    /// on it before by key alone, without going back.
    pub fn find(&self, entries: Entries<'_>) -> Option<&Node> {
        let (first, rest) = entries.split_first()?;
        let mut node = self.step(&first.key, &first.value)?;
        for entry in rest {
            node = node.children.step(&entry.key, &entry.value)?;
        }
        Some(node)
    }

    fn step(&self, key: &str, value: &str) -> Option<&Node> {
        let values = self.0.get(key)?;
        let matching = || values.matching.iter().find(|(pattern, _)| pattern.matches(value)).map(|(_, node)| node);
        values.exact.get(value).or_else(matching).or(values.any.as_deref())
    }
}

/// Rules in set style, in order, found by one condition of each.
#[derive(Debug, Default)]
pub struct Sets {
    /// As listed.
    pub rules: Vec<SetRule>,
    by_value: ByText<ByText<Vec<u32>>>,
    by_key: ByText<Vec<u32>>,
    unconditional: Vec<u32>,
}

/// A rule in set style.
#[derive(Debug)]
pub struct SetRule {
    /// What it asks for.
    pub conditions: Box<[Condition]>,
    /// Its limits; none lets pass.
    pub rules: Vec<Rule>,
    /// Whether it applies after another one matched.
    pub always_apply: bool,
}

/// One condition of a rule in set style.
#[derive(Debug)]
pub struct Condition {
    /// The entry's key.
    pub key: Box<str>,
    /// Its value.
    pub value: Wanted,
    /// Whether each value that fits has a counter of its own.
    pub apart: bool,
}

/// Which values fit a condition.
#[derive(Debug)]
pub enum Wanted {
    /// This one.
    Exactly(Box<str>),
    /// Those of the pattern.
    Matching(Pattern),
    /// Any.
    Any,
}

impl Condition {
    fn fits(&self, entry: &Said) -> bool {
        *entry.key == *self.key
            && match &self.value {
                Wanted::Exactly(value) => *entry.value == **value,
                Wanted::Matching(pattern) => pattern.matches(&entry.value),
                Wanted::Any => true,
            }
    }
}

impl SetRule {
    fn matches(&self, entries: Entries<'_>) -> bool {
        self.missing(entries).is_none()
    }

    /// The first condition that no entry meets.
    pub fn missing(&self, entries: Entries<'_>) -> Option<&Condition> {
        self.conditions.iter().find(|wanted| !entries.iter().any(|entry| wanted.fits(entry)))
    }

    /// The values counted apart, in the order of the rule's parts. Of several
    /// entries that fit, the least value, whatever order they came in.
    pub fn values<'v>(&'v self, entries: Entries<'v>) -> impl Iterator<Item = &'v str> {
        self.conditions.iter().filter(|condition| condition.apart).map(move |condition| {
            let values = entries.iter().filter(|entry| condition.fits(entry)).map(|entry| entry.value.as_str());
            values.min().unwrap_or_default()
        })
    }
}

impl Sets {
    /// Prepares `rules` for look-up: each by the first of its conditions that names a value, else by a key.
    pub fn new(rules: Vec<SetRule>) -> Self {
        let mut sets = Sets::default();
        for (number, rule) in (0..).zip(&rules) {
            let exact = |condition: &Condition| match &condition.value {
                Wanted::Exactly(value) => Some((condition.key.clone(), value.clone())),
                _ => None,
            };
            match (rule.conditions.iter().find_map(exact), rule.conditions.first()) {
                (Some((key, value)), _) => {
                    sets.by_value.entry(key).or_default().entry(value).or_default().push(number);
                }
                (None, Some(condition)) => sets.by_key.entry(condition.key.clone()).or_default().push(number),
                (None, None) => sets.unconditional.push(number),
            }
        }
        sets.rules = rules;
        sets
    }

    /// The rules that apply to `entries`, in order: the first that matches and all later that always apply.
    pub(crate) fn considered(&self, entries: Entries<'_>) -> SmallVec<[&SetRule; 2]> {
        let mut candidates: SmallVec<[u32; 8]> = SmallVec::from_slice(&self.unconditional);
        for entry in entries {
            if let Some(numbers) = self.by_value.get(&*entry.key).and_then(|values| values.get(&*entry.value)) {
                candidates.extend_from_slice(numbers);
            }
            if let Some(numbers) = self.by_key.get(&*entry.key) {
                candidates.extend_from_slice(numbers);
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        let mut considered = SmallVec::new();
        for rule in candidates.into_iter().filter_map(|number| self.rules.get(number as usize)) {
            if (considered.is_empty() || rule.always_apply) && rule.matches(entries) {
                considered.push(rule);
            }
        }
        considered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever sends another value each time would have another counter each time.
    #[test]
    fn only_what_is_counted_apart_is_part_of_the_counter() {
        let condition = |key: &str, value, apart| Condition { key: key.into(), value, apart };
        let conditions = [
            condition("exact", Wanted::Exactly("x".into()), false),
            condition("shared", Wanted::Any, false),
            condition("apart", Wanted::Any, true),
            condition("too", Wanted::Any, true),
        ];
        let rule = SetRule { conditions: conditions.into(), rules: Vec::new(), always_apply: false };
        let said = |key: &str, value: &str| Said { key: key.into(), value: value.into() };
        let mut entries =
            [said("too", "4"), said("exact", "x"), said("shared", "1"), said("apart", "3"), said("apart", "2")];
        assert!(rule.values(&entries).eq(["2", "4"]));
        entries[2].value = "9".to_owned();
        entries.reverse();
        assert!(rule.values(&entries).eq(["2", "4"]), "whatever the shared one is, in whatever order");
    }
}
