//! The Prometheus page of mapped statistics.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Kind, Mapping, Series};
use crate::exhausted::Exhausted;
use crate::observed::{Observed, Shape};
use crate::stats::Stats;

/// The one statistic that is lengths of time.
const RESPONSE_TIME: &str = "ratelimit_server.ShouldRateLimit.response_time";

/// Writes the page.
#[derive(Debug)]
pub struct Page {
    mapping: Mapping,
    /// Added to every name, as that server does.
    tags: String,
    stats: Arc<Stats>,
    exhausted: Option<Arc<Exhausted>>,
    times: Option<(Series, Arc<Observed>)>,
    /// What names came to: there are as many as there are statistics, and those have a bound.
    known: Mutex<HashMap<Box<str>, Option<Arc<Series>>>>,
}

/// What stands under one name.
struct Family<'p> {
    kind: Kind,
    help: &'p str,
    values: BTreeMap<&'p BTreeMap<String, String>, f64>,
}

impl Page {
    /// The page of `stats`, whose response times are kept from now on.
    pub fn new(
        mapping: Mapping,
        tags: &BTreeMap<String, String>,
        stats: Arc<Stats>,
        exhausted: Option<Arc<Exhausted>>,
    ) -> Page {
        let tags: String = tags.iter().map(|(key, value)| format!(".__{key}={value}")).collect();
        let times = mapping.series(&format!("{RESPONSE_TIME}{tags}"), Kind::Observer).map(|series| {
            let observed = Arc::new(Observed::new(&series.shape));
            stats.observe(observed.clone(), series.scale);
            (series, observed)
        });
        Page { mapping, tags, stats, exhausted, times, known: Mutex::default() }
    }

    /// The page as it is now.
    pub fn text(&self) -> String {
        let counters = self.stats.all().into_iter().map(|(name, value)| (name, value, Kind::Counter));
        let gauges = self.exhausted.as_ref().map(|exhausted| exhausted.gauges()).into_iter().flatten();
        let gauges = gauges.map(|(name, value)| (name.into(), value, Kind::Gauge));
        let all: Vec<(Arc<Series>, u64, Kind)> = counters
            .chain(gauges)
            // What was never counted has no series there either.
            .filter(|(_, value, kind)| *value > 0 || *kind == Kind::Gauge)
            .filter_map(|(name, value, kind)| Some((self.series(&name, kind)?, value, kind)))
            .collect();
        let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
        for (series, value, kind) in &all {
            let made = || Family { kind: *kind, help: &series.help, values: BTreeMap::new() };
            let family = families.entry(&series.name).or_insert_with(made);
            // A name is of one kind: what comes later and is another is left out, as there.
            if family.kind == *kind {
                let held = family.values.entry(&series.labels).or_insert(0.0);
                let value = *value as f64 * series.scale;
                *held = if *kind == Kind::Gauge { value } else { *held + value };
            }
        }
        let mut page = String::new();
        for (name, family) in &families {
            head(&mut page, name, family.help, if family.kind == Kind::Gauge { "gauge" } else { "counter" });
            for (labels, value) in &family.values {
                line(&mut page, name, labels, None, *value);
            }
        }
        if let Some((series, observed)) = &self.times
            && !families.contains_key(series.name.as_str())
        {
            times(&mut page, series, observed);
        }
        page
    }

    fn series(&self, name: &str, kind: Kind) -> Option<Arc<Series>> {
        if let Some(known) = self.known.lock().get(name) {
            return known.clone();
        }
        let found = self.mapping.series(&format!("{name}{}", self.tags), kind).map(Arc::new);
        self.known.lock().insert(name.into(), found.clone());
        found
    }
}

