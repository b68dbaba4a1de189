//! What is asked of a store: a change to one counter.

use smallvec::SmallVec;

use crate::change::Change;
use crate::counter::CounterId;
use crate::limit::Limit;
use crate::window::Window;

/// A change to one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hit<'a> {
    /// The RateLimitConfig's id, for people who read the store.
    pub config: &'a str,
    /// Which counter.
    pub counter: CounterId,
    /// The rule that counts, whatever values it counts apart: its counter, where it has but one.
    /// [`CounterId::NO_RULE`] where the request brought its own limit.
    pub rule: CounterId,
    /// What it counts towards.
    pub limit: Limit,
    /// Its window.
    pub window: Window,
    /// What happens to it.
    pub change: Change,
    /// When it happens.
    pub policy: CountPolicy,
    /// Its limit is only tried out: over it or not, it keeps no other hit from counting.
    pub shadow: bool,
}

/// When a hit is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CountPolicy {
    /// Whatever becomes of the request. (What a limit itself refuses is counted by fixed windows only.)
    #[default]
    Always,
    /// Only if no hit of the request is over its limit: all those of a request that say so, or none.
    WhenAllowed,
}

/// The counts after a request's hits, one for each, in order: how much of each limit's
/// [`Limit::amount`] is used, or would be if the hit had been counted; more than that is over.
pub type Counts = SmallVec<[u64; 4]>;

impl Hit<'_> {
    /// Whether the hit adds or looks, rather than gives back.
    pub fn adds(&self) -> bool {
        matches!(self.change, Change::Add(_))
    }

    /// Whether the hit makes its counter, if there is none.
    pub fn creates(&self) -> bool {
        matches!(self.change, Change::Add(1..))
    }

    /// Whether the hit comes on more than its limit when its counter stands at `count` with it.
    ///
    /// A look (0 hits) at a limit that is exactly used up passes, as it does with
    /// envoyproxy/ratelimit: users of look-then-count rely on it.
    pub fn is_over(&self, count: u64) -> bool {
        self.adds() && count > self.limit.amount()
    }

    /// Whether the hit is counted by itself, when its counter stands at `count` with it: only fixed
    /// windows count what they refuse.
    pub fn counts(&self, count: u64) -> bool {
        self.limit.algorithm().counts_refused() || !self.is_over(count)
    }
}
