//! From a decoded file to a [`Domain`], with every mistake at once.

use std::num::NonZeroU32;

use api::Problem;
use api::gloo::rate_limit_config::Unit;

use super::stats::Stats;
use super::tree::{Domain, FileRule, Level, Node, Wild, counter};
use super::wildcard::Wildcard;
use super::yaml::{Descriptor, Document, RateLimit};
use limit::{CounterId, Limit};

/// Deeper trees are refused: requests have no more entries.
const MOST_LEVELS: usize = rules::bounds::MOST_ENTRIES;

/// Limits of one descriptor.
const MOST_LIMITS: usize = 8;

/// The rules of `documents`, which are of one domain; each problem with the number of its document.
///
/// The domain is what could be used of them: the caller decides whether it wants it.
pub fn compile(documents: &[&Document], stats: &Stats) -> (Domain, Vec<(usize, Problem)>) {
    let name = documents.first().map_or("", |document| document.domain.as_str());
    let mut domain = Domain { name: name.into(), level: Level::default() };
    let mut problems = Vec::new();
    for (number, document) in documents.iter().enumerate() {
        if document.domain.is_empty() {
            problems.push((number, Problem::error("domain", "config file cannot have empty domain")));
        } else if document.domain.len() > rules::bounds::MOST_DOMAIN_BYTES {
            let most = rules::bounds::MOST_DOMAIN_BYTES;
            problems.push((number, Problem::error("domain", format!("longer than {most} bytes"))));
        }
        let mut make = Make { stats, problems: Vec::new(), way: Vec::new() };
        make.level(&mut domain.level, name, "", &document.descriptors, name);
        problems.extend(make.problems.into_iter().map(|problem| (number, problem)));
    }
    (domain, problems)
}

struct Make<'a> {
    stats: &'a Stats,
    problems: Vec<Problem>,
    /// Key, value or pattern, and what of these is counted apart, of the nodes above.
    way: Vec<Way>,
}

#[derive(Debug, Clone)]
struct Way {
    key: String,
    value: String,
    counts: Counts,
}

/// How a node tells counters apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// It has one value.
    One,
    /// All values are one.
    Shared,
    /// By the value.
    Apart,
}

