//! What several authors say about one object, as one status for each place.

use std::collections::BTreeMap;

use crate::place::Place;
use crate::report::ObjectStatus;

/// The statuses that `said` come to together: one for each place, and in it one condition of each type.
///
/// Where two authors state the same condition, the worse counts: an object is accepted if all accept
/// it. The generation that was observed is the oldest, of which all have spoken.
pub fn combine<'a>(said: impl IntoIterator<Item = &'a ObjectStatus>) -> Vec<ObjectStatus> {
    let mut places: BTreeMap<&Place, ObjectStatus> = BTreeMap::new();
    for status in said {
        match places.get_mut(&status.place) {
            None => drop(places.insert(&status.place, status.clone())),
            Some(known) => add(known, status),
        }
    }
    places.into_values().collect()
}

fn add(known: &mut ObjectStatus, more: &ObjectStatus) {
    let oldest = known.observed_generation.into_iter().chain(more.observed_generation).min();
    known.observed_generation = oldest;
    known.attached_routes = known.attached_routes.or(more.attached_routes);
    if known.supported_kinds.is_none() {
        known.supported_kinds.clone_from(&more.supported_kinds);
    }
    known.addresses.extend(more.addresses.iter().cloned());
    known.addresses.sort_unstable();
    known.addresses.dedup();
    for condition in &more.conditions {
        let condition = match known.condition(&condition.kind) {
            Some(stated) => stated.clone().worse(condition.clone()),
            None => condition.clone(),
        };
        known.set(condition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::{ACCEPTED, Condition, PROGRAMMED};
    use api::Problem;

    #[test]
    fn an_object_is_accepted_if_all_accept_it() {
        let good = ObjectStatus::new(vec![Condition::holds(ACCEPTED, "Accepted", "")]).observing(Some(4));
        let wrong = Condition::accepted(vec![Problem::error("spec", "empty")]);
        let bad = ObjectStatus::new(vec![wrong]).observing(Some(3));
        let listener = ObjectStatus::at(Place::Listener("proxy".to_owned()), vec![]);
        for said in [[&good, &listener, &bad], [&bad, &good, &listener]] {
            let combined = combine(said);
            assert_eq!(combined.len(), 2, "a status for each place");
            assert_eq!(combined[0].conditions, bad.conditions);
            assert_eq!(combined[0].observed_generation, Some(3), "of the later one not all have spoken");
        }
    }

    #[test]
    fn of_two_that_say_the_same_nothing_is_lost() {
        let says = |message: &str, field: &str| {
            let condition = Condition::pending(PROGRAMMED, "Pending", message);
            ObjectStatus::new(vec![condition.with(vec![Problem::warning(field, "odd")])])
        };
        let combined = combine([&says("waiting for one", "spec.a"), &says("waiting for another", "spec.b")]);
        let condition = combined[0].condition(PROGRAMMED).expect("stated");
        assert_eq!(condition.message, "waiting for one; waiting for another");
        assert_eq!(condition.problems.len(), 2);
        let same = combine([&says("waiting", "spec.a"), &says("waiting", "spec.a")]);
        assert_eq!(same, [says("waiting", "spec.a")]);
    }
}
