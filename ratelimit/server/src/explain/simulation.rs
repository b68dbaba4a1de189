//! A simulation: one request at a steady rate for a while, and how many pass in each window.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::http::default_domain;
use super::rehearsal::{HandClock, START, in_a_word, service};
use limit::Moment;
use rules::config::Index;
use rules::explain::Answer;
use rules::explain::ask::Ask;
use rules::plan::plan;
use rules::request::{Malformed, Request};

/// Requests in a simulation.
const MOST_REQUESTS: u128 = 50_000_000;
/// Rows in its outcome.
const MOST_ROWS: u64 = 500;

/// So many requests in so many seconds: `10/s`, `600/m`, `1000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    requests: u64,
    seconds: u64,
}

/// A stretch of whole seconds: `90`, `90s`, `15m`, `1h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub u64);

/// What a simulation came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Simulation {
    /// One for each window of the shortest limit that governs.
    pub windows: Vec<Tally>,
    /// All together.
    pub total: Tally,
}

/// What became of the requests in some seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// The first second.
    pub from: u64,
    /// The first second after.
    pub to: u64,
    /// Requests made.
    pub sent: u64,
    /// Those for which there was room.
    pub passed: u64,
    /// Those for which there was none.
    pub over: u64,
    /// Those that could not be answered.
    pub failed: u64,
}

fn unit(text: &str) -> Option<u64> {
    match text {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no rate; write for example 10/s, 600/m or 1000/h");
        let (requests, per) = text.split_once('/').ok_or_else(wrong)?;
        let requests = requests.trim().parse().ok().filter(|requests| *requests > 0).ok_or_else(wrong)?;
        Ok(Rate { requests, seconds: unit(per.trim()).ok_or_else(wrong)? })
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no stretch of time; write for example 90s, 15m, 1h or 7d");
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let seconds = if rest.is_empty() { Some(number) } else { unit(rest).and_then(|unit| number.checked_mul(unit)) };
        seconds.filter(|seconds| *seconds > 0).map(Span).ok_or_else(wrong)
    }
}

impl Rate {
    /// How many requests fit in so many seconds.
    fn within(self, seconds: u64) -> u128 {
        (u128::from(self.requests) * u128::from(seconds)).div_ceil(u128::from(self.seconds))
    }

    /// After how many milliseconds the request of this number is made.
    fn moment(self, number: u128) -> u64 {
        u64::try_from(number * u128::from(self.seconds) * 1000 / u128::from(self.requests)).unwrap_or(u64::MAX)
    }
}

/// Makes the request `ask` at `rate` for `span`, evenly spread, beginning where all windows begin.
///
/// # Errors
/// When it is no request, or they are too many.
pub async fn simulate(index: Index, ask: &Ask, rate: Rate, Span(seconds): Span) -> Result<Simulation, String> {
    if rate.within(seconds) > MOST_REQUESTS {
        return Err(format!("that would be too long a simulation; at most {MOST_REQUESTS} requests are made"));
    }
    let message = ask.message(default_domain(&index));
    let request = Request::read(&message).map_err(|why: Malformed| why.to_string())?;
    let shortest = {
        let plan = plan(&index, &request, START);
        plan.counted.iter().map(|counted| u64::from(counted.window.length.get())).min()
    };
    // Whole windows to a row, where there would be too many rows.
    let window = shortest.unwrap_or(seconds).min(seconds).max(1);
    let row = window * seconds.div_ceil(window).div_ceil(MOST_ROWS);
    let clock = HandClock::at(START);
    let service = service(index, clock.clone());
    let mut simulation = Simulation { windows: Vec::new(), total: Tally { to: seconds, ..Tally::default() } };
    let rows = usize::try_from(seconds.div_ceil(row)).unwrap_or(usize::MAX);
    simulation.windows = (0..rows as u64)
        .map(|at| Tally { from: at * row, to: seconds.min((at + 1) * row), ..Tally::default() })
        .collect();
    for number in 0..rate.within(seconds) {
        let millis = rate.moment(number);
        clock.set(Moment(Moment::from(START).0 + millis));
        let answer = in_a_word(&service.answer(&message).await);
        simulation.total.add(answer);
        let at = usize::try_from(millis / 1000 / row).unwrap_or(usize::MAX);
        if let Some(tally) = simulation.windows.get_mut(at) {
            tally.add(answer);
        }
    }
    Ok(simulation)
}

impl Tally {
    fn add(&mut self, answer: Answer) {
        self.sent += 1;
        match answer {
            Answer::Ok => self.passed += 1,
            Answer::Over => self.over += 1,
            Answer::Error => self.failed += 1,
        }
    }
}

impl fmt::Display for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12} {:>10} {:>10} {:>10} {:>10}", "SECONDS", "SENT", "PASSED", "OVER", "FAILED")?;
        for tally in self.windows.iter().chain([&self.total]) {
            let seconds = format!("{}-{}", tally.from, tally.to);
            let Tally { sent, passed, over, failed, .. } = tally;
            writeln!(f, "{seconds:>12} {sent:>10} {passed:>10} {over:>10} {failed:>10}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_written_as_people_write_them() {
        assert_eq!("10/s".parse(), Ok(Rate { requests: 10, seconds: 1 }));
        assert_eq!("600/m".parse(), Ok(Rate { requests: 600, seconds: 60 }));
        for wrong in ["", "10", "0/s", "10/week", "-1/s", "x/s"] {
            assert!(wrong.parse::<Rate>().is_err_and(|why| why.contains("10/s")), "{wrong}");
        }
        assert_eq!(
            ["90", "90s", "15m", "1h", "7d"].map(str::parse),
            [90, 90, 900, 3_600, 604_800].map(|s| Ok(Span(s)))
        );
        for wrong in ["", "s", "0", "1w", "99999999999999999999d"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn requests_are_spread_evenly() {
        let rate = Rate { requests: 100, seconds: 60 };
        assert_eq!((rate.within(1), rate.within(60), rate.within(90)), (2, 100, 150));
        assert_eq!((rate.moment(0), rate.moment(1), rate.moment(100)), (0, 600, 60_000));
    }
}
