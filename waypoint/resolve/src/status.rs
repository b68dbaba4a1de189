//! What is said about routes and policies, gathered while they are resolved.
//!
//! Whoever decides about a Service notes what it finds out in [`Statuses`]. What is said about one object is then put
//! together from all that was noted about it ([`status()`]), in the places where its readers look: of a route for each
//! parentRef, of a policy for each Gateway or Service that its routes name.

mod callers;
mod policy;
mod ports;
mod route;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use api::{Kind, Name, ObjectRef, Problem};
use ir::PortRef;
use status::{ACCEPTED, Condition, ObjectStatus, PROGRAMMED, Parent, Place};

use crate::decided::attached::Bound;
use crate::decided::said::{Effect, InDoubt, Loss, PortFate, RouteNotes, Said, Shadow, Unlimited, Winner};
use crate::declared::{KINDS, Rule};
use crate::gateways;
use crate::guards::Guard;
use crate::options::Effective;
use crate::view::View;

/// The condition on a Service of which something is refused whatever its routes say.
const SERVED: &str = "waykeeper.dev/Served";

/// What one decision has found out about routes, the policies on them, and the Services they belong to.
#[derive(Debug, Default)]
pub struct Statuses {
    /// Which AuthConfigs and RequestAuthentications are to guard the way to which port.
    pub claims: BTreeMap<PortRef, BTreeSet<ObjectRef>>,
    /// What is to be said about each object.
    pub said: BTreeMap<ObjectRef, Said>,
}

impl Statuses {
    fn of(&mut self, kind: Kind, name: &Name) -> &mut Said {
        self.said.entry(ObjectRef { kind, name: name.clone() }).or_default()
    }

    /// Notes that what comes to a port passes `guard` before, which sets headers.
    pub fn claim(&mut self, to: PortRef, guard: ObjectRef) {
        self.claims.entry(to).or_default().insert(guard);
    }

    /// Notes that something of `service` is refused, and why.
    pub fn refused(&mut self, service: &Name, why: String) {
        self.of(Kind::Service, service).refused.insert(why);
    }

    /// The notes on `route`.
    pub fn route(&mut self, route: &ObjectRef) -> &mut RouteNotes {
        &mut self.said.entry(route.clone()).or_default().notes
    }

