//! What is said about a RequestAuthentication: for each Service, Gateway and class of them that it names, and as a whole.

use std::collections::BTreeSet;

use api::{Kind, Name, ObjectRef};
use status::{ACCEPTED, Condition, ObjectStatus};

use super::callers::{Ports, absent, at_targets, refused};
use super::ports::listed;
use crate::view::View;

/// What is said about the RequestAuthentication `name`.
pub fn status(view: &View<'_>, name: &Name) -> Option<Vec<ObjectStatus>> {
    let authentication = view.request_authentication(name)?;
    let attachment = authentication.spec.attachment();
    if attachment.targets().next().is_none() {
        let message = "it has no targetRefs, so that it is for workloads with a sidecar; no waypoint heeds it, and ztunnel \
                       knows no tokens: name what a waypoint serves in targetRefs";
        return Some(vec![ObjectStatus::new(vec![Condition::pending(ACCEPTED, "ForSidecars", message)])]);
    }
    let object = ObjectRef { kind: Kind::RequestAuthentication, name: name.clone() };
    Some(at_targets(view, &object, attachment, |target, ports| at(view, name, target, ports)))
}

fn at(view: &View<'_>, name: &Name, target: &ObjectRef, ports: &Ports<'_>) -> Condition {
    if let Some(condition) = absent(view, name, target) {
        return condition;
    }
    if ports.is_empty() {
        let message =
            format!("no token is looked at: {target} has no port that is HTTP and that a waypoint of ours serves");
        return Condition::fails(ACCEPTED, "NotAttached", message);
    }
    refused(ports).unwrap_or_else(|| {
        let services: BTreeSet<String> = ports.keys().map(|id| format!("Service {}", id.service)).collect();
        let message = format!("looks at tokens for {}", listed(services.into_iter(), ", "));
        Condition::holds(ACCEPTED, "Accepted", message)
    })
}
