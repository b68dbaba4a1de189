//! Which objects Envoy has taken: the report's `Programmed` conditions. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{Name, ObjectRef};
use proto::{ResourceSet, ResourceType};
use status::{Condition, ObjectStatus, PROGRAMMED, Report};
use xds::AckState;

/// From which objects each resource came.
pub type Origins = BTreeMap<(ResourceType, String), BTreeSet<ObjectRef>>;

/// What one Gateway's Envoy was last given.
#[derive(Debug, Clone)]
pub struct Served {
    /// The resources.
    pub resources: Arc<ResourceSet>,
    /// Whom to tell when one is refused.
    pub origins: Arc<Origins>,
    /// Counts up whenever the resources change.
    pub generation: u64,
}

impl Served {
    /// Whether every connected Envoy has answered all of it, and at least one is connected.
    pub fn is_acked(&self, acks: Option<&AckState>) -> bool {
        acks.is_some_and(|acks| acks.sessions > 0 && acks.generation >= self.generation)
    }
}

/// `report` with a `Programmed` condition on every object from which resources came.
pub fn complete(report: &Report, served: &BTreeMap<Name, Served>, acks: &BTreeMap<String, AckState>) -> Report {
    let mut report = report.clone();
    for (object, condition) in conditions(served, acks) {
        let statuses = report.entry(object).or_default();
        if statuses.is_empty() {
            statuses.push(ObjectStatus::new(Vec::new()));
        }
        for status in statuses {
            set(&mut status.conditions, condition.clone());
        }
    }
    report
}

/// A refusal found while translating stands: it says more than Envoy could.
fn set(conditions: &mut Vec<Condition>, condition: Condition) {
    match conditions.iter_mut().find(|known| known.kind == PROGRAMMED) {
        Some(known) if known.status == Some(false) => {}
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}

#[derive(Default)]
struct Standing {
    pending: BTreeSet<String>,
    refused: BTreeSet<String>,
}

fn conditions(
    served: &BTreeMap<Name, Served>,
    acks: &BTreeMap<String, AckState>,
) -> impl Iterator<Item = (ObjectRef, Condition)> {
    let mut standings: BTreeMap<ObjectRef, Standing> = BTreeMap::new();
    for (gateway, served) in served {
        let acks = acks.get(&crate::node_id(gateway));
        let acked = served.is_acked(acks);
        for object in served.origins.values().flatten() {
            let standing = standings.entry(object.clone()).or_default();
            if !acked {
                standing.pending.insert(gateway.to_string());
            }
        }
        for nack in acks.map(|acks| acks.nacks.as_slice()).unwrap_or_default() {
            for name in &nack.names {
                let text = format!("the Envoy of Gateway {gateway} refused {:?} {name}: {}", nack.kind, nack.message);
                // What nobody is known to have caused is said on the Gateway.
                let own = BTreeSet::from([ObjectRef { kind: api::Kind::Gateway, name: gateway.clone() }]);
                for object in served.origins.get(&(nack.kind, name.clone())).unwrap_or(&own) {
                    standings.entry(object.clone()).or_default().refused.insert(text.clone());
                }
            }
        }
    }
    standings.into_iter().map(|(object, standing)| (object, standing.into_condition()))
}

impl Standing {
    fn into_condition(self) -> Condition {
        let join = |words: BTreeSet<String>, by: &str| words.into_iter().collect::<Vec<_>>().join(by);
        if !self.refused.is_empty() {
            Condition::fails(PROGRAMMED, "Rejected", join(self.refused, "; "))
        } else if !self.pending.is_empty() {
            let gateways = join(self.pending, ", ");
            Condition::pending(PROGRAMMED, "Pending", format!("waiting for Envoy of Gateway {gateways}"))
        } else {
            Condition::holds(PROGRAMMED, "Programmed", "")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use api::Kind;
    use status::Place;
    use xds::Nack;

    fn route(name: &str) -> ObjectRef {
        ObjectRef::new(Kind::HttpRoute, "shop", name)
    }

    fn served() -> BTreeMap<Name, Served> {
        let origin = |name: &str| ((ResourceType::Route, name.to_owned()), BTreeSet::from([route(name)]));
        let origins = Arc::new(Origins::from([origin("good"), origin("bad")]));
        let served = Served { resources: Arc::default(), origins, generation: 3 };
        BTreeMap::from([(Name::new("shop", "gateway"), served)])
    }

    fn programmed(report: &Report, object: &ObjectRef) -> (Option<bool>, String, String) {
        let condition = report[object][0].conditions.iter().find(|c| c.kind == PROGRAMMED).unwrap();
        (condition.status, condition.reason.clone(), condition.message.clone())
    }

    fn acks(state: AckState) -> BTreeMap<String, AckState> {
        BTreeMap::from([("shop~gateway".to_owned(), state)])
    }

    #[test]
    fn an_object_is_pending_until_envoy_has_answered_its_generation() {
        let pending = complete(&Report::default(), &served(), &BTreeMap::new());
        assert_eq!(programmed(&pending, &route("good")).1, "Pending");
        let behind = acks(AckState { sessions: 1, generation: 2, nacks: vec![] });
        assert_eq!(programmed(&complete(&Report::default(), &served(), &behind), &route("good")).0, None);
        let there = acks(AckState { sessions: 1, generation: 3, nacks: vec![] });
        assert_eq!(programmed(&complete(&Report::default(), &served(), &there), &route("good")).0, Some(true));
    }

    #[test]
    fn a_refusal_is_told_to_the_object_that_caused_it_and_to_no_other() {
        let nack = |name: &str| Nack {
            kind: ResourceType::Route,
            names: vec![name.to_owned()],
            message: "no such regex".to_owned(),
            generation: 3,
        };
        let refused = acks(AckState { sessions: 1, generation: 3, nacks: vec![nack("bad"), nack("of nobody")] });
        let report = complete(&Report::default(), &served(), &refused);
        let (status, reason, message) = programmed(&report, &route("bad"));
        assert_eq!((status, reason.as_str()), (Some(false), "Rejected"));
        assert!(message.contains("no such regex"), "{message}");
        assert_eq!(programmed(&report, &route("good")).0, Some(true));
        assert_eq!(programmed(&report, &ObjectRef::new(Kind::Gateway, "shop", "gateway")).1, "Rejected");
    }

    #[test]
    fn what_translation_refused_is_not_called_programmed() {
        let place = Place::Ancestor(ObjectRef::new(Kind::Service, "shop", "web"));
        let status = ObjectStatus::at(place, vec![Condition::fails(PROGRAMMED, "Invalid", "no backend")]);
        let report = Report::from([(route("good"), vec![status])]);
        let there = acks(AckState { sessions: 1, generation: 3, nacks: vec![] });
        assert_eq!(programmed(&complete(&report, &served(), &there), &route("good")).1, "Invalid");
    }
}
