//! The figures, as a table for people.

use std::time::Duration;

/// One edit of a route.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    /// From before the API server was asked to the first answer under it.
    pub from_request: Duration,
    /// From when the API server had answered.
    pub from_answer: Duration,
}

/// Resident memory of the control plane in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// At the time.
    pub now: u64,
    /// The most until then.
    pub peak: u64,
}

/// What one size came to.
#[derive(Debug)]
pub struct Figures {
    /// How many Services.
    pub services: usize,
    /// From starting the control plane until it was ready.
    pub ready_after: Duration,
    /// From starting the control plane, and an Envoy once it was ready, to Services from all over answering.
    pub start: Duration,
    /// Routes edited.
    pub routes: Vec<Edit>,
    /// Once all was served and said.
    pub ready: Memory,
    /// After all edits.
    pub memory: Memory,
    /// Statuses written by the first start.
    pub first_writes: u64,
    /// From starting the control plane again until it was ready.
    pub restart: Duration,
    /// Statuses written by that; nothing had changed.
    pub restart_writes: u64,
}

impl Figures {
    /// All of it in a line.
    pub fn line(&self) -> String {
        format!("{self:?}").chars().take(400).collect()
    }
}

/// The median, what 99 of 100 do not exceed, and the longest.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |place: usize| times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or_default();
    [at(times.len() / 2), at(times.len() * 99 / 100), at(times.len())].map(millis).join(", ")
}

fn millis(time: Duration) -> String {
    if time >= Duration::from_secs(1) {
        format!("{:.2} s", time.as_secs_f64())
    } else {
        format!("{} ms", time.as_millis())
    }
}

/// The table in Markdown.
pub fn markdown(figures: &[Figures], edits: u32) -> String {
    let row = |name: &str, value: &dyn Fn(&Figures) -> String| {
        let cells: Vec<String> = figures.iter().map(value).collect();
        format!("| {name} | {} |\n", cells.join(" | "))
    };
    let heads: Vec<String> = figures.iter().map(|f| format!(" {} Services |", f.services)).collect();
    let mut out = format!("| |{}\n|---|{}\n", heads.concat(), "---|".repeat(figures.len()));
    out += &row("start of the control plane, until it was ready", &|f| millis(f.ready_after));
    out += &row("with an Envoy that is started then, to Services from all over answering", &|f| millis(f.start));
    out += &row(
        &format!(
            "one route edited, from the API server's answer until it is in force: median of {edits}, of 99 in 100 at most, longest"
        ),
        &|f| spread(f.routes.iter().map(|edit| edit.from_answer).collect()),
    );
    out += &row("the same, from before the API server was asked", &|f| {
        spread(f.routes.iter().map(|edit| edit.from_request).collect())
    });
    out += &row("control plane resident: once ready, after all edits, peak", &|f| {
        [f.ready.now, f.memory.now, f.memory.peak].map(|bytes| format!("{} MB", bytes >> 20)).join(", ")
    });
    out += &row("statuses written by the first start", &|f| f.first_writes.to_string());
    out += &row("the control plane started again, until it was ready", &|f| millis(f.restart));
    out += &row("statuses written by that, nothing having changed", &|f| f.restart_writes.to_string());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_times_the_middle_one_the_ninety_ninth_and_the_longest_are_told() {
        assert_eq!(spread((1..=100).map(Duration::from_millis).collect()), "51 ms, 100 ms, 100 ms");
        assert_eq!(spread((1..=1000).map(Duration::from_millis).collect()), "501 ms, 991 ms, 1.00 s");
        assert_eq!(spread(vec![]), "0 ms, 0 ms, 0 ms");
    }
}
