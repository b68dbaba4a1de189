//! From counts to an answer. Pure.

use std::time::Duration;

use crate::plan::{Counted, Outcome, Plan};
use limit::{Limit, UnixSecs};

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Over the limit if any descriptor is.
    pub over: bool,
    /// One for each descriptor, in order.
    pub statuses: Vec<Status>,
}

/// The answer for one descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether a rule that governs it is over its limit, or nobody can say what governs it.
    pub over: bool,
    /// The rule closest to its limit; none if no rule governs.
    pub tightest: Option<Tightest>,
    /// Whether it passes without limit, on purpose.
    pub unlimited: bool,
}

/// Where the rule closest to its limit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tightest {
    /// The rule's name.
    pub name: String,
    /// What it allows.
    pub limit: Limit,
    /// What is left of that.
    pub remaining: u32,
    /// How long until it starts over.
    pub reset: Duration,
}

/// Whether a hit is refused: its count is more than the limit allows, and the limit is in force.
pub fn is_over(counted: &Counted<'_>, count: u64) -> bool {
    !counted.rule.shadow && would_be_over(counted, count)
}

/// Whether the count after a hit is more than the limit allows, in force or not.
pub fn would_be_over(counted: &Counted<'_>, count: u64) -> bool {
    counted.hit().is_over(count)
}

/// What is left of the limit after a hit.
pub fn remaining(counted: &Counted<'_>, count: u64) -> u32 {
    u32::try_from(counted.limit.amount().saturating_sub(count)).unwrap_or(u32::MAX)
}

/// Answers from the `counts` after the plan's hits, one for each, in order.
pub fn decide(plan: &Plan<'_>, counts: &[u64], domain: &str, now: UnixSecs) -> Response {
    let mut statuses: Vec<Status> = plan
        .outcomes
        .iter()
        .map(|outcome| Status { over: outcome.is_refused(), tightest: None, unlimited: *outcome == Outcome::Unlimited })
        .collect();
    let standing = |at: usize| -> Option<(&Counted<'_>, u64)> { Some((plan.counted.get(at)?, *counts.get(at)?)) };
    let mut best: Vec<Option<usize>> = vec![None; statuses.len()];
    for at in 0..plan.counted.len() {
        let Some((counted, count)) = standing(at) else { continue };
        if let (Some(status), Some(best)) = (statuses.get_mut(counted.descriptor), best.get_mut(counted.descriptor)) {
            status.over |= is_over(counted, count);
            // Over before not over, then what leaves least, then what lasts longest, then the first.
            let rank =
                |at: usize| standing(at).map(|(c, n)| (!is_over(c, n), remaining(c, n), u64::MAX - c.window.end().0));
            if best.is_none_or(|best| rank(at) < rank(best)) {
                *best = Some(at);
            }
        }
    }
    for (status, best) in statuses.iter_mut().zip(best) {
        status.tightest = best.and_then(standing).map(|(counted, count)| Tightest {
            name: counted.rule.name(domain),
            limit: counted.limit,
            remaining: remaining(counted, count),
            reset: counted.limit.reset(count, counted.window, now),
        });
    }
    Response { over: statuses.iter().any(|status| status.over), statuses }
}
