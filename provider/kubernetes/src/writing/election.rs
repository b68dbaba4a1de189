//! Who of several replicas writes: whoever holds a Lease. Pure: from what the Lease says and from one's own clock.
//!
//! Nobody compares clocks: a Lease is given up by its holder, or dead when it was seen not to change for as long as it
//! lasts. Two may believe for a moment that they hold it; what keeps their writes apart is the `resourceVersion` that
//! each of these names.

use std::time::Duration;

/// A Lease that was not renewed for so long is anybody's.
pub const LASTS: Duration = Duration::from_secs(15);
/// Whoever could not renew it for so long does not write any more.
const WRITES: Duration = Duration::from_secs(10);
/// How often it is looked at.
pub const EVERY: Duration = Duration::from_secs(2);

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its `metadata.resourceVersion`.
    pub version: String,
    /// Who holds it; empty if it was given up.
    pub holder: String,
    /// How often it went from one holder to another.
    pub transitions: i64,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// There is none: make it, held by us.
    Create,
    /// Write that we hold it, over the one of this version, which has gone so often from one to another by then.
    Hold {
        /// The `resourceVersion` that is overwritten, and no other.
        over: String,
        /// How many transitions there were.
        transitions: i64,
        /// Whether somebody else, or nobody, held it before.
        taken: bool,
    },
    /// Leave it to its holder.
    Leave,
}

/// One replica's view of the election.
#[derive(Debug)]
pub struct Election {
    me: String,
    /// The version that was seen last, and since when.
    seen: Option<(String, Duration)>,
    /// Until when we may write.
    until: Option<Duration>,
}

impl Election {
    /// A replica with this name, which no other has.
    pub fn new(me: String) -> Self {
        Self { me, seen: None, until: None }
    }

    /// What to do, the Lease being so at `now`.
    pub fn read(&mut self, lease: Option<&Lease>, now: Duration) -> Act {
        let Some(Lease { version, holder, transitions }) = lease else { return Act::Create };
        if *holder == self.me {
            return Act::Hold { over: version.clone(), transitions: *transitions, taken: false };
        }
        // Somebody else has it, whatever we believed.
        self.until = None;
        let since = match &self.seen {
            Some((seen, since)) if seen == version => *since,
            _ => {
                self.seen = Some((version.clone(), now));
                now
            }
        };
        if holder.is_empty() || now.saturating_sub(since) >= LASTS {
            return Act::Hold { over: version.clone(), transitions: transitions.saturating_add(1), taken: true };
        }
        Act::Leave
    }

    /// What was asked for at `asked` has been written.
    pub fn written(&mut self, asked: Duration) {
        self.until = Some(asked + WRITES);
    }

    /// Until when we may write.
    pub fn until(&self) -> Option<Duration> {
        self.until
    }

    /// Whether we may write.
    pub fn holds(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lease(version: u64, holder: &str) -> Lease {
        Lease { version: version.to_string(), holder: holder.to_owned(), transitions: 3 }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_is_taken_when_it_was_given_up_or_seen_unchanged_for_as_long_as_it_lasts() {
        let mut me = Election::new("me".to_owned());
        assert_eq!(me.read(None, seconds(0)), Act::Create);
        let take = |over: u64| Act::Hold { over: over.to_string(), transitions: 4, taken: true };
        assert_eq!(me.read(Some(&lease(1, "")), seconds(0)), take(1), "given up");
        // What it says of times is not looked at: only that it changes.
        assert_eq!(me.read(Some(&lease(2, "other")), seconds(100)), Act::Leave);
        assert_eq!(me.read(Some(&lease(2, "other")), seconds(114)), Act::Leave);
        assert_eq!(me.read(Some(&lease(3, "other")), seconds(115)), Act::Leave, "it was renewed");
        assert_eq!(me.read(Some(&lease(3, "other")), seconds(129)), Act::Leave);
        assert_eq!(me.read(Some(&lease(3, "other")), seconds(130)), take(3));
        let renew = Act::Hold { over: "4".to_owned(), transitions: 3, taken: false };
        assert_eq!(me.read(Some(&lease(4, "me")), seconds(131)), renew);
    }

    #[test]
    fn whoever_could_not_renew_it_or_sees_another_in_its_place_writes_no_more() {
        let mut me = Election::new("me".to_owned());
        assert!(!me.holds(seconds(0)));
        me.written(seconds(10));
        assert!(me.holds(seconds(19)) && !me.holds(seconds(20)));
        me.written(seconds(20));
        me.read(Some(&lease(1, "other")), seconds(21));
        assert!(!me.holds(seconds(21)));
    }

    proptest! {
        /// Two replicas whose every request takes effect when it is made, and whose every second request is lost.
        #[test]
        fn never_do_two_write_at_once(steps in proptest::collection::vec((0..2_usize, any::<bool>(), 0..6_u64), 1..200)) {
            let mut now = Duration::ZERO;
            let mut stored: Option<Lease> = None;
            let mut all = [Election::new("0".to_owned()), Election::new("1".to_owned())];
            for (who, lost, pause) in steps {
                now += Duration::from_secs(pause);
                let act = all[who].read(stored.as_ref(), now);
                let version = stored.as_ref().map_or(0, |lease| lease.version.parse::<u64>().unwrap_or(0)) + 1;
                if act != Act::Leave && !lost {
                    stored = Some(Lease { version: version.to_string(), holder: who.to_string(), transitions: 0 });
                    all[who].written(now);
                }
                prop_assert!(!(all[0].holds(now) && all[1].holds(now)), "at {now:?}");
            }
        }
    }
}
