//! What is said about routes and policies, gathered while they are resolved.

use std::collections::{BTreeMap, BTreeSet};

use api::gloo::route_option::RouteOption;
use api::{Kind, Name, ObjectRef, Problem};
use ir::PortRef;
use status::{ACCEPTED, Condition, ObjectStatus, PROGRAMMED, Place, RESOLVED_REFS};

use crate::declared::Rule;
use crate::gateways;
use crate::options::{self, Effective};
use crate::parents::Bound;
use crate::view::View;

/// The condition on a route or policy that lists the ports where it has no say.
const PORTS_REACHED: &str = "waykeeper.dev/PortsReached";
/// The condition on a Service of which something is refused whatever its routes say.
const SERVED: &str = "waykeeper.dev/Served";

/// What was found out about one HTTPRoute.
#[derive(Debug, Clone, Default, PartialEq)]
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

/// What one decision has found out about one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// Of a route: what is wrong with it.
    notes: RouteNotes,
    /// Of a route: what becomes of requests to the ports that it would govern, in each place of its status.
    ports: BTreeMap<Place, Ports>,
    /// Of a Service: what of it is refused whatever its routes say.
    refused: BTreeSet<String>,
    /// Of a RouteOption: the rules that it governs, by route.
    governed: BTreeMap<ObjectRef, BTreeSet<String>>,
    /// Of a RouteOption: what of it has no effect.
    overridden: Overridden,
}

/// What one decision has found out about routes, the policies on them, and the Services they belong to.
#[derive(Debug, Default)]
pub struct Statuses {
    /// Which AuthConfigs are to guard the way to which Service.
    pub claims: BTreeMap<Name, BTreeSet<Name>>,
    /// What is to be said about each object.
    pub said: BTreeMap<ObjectRef, Said>,
}

impl Said {
    /// That something of a Service is refused, for these reasons.
    pub fn refused(refused: BTreeSet<String>) -> Self {
        Self { refused, ..Self::default() }
    }
}

impl Statuses {
    fn of(&mut self, kind: Kind, name: &Name) -> &mut Said {
        self.said.entry(ObjectRef { kind, name: name.clone() }).or_default()
    }

    /// Notes that routes to `service` are to be authorized by `config`.
    pub fn claim(&mut self, service: &Name, config: &Name) {
        self.claims.entry(service.clone()).or_default().insert(config.clone());
    }

    /// The notes on route `name`.
    pub fn route(&mut self, name: &Name) -> &mut RouteNotes {
        &mut self.of(Kind::HttpRoute, name).notes
    }

