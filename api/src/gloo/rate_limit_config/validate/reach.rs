//! Rules and actions that never meet: the commonest reason for a limit that limits nothing.

use crate::gloo::rate_limit_config::{
    Action, ActionKind, Descriptor, Raw, SetDescriptor, SimpleDescriptor, ValueMatch,
};
use crate::problem::Problem;

/// So many of a kind are named, the others only counted.
const MOST_NAMED: usize = 8;
/// Beyond so many rules they are not looked at.
const MOST_LOOKED: usize = 2_000;

/// An entry that an action yields.
struct Entry<'a> {
    key: &'a str,
    /// The only value, where there is but one.
    value: Option<&'a str>,
    /// Whether it may be left out.
    optional: bool,
}

/// Warns of actions that no rule answers to, and of rules that no actions lead to.
pub(super) fn unreached(raw: &Raw, problems: &mut Vec<Problem>) {
    let mut found = Vec::new();
    let mut ways: Vec<Vec<Entry<'_>>> = Vec::new();
    for (number, entry) in raw.rate_limits.iter().enumerate().filter(|(_, entry)| !entry.actions.is_empty()) {
        let way: Vec<Entry<'_>> = entry.actions.iter().filter_map(|action| yields(action, false)).collect();
        if !raw.descriptors.is_empty() && way.len() == entry.actions.len() {
            let at = format!("spec.raw.rateLimits[{number}].actions");
            found.extend(misses(&raw.descriptors, &way, &at));
        }
        ways.push(way);
    }
    if !ways.is_empty() {
        let mut looked = 0;
        never_reached(&raw.descriptors, "spec.raw.descriptors", &mut Vec::new(), &ways, &mut looked, &mut found);
    }
    let lists = raw.rate_limits.iter().map(|entry| &entry.set_actions).filter(|list| !list.is_empty());
    let sets: Vec<Vec<Entry<'_>>> = lists.map(|list| list.iter().filter_map(|a| yields(a, true)).collect()).collect();
    if !sets.is_empty() {
        for (number, rule) in raw.set_descriptors.iter().enumerate().take(MOST_LOOKED) {
            found.extend(set_never_reached(rule, &sets, &format!("spec.raw.setDescriptors[{number}]")));
        }
    }
    let more = found.len().saturating_sub(MOST_NAMED);
    found.truncate(MOST_NAMED);
    if more > 0
        && let Some(last) = found.last_mut()
    {
        last.message.push_str(&format!(" (and {more} more like it)"));
    }
    problems.extend(found);
}

/// What `action` yields; none if that depends on what is not in sight.
fn yields(action: &Action, set: bool) -> Option<Entry<'_>> {
    let any = |key, optional| Entry { key, value: None, optional };
    Some(match action.kind()? {
        ActionKind::SourceCluster => any("source_cluster", false),
        ActionKind::DestinationCluster => any("destination_cluster", false),
        ActionKind::RequestHeaders(header) => any(&header.descriptor_key, set || header.skip_if_absent),
        ActionKind::QueryParameters(query) => any(&query.descriptor_key, set || query.skip_if_absent),
        ActionKind::RemoteAddress => any("remote_address", false),
        ActionKind::MaskedRemoteAddress(_) => any("masked_remote_address", false),
        ActionKind::GenericKey(generic) => {
            let key = if generic.descriptor_key.is_empty() { "generic_key" } else { &generic.descriptor_key };
            Entry { key, value: Some(&generic.descriptor_value), optional: false }
        }
        ActionKind::HeaderValueMatch(matched) => {
            Entry { key: "header_match", value: Some(&matched.descriptor_value), optional: false }
        }
        ActionKind::Metadata(metadata) => any(&metadata.descriptor_key, false),
        ActionKind::Cel => return None,
    })
}

/// Whether an entry may be one that a rule with these words asks for.
fn may_be(entry: &Entry<'_>, key: &str, value: &str, matched: Option<&ValueMatch>) -> bool {
    entry.key == key && entry.value.is_none_or(|said| value.is_empty() && may_match(said, matched) || said == value)
}

/// Whether a constant may satisfy a condition on values; what is not easily said may.
fn may_match(said: &str, matched: Option<&ValueMatch>) -> bool {
    matched.is_none_or(|matched| {
        (matched.values.is_empty() || matched.values.iter().any(|value| value == said))
            && said.starts_with(&matched.prefix)
            && said.ends_with(&matched.suffix)
    })
}

