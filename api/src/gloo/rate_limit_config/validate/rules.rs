//! Rules in tree style and in set style.

use std::collections::{HashMap, HashSet};

use super::{MOST_LEVELS, MOST_RULES, at_most, bounded, required};
use crate::gloo::rate_limit_config::{Algorithm, Descriptor, RateLimit, SetDescriptor, Unit, ValueMatch};
use crate::problem::Problem;

/// Beyond so many rules we do not look for ones that are never reached: it takes the square of it.
const LOOK_FOR_UNREACHED: usize = 256;

/// Limits on one descriptor.
const MOST_LIMITS: usize = 8;
/// Networks or values in one condition.
const MOST_VALUES: usize = 256;

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
    let mut seen: HashMap<(&str, &str, Option<&ValueMatch>), usize> = HashMap::new();
    for (index, descriptor) in descriptors.iter().enumerate() {
        let at = format!("{field}[{index}]");
        required(&descriptor.key, format!("{at}.key"), "the key of an entry", problems);
        value(&descriptor.value, descriptor.value_match.as_ref(), descriptor.share_counter, &at, problems);
        let identity = (descriptor.key.as_str(), descriptor.value.as_str(), descriptor.value_match.as_ref());
        if let Some(first) = seen.insert(identity, index)
            && !descriptor.key.is_empty()
        {
            let composite = match &descriptor.value_match {
                Some(values) => format!("{}^{values}", descriptor.key),
                None if descriptor.value.is_empty() => descriptor.key.clone(),
                None => format!("{}^{}", descriptor.key, descriptor.value),
            };
            problems.push(Problem::error(
                format!("{at}.key"),
                format!("duplicate descriptor composite key [{composite}], already at {field}[{first}]; merge the two"),
            ));
        }
        limits(descriptor.all_limits(), &at, problems);
        if descriptor.all_limits().next().is_none() {
            if descriptor.weight != 0 {
                problems.push(Problem::warning(format!("{at}.weight"), "has no effect without rateLimit"));
            }
            if descriptor.always_apply {
                problems.push(Problem::warning(format!("{at}.alwaysApply"), "has no effect without rateLimit"));
            }
        }
        level(&descriptor.descriptors, &format!("{at}.descriptors"), depth + 1, nodes, problems);
    }
}

fn limits<'l>(limits: impl Iterator<Item = (String, &'l RateLimit)>, at: &str, problems: &mut Vec<Problem>) {
    let mut seen = HashMap::new();
    for (number, (field, limit)) in limits.enumerate() {
        let at = format!("{at}.{field}");
        if number == MOST_LIMITS {
            problems.push(Problem::error(at, format!("at most {MOST_LIMITS} limits on one descriptor are allowed")));
            return;
        }
        rate_limit(limit, &at, problems);
        if let Some(first) = seen.insert(*limit, field) {
            problems.push(Problem::error(at, format!("the same limit as {first}; remove one")));
        }
    }
}

fn rate_limit(limit: &RateLimit, at: &str, problems: &mut Vec<Problem>) {
    if limit.unit == Unit::Unknown {
        problems.push(Problem::error(
            format!("{at}.unit"),
            "missing or UNKNOWN; write SECOND, MINUTE, HOUR, DAY, WEEK, MONTH or YEAR",
        ));
    }
    if limit.unit.seconds().is_some_and(|seconds| seconds.checked_mul(limit.unit_multiplier.max(1)).is_none()) {
        problems.push(Problem::error(format!("{at}.unitMultiplier"), "a window of more than 136 years; write less"));
    }
    if limit.burst > 0 && limit.algorithm != Algorithm::TokenBucket {
        problems
            .push(Problem::error(format!("{at}.burst"), "only a token bucket has one; write algorithm: tokenBucket"));
    }
}

/// A value, or a condition on values.
fn value(value: &str, condition: Option<&ValueMatch>, shared: bool, at: &str, problems: &mut Vec<Problem>) {
    bounded(value, format!("{at}.value"), problems);
    if shared && !value.is_empty() {
        problems.push(Problem::warning(format!("{at}.shareCounter"), "has no effect: one value has one counter"));
    }
    let Some(condition) = condition else { return };
    let at = format!("{at}.valueMatch");
    if !value.is_empty() {
        problems.push(Problem::error(&*at, "contradicts value; keep one of the two"));
    }
    let ValueMatch { cidrs, values, prefix, suffix, regex } = condition;
    let written = [!cidrs.is_empty(), !values.is_empty(), !prefix.is_empty(), !suffix.is_empty(), !regex.is_empty()];
    if written.iter().filter(|written| **written).count() != 1 {
        problems.push(Problem::error(&*at, "write exactly one of cidrs, values, prefix, suffix and regex"));
    }
    at_most(cidrs.len().max(values.len()), MOST_VALUES, &*at, problems);
    for (index, cidr) in cidrs.iter().enumerate() {
        if cidr.parse::<ipnet::IpNet>().is_err() {
            let why = format!("{cidr:?} is not a network; write one such as 10.0.0.0/8 or 2001:db8::/32");
            problems.push(Problem::error(format!("{at}.cidrs[{index}]"), why));
        }
    }
    for (index, value) in values.iter().enumerate() {
        required(value, format!("{at}.values[{index}]"), "a value", problems);
    }
    bounded(prefix, format!("{at}.prefix"), problems);
    bounded(suffix, format!("{at}.suffix"), problems);
    bounded(regex, format!("{at}.regex"), problems);
    if let Err(why) = super::super::whole(regex) {
        problems.push(Problem::error(format!("{at}.regex"), why));
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
            value(&condition.value, condition.value_match.as_ref(), condition.share_counter, &at, problems);
            if !seen.insert(condition) {
                problems.push(Problem::error(format!("{at}.key"), "the same key and value twice; remove one"));
            }
        }
        limits(rule.all_limits(), &at, problems);
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
            later.simple_descriptors.iter().any(|given| {
                given.key == wanted.key
                    && wanted.value_match.is_none()
                    && (wanted.value.is_empty() || wanted.value == given.value)
            })
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
