//! One rule: whom it counts, how much it allows, and the name its counters go by.

use api::gloo::rate_limit_config::{SET_DESCRIPTOR_MARKER, SimpleDescriptor};

use crate::beside::Beside;
use limit::{CountPolicy, CounterId, Limit, finish};

/// How a rule is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// By a path of entries.
    Tree,
    /// By a set of entries; the number tells apart rules of the same conditions.
    Set(u32),
    /// By nothing in the configuration: the request carried its own limit.
    Override,
}

/// One rule of a RateLimitConfig.
#[derive(Debug)]
pub struct Rule {
    /// `<namespace>.<name>` of the RateLimitConfig.
    pub config: Box<str>,
    /// The entries it asks for; of a set, sorted.
    pub parts: Box<[SimpleDescriptor]>,
    /// How it is matched.
    pub style: Style,
    /// What it allows.
    pub limit: Limit,
    /// Of the tree rules a request matches, only the heaviest apply.
    pub weight: u32,
    /// Applies whatever its weight or place.
    pub always_apply: bool,
    /// When it counts.
    pub policy: CountPolicy,
    /// Counts, but refuses nothing.
    pub shadow: bool,
    /// What others keep beside it.
    pub beside: Beside,
    /// Its name but for the domain.
    label: Box<str>,
    identity: CounterId,
    /// The counter under its own limit, when no part is counted by value.
    single: Option<CounterId>,
}

impl Rule {
    /// A rule whose `parts` are in their final order.
    pub fn new(config: &str, parts: Vec<SimpleDescriptor>, style: Style, limit: Limit, beside: Beside) -> Rule {
        Rule::numbered(config, &parts, style, limit, beside, 0)
    }

    /// A rule with a number in its name, since `number` others have the same parts and count alike.
    pub fn numbered(
        config: &str,
        parts: &[SimpleDescriptor],
        style: Style,
        limit: Limit,
        beside: Beside,
        number: usize,
    ) -> Rule {
        let identity = identity(config, parts, style, number);
        let single = !parts.iter().any(is_apart);
        let single = single.then(|| counter(identity, limit, [].into_iter()));
        Rule {
            label: label(config, parts, style).into(),
            config: config.into(),
            parts: parts.into(),
            style,
            limit,
            weight: 0,
            always_apply: false,
            policy: CountPolicy::Always,
            shadow: false,
            beside,
            identity,
            single,
        }
    }

    /// The counter for `values`, one for each part whose values are counted apart, under `limit`.
    pub fn counter<'v>(&self, limit: Limit, values: impl Iterator<Item = &'v str>) -> CounterId {
        match self.single {
            Some(single) if limit.counts_like(&self.limit) => single,
            _ => counter(self.identity, limit, values),
        }
    }

    /// What its counters have in common: the only one, if it counts no part by value.
    pub fn id(&self) -> CounterId {
        match self.style {
            Style::Override => CounterId::NO_RULE,
            _ => self.single.unwrap_or(self.identity),
        }
    }

    /// Its one counter, if it counts no part by value.
    pub fn single(&self) -> Option<CounterId> {
        self.single
    }

    /// What responses call it: `domain|key^value|key`, sorted for a set.
    pub fn name(&self, domain: &str) -> String {
        let mut name = String::with_capacity(domain.len() + 1 + self.label.len());
        name.push_str(domain);
        name.push('|');
        name.push_str(&self.label);
        name
    }
}

fn label(config: &str, parts: &[SimpleDescriptor], style: Style) -> String {
    let mut words = vec![format!("generic_key^{config}")];
    if matches!(style, Style::Set(_)) {
        words.push(format!("generic_key^{SET_DESCRIPTOR_MARKER}"));
    }
    words.extend(parts.iter().map(|part| match &part.value_match {
        Some(values) => format!("{}^{values}", part.key),
        None if part.value.is_empty() => part.key.clone(),
        None => format!("{}^{}", part.key, part.value),
    }));
    if matches!(style, Style::Set(_)) {
        words.sort();
    }
    words.join("|")
}

fn identity(config: &str, parts: &[SimpleDescriptor], style: Style, alike: usize) -> CounterId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"waykeeper rule 2");
    text(&mut hasher, config);
    let (tag, twin) = match style {
        Style::Tree => (b'T', 0),
        Style::Set(number) => (b'S', number),
        Style::Override => (b'O', 0),
    };
    hasher.update(&[tag]);
    hasher.update(&twin.to_le_bytes());
    hasher.update(&(alike as u64).to_le_bytes());
    for part in parts {
        text(&mut hasher, &part.key);
        text(&mut hasher, &part.value);
        text(&mut hasher, &part.value_match.as_ref().map(ToString::to_string).unwrap_or_default());
        hasher.update(&[part.share_counter.into()]);
    }
    finish(&hasher)
}

