//! The table, the ratios, and which targets were met.

use std::fmt::Write as _;
use std::time::Duration;

use crate::contestant::Contestant;
use crate::endurance::{Growth, PerKey};
use crate::measure::Cell;
use crate::mix::Mix;

/// The cells of one mix.
#[derive(Debug, Clone)]
pub struct Row {
    /// The mix.
    pub mix: Mix,
    /// One cell of each contestant.
    pub cells: Vec<Cell>,
}

/// Ours in units of another's.
#[derive(Debug, Clone, Copy)]
pub struct Ratios {
    /// Requests each second, Redis against Redis.
    pub rate: f64,
    /// Processor time of a request.
    pub cpu: f64,
    /// The slowest in a hundred.
    pub p99: f64,
    /// Memory against the server that does nothing: requests each second.
    pub of_noop: f64,
}

impl Row {
    fn cell(&self, who: Contestant) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.who == who)
    }

    /// How ours does.
    pub fn ratios(&self) -> Option<Ratios> {
        let [noop, memory, ours, peer] = Contestant::ALL.map(|who| self.cell(who));
        let (ours, peer) = (ours?, peer?);
        Some(Ratios {
            rate: ours.answers.rate() / peer.answers.rate(),
            cpu: ours.cpu.as_secs_f64() / peer.cpu.as_secs_f64().max(1e-9),
            p99: p99(ours).as_secs_f64() / p99(peer).as_secs_f64().max(1e-9),
            of_noop: memory?.answers.rate() / noop?.answers.rate(),
        })
    }

    /// Its lines of the table.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for cell in &self.cells {
            let latency = &cell.answers.latency;
            let _ = writeln!(
                text,
                "{:38} {:13} {:>8.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>7.1}",
                self.mix,
                cell.who.name(),
                cell.answers.rate(),
                millis(latency.mean()),
                millis(latency.quantile(0.5)),
                millis(p99(cell)),
                cell.cpu.as_secs_f64() * 1e5,
                cell.redis_cpu.as_secs_f64() * 1e5,
                cell.load_cpu.as_secs_f64() * 1e5,
                cell.resident as f64 / f64::from(1 << 20),
            );
            if let Some(wrong) = &cell.wrong {
                let _ = writeln!(text, "{:38} {:13} {wrong}", "", "");
            }
        }
        if let Some(ratios) = self.ratios() {
            let _ = writeln!(
                text,
                "{:38} ours/peer: {:.1}x requests, {:.2}x CPU, {:.2}x p99; memory/no-op: {:.2}x requests",
                "", ratios.rate, ratios.cpu, ratios.p99, ratios.of_noop
            );
        }
        text
    }
}

/// What the columns are.
pub fn head() -> String {
    format!(
        "{:38} {:13} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7}\n{:38} {:13} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7}",
        "",
        "",
        "req/s",
        "mean",
        "p50",
        "p99",
        "CPU s",
        "Redis",
        "load",
        "RSS",
        "mix",
        "server",
        "",
        "ms",
        "ms",
        "ms",
        "/100k",
        "/100k",
        "/100k",
        "MiB"
    )
}

/// A promise, and how it went.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What was to be reached.
    pub target: &'static str,
    /// The worst that was seen, and where.
    pub seen: String,
    /// Whether that is good enough.
    pub met: bool,
}

/// Holds the table against the targets.
///
/// `rules` is what [`crate::measure::Lab::cost_of_rules`] came to.
pub fn verdicts(
    rows: &[Row],
    rules: &[(Contestant, f64)],
    per_key: Option<&PerKey>,
    growth: Option<&Growth>,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut least = |target, rows: &[&Row], of: &dyn Fn(&Ratios) -> f64, bound: f64| {
        let seen = rows.iter().filter_map(|row| Some((of(&row.ratios()?), row.mix)));
        if let Some((worst, mix)) = seen.min_by(|(a, _), (b, _)| a.total_cmp(b)) {
            verdicts.push(Verdict { target, seen: format!("{worst:.2} ({mix})"), met: worst >= bound });
        }
    };
    let wrong = rows.iter().flat_map(|row| row.cells.iter().map(|cell| (row.mix, cell)));
    let wrong: Vec<String> = wrong
        .filter_map(|(mix, cell)| Some(format!("{} ({}, {mix})", cell.wrong.as_ref()?, cell.who.name())))
        .collect();
    let all: Vec<&Row> = rows.iter().collect();
    let hot: Vec<&Row> = rows.iter().filter(|row| row.mix.is_one_hot_key()).collect();
    least("Redis: requests/s, 4 times the peer's on every mix", &all, &|r| r.rate, 4.0);
    least("Redis: requests/s, 5 times the peer's on one hot key", &hot, &|r| r.rate, 5.0);
    least("Redis: the peer's CPU per request is 4 times ours", &all, &|r| 1.0 / r.cpu.max(1e-9), 4.0);
    least("Redis: the peer's p99 is 2 times ours", &all, &|r| 1.0 / r.p99.max(1e-9), 2.0);
    least("memory: requests/s, 0.8 times the no-op server's", &all, &|r| r.of_noop, 0.8);
    verdicts.push(Verdict {
        target: "every call answered, and rightly",
        met: wrong.is_empty(),
        seen: if wrong.is_empty() { "yes".to_owned() } else { wrong.join("; ") },
    });
    for (who, target) in [
        (Contestant::Redis, "Redis: CPU per request with 10,000 rules, 1.3 times that with 10 at most"),
        (Contestant::Memory, "memory: CPU per request with 10,000 rules, 1.3 times that with 10 at most"),
    ] {
        if let Some((_, ratio)) = rules.iter().find(|(of, _)| *of == who) {
            verdicts.push(Verdict { target, seen: format!("{ratio:.2}"), met: *ratio <= 1.3 });
        }
    }
    if let Some(per_key) = per_key {
        let bytes = per_key.bytes();
        let seen = format!("{bytes:.0} ({} keys)", per_key.keys);
        verdicts.push(Verdict { target: "memory: 120 bytes a key at most", seen, met: bytes <= 120.0 });
    }
    if let Some(growth) = growth.filter(|growth| growth.tells()) {
        let seen = format!("{:.2} times the first half's peak ({:.0} MiB)", growth.ratio(), growth.peak_mib());
        verdicts.push(Verdict {
            target: "memory: random keys, the second half's peak at most 1.25 times the first's",
            seen,
            met: growth.ratio() <= 1.25,
        });
    }
    verdicts
}

fn p99(cell: &Cell) -> Duration {
    cell.answers.latency.quantile(0.99)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