impl Make<'_> {
    fn level(&mut self, level: &mut Level, domain: &str, path: &str, descriptors: &[Descriptor], parent: &str) {
        if self.way.len() >= MOST_LEVELS && !descriptors.is_empty() {
            self.error(path, "descriptors", format!("more than {MOST_LEVELS} levels"));
            return;
        }
        let before = level.keys.values().map(|values| values.wild.len()).sum::<usize>() + level.loose.len();
        for (number, descriptor) in descriptors.iter().enumerate() {
            let at = if path.is_empty() { String::new() } else { format!("{path}.") };
            let path = format!("{at}descriptors[{number}]");
            self.node(level, before + number, domain, &path, descriptor, parent);
        }
    }

    fn node(&mut self, level: &mut Level, order: usize, domain: &str, path: &str, one: &Descriptor, parent: &str) {
        if one.key.is_empty() {
            return self.error(path, "key", "descriptor has empty key");
        }
        if one.key.len() > rules::bounds::MOST_KEY_BYTES {
            return self.error(path, "key", format!("longer than {} bytes", rules::bounds::MOST_KEY_BYTES));
        }
        let label = if one.value.is_empty() { one.key.clone() } else { format!("{}_{}", one.key, one.value) };
        let key = format!("{parent}.{label}");
        let loose = Wildcard::new(&one.key).and_then(|_| Wildcard::new(&label));
        let pattern = if loose.is_some() { None } else { Wildcard::new(&one.value) };
        if one.share_threshold && loose.is_none() && pattern.is_none() {
            self.error(
                path,
                "share_threshold",
                format!(
                    "share_threshold can only be used with wildcard values (containing '*'), but found key '{label}'"
                ),
            );
        }
        let text = loose.as_ref().or(pattern.as_ref()).map(|wildcard| wildcard.text.clone());
        let shared = text.filter(|_| one.share_threshold);
        let counts = match (&shared, loose.is_some() || pattern.is_some() || one.value.is_empty()) {
            (Some(_), _) => Counts::Shared,
            (None, true) => Counts::Apart,
            (None, false) => Counts::One,
        };
        // A loose pattern's key is the request's, so there is no one counter below it.
        let counts = if loose.is_some() { Counts::Apart } else { counts };
        let value = shared.as_deref().unwrap_or(&one.value).to_owned();
        self.way.push(Way { key: one.key.clone(), value, counts });
        let rule = self.rules(domain, path, one, &key);
        let mut node = Node {
            rule: rule.map(Box::new),
            children: Level::default(),
            value_to_metric: one.value_to_metric,
            shared,
            value: one.value.as_str().into(),
        };
        self.level(&mut node.children, domain, path, &one.descriptors, &key);
        self.way.pop();

        let duplicate = match (loose, pattern) {
            (Some(pattern), _) => insert_wild(&mut level.loose, Wild { order, pattern, node }),
            (None, Some(pattern)) => {
                let values = level.keys.entry(one.key.as_str().into()).or_default();
                insert_wild(&mut values.wild, Wild { order, pattern, node })
            }
            (None, None) if one.value.is_empty() => {
                let values = level.keys.entry(one.key.as_str().into()).or_default();
                values.any.replace(Box::new(node)).is_some()
            }
            (None, None) => {
                let values = level.keys.entry(one.key.as_str().into()).or_default();
                values.exact.insert(one.value.as_str().into(), node).is_some()
            }
        };
        if duplicate {
            self.error(path, "key", format!("duplicate descriptor composite key '{key}'"));
        }
    }

    /// The first limit of a node, with the others.
    fn rules(&mut self, domain: &str, path: &str, one: &Descriptor, key: &str) -> Option<FileRule> {
        let more = one.limits.iter().enumerate().map(|(number, limit)| (format!("limits[{number}]"), limit));
        let all = one.rate_limit.iter().map(|limit| ("rate_limit".to_owned(), limit)).chain(more);
        let mut rules: Vec<FileRule> = Vec::new();
        for (number, (field, limit)) in all.enumerate() {
            if number == MOST_LIMITS {
                self.error(path, &field, format!("at most {MOST_LIMITS} limits on one descriptor are allowed"));
                break;
            }
            let suffix = if number == 0 { String::new() } else { format!("_limit_{}", number + 1) };
            rules.extend(self.rule(domain, (path, &field), one, limit, (key, &suffix), &rules));
        }
        if rules.len() > 1 && rules.iter().any(|rule| rule.limit.is_none()) {
            self.error(path, "limits", "one of them is unlimited, which the others contradict");
        }
        let mut rules = rules.into_iter();
        let first = rules.next()?;
        Some(FileRule { more: rules.collect(), ..first })
    }

    fn rule(
        &mut self,
        domain: &str,
        (path, field): (&str, &str),
        one: &Descriptor,
        limit: &RateLimit,
        (key, suffix): (&str, &str),
        before: &[FileRule],
    ) -> Option<FileRule> {
        let at = format!("{path}.{field}");
        let key = &format!("{key}{suffix}");
        let unit = Unit::named(&limit.unit);
        if limit.unlimited && unit.is_some() {
            self.error(&at, "unit", "should not specify rate limit unit when unlimited");
        }
        if !limit.unlimited && unit.is_none() {
            let text = format!(
                "invalid rate limit unit '{}'; write second, minute, hour, day, week, month or year",
                limit.unit
            );
            self.error(&at, "unit", text);
            return None;
        }
        for (number, replaces) in limit.replaces.iter().enumerate() {
            let field = format!("replaces[{number}].name");
            if replaces.name.is_empty() {
                self.error(&at, &field, "should not have an empty replaces entry");
            } else if replaces.name == limit.name {
                self.error(&at, &field, "replaces should not contain name of same descriptor");
            }
        }
        let metadata = one.metadata.as_ref().map(to_struct);
        let units = NonZeroU32::new(limit.unit_multiplier).unwrap_or(NonZeroU32::MIN);
        let window = unit.filter(|_| !limit.unlimited).and_then(|unit| Limit::new(limit.requests_per_unit, unit));
        let allowed = window.and_then(|window| window.times(units));
        if window.is_some() && allowed.is_none() {
            self.error(&at, "unit_multiplier", "a window of more than 136 years; write less");
        }
        let alike = |limit: Limit| {
            before.iter().filter_map(|rule| rule.limit).filter(|other| other.counts_like(&limit)).count()
        };
        let alike = allowed.map_or(0, alike);
        let way = || self.way.iter().map(|way| (way.key.as_str(), way.value.as_str(), way.counts == Counts::Shared));
        let id = allowed.map_or(CounterId::NO_RULE, |limit| counter(domain, way(), limit, alike));
        let single = allowed.filter(|_| self.way.iter().all(|way| way.counts != Counts::Apart)).map(|_| id);
        Some(FileRule {
            key: key.as_str().into(),
            name: limit.name.as_str().into(),
            limit: allowed,
            requests_per_unit: limit.requests_per_unit,
            shadow: one.shadow_mode,
            quota: one.quota_mode,
            detailed: one.detailed_metric,
            replaces: limit.replaces.iter().map(|replaces| replaces.name.as_str().into()).collect(),
            metadata,
            stats: self.stats.rule(key),
            single,
            id,
            alike,
            suffix: suffix.into(),
            more: Box::default(),
        })
    }

    fn error(&mut self, path: &str, field: &str, message: impl Into<String>) {
        let field = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
        self.problems.push(Problem::error(field, message));
    }
}

