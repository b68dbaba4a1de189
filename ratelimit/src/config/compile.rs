//! One RateLimitConfig becomes a [`Config`], or a list of what is wrong with it.

use std::collections::HashMap;

use api::gloo::RateLimitConfig;
use api::gloo::rate_limit_config::{self, Descriptor, RateLimit, SetDescriptor, SimpleDescriptor};
use api::{Meta as _, Problem};

use super::Scope;
use super::index::{Config, Level, Node, SetRule, Sets};
use super::rule::{Rule, Style};
use crate::meters::MeterSlots;
use crate::window::Limit;

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

struct Make<'a> {
    id: &'a str,
    domains: usize,
}

impl Make<'_> {
    fn level(&self, descriptors: &[Descriptor], path: &mut Vec<SimpleDescriptor>) -> Level {
        let mut level = Level::default();
        for descriptor in descriptors {
            path.push(SimpleDescriptor { key: descriptor.key.clone(), value: descriptor.value.clone() });
            let rule = descriptor.rate_limit.as_ref().and_then(|limit| {
                let mut rule = self.rule(path.clone(), Style::Tree, limit)?;
                rule.weight = descriptor.weight;
                rule.always_apply = descriptor.always_apply;
                Some(Box::new(rule))
            });
            let node = Node { rule, children: self.level(&descriptor.descriptors, path) };
            path.pop();
            let values = level.0.entry(descriptor.key.as_str().into()).or_default();
            if descriptor.value.is_empty() {
                values.any = Some(Box::new(node));
            } else {
                values.exact.insert(descriptor.value.as_str().into(), node);
            }
        }
        level
    }

    fn sets(&self, descriptors: &[SetDescriptor]) -> Sets {
        let mut twins: HashMap<Vec<SimpleDescriptor>, u32> = HashMap::new();
        let rules = descriptors.iter().map(|descriptor| {
            // Sorted, so that the order of conditions in the file does not matter to the counters.
            let mut conditions = descriptor.simple_descriptors.clone();
            conditions.sort();
            let twin = twins.entry(conditions.clone()).and_modify(|number| *number += 1).or_insert(0);
            let limit = descriptor.rate_limit.as_ref();
            let rule = limit.and_then(|limit| self.rule(conditions.clone(), Style::Set(*twin), limit));
            let rule = rule.map(|mut rule| {
                rule.always_apply = descriptor.always_apply;
                rule
            });
            SetRule { conditions: conditions.into_boxed_slice(), rule, always_apply: descriptor.always_apply }
        });
        Sets::new(rules.collect())
    }

    /// `None` only for a unit that validation refuses.
    fn rule(&self, parts: Vec<SimpleDescriptor>, style: Style, limit: &RateLimit) -> Option<Rule> {
        let limit = Limit::new(limit.requests_per_unit, limit.unit)?;
        Some(Rule::new(self.id, parts, style, limit, MeterSlots::new(self.domains)))
    }
}
