//! What is said about routes and policies, gathered while they are resolved.

use std::collections::{BTreeMap, BTreeSet};

use api::gloo::ResourceRef;
use api::gloo::route_option::RouteOption;
use api::{Kind, Name, ObjectRef, Problem, Snapshot};
use ir::PortRef;
use status::{ACCEPTED, Condition, ObjectStatus, PROGRAMMED, Place, RESOLVED_REFS, Report};

use super::declared::Rule;
use super::options::{Effective, Policies};
use super::owned::Claims;
use super::parents::{Attached, Bound, Parent};

/// The condition on a route or policy that lists the ports where it has no say.
const PORTS_REACHED: &str = "waykeeper.dev/PortsReached";
/// The condition on a Service of which something is refused whatever its routes say.
const SERVED: &str = "waykeeper.dev/Served";

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

/// What becomes of the requests to a port that a route would govern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortFate {
    /// The route governs them.
    Served,
    /// They are refused, whatever routes say, for this reason.
    Refused(String),
    /// They are passed on unread, since the port is taken as something else than HTTP.
    Unread {
        /// Why it is.
        because: String,
    },
    /// As it is taken as something else than HTTP, connections are closed.
    Closed {
        /// Why it is.
        because: String,
        /// What the route asks for and cannot have there.
        guard: String,
    },
}