    /// Notes what becomes of requests to `id`, which `bound` would govern.
    pub fn port(&mut self, bound: &[Bound<'_>], id: &PortRef, fate: &PortFate) {
        if matches!(fate, PortFate::Refused(_) | PortFate::Closed { .. }) {
            self.of(Kind::Service, &id.service).refused.insert(fate.sentence(id));
        }
        for bound in bound {
            for parent in &bound.by {
                let places = &mut self.said.entry(bound.route.reference.clone()).or_default().ports;
                places.entry(parent.place.clone()).or_default().insert(id.clone(), fate.clone());
            }
        }
    }

    /// Notes that a policy for callers, which names `targets`, guards `id`; or why that is refused instead.
    pub fn guards(&mut self, policy: &ObjectRef, targets: &BTreeSet<ObjectRef>, id: &PortRef, refused: Option<&str>) {
        let guarded = &mut self.of(policy.kind, &policy.name).guarded;
        for target in targets {
            guarded.entry(target.clone()).or_default().insert(id.clone(), refused.map(str::to_owned));
        }
    }

    /// What the RouteOption `name` does behind each of the parents by which `bound` governs.
    fn effects(&mut self, name: &Name, bound: &Bound<'_>, note: impl Fn(&mut Effect)) {
        let effects = &mut self.of(Kind::RouteOption, name).effects;
        for parent in bound.by.iter().filter_map(|parent| of_place(&parent.place)) {
            note(effects.entry(parent.object.clone()).or_default());
        }
    }

    /// Notes which RouteOptions govern `rule` of `bound`.
    pub fn policies(&mut self, bound: &Bound<'_>, rule: &Rule, effective: &Effective) {
        let route = &bound.route.reference;
        for name in effective.sources.keys() {
            let overridden: Vec<_> = effective.overridden.iter().filter(|found| found.loser == *name).collect();
            let guards = overridden.iter().all(|found| found.lost.is_empty());
            self.effects(name, bound, |effect| {
                effect.governed.entry(route.clone()).or_default().insert(rule.field.clone());
                effect.guards |= guards;
                for found in &overridden {
                    let rules = effect.overridden.entry((found.option, route.clone())).or_default();
                    let loss = match (found.lost.is_empty(), found.narrower) {
                        (true, _) => Loss::Nothing,
                        (false, true) => Loss::Withdrawn,
                        (false, false) => Loss::Lost,
                    };
                    let winner = Winner { name: found.winner.clone(), loss, lost: found.lost.clone() };
                    rules.insert(rule.field.clone(), winner);
                }
            });
        }
        if let Some(why) = &effective.refusal {
            let reason = if effective.missing.is_empty() { "InvalidPolicy" } else { "PolicyNotFound" };
            let message = format!("{why}; requests are answered 500");
            self.route(route).unresolved(reason, Problem::error("", message));
        }
    }

    /// Notes that `rule` of `bound` redirects, so that the limits of these RouteOptions are not asked for.
    pub fn redirects(&mut self, bound: &Bound<'_>, rule: &Rule, effective: &Effective) {
        for name in effective.sources.keys().filter(|name| effective.limited_by(name)) {
            self.unlimited(bound, rule, name, Unlimited::Redirects);
        }
    }

    /// Notes that `rule` of `bound` is not limited by the RouteOption `name`, and why.
    pub fn unlimited(&mut self, bound: &Bound<'_>, rule: &Rule, name: &Name, why: Unlimited) {
        let of = (bound.route.reference.clone(), why);
        self.effects(name, bound, |effect| {
            effect.unlimited.entry(of.clone()).or_default().insert(rule.field.clone());
        });
    }

    /// Notes that a rule of `bound`, which these RouteOptions govern, never applies to requests to `id`.
    /// `lost`: whether requests get around what they guard by that.
    pub fn shadow(
        &mut self,
        bound: &Bound<'_>,
        id: &PortRef,
        shadow: &Shadow,
        policies: &BTreeMap<Name, BTreeSet<Guard>>,
        lost: bool,
    ) {
        self.route(&shadow.route).shadows.entry(shadow.clone()).or_default().insert(id.clone());
        for (name, guards) in policies {
            self.effects(name, bound, |effect| {
                let (known, ports) = effect.shadows.entry(shadow.clone()).or_default();
                *known |= lost && !guards.is_empty();
                ports.insert(id.clone());
            });
        }
    }
}

impl Statuses {
    /// Notes that it is not known whether requests to `id` get around what these RouteOptions guard of a rule of `bound`.
    pub fn doubt(
        &mut self,
        bound: &Bound<'_>,
        id: &PortRef,
        doubt: &InDoubt,
        policies: &BTreeMap<Name, BTreeSet<Guard>>,
    ) {
        for (name, _) in policies.iter().filter(|(_, guards)| !guards.is_empty()) {
            self.effects(name, bound, |effect| {
                effect.doubts.entry(doubt.clone()).or_default().insert(id.clone());
            });
        }
    }
}

impl Shadow {
    /// ` with host a.example` where not all are meant.
    fn of_hosts(&self) -> String {
        if self.hosts.is_empty() {
            return String::new();
        }
        format!(" with host {}", ports::listed(self.hosts.iter().cloned(), ", "))
    }
}

/// The parent that a place of a route's status is for.
fn of_place(place: &Place) -> Option<&Parent> {
    match place {
        Place::Parent(parent) => Some(parent),
        _ => None,
    }
}

/// The Gateways where a route of which this is said is attached: those that accept it.
pub fn attached(said: Option<&Vec<ObjectStatus>>) -> BTreeSet<Name> {
    let accepted = said
        .into_iter()
        .flatten()
        .filter(|status| status.condition(ACCEPTED).is_some_and(|accepted| accepted.status == Some(true)));
    let parents = accepted.filter_map(|status| of_place(&status.place)).map(|parent| &parent.object);
    parents.filter(|parent| parent.kind == Kind::Gateway).map(|parent| parent.name.clone()).collect()
}

/// What is to be said about `object`; nothing if it is not there, or is no concern of ours.
pub fn status(view: &View<'_>, object: &ObjectRef) -> Option<Vec<ObjectStatus>> {
    let statuses = match object.kind {
        Kind::Gateway => gateways::status(view, &object.name),
        Kind::Service => of_service(view, &object.name),
        kind if KINDS.contains(&kind) => route::status(view, object),
        Kind::RouteOption => policy::status(view, &object.name),
        Kind::AuthorizationPolicy => callers::status(view, &object.name),
        Kind::RequestAuthentication => tokens::status(view, &object.name),
        _ => None,
    }?;
    let generation = view.generation(object);
    Some(statuses.into_iter().map(|status| status.observing(generation)).collect())
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
        let waypoint = Parent::whole(waypoint, view.settings().controller_name.as_str());
        let at = |condition: &Condition| ObjectStatus::at(Place::Ancestor(waypoint.clone()), vec![condition.clone()]);
        statuses.extend(unit.addresses.iter().map(at));
    }
    (!statuses.is_empty()).then_some(statuses)
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
