//! What a run has shown.

use std::fmt::Write as _;

use crate::find::Mutant;
use crate::judge::Verdict;
use crate::reasons::{self, Reasons};
use crate::scope::{self, AREAS};

/// Of so many mutants one may live without a reason.
const ONE_IN: usize = 20;

/// The numbers of one area, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many were tried.
    pub tried: usize,
    /// How many tests noticed.
    pub killed: usize,
    /// How many of those by not coming to an end.
    pub hung: usize,
    /// How many live.
    pub live: usize,
    /// How many of those no test reaches.
    pub unreached: usize,
    /// How many of those that live have a reason.
    pub excused: usize,
}

impl Counts {
    fn add(&mut self, verdict: &Verdict, excused: bool) {
        self.tried += 1;
        self.killed += usize::from(!verdict.lives());
        self.hung += usize::from(*verdict == Verdict::Hung);
        self.live += usize::from(verdict.lives());
        self.unreached += usize::from(*verdict == Verdict::Unreached);
        self.excused += usize::from(verdict.lives() && excused);
    }

    /// Whether few enough live without a reason.
    pub fn good(&self) -> bool {
        (self.live - self.excused) * ONE_IN <= self.tried
    }
}

/// The numbers of all, and of each area.
pub fn counts(judged: &[(&Mutant, Verdict)], reasons: &Reasons) -> (Counts, [Counts; AREAS.len()]) {
    let (mut all, mut areas) = (Counts::default(), [Counts::default(); AREAS.len()]);
    for (mutant, verdict) in judged {
        let excused = reasons::of(reasons, &mutant.key()).is_some();
        all.add(verdict, excused);
        if let Some(area) = scope::area(&mutant.file).and_then(|area| areas.get_mut(area)) {
            area.add(verdict, excused);
        }
    }
    (all, areas)
}

/// The whole report, the closing line last.
pub fn report(judged: &[(&Mutant, Verdict)], reasons: &Reasons) -> String {
    let (all, areas) = counts(judged, reasons);
    let mut text = String::new();
    for (mutant, verdict) in judged.iter().filter(|(_, verdict)| verdict.lives()) {
        let how = match verdict {
            Verdict::Unreached => "no test reaches it".to_owned(),
            Verdict::Survived(tests) => format!("{tests} tests pass with it"),
            _ => continue,
        };
        let reason =
            reasons::of(reasons, &mutant.key()).map(|reason| format!("; stands: {reason}")).unwrap_or_default();
        let _ = writeln!(text, "{}\n    line {}: {how}{reason}", mutant.key(), mutant.line);
    }
    let _ = writeln!(
        text,
        "\n{:18} {:>6} {:>7} {:>6} {:>7} {:>10}",
        "area", "tried", "killed", "live", "reason", "unreached"
    );
    for (area, counts) in AREAS.iter().zip(areas) {
        let Counts { tried, killed, live, excused, unreached, .. } = counts;
        let _ = writeln!(text, "{:18} {tried:>6} {killed:>7} {live:>6} {excused:>7} {unreached:>10}", area.name);
    }
    let Counts { tried, killed, hung, live, excused, .. } = all;
    let (without, most) = (live - excused, tried / ONE_IN);
    let _ = writeln!(
        text,
        "\nmutants: {tried} tried, {killed} killed ({hung} by hanging), {live} live, {excused} of them with a reason; {without} without one, at most {most} may"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_twenty_may_live_without_a_reason() {
        let of = |tried, live, excused| Counts { tried, live, excused, ..Counts::default() };
        assert!(of(40, 2, 0).good() && of(40, 9, 7).good());
        assert!(!of(40, 3, 0).good() && !of(39, 2, 0).good());
    }
}