/// Whether each value that `part` stands for has a counter of its own.
pub(crate) fn is_apart(part: &SimpleDescriptor) -> bool {
    part.value.is_empty() && !part.share_counter
}

fn counter<'v>(identity: CounterId, limit: Limit, values: impl Iterator<Item = &'v str>) -> CounterId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&identity.0.to_le_bytes());
    // The window and the way of counting are part of the name, or a minute's and an hour's
    // counts would be one when their windows begin together.
    hasher.update(&limit.unit().number().to_le_bytes());
    hasher.update(&limit.units().to_le_bytes());
    hasher.update(limit.algorithm().letter().encode_utf8(&mut [0; 4]).as_bytes());
    for value in values {
        text(&mut hasher, value);
    }
    finish(&hasher)
}

fn text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use api::gloo::rate_limit_config::Unit;
    use limit::Algorithm;

    use super::*;

    fn part(key: &str, value: &str) -> SimpleDescriptor {
        SimpleDescriptor { key: key.into(), value: value.into(), ..SimpleDescriptor::default() }
    }

    fn rule(config: &str, parts: &[SimpleDescriptor], style: Style, number: usize) -> Rule {
        Rule::numbered(config, parts, style, Limit::new(1, Unit::Hour).unwrap(), Beside::none(), number)
    }

    #[test]
    fn no_two_rules_have_one_counter_however_alike_they_are() {
        let (one, two) = ([part("a", "x")], [part("a", "x"), part("b", "y")]);
        let shared = [SimpleDescriptor { share_counter: true, ..part("a", "") }];
        let all = [
            rule("ns.c", &one, Style::Tree, 0),
            rule("ns.c", &one, Style::Tree, 1),
            rule("ns.c", &one, Style::Set(0), 0),
            rule("ns.c", &one, Style::Set(1), 0),
            rule("ns.d", &one, Style::Tree, 0),
            rule("ns.c", &two, Style::Tree, 0),
            rule("ns.c", &[part("ax", "")], Style::Tree, 0),
            rule("ns.c", &[part("a", "xb"), part("", "y")], Style::Tree, 0),
            rule("ns.c", &[part("a", "")], Style::Tree, 0),
            rule("ns.c", &shared, Style::Tree, 0),
        ];
        assert_eq!(all.iter().map(Rule::id).collect::<BTreeSet<_>>().len(), all.len());
        let first = rule("ns.c", &one, Style::Tree, 0);
        assert_eq!(first.id(), rule("ns.c", &one, Style::Tree, 0).id());
        let alone = Rule::new("ns.c", one.to_vec(), Style::Tree, first.limit, Beside::none());
        assert_eq!(alone.id(), first.id(), "the first of its parts, and none of the others");
    }

    #[test]
    fn values_are_counted_apart_unless_they_share_and_by_limits_that_count_alike() {
        let hour = Limit::new(1, Unit::Hour).unwrap();
        let apart = rule("ns.c", &[part("a", "")], Style::Tree, 0);
        let of = |rule: &Rule, limit: Limit, value: &'static str| rule.counter(limit, [value].into_iter());
        assert_eq!(apart.single(), None);
        assert_ne!(of(&apart, hour, "1"), of(&apart, hour, "2"));
        let shared = rule("ns.c", &[SimpleDescriptor { share_counter: true, ..part("a", "") }], Style::Tree, 0);
        assert_eq!(shared.single(), Some(of(&shared, hour, "1")));
        // Only how much passes may differ.
        assert_eq!(of(&apart, hour, "1"), of(&apart, Limit::new(9, Unit::Hour).unwrap(), "1"));
        for other in [Limit::new(1, Unit::Day).unwrap(), hour.by(Algorithm::SlidingWindow)] {
            assert_ne!(of(&apart, hour, "1"), of(&apart, other, "1"));
            assert_ne!(of(&shared, hour, "1"), of(&shared, other, "1"));
        }
        let made_up = rule("ns.c", &[part("a", "x")], Style::Override, 0);
        assert_eq!(made_up.id(), CounterId::NO_RULE, "it is no rule of the configuration");
        assert_ne!(of(&made_up, hour, "1"), CounterId::NO_RULE);
    }
}
