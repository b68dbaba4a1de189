//! What rules allow and what is left of it, on the metrics page: the fullest few, looked up when
//! somebody reads the page and aside from the threads that answer.
//!
//! What clients sent is private and without bound. So a rule is shown once, with the least that
//! any of its counters has left, unless the one who runs the server asks for each counter by name.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::counters::{self, Standing};
use super::http::Counting;
use limit::Limit;
use store::StoreError;

/// For so long a page is read again instead of made again.
const FRESH: Duration = Duration::from_secs(5);

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GaugeSettings {
    /// So many series of each gauge at most; none for 0.
    pub most: usize,
    /// Each counter by name, with the values that clients sent, instead of each rule.
    pub values: bool,
}

impl Default for GaugeSettings {
    fn default() -> Self {
        GaugeSettings { most: 20, values: false }
    }
}

/// Writes the gauges.
#[derive(Clone)]
pub struct Gauges {
    counting: Counting,
    settings: GaugeSettings,
    last: Arc<Mutex<Option<Made>>>,
}

/// A page, and when it was made.
struct Made {
    at: Instant,
    text: Arc<str>,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauges").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Of which limit: one series of each gauge.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    descriptor: Box<str>,
    unit: String,
    counter: Option<Box<str>>,
}

impl Gauges {
    /// The gauges of what `counting` knows. From now on its book is kept.
    pub fn new(counting: Counting, settings: GaugeSettings) -> Self {
        if settings.most > 0 {
            counting.book.keep(settings.values);
        }
        Self { counting, settings, last: Arc::default() }
    }

    /// What the metrics page needs of this server: sets the counters of rules, and gives [`Self::text`].
    pub(crate) async fn into_text(self) -> Arc<str> {
        crate::meters::publish();
        self.text().await
    }

    /// The gauges in Prometheus' text format; none while the store does not answer.
    pub async fn text(&self) -> Arc<str> {
        if self.settings.most == 0 {
            return "".into();
        }
        let mut last = self.last.lock().await;
        if let Some(made) = last.as_ref().filter(|made| made.at.elapsed() < FRESH) {
            return made.text.clone();
        }
        let (gauges, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let made = tokio::task::spawn_blocking(move || runtime.block_on(gauges.make())).await;
        let text: Arc<str> = match made {
            Ok(Ok(text)) => text.into(),
            Ok(Err(error)) => {
                tracing::debug!(%error, "counters cannot be looked at, so there are no gauges of them");
                "".into()
            }
            Err(failure) => {
                tracing::error!(%failure, "gauges cannot be made");
                "".into()
            }
        };
        *last = Some(Made { at: Instant::now(), text: text.clone() });
        text
    }

    async fn make(&self) -> Result<String, StoreError> {
        let index = self.counting.index.load_full();
        let standings =
            counters::standings(&self.counting.store, &self.counting.book, &index, self.counting.clock.now()).await?;
        Ok(page(standings, self.settings))
    }
}

/// The gauges of `standings`: of those that are shown as one, the fullest; of all, the fullest few.
fn page(standings: Vec<Standing>, settings: GaugeSettings) -> String {
    let mut series: BTreeMap<Labels, (Limit, u64)> = BTreeMap::new();
    for Standing { descriptor, counter, limit, used } in standings {
        let labels = Labels { descriptor, unit: unit(limit), counter: counter.filter(|_| settings.values) };
        let held = series.entry(labels).or_insert((limit, used));
        if left(limit, used) < left(held.0, held.1) {
            *held = (limit, used);
        }
    }
    let mut series: Vec<(Labels, (Limit, u64))> = series.into_iter().collect();
    // Stable: of those that are as full, in the order of their labels.
    series.sort_by(|(_, one), (_, other)| share(*other).total_cmp(&share(*one)));
    series.truncate(settings.most);
    series.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut page = String::new();
    gauge(&mut page, "ratelimit_solo_io_limit", "What a limit allows at once", &series, |limit, _| limit.amount());
    gauge(
        &mut page,
        "ratelimit_solo_io_remaining",
        "What is left of a limit for whom the least is left",
        &series,
        left,
    );
    page
}

fn left(limit: Limit, used: u64) -> u64 {
    limit.amount().saturating_sub(used)
}

/// How full it is, from 0 to 1; what allows nothing is full.
fn share((limit, used): (Limit, u64)) -> f64 {
    if limit.amount() == 0 { 1.0 } else { used.min(limit.amount()) as f64 / limit.amount() as f64 }
}

/// `MINUTE`, `5 MINUTE`.
fn unit(limit: Limit) -> String {
    if limit.units() == 1 { limit.unit().to_string() } else { format!("{} {}", limit.units(), limit.unit()) }
}

fn gauge(
    page: &mut String,
    name: &str,
    help: &str,
    series: &[(Labels, (Limit, u64))],
    value: impl Fn(Limit, u64) -> u64,
) {
    if series.is_empty() {
        return;
    }
    let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} gauge\n");
    for (Labels { descriptor, unit, counter }, (limit, used)) in series {
        let counter = counter.as_ref().map(|name| format!(",counter=\"{}\"", quoted(name))).unwrap_or_default();
        let labels = format!("descriptor=\"{}\",unit=\"{unit}\"{counter}", quoted(descriptor));
        let _ = writeln!(page, "{name}{{{labels}}} {}", value(*limit, *used));
    }
}

