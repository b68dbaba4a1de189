//! What is wrong with a RateLimitConfig taken by itself, all of it, by path.

mod actions;
mod contradict;
mod reach;
mod rules;
#[cfg(test)]
mod tests;

use super::RateLimitConfig;
use crate::problem::Problem;
use crate::resource::Meta;

/// Nodes of all trees and rules in set style that one object may hold.
const MOST_RULES: usize = 20_000;
/// Actions in one list, conditions in one rule and levels of one tree.
const MOST_LEVELS: usize = 16;
/// Bytes of one key or value.
const MOST_BYTES: usize = 1024;

/// What is wrong with `object` taken by itself.
///
/// Whatever passes can be compiled by the rate-limit service and turned into
/// actions that Envoy accepts.
pub fn validate(object: &RateLimitConfig) -> Vec<Problem> {
    let raw = &object.spec.raw;
    let mut problems = Vec::new();
    if raw.descriptors.is_empty() && raw.set_descriptors.is_empty() {
        problems.push(Problem::error(
            "spec.raw",
            "raw config must define at least one descriptor or setDescriptor; write one under descriptors or setDescriptors",
        ));
    }
    let own_id = super::config_id(&object.name_of());
    rules::tree(&raw.descriptors, &own_id, &mut problems);
    rules::sets(&raw.set_descriptors, &mut problems);
    actions::rate_limits(raw, &mut problems);
    problems
}

/// A key or value that the author must write.
fn required(text: &str, field: String, what: &str, problems: &mut Vec<Problem>) {
    if text.is_empty() {
        problems.push(Problem::error(field, format!("missing or empty; write {what}")));
    } else {
        bounded(text, field, problems);
    }
}

/// A key or value that may be left out.
fn bounded(text: &str, field: String, problems: &mut Vec<Problem>) {
    if text.len() > MOST_BYTES {
        problems.push(Problem::error(field, format!("{} bytes long; at most {MOST_BYTES} are allowed", text.len())));
    } else if text == super::SET_DESCRIPTOR_MARKER {
        problems.push(Problem::error(field, format!("{text:?} is reserved; write another value")));
    }
}

fn at_most(count: usize, most: usize, field: impl Into<String>, problems: &mut Vec<Problem>) {
    if count > most {
        problems.push(Problem::error(field, format!("{count} of them; at most {most} are allowed")));
    }
}