/// By option and route: in which rules the option has no effect, and which RouteOption comes first.
type Overridden = BTreeMap<(&'static str, ObjectRef), BTreeMap<String, Name>>;

/// What becomes of requests in one place of a route's status.
type Ports = BTreeMap<PortRef, PortFate>;

/// What was found out about all routes, the policies on them, and the Services they belong to.
#[derive(Debug, Default)]
pub struct Statuses {
    /// Which AuthConfigs are to guard the way to which Service.
    pub claims: Claims,
    routes: BTreeMap<Name, RouteNotes>,
    ports: BTreeMap<Name, BTreeMap<Place, Ports>>,
    services: BTreeMap<Name, BTreeSet<String>>,
    governed: BTreeMap<Name, BTreeMap<ObjectRef, BTreeSet<String>>>,
    overridden: BTreeMap<Name, Overridden>,
}

impl Statuses {
    /// Notes that something of Service `name` is refused whatever its routes say.
    pub fn refused(&mut self, name: &Name, why: String) {
        self.services.entry(name.clone()).or_default().insert(why);
    }

    /// The notes on route `name`.
    pub fn route(&mut self, name: &Name) -> &mut RouteNotes {
        self.routes.entry(name.clone()).or_default()
    }

    /// Notes what becomes of requests to `id`, which `bound` would govern.
    pub fn port(&mut self, bound: &[Bound<'_>], id: &PortRef, fate: &PortFate) {
        if matches!(fate, PortFate::Refused(_) | PortFate::Closed { .. }) {
            self.services.entry(id.service.clone()).or_default().insert(fate.sentence(id));
        }
        for bound in bound {
            for parent in &bound.by {
                let places = self.ports.entry(bound.route.reference.name.clone()).or_default();
                places.entry(parent.place.clone()).or_default().insert(id.clone(), fate.clone());
            }
        }
    }

    /// Notes which RouteOptions govern `rule` of `route`.
    pub fn policies(&mut self, route: &ObjectRef, rule: &Rule, effective: &Effective) {
        for name in &effective.sources {
            let rules = self.governed.entry(name.clone()).or_default().entry(route.clone()).or_default();
            rules.insert(rule.field.clone());
        }
        for (loser, option, winner) in &effective.overridden {
            let options = self.overridden.entry(loser.clone()).or_default();
            let rules = options.entry((option, route.clone())).or_default();
            rules.insert(rule.field.clone(), winner.clone());
        }
        if let Some(why) = &effective.refusal {
            let reason = if effective.missing.is_empty() { "InvalidPolicy" } else { "PolicyNotFound" };
            let message = format!("{why}; requests are answered 500");
            self.route(&route.name).unresolved(reason, Problem::error("", message));
        }
    }

    /// Writes everything into `report`.
    pub fn finish(mut self, snapshot: &Snapshot, attached: &Attached, policies: &Policies<'_>, report: &mut Report) {
        for (route, parents) in &attached.routes {
            let statuses = self.of_route(&route.reference.name, parents);
            report.insert(route.reference.clone(), statuses);
        }
        for (name, route) in &snapshot.http_routes {
            if route.spec.parent_refs.iter().flatten().next().is_none() {
                let message =
                    "it has no parentRefs, so it applies nowhere; name a Service (with group: \"\") or a Gateway";
                let status = ObjectStatus::new(vec![Condition::fails(ACCEPTED, "NoMatchingParent", message)]);
                report.insert(ObjectRef { kind: Kind::HttpRoute, name: name.clone() }, vec![status]);
            }
        }
        for (name, said) in std::mem::take(&mut self.services) {
            let message = said.into_iter().collect::<Vec<_>>().join("; ");
            let condition = Condition::fails(SERVED, "Refused", message);
            let statuses = report.entry(ObjectRef { kind: Kind::Service, name }).or_default();
            match statuses.iter_mut().find(|status| status.place.is_object()) {
                Some(status) => status.conditions.push(condition),
                None => statuses.insert(0, ObjectStatus::new(vec![condition])),
            }
        }
        for (name, option) in &snapshot.route_options {
            let governed = self.governed.remove(name).unwrap_or_default();
            let notes = self.without_effect(name, &governed);
            let mut accepted = match rules_not_found(snapshot, name, option) {
                Some(condition) => condition,
                None if governed.is_empty() => not_attached(snapshot, name, policies),
                None => Condition::accepted(notes),
            };
            if accepted.status == Some(true) && accepted.message.is_empty() {
                let routes: Vec<String> = governed.keys().map(ToString::to_string).collect();
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
            let mut conditions = vec![accepted, resolved];
            let places = governed.keys().filter_map(|route| self.ports.get(&route.name));
            conditions.extend(not_reached(places.flat_map(BTreeMap::values).flatten()));
            let status = ObjectStatus::new(conditions);
            report.insert(ObjectRef { kind: Kind::RouteOption, name: name.clone() }, vec![status]);
        }
    }
}

impl Statuses {
    /// What is said about the route `name` in the place of each of its parents.
    fn of_route(&self, name: &Name, parents: &[Parent]) -> Vec<ObjectStatus> {
        let (none, nothing, nowhere) = (RouteNotes::default(), Ports::new(), BTreeMap::new());
        let places = self.ports.get(name).unwrap_or(&nowhere);
        let notes = self.routes.get(name).unwrap_or(&none);
        let mut statuses: Vec<ObjectStatus> = Vec::new();
        for parent in parents {
            let ports = places.get(&parent.place).unwrap_or(&nothing);
            // parentRefs that differ in the port only share a place; say the worse.
            let mut accepted = parent.accepted.clone();
            if accepted.status == Some(true) {
                let unreached = parent.service().and_then(|service| unreached(service, ports));
                accepted = unreached.unwrap_or_else(|| notes.accepted());
            }
            if let Some(known) = statuses.iter_mut().find(|status| status.place == parent.place) {
                if accepted.status == Some(false) {
                    known.conditions[0] = accepted;
                }
                continue;
            }
            let mut conditions = vec![accepted, notes.resolved_refs()];
            conditions.extend(not_reached(ports));
            conditions.extend(refused(ports));
            statuses.push(ObjectStatus::at(parent.place.clone(), conditions));
        }
        statuses
    }

    /// What options of the RouteOption `name`, which governs these rules, are set by others before it.
    fn without_effect(&self, name: &Name, governed: &BTreeMap<ObjectRef, BTreeSet<String>>) -> Vec<Problem> {
        let own = self.overridden.get(name).into_iter().flatten();
        own.filter_map(|((option, route), rules)| {
            let winner = rules.values().next()?;
            let everywhere = governed.get(route).is_some_and(|all| all.len() == rules.len());
            let part = if everywhere {
                String::new()
            } else {
                format!("{} of ", rules.keys().cloned().collect::<Vec<_>>().join(", "))
            };
            let message = format!("has no effect on {part}{route}: RouteOption {winner} comes first");
            Some(Problem::warning(format!("spec.options.{option}"), message))
        })
        .collect()
    }
}

impl PortFate {
    fn sentence(&self, id: &PortRef) -> String {
        let PortRef { service, port } = id;
        match self {
            PortFate::Served => String::new(),
            PortFate::Refused(why) => format!("what comes to port {port} of Service {service} is refused: {why}"),
            PortFate::Unread { because } => {
                format!("what comes to port {port} of Service {service} ({because}) is passed on unread")
            }
            PortFate::Closed { because, guard } => {
                format!("connections to port {port} of Service {service} ({because}) are refused: {guard}")
            }
        }
    }
}

/// How many ports are named in one message.
const NAMED: usize = 5;

fn sentences<'a>(ports: impl Iterator<Item = (&'a PortRef, &'a PortFate)>) -> Option<String> {
    let ports: BTreeMap<&PortRef, &PortFate> = ports.collect();
    let more = ports.len().saturating_sub(NAMED);
    let mut sentences: Vec<String> = ports.into_iter().take(NAMED).map(|(id, fate)| fate.sentence(id)).collect();
    if more > 0 {
        sentences.push(format!("and {more} more"));
    }
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

/// Whether the route is not asked there, since the port is not read as HTTP.
fn beyond(fate: &PortFate) -> bool {
    matches!(fate, PortFate::Unread { .. } | PortFate::Closed { .. })
}

/// Which ports a route or a policy does not reach, and what to do about it.
fn not_reached<'a>(ports: impl IntoIterator<Item = (&'a PortRef, &'a PortFate)>) -> Option<Condition> {
    let sentences = sentences(ports.into_iter().filter(|(_, fate)| beyond(fate)))?;
    let cure = "where HTTP is spoken, write appProtocol: http on the port; where it is not, name only the other ports \
                in the parentRefs of Services";
    Some(Condition::fails(PORTS_REACHED, "NotHttp", format!("{sentences}; {cure}")))
}

/// Nothing of a route is in force where everything it would govern is refused.
fn refused(ports: &Ports) -> Option<Condition> {
    let served = ports.values().any(|fate| *fate == PortFate::Served);
    let refused = ports.iter().filter(|(_, fate)| matches!(fate, PortFate::Refused(_)));
    let sentences = sentences(refused).filter(|_| !served)?;
    Some(Condition::fails(PROGRAMMED, "Refused", sentences))
}

/// A route of a Service that governs none of its ports is not accepted there.
fn unreached(service: &Name, ports: &Ports) -> Option<Condition> {
    if !ports.values().all(beyond) {
        return None;
    }
    let message = sentences(ports.iter())
        .unwrap_or_else(|| format!("Service {service} has no port and address that a waypoint could serve; see there"));
    Some(Condition::fails(ACCEPTED, "NoMatchingParent", message))
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
    let message = if snapshot.broken.contains_key(&ObjectRef { kind, name: name.clone() }) {
        format!("{kind} {name} is not valid, see its status; requests are refused until it is")
    } else {
        format!("{kind} {name} does not exist; {consequence} until it does")
    };
    Some(Problem::error(field, message))
}

/// What is said of a RouteOption that names rules which its routes do not have.
fn rules_not_found(snapshot: &Snapshot, name: &Name, option: &RouteOption) -> Option<Condition> {
    let missing: Vec<String> = super::refusals::missing_rules(snapshot, name, option)
        .map(|(route, rule)| {
            format!(
                "HTTPRoute {route} has no rule named {rule:?}; until it has, requests of that route are answered 500"
            )
        })
        .collect();
    (!missing.is_empty()).then(|| Condition::fails(ACCEPTED, "TargetNotFound", missing.join("; ")))
}

/// Why a RouteOption governs nothing.
fn not_attached(snapshot: &Snapshot, name: &Name, policies: &Policies<'_>) -> Condition {
    let named = policies.named(name);
    let missing: Vec<String> =
        named.iter().filter(|route| !snapshot.http_routes.contains_key(*route)).map(ToString::to_string).collect();
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
