//! What hits would do to counters, tried before anything is written: some count only if all may.

use smallvec::SmallVec;

use super::shard::{Seat, Taken};
use crate::algorithm::{self, Algorithm, State, Step};
use crate::request::Change;
use crate::store::{CountPolicy, Counts, Hit};
use crate::window::Moment;

/// What counters would hold, hit after hit.
#[derive(Default)]
pub(super) struct Trial<'h>(pub(super) SmallVec<[Tried<'h>; 4]>);

/// What one counter would hold.
pub(super) struct Tried<'h> {
    pub(super) hit: Hit<'h>,
    pub(super) state: State,
}

impl<'h> Trial<'h> {
    /// Tries the hits on what their seats hold, counting those that wait for the others where `counted` says so.
    pub(super) fn run(&mut self, seats: &[Seat<'h>], now: Moment, counted: impl Fn(&Hit<'h>, &Step) -> bool) -> Counts {
        let mut readings = Counts::new();
        for Seat { hit, state, room } in seats {
            if *room == Taken::Denied {
                readings.push(u64::MAX);
                continue;
            }
            let tried = self.0.iter().position(|one| one.hit.counter == hit.counter);
            let state = tried.and_then(|at| self.0.get(at)).map(|one| one.state).or(*state);
            let step = algorithm::step(&hit.limit, state, hit.change, hit.window, now);
            let counts = match hit.policy {
                CountPolicy::Always => counts(hit, &step),
                CountPolicy::WhenAllowed => counted(hit, &step),
            };
            readings.push(if counts || is_over(hit, &step) { step.count } else { step.before });
            if !counts {
                continue;
            }
            match tried.and_then(|at| self.0.get_mut(at)) {
                Some(one) => one.state = step.counted,
                None => self.0.push(Tried { hit: *hit, state: step.counted }),
            }
        }
        readings
    }
}

/// Whether the hit adds, rather than looks, gives back or sets.
pub(super) fn is_added(hit: &Hit<'_>) -> bool {
    matches!(hit.change, Change::Add(_))
}

/// Whether the hit makes its counter, if there is none.
pub(super) fn creates(hit: &Hit<'_>) -> bool {
    matches!(hit.change, Change::Add(1..))
}

/// Whether the hit comes on more than its limit.
pub(super) fn is_over(hit: &Hit<'_>, step: &Step) -> bool {
    is_added(hit) && step.count > hit.limit.amount()
}

/// Only fixed windows count what they refuse.
pub(super) fn counts(hit: &Hit<'_>, step: &Step) -> bool {
    hit.limit.algorithm() == Algorithm::FixedWindow || !is_over(hit, step)
}
