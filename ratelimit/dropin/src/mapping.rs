//! `PROMETHEUS_MAPPER_YAML`: under which name and labels a statistic stands on the Prometheus page.
//!
//! The file is statsd-exporter's, as that server reads it: of the globs the first that
//! matches, before any regular expression; what nothing matches keeps its own name.
//! [`file`] reads it, [`page`] writes the page.

pub mod file;
pub mod page;

use std::collections::BTreeMap;

use regex::Regex;

use crate::observed::Shape;

/// What a statistic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A sum.
    Counter,
    /// A level.
    Gauge,
    /// Lengths of time.
    Observer,
}

/// A mapping file.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// In the order they are tried.
    rules: Vec<Rule>,
    /// How lengths of time are shown that no rule matches.
    shape: Shape,
}

/// One entry of the file.
#[derive(Debug, Clone)]
struct Rule {
    /// Globs are patterns as well.
    pattern: Regex,
    /// Nothing for statistics of every kind.
    kind: Option<Kind>,
    /// Nothing for those that are not shown.
    target: Option<Target>,
}

/// What a statistic is shown as; `$1` stands for the first group.
#[derive(Debug, Clone)]
struct Target {
    name: String,
    labels: BTreeMap<String, String>,
    help: String,
    scale: f64,
    shape: Shape,
}

/// What a statistic is shown as.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// A name that Prometheus takes.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it is, in words.
    pub help: String,
    /// What its values are multiplied with.
    pub scale: f64,
    /// How it is shown, if it is lengths of time.
    pub shape: Shape,
}

/// What is said of a series whose rule has no words for it.
const HELP: &str = "A statistic of the rate-limit service.";

impl Mapping {
    /// What the statistic `name` is shown as; nothing if it is not.
    pub fn series(&self, name: &str, kind: Kind) -> Option<Series> {
        let fits = |rule: &&Rule| rule.kind.is_none_or(|only| only == kind);
        let found = self.rules.iter().filter(fits).find_map(|rule| Some((rule, rule.pattern.captures(name)?)));
        let Some((rule, groups)) = found else {
            return Some(Series {
                name: escaped(name),
                labels: BTreeMap::new(),
                help: HELP.to_owned(),
                scale: 1.0,
                shape: self.shape.clone(),
            });
        };
        let target = rule.target.as_ref()?;
        let filled = |template: &str| {
            let mut text = String::new();
            groups.expand(template, &mut text);
            text
        };
        let name = Some(escaped(&filled(&target.name))).filter(|name| !name.is_empty())?;
        Some(Series {
            name,
            labels: target.labels.iter().map(|(label, value)| (label.clone(), filled(value))).collect(),
            help: target.help.clone(),
            scale: target.scale,
            shape: target.shape.clone(),
        })
    }
}

/// A name that Prometheus takes: what may not stand in one is `_`, several dashes are one.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 1);
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        out.push('_');
    }
    let mut before = None;
    for one in name.chars() {
        if one.is_ascii_alphanumeric() || one == '_' {
            out.push(one);
        } else if !(one == '-' && before == Some('-')) {
            out.push('_');
        }
        before = Some(one);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mapping: &Mapping, name: &str, kind: Kind) -> Option<String> {
        mapping.series(name, kind).map(|series| format!("{}{:?}", series.name, series.labels))
    }

    const FILE: &str = r#"
mappings:
  - {match: "rate\\.(.*)\\.(.*)\\.total", match_type: regex, name: "deep_${2}", labels: {domain: "$1", none: "$7"}}
  - {match: "rate.*.*.total", name: total, labels: {domain: "$1", key: "a-$2"}}
  - {match: "rate.*.b.total", name: never, labels: {}}
  - {match: "rate.*.*.secret", action: drop}
  - {match: "server.*.time", name: "only_$1", match_metric_type: counter}
"#;

    #[test]
    fn globs_come_before_patterns_and_the_first_before_the_others() {
        let mapping = file::read(FILE).unwrap();
        let counter = |name| shown(&mapping, name, Kind::Counter);
        assert_eq!(counter("rate.d.b.total").unwrap(), r#"total{"domain": "d", "key": "a-b"}"#);
        assert_eq!(counter("rate.d.b.c.total").unwrap(), r#"deep_c{"domain": "d.b", "none": ""}"#);
        assert_eq!(counter("rate.d.b.secret"), None);
        assert_eq!(counter("server.x.time").unwrap(), "only_x{}");
        assert_eq!(shown(&mapping, "server.x.time", Kind::Observer).unwrap(), "server_x_time{}");
    }

    #[test]
    fn what_nothing_matches_keeps_a_name_that_prometheus_takes() {
        let mapping = file::read("mappings: []").unwrap();
        for (name, wanted) in [("a.b--c-d", "a_b_c_d"), ("1.ü", "_1__"), ("a:b", "a_b")] {
            assert_eq!(mapping.series(name, Kind::Gauge).unwrap().name, wanted);
        }
    }

    #[test]
    fn without_ordering_a_text_comes_before_a_star() {
        let text = "defaults: {glob_disable_ordering: true}\nmappings:\n- {match: 'a.*.c', name: star}\n- {match: 'a.b.*', name: text}";
        let series = file::read(text).unwrap().series("a.b.c", Kind::Counter).unwrap();
        assert_eq!(series.name, "text");
    }
}
