//! What is said about a route, for each of its parentRefs.

use std::collections::BTreeMap;

use api::{ObjectRef, Problem};
use status::{ACCEPTED, Condition, ObjectStatus, Place, RESOLVED_REFS};

use super::ports::{self, Fates, listed};
use crate::decided::attached::Parent;
use crate::decided::said::{RouteNotes, Shadow};
use crate::view::View;

/// What is said about `route` in the place of each of its parents.
pub fn status(view: &View<'_>, route: &ObjectRef) -> Option<Vec<ObjectStatus>> {
    let attached = view.attached(route)?;
    if attached.route.parents.is_empty() {
        let message = "it has no parentRefs, so it applies nowhere; name a Service (with group: \"\") or a Gateway";
        return Some(vec![ObjectStatus::new(vec![Condition::fails(ACCEPTED, "NoMatchingParent", message)])]);
    }
    let (mut notes, mut places) = (RouteNotes::default(), BTreeMap::<&Place, Fates<'_>>::new());
    for said in view.said(route) {
        notes.add(&said.notes);
        for (place, ports) in &said.ports {
            places.entry(place).or_default().extend(ports);
        }
    }
    let nothing = BTreeMap::new();
    let mut statuses: Vec<ObjectStatus> = Vec::new();
    for parent in &attached.parents {
        // Of parentRefs that say the same one is enough.
        if statuses.iter().any(|status| status.place == parent.place) {
            continue;
        }
        let ports = places.get(&parent.place).unwrap_or(&nothing);
        let accepted = applies(parent, ports).unwrap_or_else(|| notes.accepted());
        let mut conditions = vec![accepted, notes.resolved_refs()];
        conditions.extend(ports::not_reached(ports));
        conditions.extend(ports::refused(ports));
        statuses.push(ObjectStatus::at(parent.place.clone(), conditions));
    }
    (!statuses.is_empty()).then_some(statuses)
}

/// Why a route does not apply at `parent`, where these are the ports that it would govern; nothing if it does.
pub fn applies(parent: &Parent, ports: &Fates<'_>) -> Option<Condition> {
    if parent.accepted.status != Some(true) {
        return Some(parent.accepted.clone());
    }
    match parent.service() {
        Some(service) => ports::unreached(service, ports),
        None => ports::conflicted(ports),
    }
}

impl RouteNotes {
    fn accepted(&self) -> Condition {
        let shadowed = self.shadows.iter().map(|(shadow, ports)| {
            let (Shadow { field, by, by_field, .. }, hosts) = (shadow, shadow.of_hosts());
            let ports = listed(ports.iter().map(|id| format!("port {} of Service {}", id.port, id.service)), ", ");
            let message = format!(
                "never applies to what comes to {ports}{hosts}: {by_field} of {by} comes first and takes all its requests; \
                 remove one of the two, or write a match that the other does not have"
            );
            Problem::warning(field.as_str(), message)
        });
        let problems: Vec<Problem> = self.unsupported.iter().chain(&self.warnings).cloned().chain(shadowed).collect();
        if self.unsupported.is_empty() {
            return Condition::accepted(problems);
        }
        let message = self.unsupported.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Condition::fails(ACCEPTED, "UnsupportedValue", message).with(problems)
    }

    fn resolved_refs(&self) -> Condition {
        let Some(reason) = self.unresolved.values().next() else {
            return Condition::holds(RESOLVED_REFS, "ResolvedRefs", "");
        };
        let problems: Vec<Problem> = self.unresolved.keys().cloned().collect();
        let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Condition::fails(RESOLVED_REFS, reason, message).with(problems)
    }
}