/// Why no rule answers to `way`, if none does.
fn misses(level: &[Descriptor], way: &[Entry<'_>], at: &str) -> Option<Problem> {
    let mut here: Vec<&Descriptor> = level.iter().collect();
    let mut reached: Vec<&Descriptor> = Vec::new();
    let mut optional = false;
    for (number, entry) in way.iter().enumerate() {
        // From here on requests may be described in several ways: no single one is wrong.
        optional |= entry.optional;
        let next: Vec<&Descriptor> = here
            .iter()
            .filter(|rule| may_be(entry, &rule.key, &rule.value, rule.value_match.as_ref()))
            .copied()
            .collect();
        if next.is_empty() && !optional {
            return Some(Problem::warning(format!("{at}[{number}]"), not_there(level, &here, way, entry)));
        }
        if next.is_empty() {
            return None;
        }
        here = next.iter().flat_map(|rule| &rule.descriptors).collect();
        reached = next;
    }
    let limits = |rule: &&Descriptor| rule.all_limits().next().is_some() || rule.descriptors.is_empty();
    if optional || way.is_empty() || reached.iter().any(limits) {
        return None;
    }
    let deeper: Vec<&str> = here.iter().take(3).map(|rule| rule.key.as_str()).collect();
    Some(Problem::warning(
        at,
        format!(
            "limits nothing: the rule it leads to has no rateLimit, only rules below it; write one there, or add actions \
             for {}",
            deeper.join(", ")
        ),
    ))
}

fn not_there(level: &[Descriptor], here: &[&Descriptor], way: &[Entry<'_>], entry: &Entry<'_>) -> String {
    let said = match entry.value {
        Some(value) => format!("{} with the value {value:?}", entry.key),
        None => entry.key.to_owned(),
    };
    if let Some(order) = other_order(level, way) {
        return format!("limits nothing: actions must stand in the order in which rules are nested; write {order}");
    }
    let values: Vec<&str> =
        here.iter().filter(|rule| rule.key == entry.key).take(3).map(|rule| rule.value.as_str()).collect();
    let keys: Vec<&str> = here.iter().take(3).map(|rule| rule.key.as_str()).collect();
    let advice = if !values.is_empty() {
        format!("the values there are {}", values.join(", "))
    } else if !keys.is_empty() {
        format!("the keys there are {}", keys.join(", "))
    } else {
        "rules end before it; add a level below, or remove the action".to_owned()
    };
    format!("limits nothing: no rule has {said} in this place; {advice}")
}

/// The order in which the same entries would be answered to.
fn other_order(level: &[Descriptor], way: &[Entry<'_>]) -> Option<String> {
    fn search<'d>(level: &'d [Descriptor], left: &[&Entry<'_>]) -> Option<Vec<&'d str>> {
        if left.is_empty() {
            return Some(Vec::new());
        }
        level.iter().find_map(|rule| {
            let at = left.iter().position(|entry| may_be(entry, &rule.key, &rule.value, rule.value_match.as_ref()))?;
            let mut rest = left.to_vec();
            rest.remove(at);
            let mut found = search(&rule.descriptors, &rest)?;
            found.insert(0, &rule.key);
            Some(found)
        })
    }
    let all: Vec<&Entry<'_>> = way.iter().collect();
    (way.len() <= 6).then(|| search(level, &all))?.map(|keys| keys.join(", "))
}

fn never_reached<'a>(
    level: &'a [Descriptor],
    at: &str,
    path: &mut Vec<&'a Descriptor>,
    ways: &[Vec<Entry<'_>>],
    looked: &mut usize,
    found: &mut Vec<Problem>,
) {
    for (number, rule) in level.iter().enumerate() {
        *looked += 1;
        if *looked > MOST_LOOKED {
            return;
        }
        let at = format!("{at}[{number}]");
        path.push(rule);
        if rule.all_limits().next().is_some() && !ways.iter().any(|way| leads(way, path)) {
            let keys: Vec<&str> = path.iter().map(|rule| rule.key.as_str()).collect();
            found.push(Problem::warning(
                &*at,
                format!(
                    "never applies: no rateLimits entry has actions that yield exactly {}, in this order",
                    keys.join(", ")
                ),
            ));
        }
        never_reached(&rule.descriptors, &format!("{at}.descriptors"), path, ways, looked, found);
        path.pop();
    }
}

/// Whether a request that `way` describes may end at the last of `path`.
fn leads(way: &[Entry<'_>], path: &[&Descriptor]) -> bool {
    match (way.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((entry, rest)), Some((rule, below)))
            if may_be(entry, &rule.key, &rule.value, rule.value_match.as_ref()) && leads(rest, below) =>
        {
            true
        }
        (Some((entry, rest)), _) if entry.optional => leads(rest, path),
        _ => false,
    }
}

fn set_never_reached(rule: &SetDescriptor, sets: &[Vec<Entry<'_>>], at: &str) -> Option<Problem> {
    let given = |wanted: &SimpleDescriptor, set: &[Entry<'_>]| {
        set.iter().any(|entry| may_be(entry, &wanted.key, &wanted.value, wanted.value_match.as_ref()))
    };
    if sets.iter().any(|set| rule.simple_descriptors.iter().all(|wanted| given(wanted, set))) {
        return None;
    }
    let lacks = rule.simple_descriptors.iter().find(|wanted| !sets.iter().any(|set| given(wanted, set)));
    let lacks = match lacks {
        Some(wanted) if wanted.value.is_empty() => format!("no setActions yield {}", wanted.key),
        Some(wanted) => format!("no setActions yield {} with the value {:?}", wanted.key, wanted.value),
        None => "no single rateLimits entry has setActions for all of its simpleDescriptors".to_owned(),
    };
    Some(Problem::warning(at, format!("never applies: {lacks}")))
}
