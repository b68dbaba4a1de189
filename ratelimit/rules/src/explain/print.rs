//! An explanation in plain text, for a terminal.

use std::fmt::{Display, Formatter, Result};

use super::trace::Verdict;
use super::{Answer, CounterMet, Explanation, RuleMet};
use crate::plan::Outcome;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "domain {}: {}", self.domain, self.answer)?;
        if !self.counters_read {
            writeln!(f, "  no server was asked: every counter is taken for unused")?;
        }
        if let Some(note) = &self.note {
            writeln!(f, "  {note}")?;
        }
        for descriptor in &self.descriptors {
            let came = match descriptor.outcome {
                Outcome::Limited => descriptor.answer.to_string(),
                Outcome::Outweighed => "ok, uncounted: what matches is outweighed".to_owned(),
                Outcome::Unlimited => "ok, unlimited".to_owned(),
                Outcome::Miss => "ok: no rule matches".to_owned(),
                Outcome::Broken => "over: what limits it cannot be used".to_owned(),
                Outcome::Unknown => "over: nobody knows what limits it".to_owned(),
            };
            writeln!(f, "\n{} -> {came}", descriptor.descriptor)?;
            if !descriptor.path.is_empty() {
                writeln!(f, "  path: {}", descriptor.path.join(" > "))?;
            }
            if let Some(note) = &descriptor.note {
                writeln!(f, "  {note}")?;
            }
            for rule in &descriptor.rules {
                write!(f, "{rule}")?;
            }
        }
        Ok(())
    }
}

impl Display for RuleMet {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut says = self.limit.clone().unwrap_or_else(|| "no limit".to_owned());
        if self.weight > 0 {
            says.push_str(&format!(", weight {}", self.weight));
        }
        if self.always_apply {
            says.push_str(", always applies");
        }
        if self.shadow {
            says.push_str(", tried out only");
        }
        if self.only_when_allowed {
            says.push_str(", counts only what no rule refuses");
        }
        writeln!(f, "  rule {}: {says}", self.rule)?;
        let verdict = match self.verdict {
            Verdict::Applies => "applies",
            Verdict::LetsPass => "lets pass",
            Verdict::Outweighed => "outweighed",
            Verdict::Hidden => "hidden",
            Verdict::NotMatched => "no match",
        };
        writeln!(f, "    {verdict}: {}", self.because)?;
        self.counters.iter().try_for_each(|counter| write!(f, "{counter}"))
    }
}

impl Display for CounterMet {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let CounterMet { counter, limit, used, left, resets_in_seconds, .. } = self;
        let over = if self.over { "; this request goes beyond it" } else { "" };
        writeln!(f, "    counter {counter}")?;
        writeln!(f, "      {used} used of {limit}, {left} left, all free again in {resets_in_seconds} s{over}")
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.pad(match self {
            Answer::Ok => "ok",
            Answer::Over => "over",
            Answer::Error => "error",
        })
    }
}
