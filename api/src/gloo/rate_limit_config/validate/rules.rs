//! Rules in tree style and in set style.

use std::collections::{HashMap, HashSet};

use super::{MOST_LEVELS, MOST_RULES, at_most, bounded, required};
use crate::gloo::rate_limit_config::{Descriptor, RateLimit, SetDescriptor, Unit};
use crate::problem::Problem;

/// Beyond so many rules we do not look for ones that are never reached: it takes the square of it.
const LOOK_FOR_UNREACHED: usize = 256;

/// All trees of an object.
pub(super) fn tree(descriptors: &[Descriptor], own_id: &str, problems: &mut Vec<Problem>) {
    let mut nodes = 0;
    let root = "spec.raw.descriptors";
    for (index, descriptor) in descriptors.iter().enumerate() {
        if descriptor.key == "generic_key" && descriptor.value == own_id {
            problems.push(Problem::warning(
                format!("{root}[{index}].value"),
                format!("{own_id:?} is this object's own name, which is put in front of every descriptor by itself; remove this level"),
            ));
        }
    }
    level(descriptors, root, 1, &mut nodes, problems);
    at_most(nodes, MOST_RULES, root, problems);
}

fn level(descriptors: &[Descriptor], field: &str, depth: usize, nodes: &mut usize, problems: &mut Vec<Problem>) {
    if descriptors.is_empty() {
        return;
    }
    *nodes += descriptors.len();
    if depth > MOST_LEVELS {
        problems.push(Problem::error(field, format!("nested too deep; at most {MOST_LEVELS} levels are allowed")));
        return;
    }
    if *nodes > MOST_RULES {
        return;
    }
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    for (index, descriptor) in descriptors.iter().enumerate() {
        let at = format!("{field}[{index}]");
        required(&descriptor.key, format!("{at}.key"), "the key of an entry", problems);
        bounded(&descriptor.value, format!("{at}.value"), problems);
        if let Some(first) = seen.insert((&descriptor.key, &descriptor.value), index)
            && !descriptor.key.is_empty()
        {
            let composite = if descriptor.value.is_empty() {
                descriptor.key.clone()
            } else {
                format!("{}^{}", descriptor.key, descriptor.value)
            };
            problems.push(Problem::error(
                format!("{at}.key"),
                format!("duplicate descriptor composite key [{composite}], already at {field}[{first}]; merge the two"),
            ));
        }
        match &descriptor.rate_limit {
            Some(limit) => rate_limit(limit, &at, problems),
            None => {
                if descriptor.weight != 0 {
                    problems.push(Problem::warning(format!("{at}.weight"), "has no effect without rateLimit"));
                }
                if descriptor.always_apply {
                    problems.push(Problem::warning(format!("{at}.alwaysApply"), "has no effect without rateLimit"));
                }
            }
        }
        level(&descriptor.descriptors, &format!("{at}.descriptors"), depth + 1, nodes, problems);
    }
}

fn rate_limit(limit: &RateLimit, at: &str, problems: &mut Vec<Problem>) {
    if limit.unit == Unit::Unknown {
        problems.push(Problem::error(
            format!("{at}.rateLimit.unit"),
            "missing or UNKNOWN; write SECOND, MINUTE, HOUR, DAY, WEEK, MONTH or YEAR",
        ));
    }
}

/// All rules in set style.
pub(super) fn sets(rules: &[SetDescriptor], problems: &mut Vec<Problem>) {
    let root = "spec.raw.setDescriptors";
    at_most(rules.len(), MOST_RULES, root, problems);
    for (index, rule) in rules.iter().enumerate().take(MOST_RULES) {
        let at = format!("{root}[{index}]");
        at_most(rule.simple_descriptors.len(), MOST_LEVELS, format!("{at}.simpleDescriptors"), problems);
        let mut seen = HashSet::new();
        for (index, condition) in rule.simple_descriptors.iter().enumerate().take(MOST_LEVELS) {
            let at = format!("{at}.simpleDescriptors[{index}]");
            required(&condition.key, format!("{at}.key"), "the key of an entry", problems);
            bounded(&condition.value, format!("{at}.value"), problems);
            if !seen.insert(condition) {
                problems.push(Problem::error(format!("{at}.key"), "the same key and value twice; remove one"));
            }
        }
        if let Some(limit) = &rule.rate_limit {
            rate_limit(limit, &at, problems);
        }
    }
    for (index, earlier) in unreached(rules) {
        problems.push(Problem::warning(
            format!("{root}[{index}]"),
            format!("never applies: whatever it matches, {root}[{earlier}] matches first; move it up or write alwaysApply: true"),
        ));
    }
}

/// Rules that an earlier one hides, each with the one that does.
fn unreached(rules: &[SetDescriptor]) -> Vec<(usize, usize)> {
    let implied = |earlier: &SetDescriptor, later: &SetDescriptor| {
        earlier.simple_descriptors.iter().all(|wanted| {
            later
                .simple_descriptors
                .iter()
                .any(|given| given.key == wanted.key && (wanted.value.is_empty() || wanted.value == given.value))
        })
    };
    if rules.len() > LOOK_FOR_UNREACHED {
        return Vec::new();
    }
    rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| !rule.always_apply)
        .filter_map(|(index, rule)| Some((index, rules[..index].iter().position(|earlier| implied(earlier, rule))?)))
        .collect()
}
