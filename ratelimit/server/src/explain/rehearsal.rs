//! A rehearsal: requests in order, each with what is to be answered, played to the service itself
//! with counters in memory and a clock moved by hand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use serde::Deserialize;

use super::http::default_domain;
use crate::clock::Clock;
use crate::service::{Failure, Service};
use limit::{Moment, UnixSecs};
use rules::config::Index;
use rules::decide::Response;
use rules::explain::Answer;
use rules::explain::ask::{Ask, Described};
use store::Memory;

/// Where the clock starts: windows of every unit begin there (a multiple of 365, 30 and 7 days).
pub const START: UnixSecs = UnixSecs(15_330 * 86_400);
/// Counters that a rehearsal may need.
const COUNTERS: usize = 1_000_000;

/// A clock moved by hand.
#[derive(Debug, Clone)]
pub struct HandClock(Arc<AtomicU64>);

impl HandClock {
    /// A clock that stands at `now`.
    pub fn at(now: UnixSecs) -> Self {
        Self(Arc::new(AtomicU64::new(Moment::from(now).0)))
    }

    /// Lets so many seconds pass.
    pub fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds.saturating_mul(1000), Ordering::Relaxed);
    }

    /// Sets it to `now`.
    pub fn set(&self, now: Moment) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }
}

/// The service with `index` for ever, counting in memory, by `clock`.
pub fn service(index: Index, clock: HandClock) -> Service<Memory, HandClock> {
    Service::new(Arc::new(ArcSwap::from_pointee(index)), Memory::new(COUNTERS), clock)
}

/// What was answered, in a word.
pub fn in_a_word(answer: &Result<Response, Failure>) -> Answer {
    match answer {
        Ok(response) if response.over => Answer::Over,
        Ok(_) => Answer::Ok,
        Err(_) => Answer::Error,
    }
}

/// A request, and what is to be answered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The descriptors sent, in short form or with `entries`.
    pub send: Vec<Described>,
    /// So many times.
    #[serde(default = "once")]
    pub times: u32,
    /// Seconds that pass first.
    #[serde(default)]
    pub after: u64,
    /// What is to be answered, each time.
    pub answer: Answer,
    /// The names of the tightest rules, `-` for none, after the last time.
    #[serde(default)]
    pub names: Option<Vec<String>>,
    /// What is left, 0 where no rule governs, after the last time.
    #[serde(default)]
    pub remaining: Option<Vec<u32>>,
}

fn once() -> u32 {
    1
}

/// Where what was answered is not what was to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The step, from 1.
    pub step: usize,
    /// The time in that step, from 1.
    pub time: u32,
    /// What was to be.
    pub wanted: String,
    /// What was.
    pub got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "step {}, time {}", self.step, self.time)?;
        writeln!(f, "  - {}", self.wanted)?;
        write!(f, "  + {}", self.got)
    }
}

/// Reads steps in YAML.
///
/// # Errors
/// What cannot be read.
pub fn read(text: &str) -> Result<Vec<Step>, String> {
    serde_norway::from_str(text).map_err(|why| why.to_string())
}

/// Plays `steps` with the rules of `index`; of each step the first difference is kept.
pub async fn play(index: Index, steps: &[Step]) -> Vec<Difference> {
    let domain = default_domain(&index).to_owned();
    let clock = HandClock::at(START);
    let service = service(index, clock.clone());
    let mut differences = Vec::new();
    for (number, step) in (1..).zip(steps) {
        clock.advance(step.after);
        let message = Ask { domain: None, descriptors: step.send.clone(), hits: None }.message(&domain);
        let mut found = None;
        for time in 1..=step.times {
            let answer = service.answer(&message).await;
            found = found.or_else(|| {
                let (wanted, got) = differ(step, &answer, time == step.times)?;
                Some(Difference { step: number, time, wanted, got })
            });
        }
        differences.extend(found);
    }
    differences
}

fn differ(step: &Step, answer: &Result<Response, Failure>, last: bool) -> Option<(String, String)> {
    let got = in_a_word(answer);
    if got != step.answer {
        let why = match answer {
            Ok(response) => tightest(response),
            Err(failure) => failure.to_string(),
        };
        return Some((format!("answer: {}", step.answer), format!("answer: {got} ({why})")));
    }
    let response = answer.as_ref().ok().filter(|_| last)?;
    let tightest = || response.statuses.iter().map(|status| status.tightest.as_ref());
    if let Some(wanted) = &step.names {
        let got: Vec<&str> = tightest().map(|rule| rule.map_or("-", |rule| rule.name.as_str())).collect();
        if got != *wanted {
            return Some((format!("names: {wanted:?}"), format!("names: {got:?}")));
        }
    }
    if let Some(wanted) = &step.remaining {
        let got: Vec<u32> = tightest().map(|rule| rule.map_or(0, |rule| rule.remaining)).collect();
        if got != *wanted {
            return Some((format!("remaining: {wanted:?}"), format!("remaining: {got:?}")));
        }
    }
    None
}

fn tightest(response: &Response) -> String {
    let rules = response.statuses.iter().map(|status| match &status.tightest {
        Some(rule) => format!("{}, {} left", rule.name, rule.remaining),
        None => "no rule".to_owned(),
    });
    rules.collect::<Vec<_>>().join("; ")
}