fn quoted(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use api::gloo::rate_limit_config::Unit;

    use super::*;

    fn standing(descriptor: &str, counter: &str, requests: u32, used: u64) -> Standing {
        let limit = Limit::new(requests, Unit::Minute).unwrap();
        Standing { descriptor: descriptor.into(), counter: Some(counter.into()), limit, used }
    }

    #[test]
    fn a_rule_is_shown_once_and_says_nothing_of_whom_it_counts() {
        let standings = vec![standing("a", "a: user=ann", 10, 3), standing("a", "a: user=bob", 10, 7)];
        assert_eq!(
            page(standings, GaugeSettings::default()),
            "# HELP ratelimit_solo_io_limit What a limit allows at once\n\
             # TYPE ratelimit_solo_io_limit gauge\n\
             ratelimit_solo_io_limit{descriptor=\"a\",unit=\"MINUTE\"} 10\n\
             # HELP ratelimit_solo_io_remaining What is left of a limit for whom the least is left\n\
             # TYPE ratelimit_solo_io_remaining gauge\n\
             ratelimit_solo_io_remaining{descriptor=\"a\",unit=\"MINUTE\"} 3\n"
        );
    }

    #[test]
    fn with_values_each_counter_is_shown_and_its_name_is_escaped() {
        let standings = vec![standing("a", "a: user=\"ann\"", 10, 3), standing("a", "a: user=bob", 10, 20)];
        let text = page(standings, GaugeSettings { values: true, ..GaugeSettings::default() });
        let name = "ratelimit_solo_io_remaining{descriptor=\"a\",unit=\"MINUTE\",counter=\"a: user=";
        assert!(text.contains(&format!("{name}\\\"ann\\\"\"}} 7\n")), "{text}");
        assert!(text.contains(&format!("{name}bob\"}} 0\n")), "{text}");
    }

    #[test]
    fn there_are_never_more_than_were_asked_for_and_those_are_the_fullest() {
        let standings = (0..1000).map(|number| standing(&format!("r{number}"), "", 1000, number)).collect();
        let text = page(standings, GaugeSettings { most: 2, values: true });
        assert_eq!(text.lines().count(), 2 * (2 + 2), "{text}");
        assert!(text.contains("\"r999\"") && text.contains("\"r998\""), "{text}");
        assert_eq!(page(Vec::new(), GaugeSettings::default()), "");
    }
}
