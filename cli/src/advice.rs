//! What is missing from a folder that a cluster would have made by itself: endpoints.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use api::core::{SERVICE_NAME, Service};
use api::{Kind, Meta as _, Name, ObjectRef, Problem, Snapshot};
use parking_lot::Mutex;
use provider::StatusBoard;
use provider::findings::did_you_mean;
use runtime::follow::Follower;
use status::{Condition, ObjectStatus, Report};

/// The name under which this advice stands on the status board.
pub const AUTHOR: &str = "waykeeper";
/// Whether connections to a Service lead anywhere.
pub const ENDPOINTS: &str = "Endpoints";

/// Keeps the advice on the board in step with what is declared.
#[derive(Debug)]
pub struct Advice {
    board: StatusBoard,
    /// What was looked at last.
    last: Mutex<Option<Arc<Snapshot>>>,
}

impl Advice {
    /// Advice for `board`.
    pub fn new(board: StatusBoard) -> Self {
        Self { board, last: Mutex::default() }
    }
}

impl Follower for Advice {
    type Declared = Snapshot;
    type Made = Report;

    fn make(&self, snapshot: &Arc<Snapshot>, _: Instant) -> Option<Report> {
        let last = self.last.lock().replace(snapshot.clone());
        let same = last.is_some_and(|last| {
            let broken = |reference: &&ObjectRef| matches!(reference.kind, Kind::Service | Kind::EndpointSlice);
            snapshot.services.changed(&last.services).next().is_none()
                && snapshot.endpoint_slices.changed(&last.endpoint_slices).next().is_none()
                && !snapshot.broken.changed(&last.broken).any(|reference| broken(&reference))
        });
        (!same).then(|| advise(snapshot))
    }

    async fn install(&self, report: Report) {
        self.board.publish(AUTHOR, report);
    }
}

/// A warning on every Service and EndpointSlice that do not find one another. Pure.
pub fn advise(snapshot: &Snapshot) -> Report {
    let mut report = Report::new();
    let mut served: BTreeSet<Name> = BTreeSet::new();
    for (name, slice) in &snapshot.endpoint_slices {
        let of = slice.label(SERVICE_NAME).map(|service| Name::new(&name.namespace, service));
        let problem = match &of {
            None => Problem::warning(
                "metadata.labels",
                format!(
                    "says of no Service that these are its endpoints; add the label {SERVICE_NAME}: <name of a Service>"
                ),
            ),
            Some(service) if !snapshot.services.contains_key(service) && !is_broken(snapshot, service) => {
                let same = snapshot.services.keys().filter(|known| known.namespace == name.namespace);
                let hint = did_you_mean(&service.name, same.map(|known| known.name.as_str()));
                let hint = hint.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                Problem::warning(
                    format!("metadata.labels.{SERVICE_NAME}"),
                    format!("Service {service} does not exist{hint}"),
                )
            }
            Some(_) => {
                served.extend(of);
                continue;
            }
        };
        say(&mut report, Kind::EndpointSlice, name, "NoService", problem);
    }
    for (name, service) in &snapshot.services {
        if is_elsewhere(service) || served.contains(name) {
            continue;
        }
        let message = format!(
            "no EndpointSlice in namespace {} has the label {SERVICE_NAME}: {}; write one that lists where the application listens, on one machine nothing else does",
            name.namespace, name.name
        );
        say(&mut report, Kind::Service, name, "NoEndpoints", Problem::warning("", message));
    }
    report
}

fn is_broken(snapshot: &Snapshot, service: &Name) -> bool {
    snapshot.broken.contains_key(&ObjectRef { kind: Kind::Service, name: service.clone() })
}

/// A name for another host has no endpoints of its own.
fn is_elsewhere(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName")
}

fn say(report: &mut Report, kind: Kind, name: &Name, reason: &str, problem: Problem) {
    let mut condition = Condition::fails(ENDPOINTS, reason, problem.message.clone());
    condition.problems.push(problem);
    report.insert(ObjectRef { kind, name: name.clone() }, vec![ObjectStatus::new(vec![condition])]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_and_a_slice_that_miss_one_another_are_told_how_to_meet() {
        let mut snapshot = Snapshot::default();
        let service = |name: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "x"}, "spec": {"ports": [{"port": 80}]}});
        let slice = |name: &str, of: &str| json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": name, "namespace": "x", "labels": {SERVICE_NAME: of}}, "addressType": "IPv4", "endpoints": []});
        for document in [service("good"), service("cart"), slice("good-1", "good"), slice("cart-1", "carts")] {
            snapshot.insert(api::admit(&document).object.expect("valid"));
        }
        let said: Vec<String> = advise(&snapshot)
            .iter()
            .map(|(object, statuses)| format!("{object}: {}", statuses[0].conditions[0].message))
            .collect();
        assert_eq!(said.len(), 2, "{said:#?}");
        assert!(said[0].starts_with("Service x/cart: no EndpointSlice"), "{said:#?}");
        assert!(said[1].ends_with("Service x/carts does not exist; did you mean cart?"), "{said:#?}");
    }
}