    /// Notes what becomes of requests to `id`, which `bound` would govern.
    pub fn port(&mut self, bound: &[Bound<'_>], id: &PortRef, fate: &PortFate) {
        if matches!(fate, PortFate::Refused(_) | PortFate::Closed { .. }) {
            self.of(Kind::Service, &id.service).refused.insert(fate.sentence(id));
        }
        for bound in bound {
            for parent in &bound.by {
                let places = &mut self.of(Kind::HttpRoute, &bound.route.reference.name).ports;
                places.entry(parent.place.clone()).or_default().insert(id.clone(), fate.clone());
            }
        }
    }

    /// Notes which RouteOptions govern `rule` of `route`.
    pub fn policies(&mut self, route: &ObjectRef, rule: &Rule, effective: &Effective) {
        for name in &effective.sources {
            let rules = self.of(Kind::RouteOption, name).governed.entry(route.clone()).or_default();
            rules.insert(rule.field.clone());
        }
        for (loser, option, winner) in &effective.overridden {
            let options = &mut self.of(Kind::RouteOption, loser).overridden;
            let rules = options.entry((option, route.clone())).or_default();
            rules.insert(rule.field.clone(), winner.clone());
        }
        if let Some(why) = &effective.refusal {
            let reason = if effective.missing.is_empty() { "InvalidPolicy" } else { "PolicyNotFound" };
            let message = format!("{why}; requests are answered 500");
            self.route(&route.name).unresolved(reason, Problem::error("", message));
        }
    }
}

/// What is to be said about `object`; nothing if it is not there, or is no concern of ours.
pub fn status(view: &View<'_>, object: &ObjectRef) -> Option<Vec<ObjectStatus>> {
    match object.kind {
        Kind::Gateway => gateways::status(view, &object.name),
        Kind::Service => of_service(view, &object.name),
        Kind::HttpRoute => of_route(view, &object.name),
        Kind::RouteOption => of_option(view, &object.name),
        _ => None,
    }
}

fn of_service(view: &View<'_>, name: &Name) -> Option<Vec<ObjectStatus>> {
    let object = ObjectRef { kind: Kind::Service, name: name.clone() };
    view.service(name)?;
    let enrolled = view.enrolled(name).and_then(|decision| decision.condition.clone());
    let refused: BTreeSet<&str> = view.said(&object).flat_map(|said| &said.refused).map(String::as_str).collect();
    let served = (!refused.is_empty()).then(|| {
        let message = refused.into_iter().collect::<Vec<_>>().join("; ");
        Condition::fails(SERVED, "Refused", message)
    });
    let own: Vec<Condition> = enrolled.into_iter().chain(served).collect();
    let mut statuses = Vec::new();
    if !own.is_empty() {
        statuses.push(ObjectStatus::new(own));
    }
    if let Some(unit) = view.unit(name) {
        let waypoint = ObjectRef { kind: Kind::Gateway, name: unit.gateway.clone() };
        let at = |condition: &Condition| ObjectStatus::at(Place::Ancestor(waypoint.clone()), vec![condition.clone()]);
        statuses.extend(unit.addresses.iter().map(at));
    }
    (!statuses.is_empty()).then_some(statuses)
}

fn of_option(view: &View<'_>, name: &Name) -> Option<Vec<ObjectStatus>> {
    let option = view.route_option(name)?;
    let object = ObjectRef { kind: Kind::RouteOption, name: name.clone() };
    let (mut governed, mut overridden) = (BTreeMap::<ObjectRef, BTreeSet<String>>::new(), Overridden::new());
    for said in view.said(&object) {
        for (route, rules) in &said.governed {
            governed.entry(route.clone()).or_default().extend(rules.iter().cloned());
        }
        for (what, rules) in &said.overridden {
            let known = overridden.entry(what.clone()).or_default();
            known.extend(rules.iter().map(|(rule, winner)| (rule.clone(), winner.clone())));
        }
    }
    let notes = without_effect(&overridden, &governed);
    let mut accepted = match rules_not_found(view, name, option) {
        Some(condition) => condition,
        None if governed.is_empty() => not_attached(view, name, option),
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
        let field = "spec.options.extauth.configRef".to_owned();
        let config = reference.resolve(&name.namespace);
        let exists = view.auth_config(&config).is_some();
        missing.extend(lost(view, Kind::AuthConfig, config, exists, field, "requests are refused"));
    }
    for (index, reference) in limits.enumerate() {
        let field = format!("spec.options.rateLimitConfigs.refs[{index}]");
        let config = reference.resolve(&name.namespace);
        let exists = view.rate_limit_config(&config).is_some();
        missing.extend(lost(view, Kind::RateLimitConfig, config, exists, field, "it limits nothing"));
    }
    let resolved = if missing.is_empty() {
        Condition::holds(RESOLVED_REFS, "ResolvedRefs", "")
    } else {
        let message = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Condition::fails(RESOLVED_REFS, "ConfigNotFound", message).with(missing)
    };
    let mut conditions = vec![accepted, resolved];
    let ports = governed.keys().flat_map(|route| view.said(route)).flat_map(|said| said.ports.values()).flatten();
    conditions.extend(not_reached(ports));
    Some(vec![ObjectStatus::new(conditions)])
}

/// What is said about the route `name` in the place of each of its parents.
fn of_route(view: &View<'_>, name: &Name) -> Option<Vec<ObjectStatus>> {
    let attached = view.attached(name)?;
    if attached.route.parents.is_empty() {
        let message = "it has no parentRefs, so it applies nowhere; name a Service (with group: \"\") or a Gateway";
        return Some(vec![ObjectStatus::new(vec![Condition::fails(ACCEPTED, "NoMatchingParent", message)])]);
    }
    let (mut notes, mut places) = (RouteNotes::default(), BTreeMap::<&Place, BTreeMap<&PortRef, &PortFate>>::new());
    for said in view.said(&attached.route.reference) {
        notes.add(&said.notes);
        for (place, ports) in &said.ports {
            places.entry(place).or_default().extend(ports);
        }
    }
    let nothing = BTreeMap::new();
    let mut statuses: Vec<ObjectStatus> = Vec::new();
    for parent in &attached.parents {
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
        conditions.extend(not_reached(ports.iter().map(|(id, fate)| (*id, *fate))));
        conditions.extend(refused(ports));
        statuses.push(ObjectStatus::at(parent.place.clone(), conditions));
    }
    (!statuses.is_empty()).then_some(statuses)
}

/// What options of a RouteOption, which governs these rules, are set by others before it.
fn without_effect(overridden: &Overridden, governed: &BTreeMap<ObjectRef, BTreeSet<String>>) -> Vec<Problem> {
    let notes = overridden.iter().filter_map(|((option, route), rules)| {
        let winner = rules.values().next()?;
        let everywhere = governed.get(route).is_some_and(|all| all.len() == rules.len());
        let part = if everywhere {
            String::new()
        } else {
            format!("{} of ", rules.keys().cloned().collect::<Vec<_>>().join(", "))
        };
        let message = format!("has no effect on {part}{route}: RouteOption {winner} comes first");
        Some(Problem::warning(format!("spec.options.{option}"), message))
    });
    notes.collect()
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
fn refused(ports: &BTreeMap<&PortRef, &PortFate>) -> Option<Condition> {
    let served = ports.values().any(|fate| **fate == PortFate::Served);
    let refused = ports.iter().filter(|(_, fate)| matches!(fate, PortFate::Refused(_)));
    let sentences = sentences(refused.map(|(id, fate)| (*id, *fate))).filter(|_| !served)?;
    Some(Condition::fails(PROGRAMMED, "Refused", sentences))
}

/// A route of a Service that governs none of its ports is not accepted there.
fn unreached(service: &Name, ports: &BTreeMap<&PortRef, &PortFate>) -> Option<Condition> {
    if !ports.values().all(|fate| beyond(fate)) {
        return None;
    }
    let message = sentences(ports.iter().map(|(id, fate)| (*id, *fate)))
        .unwrap_or_else(|| format!("Service {service} has no port and address that a waypoint could serve; see there"));
    Some(Condition::fails(ACCEPTED, "NoMatchingParent", message))
}

fn lost(view: &View<'_>, kind: Kind, name: Name, exists: bool, field: String, consequence: &str) -> Option<Problem> {
    if exists {
        return None;
    }
    let message = if view.broken(&ObjectRef { kind, name: name.clone() }).is_some() {
        format!("{kind} {name} is not valid, see its status; requests are refused until it is")
    } else {
        format!("{kind} {name} does not exist; {consequence} until it does")
    };
    Some(Problem::error(field, message))
}

/// What is said of a RouteOption that names rules which its routes do not have.
fn rules_not_found(view: &View<'_>, name: &Name, option: &RouteOption) -> Option<Condition> {
    let missing: Vec<String> = crate::refusals::missing_rules(view, name, option)
        .map(|(route, rule)| {
            format!(
                "HTTPRoute {route} has no rule named {rule:?}; until it has, requests of that route are answered 500"
            )
        })
        .collect();
    (!missing.is_empty()).then(|| Condition::fails(ACCEPTED, "TargetNotFound", missing.join("; ")))
}

/// Why a RouteOption governs nothing.
fn not_attached(view: &View<'_>, name: &Name, option: &RouteOption) -> Condition {
    let named: Vec<Name> = options::targets(name, option).map(|(route, _)| route).collect();
    let missing: Vec<String> =
        named.iter().filter(|route| view.http_route(route).is_none()).map(ToString::to_string).collect();
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
    fn add(&mut self, other: &RouteNotes) {
        self.warnings.extend(other.warnings.iter().cloned());
        self.unsupported.extend(other.unsupported.iter().cloned());
        self.unresolved.extend(other.unresolved.iter().map(|(problem, reason)| (problem.clone(), reason.clone())));
    }

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

/// `said` about a Gateway of which resources could not be written: a fault of ours, told so that it is seen.
pub fn not_emitted(said: Option<&Vec<ObjectStatus>>, failures: &[String]) -> Vec<ObjectStatus> {
    let condition = Condition::fails(PROGRAMMED, "Invalid", failures.join("; "));
    let mut statuses = said.cloned().unwrap_or_default();
    match statuses.first_mut() {
        Some(status) => {
            status.conditions.retain(|known| known.kind != PROGRAMMED);
            status.conditions.push(condition);
        }
        None => statuses.push(ObjectStatus::new(vec![condition])),
    }
    statuses
}
