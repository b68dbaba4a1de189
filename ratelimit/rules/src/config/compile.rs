//! One RateLimitConfig becomes a [`Config`], or a list of what is wrong with it.

use std::collections::HashMap;
use std::num::NonZeroU32;

use api::gloo::rate_limit_config::{self, CountWhenLimited, Descriptor, RateLimit, SetDescriptor, SimpleDescriptor};
use api::gloo::route_option::basic::{ANONYMOUS, AUTHENTICATED, USER};
use api::gloo::route_option::basic_id;
use api::gloo::{RateLimitConfig, RouteOption};
use api::{Meta as _, Problem};

use super::Scope;
use super::index::{Condition, Config, Level, Node, SetRule, Sets, Wanted};
use super::pattern::Pattern;
use super::rule::{Rule, Style, is_apart};
use crate::beside::Beside;
use limit::{Algorithm, CountPolicy, Limit};

/// The rules of `object`, unless one of the problems is an error.
pub fn compile(object: &RateLimitConfig, scope: &Scope) -> (Option<Config>, Vec<Problem>) {
    let problems = rate_limit_config::validate(object);
    if api::problem::has_errors(&problems) {
        return (None, problems);
    }
    let id = rate_limit_config::config_id(&object.name_of());
    let make = Make { id: &id, domains: scope.domains.len() };
    let raw = &object.spec.raw;
    let tree = make.level(&raw.descriptors, &mut Vec::new());
    let sets = make.sets(&raw.set_descriptors);
    (Some(Config { id: id.as_str().into(), tree, sets }), problems)
}

/// The rules of a RouteOption's `ratelimitBasic`, if it has one: for each user, and for each other address.
pub fn basic(option: &RouteOption, scope: &Scope) -> Option<Config> {
    let written = option.spec.options.ratelimit_basic.as_ref()?;
    let id = basic_id(&option.name_of());
    let make = Make { id: &id, domains: scope.domains.len() };
    let limited = |who: &str, by: &str, limit: &Option<RateLimit>| Descriptor {
        key: "header_match".to_owned(),
        value: who.to_owned(),
        descriptors: vec![Descriptor { key: by.to_owned(), rate_limit: *limit, ..Descriptor::default() }],
        ..Descriptor::default()
    };
    let tree = [
        limited(AUTHENTICATED, USER, &written.authorized_limits),
        limited(ANONYMOUS, "remote_address", &written.anonymous_limits),
    ];
    let tree = make.level(&tree, &mut Vec::new());
    Some(Config { id: id.as_str().into(), tree, sets: Sets::default() })
}

struct Make<'a> {
    id: &'a str,
    domains: usize,
}

impl Make<'_> {
    fn level(&self, descriptors: &[Descriptor], path: &mut Vec<SimpleDescriptor>) -> Level {
        let mut level = Level::default();
        for descriptor in descriptors {
            path.push(SimpleDescriptor {
                key: descriptor.key.clone(),
                value: descriptor.value.clone(),
                value_match: descriptor.value_match.clone(),
                share_counter: descriptor.share_counter,
            });
            let mut rules: Vec<Rule> = self.rules(path, Style::Tree, descriptor.all_limits().map(|(_, limit)| limit));
            for rule in &mut rules {
                rule.weight = descriptor.weight;
                rule.always_apply = descriptor.always_apply;
            }
            let node = Node { rules, children: self.level(&descriptor.descriptors, path) };
            path.pop();
            let values = level.0.entry(descriptor.key.as_str().into()).or_default();
            match &descriptor.value_match {
                Some(written) => values.matching.extend(Pattern::new(written).map(|pattern| (pattern, node))),
                None if descriptor.value.is_empty() => values.any = Some(Box::new(node)),
                None => drop(values.exact.insert(descriptor.value.as_str().into(), node)),
            }
        }
        level
    }

    fn sets(&self, descriptors: &[SetDescriptor]) -> Sets {
        let mut twins: HashMap<Vec<SimpleDescriptor>, u32> = HashMap::new();
        let rules = descriptors.iter().map(|descriptor| {
            // Sorted, so that the order of conditions in the file does not matter to the counters.
            let mut parts = descriptor.simple_descriptors.clone();
            parts.sort();
            let twin = *twins.entry(parts.clone()).and_modify(|number| *number += 1).or_insert(0);
            let limits = descriptor.all_limits().map(|(_, limit)| limit);
            let mut rules = self.rules(&parts, Style::Set(twin), limits);
            rules.iter_mut().for_each(|rule| rule.always_apply = descriptor.always_apply);
            let conditions = parts.iter().filter_map(condition).collect();
            SetRule { conditions, rules, always_apply: descriptor.always_apply }
        });
        Sets::new(rules.collect())
    }

    /// One for each of `limits`. Limits that count alike are told apart by their number among those.
    fn rules<'l>(
        &self,
        parts: &[SimpleDescriptor],
        style: Style,
        limits: impl Iterator<Item = &'l RateLimit>,
    ) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        for written in limits {
            // None only for what validation refuses.
            let Some(limit) = limit(written) else { continue };
            let alike = rules.iter().filter(|other| other.limit.counts_like(&limit)).count();
            let mut rule = Rule::numbered(self.id, parts, style, limit, Beside::new(self.domains), alike);
            rule.policy = match written.count_when_limited {
                CountWhenLimited::Always => CountPolicy::Always,
                CountWhenLimited::Never => CountPolicy::WhenAllowed,
            };
            rule.shadow = written.shadow_mode;
            rules.push(rule);
        }
        rules
    }
}

/// What `written` allows; none for what validation refuses.
pub fn limit(written: &RateLimit) -> Option<Limit> {
    let limit = Limit::new(written.requests_per_unit, written.unit)?;
    let limit = limit.times(NonZeroU32::new(written.unit_multiplier.max(1))?)?;
    Some(limit.by(match written.algorithm {
        api::gloo::rate_limit_config::Algorithm::FixedWindow => Algorithm::FixedWindow,
        api::gloo::rate_limit_config::Algorithm::SlidingWindow => Algorithm::SlidingWindow,
        api::gloo::rate_limit_config::Algorithm::TokenBucket => {
            let burst = if written.burst == 0 { written.requests_per_unit } else { written.burst };
            // A rate of none has no burst either; see `Limit::amount`.
            Algorithm::TokenBucket { burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN) }
        }
    }))
}

fn condition(part: &SimpleDescriptor) -> Option<Condition> {
    let value = match &part.value_match {
        Some(written) => Wanted::Matching(Pattern::new(written)?),
        None if part.value.is_empty() => Wanted::Any,
        None => Wanted::Exactly(part.value.as_str().into()),
    };
    Some(Condition { key: part.key.as_str().into(), value, apart: is_apart(part) })
}
