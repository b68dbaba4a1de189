//! A mapping file's text, and every mistake in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use super::{HELP, Kind, Mapping, Rule, Target};
use crate::observed::Shape;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    defaults: Option<Defaults>,
    mappings: Option<Vec<Entry>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Defaults {
    match_type: String,
    glob_disable_ordering: bool,
    #[serde(flatten)]
    times: Times,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    r#match: String,
    match_type: String,
    match_metric_type: String,
    action: String,
    name: String,
    labels: Option<BTreeMap<String, String>>,
    // There are no labels but those of the mapping.
    #[serde(rename = "honor_labels")]
    _honor_labels: bool,
    help: String,
    scale: Option<f64>,
    #[serde(flatten)]
    times: Times,
}

/// How lengths of time are shown, and for how long anything is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Times {
    observer_type: String,
    timer_type: String,
    buckets: Vec<f64>,
    quantiles: Vec<Quantile>,
    histogram_options: Option<Buckets>,
    summary_options: Option<Quantiles>,
    ttl: String,
    #[serde(flatten)]
    unknown: BTreeMap<String, serde_norway::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Buckets {
    buckets: Vec<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Quantiles {
    quantiles: Vec<Quantile>,
    // How that server estimates; here it is the latest calls that count.
    #[serde(rename = "max_age")]
    _max_age: serde_norway::Value,
    #[serde(rename = "age_buckets")]
    _age_buckets: u32,
    #[serde(rename = "buf_cap")]
    _buf_cap: u32,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Quantile {
    quantile: f64,
    #[serde(rename = "error")]
    _error: f64,
}

/// Seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Patterns that are written in this file; each is tried by a test.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

static NAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^(?:[a-zA-Z_]|\$\{?\d+\}?)(?:[a-zA-Z0-9_]|\$\{?\d+\}?)*$"));
static LABEL: LazyLock<Option<Regex>> = LazyLock::new(|| pattern("^[a-zA-Z_][a-zA-Z0-9_]*$"));
static GLOB: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^(?:\*|[a-zA-Z_][a-zA-Z0-9_\-]*)(?:\.\*|\.[a-zA-Z0-9_][a-zA-Z0-9_\-]*)*$"));

fn fits(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

/// Reads the file at `path`.
///
/// # Errors
/// Every mistake, one sentence each.
pub fn load(path: &Path) -> Result<Mapping, Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|why| vec![format!("{}: {why}", path.display())])?;
    read(&text).map_err(|mistakes| mistakes.iter().map(|one| format!("{}: {one}", path.display())).collect())
}

/// Reads a file's text.
///
/// # Errors
/// Every mistake, one sentence each.
pub fn read(text: &str) -> Result<Mapping, Vec<String>> {
    let mut mistakes = Vec::new();
    let decoder = serde_norway::Deserializer::from_str(text);
    let unknown = |path: serde_ignored::Path<'_>| {
        // What may be left out stands as a question mark in the path.
        mistakes.push(format!("{} means nothing: remove it", path.to_string().replace("?.", "")));
    };
    let file: Option<File> = serde_ignored::deserialize(decoder, unknown).map_err(|why| vec![why.to_string()])?;
    let File { defaults, mappings } = file.unwrap_or_default();
    let defaults = defaults.unwrap_or_default();
    let regexes = match_type(&defaults.match_type, "defaults", &mut mistakes);
    let usual = Usual {
        regexes,
        histogram: shape(&defaults.times, None, "defaults", &mut mistakes),
        buckets: buckets(&defaults.times).unwrap_or(&BUCKETS).to_vec(),
        quantiles: quantiles(&defaults.times).unwrap_or_else(|| QUANTILES.to_vec()),
    };
    let (mut globs, mut patterns) = (Vec::new(), Vec::new());
    for (number, entry) in mappings.unwrap_or_default().into_iter().enumerate() {
        let glob = entry.r#match.clone();
        match rule(entry, &format!("mappings[{number}]"), &usual, &mut mistakes) {
            Some((rule, true)) => patterns.push(rule),
            Some((rule, false)) => globs.push((glob, rule)),
            None => {}
        }
    }
    if defaults.glob_disable_ordering {
        globs.sort_by_key(|(glob, _)| glob.split('.').map(|field| field == "*").collect::<Vec<_>>());
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let rules = globs.into_iter().map(|(_, rule)| rule).chain(patterns).collect();
    Ok(Mapping { rules, shape: usual.shape(usual.histogram.unwrap_or(false)) })
}

/// What holds where an entry says nothing.
struct Usual {
    regexes: Option<bool>,
    /// Whether lengths of time are shown as histograms.
    histogram: Option<bool>,
    buckets: Vec<f64>,
    quantiles: Vec<f64>,
}

impl Usual {
    fn shape(&self, histogram: bool) -> Shape {
        if histogram { Shape::Histogram(self.buckets.clone()) } else { Shape::Summary(self.quantiles.clone()) }
    }
}

/// A rule, and whether it is a regular expression.
fn rule(entry: Entry, at: &str, usual: &Usual, mistakes: &mut Vec<String>) -> Option<(Rule, bool)> {
    let before = mistakes.len();
    let regex = match_type(&entry.match_type, at, mistakes).or(usual.regexes).unwrap_or(false);
    let histogram = shape(&entry.times, usual.histogram, at, mistakes).unwrap_or(false);
    let kind = match entry.match_metric_type.as_str() {
        "" => None,
        "counter" => Some(Kind::Counter),
        "gauge" => Some(Kind::Gauge),
        "observer" | "timer" => Some(Kind::Observer),
        _ => {
            mistakes.push(format!("{at}.match_metric_type: write counter, gauge or observer"));
            None
        }
    };
    let drop = match entry.action.as_str() {
        "" | "map" => false,
        "drop" => true,
        _ => {
            mistakes.push(format!("{at}.action: write map or drop"));
            false
        }
    };
    if !drop && !fits(&NAME, &entry.name) {
        let why = "write letters, digits, _ and groups such as $1, and no digit first";
        mistakes.push(format!("{at}.name {:?} is no name: {why}", entry.name));
    }
    let labels = entry.labels.unwrap_or_default();
    for label in labels.keys().filter(|label| !fits(&LABEL, label)) {
        mistakes.push(format!("{at}.labels: {label:?} is no name of a label: write letters, digits and _"));
    }
    if entry.scale.is_some_and(|scale| !(scale.is_finite() && scale >= 0.0)) {
        mistakes.push(format!("{at}.scale: write a number that is not below 0"));
    }
    let pattern = if regex { entry.r#match.clone() } else { from_glob(&entry.r#match) };
    if !regex && !fits(&GLOB, &entry.r#match) {
        let why = "write names between dots, or * for any; for more, match_type: regex";
        mistakes.push(format!("{at}.match {:?} cannot be matched: {why}", entry.r#match));
    }
    let pattern = match Regex::new(&pattern) {
        Ok(pattern) => pattern,
        Err(why) => {
            mistakes.push(format!("{at}.match is no regular expression: {why}"));
            return None;
        }
    };
    if mistakes.len() > before {
        return None;
    }
    let shape = if histogram {
        Shape::Histogram(buckets(&entry.times).unwrap_or(&usual.buckets).to_vec())
    } else {
        Shape::Summary(quantiles(&entry.times).unwrap_or_else(|| usual.quantiles.clone()))
    };
    let help = if entry.help.is_empty() { HELP.to_owned() } else { entry.help };
    let target = Target { name: entry.name, labels, help, scale: entry.scale.unwrap_or(1.0), shape };
    Some((Rule { pattern, kind, target: (!drop).then_some(target) }, regex))
}

/// A star is one name between dots.
fn from_glob(glob: &str) -> String {
    let fields = glob.split('.').map(|field| if field == "*" { "([^.]*)".to_owned() } else { regex::escape(field) });
    format!(r"\A{}\z", fields.collect::<Vec<_>>().join(r"\."))
}

/// Whether it says regular expressions.
fn match_type(text: &str, at: &str, mistakes: &mut Vec<String>) -> Option<bool> {
    match text {
        "" => None,
        "glob" => Some(false),
        "regex" => Some(true),
        _ => {
            mistakes.push(format!("{at}.match_type: write glob or regex"));
            None
        }
    }
}

/// Whether lengths of time are to be histograms.
fn shape(times: &Times, usual: Option<bool>, at: &str, mistakes: &mut Vec<String>) -> Option<bool> {
    for key in times.unknown.keys() {
        mistakes.push(format!("{at}.{key} means nothing: remove it"));
    }
    if !matches!(times.ttl.as_str(), "" | "0" | "0s") {
        mistakes.push(format!("{at}.ttl has no effect here, series stay: remove it"));
    }
    let named = if times.observer_type.is_empty() { &times.timer_type } else { &times.observer_type };
    let histogram = match named.as_str() {
        "" => usual,
        "histogram" => Some(true),
        "summary" => Some(false),
        _ => {
            mistakes.push(format!("{at}.observer_type: write histogram or summary"));
            None
        }
    };
    if usual.is_some() || !at.starts_with("defaults") {
        match histogram {
            Some(true) if times.summary_options.is_some() => {
                mistakes.push(format!("{at}.summary_options has no effect on a histogram: remove it"));
            }
            Some(false) if times.histogram_options.is_some() => {
                mistakes.push(format!("{at}.histogram_options has no effect on a summary: remove it"));
            }
            _ => {}
        }
    }
    if buckets(times).is_some_and(|buckets| buckets.iter().any(|one| one.is_nan()) || !buckets.is_sorted()) {
        mistakes.push(format!("{at}.histogram_options.buckets: write numbers that grow"));
    }
    if quantiles(times).is_some_and(|shares| shares.iter().any(|share| !(0.0..=1.0).contains(share))) {
        mistakes.push(format!("{at}.summary_options.quantiles: write shares from 0 to 1"));
    }
    histogram
}

fn buckets(times: &Times) -> Option<&[f64]> {
    let own = times.histogram_options.as_ref().map(|options| options.buckets.as_slice());
    own.filter(|buckets| !buckets.is_empty()).or(Some(&times.buckets)).filter(|buckets| !buckets.is_empty())
}

fn quantiles(times: &Times) -> Option<Vec<f64>> {
    let own = times.summary_options.as_ref().map(|options| options.quantiles.as_slice());
    let some = own.filter(|all| !all.is_empty()).unwrap_or(&times.quantiles);
    (!some.is_empty()).then(|| some.iter().map(|one| one.quantile).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told_at_once_and_where_it_is() {
        let text = r#"
defaults: {match_type: magic, ttl: 5m}
mapping: []
mappings:
  - {match: "a.b*", name: "9x", labels: {"x-y": "$1"}, labls: {}}
  - {match: "a(", match_type: regex, name: a, match_metric_type: meter}
  - {match: "a.*", action: maybe, observer_type: pie}
  - {match: "a.*", name: b, observer_type: histogram, histogram_options: {buckets: [2, 1]}, scale: -1}
"#;
        let mistakes = read(text).unwrap_err();
        for wanted in [
            "mapping means nothing",
            "defaults.match_type",
            "defaults.ttl",
            "mappings[0].match ",
            "mappings[0].name ",
            "mappings[0].labels",
            "mappings[0].labls",
            "mappings[1].match is no regular expression",
            "mappings[1].match_metric_type",
            "mappings[2].action",
            "mappings[2].name",
            "mappings[2].observer_type",
            "mappings[3].histogram_options.buckets",
            "mappings[3].scale",
        ] {
            assert!(mistakes.iter().any(|one| one.starts_with(wanted)), "{wanted}: {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 14, "{mistakes:#?}");
        assert_eq!(read("mappings: 5").unwrap_err().len(), 1);
        assert!(load(Path::new("/nowhere/mapping.yaml")).unwrap_err()[0].contains("/nowhere"));
    }

    #[test]
    fn how_times_are_shown_is_taken_from_the_entry_then_from_the_defaults() {
        let text = r#"
defaults: {observer_type: histogram, histogram_options: {buckets: [1, 2]}, summary_options: {quantiles: [{quantile: 0.5, error: 0.1}]}}
mappings:
  - {match: own, name: own, buckets: [3]}
  - {match: sum, name: sum, timer_type: summary, summary_options: {max_age: 30s, age_buckets: 3, buf_cap: 9}}
"#;
        let mapping = read(text).unwrap();
        let shape = |name| mapping.series(name, Kind::Observer).unwrap().shape;
        assert_eq!(shape("own"), Shape::Histogram(vec![3.0]));
        assert_eq!(shape("sum"), Shape::Summary(vec![0.5]));
        assert_eq!(shape("other"), Shape::Histogram(vec![1.0, 2.0]));
        let none = read("").unwrap();
        assert_eq!(none.series("x", Kind::Observer).unwrap().shape, Shape::Summary(QUANTILES.to_vec()));
    }
}
