//! What is said about routes and policies, gathered while they are resolved.

use std::collections::{BTreeMap, BTreeSet};

use api::gloo::ResourceRef;
use api::{Kind, Name, ObjectRef, Problem, Snapshot};
use ir::PortRef;
use status::{ACCEPTED, Condition, ObjectStatus, PROGRAMMED, RESOLVED_REFS, Report};

use super::options::{Effective, Policies};
use super::parents::Attached;

/// What was found out about one HTTPRoute.
#[derive(Debug, Default)]
pub struct RouteNotes {
    warnings: BTreeSet<Problem>,
    unsupported: BTreeSet<Problem>,
    unresolved: BTreeMap<Problem, String>,
}

impl RouteNotes {
    /// Something the author should know.
    pub fn warn(&mut self, problem: Problem) {
        self.warnings.insert(problem);
    }

    /// A part that is refused.
    pub fn unsupported(&mut self, problem: Problem) {
        self.unsupported.insert(problem);
    }

    /// A reference that leads nowhere.
    pub fn unresolved(&mut self, reason: &str, problem: Problem) {
        self.unresolved.insert(problem, reason.to_owned());
    }
}

/// What was found out about all routes and the policies on them.
#[derive(Debug, Default)]
pub struct Statuses {
    routes: BTreeMap<Name, RouteNotes>,
    governed: BTreeMap<Name, BTreeSet<ObjectRef>>,
    overridden: BTreeMap<Name, BTreeSet<Problem>>,
}

impl Statuses {
    /// The notes on route `name`.
    pub fn route(&mut self, name: &Name) -> &mut RouteNotes {
        self.routes.entry(name.clone()).or_default()
    }

    /// Notes which RouteOptions govern `route`.
    pub fn policies(&mut self, route: &ObjectRef, effective: &Effective, _on: &PortRef) {
        for name in &effective.sources {
            self.governed.entry(name.clone()).or_default().insert(route.clone());
        }
        for (loser, option, winner) in &effective.overridden {
            let message = format!("has no effect on {route}: RouteOption {winner} comes first");
            let problem = Problem::warning(format!("spec.options.{option}"), message);
            self.overridden.entry(loser.clone()).or_default().insert(problem);
        }
        if let Some(why) = &effective.refusal {
            let reason = if effective.missing.is_empty() { "InvalidPolicy" } else { "PolicyNotFound" };
            let message = format!("{why}; requests are answered 500");
            self.route(&route.name).unresolved(reason, Problem::error("", message));
        }
    }

