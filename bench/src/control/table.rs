//! The figures beside their targets, as a table for people.

use std::time::Duration;

use crate::process::Memory;

/// One edit.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// From the file's last write to the first answer under it.
    pub whole: Duration,
    /// The part of it after the provider had read the folder.
    pub after_reading: Option<Duration>,
}

/// What one size came to.
#[derive(Debug)]
pub struct Figures {
    /// How many Services.
    pub services: usize,
    /// From starting the program to services from all over answering.
    pub start: Duration,
    /// Routes edited.
    pub routes: Vec<Sample>,
    /// Services added.
    pub added: Vec<Sample>,
    /// Processor time of the control plane for one route edited.
    pub control_cpu: Duration,
    /// Envoy's.
    pub envoy_cpu: Duration,
    /// Once all was served.
    pub ready: Memory,
    /// At the end.
    pub memory: Memory,
    /// What an Envoy takes with a configuration of the same shape that was written by hand.
    pub handmade: u64,
}

impl Figures {
    /// All of it in a line.
    pub fn line(&self) -> String {
        format!(
            "{} Services: start {}, route {} (after reading {}), Service {} (after reading {}), {} of control and {} of Envoy's CPU an edit, control {} (peak {}), Envoy {} (by hand {})",
            self.services,
            millis(self.start),
            millis(median(whole(&self.routes))),
            millis(median(after(&self.routes))),
            millis(median(whole(&self.added))),
            millis(median(after(&self.added))),
            millis(self.control_cpu),
            millis(self.envoy_cpu),
            megabytes(self.memory.control),
            megabytes(self.memory.control_peak),
            megabytes(self.memory.envoy),
            megabytes(self.handmade),
        )
    }
}

fn whole(samples: &[Sample]) -> Vec<Duration> {
    samples.iter().map(|sample| sample.whole).collect()
}

fn after(samples: &[Sample]) -> Vec<Duration> {
    samples.iter().filter_map(|sample| sample.after_reading).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// What 99 of 100 do not exceed.
fn most(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get((times.len() * 99 / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn longest(times: Vec<Duration>) -> Duration {
    times.into_iter().max().unwrap_or_default()
}

fn millis(time: Duration) -> String {
    if time >= Duration::from_secs(1) {
        format!("{:.2} s", time.as_secs_f64())
    } else {
        format!("{} ms", time.as_millis())
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes >> 20)
}

/// The table in Markdown.
pub fn markdown(figures: &[Figures], edits: u32) -> String {
    let mut out = String::from("| |");
    let row = |name: &str, value: &dyn Fn(&Figures) -> String| {
        let cells: Vec<String> = figures.iter().map(value).collect();
        format!("| {name} | {} |\n", cells.join(" | "))
    };
    let heads: Vec<String> = figures.iter().map(|f| format!(" {} Services |", f.services)).collect();
    out.push_str(&heads.concat());
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(figures.len()));
    out.push('\n');
    out += &row("start to services from all over answering", &|f| millis(f.start));
    out += &row(&format!("one route edited, until it is in force: median of {edits}"), &|f| {
        millis(median(whole(&f.routes)))
    });
    out += &row("of which after the provider had read the folder: median, of 99 in 100 at most, longest", &|f| {
        let of = after(&f.routes);
        format!("{}, {}, {}", millis(median(of.clone())), millis(most(of.clone())), millis(longest(of)))
    });
    out += &row("one more Service, until it answers: median", &|f| millis(median(whole(&f.added))));
    out += &row("of which after the provider had read the folder: median", &|f| millis(median(after(&f.added))));
    out += &row("CPU for one edited route: control plane, Envoy", &|f| {
        format!("{}, {}", millis(f.control_cpu), millis(f.envoy_cpu))
    });
    out += &row("control plane resident: once ready, after all edits, peak", &|f| {
        let all = [f.ready.control, f.memory.control, f.memory.control_peak];
        all.map(megabytes).join(", ")
    });
    out += &row("Envoy resident: once ready, after all edits", &|f| {
        format!("{}, {}", megabytes(f.ready.envoy), megabytes(f.memory.envoy))
    });
    out += &row("an Envoy with a configuration of the same shape written by hand", &|f| megabytes(f.handmade));
    out += &row("ours, once ready, as a multiple of that", &|f| {
        format!("{:.2}", f.ready.envoy as f64 / f.handmade.max(1) as f64)
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_column() {
        let figures = Figures {
            services: 10,
            start: Duration::from_millis(1500),
            routes: vec![Sample { whole: Duration::from_millis(90), after_reading: Some(Duration::from_millis(20)) }],
            added: vec![],
            control_cpu: Duration::from_millis(3),
            envoy_cpu: Duration::ZERO,
            ready: Memory { control: 4 << 20, control_peak: 4 << 20, envoy: 6 << 20 },
            memory: Memory { control: 5 << 20, control_peak: 6 << 20, envoy: 7 << 20 },
            handmade: 3 << 20,
        };
        let text = markdown(&[figures], 1);
        assert!(
            text.contains("| 1.50 s |") && text.contains("20 ms, 20 ms, 20 ms") && text.contains("4 MB, 5 MB, 6 MB |"),
            "{text}"
        );
    }
}
