//! What a replica that has begun to lead does not know yet and the one before it may have known: what those say who have not
//! connected to it again. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use api::ObjectRef;
use status::ObjectStatus;

/// So long it may take until all have connected: an Envoy whose control plane was away tries again after 30 seconds at most.
const LASTS: Duration = Duration::from_secs(35);

/// Whether everybody had the time to be heard. Times are counted from when the process began.
#[derive(Debug, Default)]
pub struct Hearing {
    /// Until when they have it; none once it is over.
    until: Option<Duration>,
    /// The objects that were looked at before, while something of them was not known.
    unheard: BTreeSet<ObjectRef>,
    /// Those that this replica has written before: what stands there is its own.
    own: BTreeSet<ObjectRef>,
}

impl Hearing {
    /// From `now` on everybody has the time.
    pub fn begin(&mut self, now: Duration) {
        self.until = Some(now + LASTS);
        self.own.clear();
    }

    /// The objects that are to be looked at again, if the time is over by `now`.
    pub fn over(&mut self, now: Duration) -> BTreeSet<ObjectRef> {
        if self.until.is_none_or(|until| now < until) {
            return BTreeSet::new();
        }
        self.until = None;
        self.own.clear();
        std::mem::take(&mut self.unheard)
    }

    /// Whether what is not known of `object` is not known to anybody, so that it may be said in place of what stands.
    pub fn has_heard_all(&mut self, object: &ObjectRef, said: &[ObjectStatus]) -> bool {
        let all = self.until.is_none() || self.own.contains(object);
        if !all && said.iter().any(ObjectStatus::is_pending) {
            self.unheard.insert(object.clone());
        }
        all
    }

    /// The status of `object` is written.
    pub fn wrote(&mut self, object: &ObjectRef) {
        if self.until.is_some() {
            self.own.insert(object.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use api::Kind;
    use status::{Condition, PROGRAMMED};

    use super::*;

    fn route(name: &str) -> ObjectRef {
        ObjectRef::new(Kind::HttpRoute, "t", name)
    }

    #[test]
    fn what_is_not_known_waits_for_its_time_unless_it_is_our_own_word() {
        let pending = [ObjectStatus::new(vec![Condition::pending(PROGRAMMED, "Pending", "")])];
        let known = [ObjectStatus::new(vec![Condition::holds(PROGRAMMED, "Programmed", "")])];
        let (mut hearing, start, moment) = (Hearing::default(), Duration::from_secs(100), Duration::from_nanos(1));
        assert!(hearing.has_heard_all(&route("a"), &pending), "nobody is waited for");
        hearing.begin(start);
        assert!(!hearing.has_heard_all(&route("a"), &pending) && !hearing.has_heard_all(&route("b"), &known));
        hearing.wrote(&route("c"));
        assert!(hearing.has_heard_all(&route("c"), &pending));
        assert!(hearing.over(start + LASTS - moment).is_empty());
        assert_eq!(hearing.over(start + LASTS), BTreeSet::from([route("a")]), "of the others nothing is open");
        assert!(hearing.over(start + LASTS).is_empty() && hearing.has_heard_all(&route("a"), &pending));
        // It leads again: another one may have written in between.
        hearing.begin(start * 2);
        assert!(!hearing.has_heard_all(&route("c"), &pending));
    }
}