    /// Writes everything into `report`.
    pub fn finish(mut self, snapshot: &Snapshot, attached: &Attached, policies: &Policies<'_>, report: &mut Report) {
        for (route, parents) in attached.admitted() {
            let name = &route.reference.name;
            let notes = self.routes.remove(name).unwrap_or_default();
            let mut statuses: Vec<ObjectStatus> = Vec::new();
            for parent in parents {
                // parentRefs that differ in the port only share a place; say the worse.
                let mut accepted = parent.accepted.clone();
                if accepted.status == Some(true) {
                    accepted = notes.accepted();
                }
                if let Some(known) = statuses.iter_mut().find(|status| status.place == parent.place) {
                    if accepted.status == Some(false) {
                        known.conditions[0] = accepted;
                    }
                    continue;
                }
                let conditions = vec![accepted, notes.resolved_refs()];
                statuses.push(ObjectStatus::at(parent.place.clone(), conditions));
            }
            report.insert(route.reference.clone(), statuses);
        }
        for (name, option) in &snapshot.route_options {
            let governed = self.governed.remove(name).unwrap_or_default();
            let notes: Vec<Problem> = self.overridden.remove(name).unwrap_or_default().into_iter().collect();
            let mut accepted =
                if governed.is_empty() { not_attached(snapshot, name, policies) } else { Condition::accepted(notes) };
            if accepted.status == Some(true) && accepted.message.is_empty() {
                let routes: Vec<String> = governed.iter().map(ToString::to_string).collect();
                accepted.message = format!("governs {}", routes.join(", "));
            }
            let options = &option.spec.options;
            let auth = options.extauth.iter().flat_map(|extauth| &extauth.config_ref);
            let limits = options.rate_limit_configs.iter().flat_map(|configs| &configs.refs);
            let mut missing = Vec::new();
            for reference in auth {
                let exists = |name: &Name| snapshot.auth_configs.contains_key(name);
                let field = "spec.options.extauth.configRef".to_owned();
                missing.extend(lost(
                    snapshot,
                    Kind::AuthConfig,
                    reference,
                    name,
                    field,
                    &exists,
                    "requests are refused",
                ));
            }
            for (index, reference) in limits.enumerate() {
                let exists = |name: &Name| snapshot.rate_limit_configs.contains_key(name);
                let field = format!("spec.options.rateLimitConfigs.refs[{index}]");
                missing.extend(lost(
                    snapshot,
                    Kind::RateLimitConfig,
                    reference,
                    name,
                    field,
                    &exists,
                    "it limits nothing",
                ));
            }
            let resolved = if missing.is_empty() {
                Condition::holds(RESOLVED_REFS, "ResolvedRefs", "")
            } else {
                let message = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                Condition::fails(RESOLVED_REFS, "ConfigNotFound", message).with(missing)
            };
            let status = ObjectStatus::new(vec![accepted, resolved]);
            report.insert(ObjectRef { kind: Kind::RouteOption, name: name.clone() }, vec![status]);
        }
    }
}

fn lost(
    snapshot: &Snapshot,
    kind: Kind,
    reference: &ResourceRef,
    from: &Name,
    field: String,
    exists: &dyn Fn(&Name) -> bool,
    consequence: &str,
) -> Option<Problem> {
    let name = reference.resolve(&from.namespace);
    if exists(&name) {
        return None;
    }
    let what = if snapshot.broken.contains_key(&ObjectRef { kind, name: name.clone() }) {
        "is not valid, see its status"
    } else {
        "does not exist"
    };
    Some(Problem::error(field, format!("{kind} {name} {what}; {consequence} until it does")))
}

/// Why a RouteOption governs nothing.
fn not_attached(snapshot: &Snapshot, name: &Name, policies: &Policies<'_>) -> Condition {
    let named: Vec<&Name> = policies.named(name).collect();
    let missing: Vec<String> =
        named.iter().filter(|route| !snapshot.http_routes.contains_key(**route)).map(ToString::to_string).collect();
    if named.is_empty() {
        Condition::fails(
            ACCEPTED,
            "NotAttached",
            "no HTTPRoute refers to it and it has no targetRefs; name an HTTPRoute in targetRefs",
        )
    } else if missing.is_empty() {
        Condition::fails(
            ACCEPTED,
            "NotAttached",
            "the routes it names, or the rules named by sectionName, are served by no waypoint of ours",
        )
    } else {
        Condition::fails(ACCEPTED, "TargetNotFound", format!("HTTPRoute {} does not exist", missing.join(", ")))
    }
}

impl RouteNotes {
    fn accepted(&self) -> Condition {
        let problems: Vec<Problem> = self.unsupported.iter().chain(&self.warnings).cloned().collect();
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

/// A resource that could not be written: a fault of ours, on the Gateway so that it is seen.
pub fn not_emitted(report: &mut Report, gateway: &Name, failures: Vec<String>) {
    let condition = Condition::fails(PROGRAMMED, "Invalid", failures.join("; "));
    let statuses = report.entry(ObjectRef { kind: Kind::Gateway, name: gateway.clone() }).or_default();
    match statuses.first_mut() {
        Some(status) => {
            status.conditions.retain(|known| known.kind != PROGRAMMED);
            status.conditions.push(condition);
        }
        None => statuses.push(ObjectStatus::new(vec![condition])),
    }
}