fn times(page: &mut String, series: &Series, observed: &Observed) {
    let (count, seconds) = observed.total();
    let name = &series.name;
    match &series.shape {
        Shape::Histogram(_) => {
            head(page, name, &series.help, "histogram");
            let bucket = format!("{name}_bucket");
            for (bound, held) in observed.up_to() {
                line(page, &bucket, &series.labels, Some(("le", &bound.to_string())), held as f64);
            }
            line(page, &bucket, &series.labels, Some(("le", "+Inf")), count as f64);
        }
        Shape::Summary(shares) => {
            head(page, name, &series.help, "summary");
            for (share, value) in observed.quantiles(shares) {
                line(page, name, &series.labels, Some(("quantile", &share.to_string())), value);
            }
        }
    }
    line(page, &format!("{name}_sum"), &series.labels, None, seconds * series.scale);
    line(page, &format!("{name}_count"), &series.labels, None, count as f64);
}

fn head(page: &mut String, name: &str, help: &str, kind: &str) {
    let help = help.replace('\\', r"\\").replace('\n', r"\n");
    let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(page: &mut String, name: &str, labels: &BTreeMap<String, String>, more: Option<(&str, &str)>, value: f64) {
    let own = labels.iter().map(|(label, text)| (label.as_str(), text.as_str()));
    let all: Vec<String> = own.chain(more).map(|(label, text)| format!("{label}=\"{}\"", quoted(text))).collect();
    let all = if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) };
    let _ = writeln!(page, "{name}{all} {value}");
}

fn quoted(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::file::read;
    use super::*;

    #[test]
    fn sums_under_one_name_and_labels_are_one_and_text_is_escaped() {
        let mapping = read(
            r#"
mappings:
  - {match: "ratelimit.service.rate_limit.*.*.total_hits", name: hits, help: "All\nhits", scale: 2, labels: {domain: "$1"}}
  - {match: "ratelimit.service.rate_limit.*.*.*", name: gone, action: drop}
  - {match: "ratelimit_server.*.response_time", name: took, observer_type: histogram, buckets: [0.5, 1], labels: {method: "$1"}}
  - {match: "ratelimit_server.*.total_requests", name: calls}
"#,
        )
        .unwrap();
        let stats = Stats::new();
        let page = Page::new(mapping, &BTreeMap::new(), stats.clone(), Exhausted::new(4096).map(Arc::new));
        for (key, hits) in [("d.a", 1), ("d.b", 2), ("q\"\\.a", 3)] {
            stats.rule(key).total_hits.add(hits);
            stats.rule(key).over_limit.add(hits);
        }
        stats.call(Duration::from_millis(700));
        let text = page.text();
        assert_eq!(text, page.text());
        for wanted in [
            "# HELP hits All\\nhits\n# TYPE hits counter\nhits{domain=\"d\"} 6\nhits{domain=\"q\\\"\\\\\"} 6\n",
            "# TYPE took histogram\ntook_bucket{method=\"ShouldRateLimit\",le=\"0.5\"} 0\ntook_bucket{method=\"ShouldRateLimit\",le=\"1\"} 1\n",
            "le=\"+Inf\"} 1\ntook_sum{method=\"ShouldRateLimit\"} 0.7\ntook_count{method=\"ShouldRateLimit\"} 1\n",
            "# TYPE ratelimit_localcache_entryCount gauge\nratelimit_localcache_entryCount 0\n",
            "calls 1\n",
        ] {
            assert!(text.contains(wanted), "{wanted}\nin\n{text}");
        }
        assert!(!text.contains("over_limit"), "{text}");
    }

    #[test]
    fn tags_are_part_of_the_name_that_is_matched() {
        let mapping = read(
            "mappings: [{match: 'ratelimit\\.service\\.rate_limit\\.(.*)\\.__env=(.*)', match_type: regex, name: x, labels: {env: $2}}]",
        );
        let stats = Stats::new();
        let tags = BTreeMap::from([("env".to_owned(), "test".to_owned())]);
        let page = Page::new(mapping.unwrap(), &tags, stats.clone(), None);
        stats.rule("d.a").total_hits.add(1);
        assert!(page.text().contains("x{env=\"test\"} 1\n"), "{}", page.text());
        assert!(page.text().contains("# TYPE ratelimit_server_ShouldRateLimit_response_time___env_test summary\n"));
    }
}