/// Whether there was one with the same text.
fn insert_wild(wild: &mut Vec<Wild>, one: Wild) -> bool {
    let duplicate = wild.iter().any(|other| other.pattern.text == one.pattern.text);
    wild.push(one);
    duplicate
}

fn to_struct(mapping: &serde_norway::Mapping) -> proto::google::protobuf::Struct {
    let fields = mapping.iter().map(|(key, value)| (plain(key), to_value(value))).collect();
    proto::google::protobuf::Struct { fields }
}

fn to_value(value: &serde_norway::Value) -> proto::google::protobuf::Value {
    use proto::google::protobuf::value::Kind;
    use serde_norway::Value;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Sequence(list) => {
            Kind::ListValue(proto::google::protobuf::ListValue { values: list.iter().map(to_value).collect() })
        }
        Value::Mapping(mapping) => Kind::StructValue(to_struct(mapping)),
        Value::Tagged(tagged) => return to_value(&tagged.value),
    };
    proto::google::protobuf::Value { kind: Some(kind) }
}

fn plain(key: &serde_norway::Value) -> String {
    match key {
        serde_norway::Value::String(text) => text.clone(),
        other => serde_norway::to_string(other).unwrap_or_default().trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let (document, problems) = yaml::read(text);
        assert_eq!(problems, []);
        let (_, problems) = compile(&[&document.unwrap()], &Stats::new());
        problems.iter().map(|(_, problem)| problem.to_string()).collect()
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        assert_eq!(
            problems(
                "domain: d\ndescriptors:\n- value: x\n- {key: a, rate_limit: {unit: eon, requests_per_unit: 1}}\n- {key: a, rate_limit: {unit: day, unlimited: true}}\n- key: b\n  share_threshold: true\n  descriptors:\n  - {key: c, rate_limit: {unit: DAY, name: n, replaces: [{name: n}, {}]}}\n"
            ),
            [
                "descriptors[0].key: descriptor has empty key",
                "descriptors[1].rate_limit.unit: invalid rate limit unit 'eon'; write second, minute, hour, day, week, month or year",
                "descriptors[2].rate_limit.unit: should not specify rate limit unit when unlimited",
                "descriptors[2].key: duplicate descriptor composite key 'd.a'",
                "descriptors[3].share_threshold: share_threshold can only be used with wildcard values (containing '*'), but found key 'b'",
                "descriptors[3].descriptors[0].rate_limit.replaces[0].name: replaces should not contain name of same descriptor",
                "descriptors[3].descriptors[0].rate_limit.replaces[1].name: should not have an empty replaces entry",
            ]
        );
    }

    #[test]
    fn several_limits_and_windows_are_checked_one_by_one() {
        let with = |limits: &str| {
            problems(&format!("domain: d\ndescriptors:\n- {{key: k, rate_limit: {{unit: day}}, limits: [{limits}]}}\n"))
        };
        assert_eq!(with("{unit: minute, unit_multiplier: 5, requests_per_unit: 3}, {unit: day}"), Vec::<String>::new());
        assert_eq!(
            with("{unit: eon}, {unlimited: true}, {unit: year, unit_multiplier: 200}"),
            [
                "descriptors[0].limits[0].unit: invalid rate limit unit 'eon'; write second, minute, hour, day, week, month or year",
                "descriptors[0].limits[2].unit_multiplier: a window of more than 136 years; write less",
                "descriptors[0].limits: one of them is unlimited, which the others contradict",
            ]
        );
    }

    #[test]
    fn keys_and_values_that_look_alike_when_joined_are_two_rules() {
        let text = "domain: d\ndescriptors:\n- {key: a, value: b_c, rate_limit: {unit: day}}\n- {key: a_b, value: c, rate_limit: {unit: day}}\n";
        assert_eq!(problems(text), Vec::<String>::new());
    }
}
