//! What the hits of one request come to together, tried before anything is written: some count only if all may.
//!
//! Whoever counts in this process does it by this: the memory store, and explanations. The script
//! `general.lua` of `ratelimit-store` does the same inside Redis.

use smallvec::SmallVec;

use crate::counter::CounterId;
use crate::hit::{CountPolicy, Counts, Hit};

/// What a hit comes to on a counter that is known to hold an `S`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<S> {
    /// How much is used without the hit.
    pub before: u64,
    /// How much is used with it.
    pub count: u64,
    /// What the counter holds if the hit is counted.
    pub counted: S,
}

/// What becomes of a request's hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial<S> {
    /// How much is used after each hit, or would be if it had been counted.
    pub counts: Counts,
    /// The counters that change, each with what it holds in the end.
    pub changed: SmallVec<[(CounterId, S); 4]>,
}

/// Tries `hits` one after the other on what their counters hold: one of `held` for each, none where there is
/// no room for the counter, so that the hit is over. Hits on one counter may be several; the first one's `held` counts.
pub fn trial<'h, S: Copy>(hits: &[Hit<'h>], held: &[Option<S>], step: impl Fn(&Hit<'h>, S) -> Change<S>) -> Trial<S> {
    let mut tried = run(hits, held, &step, true);
    let refused = |(hit, count): (&Hit<'_>, &u64)| (!hit.shadow && hit.is_over(*count)).then_some(hit.counter);
    let refused: SmallVec<[CounterId; 4]> = hits.iter().zip(&tried.counts).filter_map(refused).collect();
    if refused.is_empty() {
        return tried;
    }
    let alone = run(hits, held, &step, false);
    // What was over stays over: hits on one counter may be over only together, and then none is counted.
    for ((hit, count), alone) in hits.iter().zip(&mut tried.counts).zip(alone.counts) {
        if !refused.contains(&hit.counter) {
            *count = alone;
        }
    }
    Trial { changed: alone.changed, ..tried }
}

/// One after the other; those that count only with the others do so if `waiting` and if they are not over themselves.
fn run<'h, S: Copy>(
    hits: &[Hit<'h>],
    held: &[Option<S>],
    step: impl Fn(&Hit<'h>, S) -> Change<S>,
    waiting: bool,
) -> Trial<S> {
    let mut trial = Trial { counts: Counts::new(), changed: SmallVec::new() };
    for (hit, held) in hits.iter().zip(held) {
        let Some(held) = held else {
            trial.counts.push(u64::MAX);
            continue;
        };
        let changed = trial.changed.iter().position(|(counter, _)| *counter == hit.counter);
        let held = changed.and_then(|at| trial.changed.get(at)).map_or(*held, |(_, state)| *state);
        let Change { before, count, counted } = step(hit, held);
        let counts = match hit.policy {
            CountPolicy::Always => hit.counts(count),
            CountPolicy::WhenAllowed => waiting && !hit.is_over(count),
        };
        trial.counts.push(if counts || hit.is_over(count) { count } else { before });
        if counts {
            match changed.and_then(|at| trial.changed.get_mut(at)) {
                Some((_, state)) => *state = counted,
                None => trial.changed.push((hit.counter, counted)),
            }
        }
    }
    trial
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use api::gloo::rate_limit_config::Unit;

    use super::*;
    use crate::change::Change as Hits;
    use crate::limit::Limit;
    use crate::time::UnixSecs;

    fn hit(counter: u128, requests: u32, policy: CountPolicy) -> Hit<'static> {
        let limit = Limit::new(requests, Unit::Minute).unwrap();
        let (counter, window) = (CounterId(counter), limit.window(UnixSecs(60)));
        let change = Hits::Add(1);
        Hit { config: "ns.limits", counter, rule: counter, limit, window, change, policy, shadow: false }
    }

    /// On counters that are plain numbers.
    fn tried(hits: &[Hit<'_>], held: &[Option<u64>]) -> (Vec<u64>, Vec<(u128, u64)>) {
        let step = |hit: &Hit<'_>, held: u64| {
            let count = held + u64::from(hit.change.added());
            Change { before: held, count, counted: count }
        };
        let Trial { counts, changed } = trial(hits, held, step);
        (counts.to_vec(), changed.into_iter().map(|(counter, state)| (counter.0, state)).collect())
    }

    use CountPolicy::{Always, WhenAllowed};

    #[test]
    fn all_count_when_none_is_over() {
        let hits = [hit(1, 5, WhenAllowed), hit(2, 5, Always)];
        assert_eq!(tried(&hits, &[Some(4), Some(0)]), (vec![5, 1], vec![(1, 5), (2, 1)]));
    }

    #[test]
    fn those_that_wait_count_not_when_another_one_is_over() {
        let hits = [hit(1, 5, WhenAllowed), hit(2, 5, Always)];
        assert_eq!(
            tried(&hits, &[Some(0), Some(5)]),
            (vec![0, 6], vec![(2, 6)]),
            "the fixed window counts what it refuses"
        );
        let hits = [hit(2, 5, Always), hit(1, 5, WhenAllowed), hit(3, 5, WhenAllowed)];
        assert_eq!(tried(&hits, &[Some(0), Some(5), Some(0)]), (vec![1, 6, 0], vec![(2, 1)]), "whatever the order");
    }

    #[test]
    fn a_limit_that_is_only_tried_out_keeps_nobody_from_counting() {
        let mut over = hit(1, 0, WhenAllowed);
        over.shadow = true;
        assert_eq!(tried(&[over, hit(2, 5, WhenAllowed)], &[Some(0), Some(0)]), (vec![1, 1], vec![(2, 1)]));
    }

    #[test]
    fn two_hits_on_one_counter_may_be_over_only_together() {
        let hits = [hit(1, 5, WhenAllowed), hit(1, 5, WhenAllowed)];
        assert_eq!(tried(&hits, &[Some(3), Some(3)]), (vec![4, 5], vec![(1, 5)]));
        assert_eq!(tried(&hits, &[Some(4), Some(4)]), (vec![5, 6], vec![]), "then none is counted");
    }

    #[test]
    fn without_room_a_hit_is_over() {
        let hits = [hit(1, 5, WhenAllowed), hit(2, 5, WhenAllowed)];
        assert_eq!(tried(&hits, &[None, Some(0)]), (vec![u64::MAX, 0], vec![]));
    }
}
