//! Which objects Envoy has taken, and in which places of their statuses that is said. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::{Kind, Name, ObjectRef, Table};
use proto::ResourceType;
use status::{ACCEPTED, Address, Condition, ObjectStatus, PROGRAMMED, Place};
use waypoint_translate::quarantine::{Key, SetAside, Verdict};
use waypoint_translate::{Enrolment, GatewayOutput};
use xds::Nack;

use crate::offer::Offer;

/// Of pods that are waited for so many are named.
const MOST_NAMED: usize = 3;

/// What the Envoys of one Gateway make of the objects from which its resources came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// Whether each of them has taken something, and there is one.
    served: bool,
    /// Whether that was ever so.
    has_served: bool,
    /// Where they are reached, if it is one address.
    address: Option<IpAddr>,
    /// The pods of which nothing is known, although they are ready.
    missing: BTreeSet<String>,
    /// The objects from which the resources came.
    objects: Table<usize, ObjectRef>,
    pending: BTreeSet<ObjectRef>,
    /// What was refused of the listener, by which everything comes.
    listener: BTreeSet<String>,
    refused: BTreeMap<ObjectRef, BTreeSet<Refused>>,
}

/// Something that Envoy refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Refused {
    /// The Service that it concerns, if it is not all of them.
    service: Option<Name>,
    words: String,
}

impl Standing {
    /// The objects from which `output` came, of which nothing is known yet.
    pub fn new(output: &GatewayOutput) -> Self {
        let address = output.address.map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
        Self { objects: output.objects.clone(), address, ..Self::default() }
    }

    /// The same, of Envoys that are reached elsewhere than where they listen.
    pub fn without_address(self) -> Self {
        Self { address: None, ..self }
    }

    /// The same, while nothing is known of these ready pods.
    pub(crate) fn without_pods(self, missing: BTreeSet<String>) -> Self {
        Self { missing, ..self }
    }

    /// The ready pods of which nothing is known.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &String> {
        self.missing.iter()
    }

    /// These objects after what the Envoys of `offer` have answered.
    pub fn with(&self, offer: &Offer) -> Self {
        let (address, objects) = (self.address, self.objects.clone());
        let (served, has_served) = (offer.is_served(), offer.has_served());
        let mut standing = Self { served, has_served, address, objects, ..Self::default() };
        let output = offer.output();
        for key in offer.unanswered() {
            standing.pending.extend(output.origins.get(key).into_iter().flat_map(|origins| origins.iter()).cloned());
        }
        for nack in offer.refusals() {
            let key = (nack.kind, nack.name.clone());
            standing.refuse(output, &key, "", say_refusal(output, nack));
        }
        for aside in &output.aside {
            match say_aside(output, aside) {
                Some(words) => standing.refuse(output, &aside.resource, &aside.name, words),
                None => standing
                    .pending
                    .extend(output.origins_of(&aside.resource, &aside.name).into_iter().flatten().cloned()),
            }
        }
        standing
    }

    fn refuse(&mut self, output: &GatewayOutput, key: &Key, part: &str, words: String) {
        if key.0 == ResourceType::Listener || key.1 == waypoint_translate::SNIFFED {
            self.listener.insert(words.clone());
        }
        let refused = Refused { service: output.service(key), words };
        for object in output.origins_of(key, part).into_iter().flatten() {
            self.refused.entry(object.clone()).or_default().insert(refused.clone());
        }
    }

    /// The objects of which something else is to be said than by `other`.
    pub fn differs(&self, other: &Standing) -> BTreeSet<ObjectRef> {
        let known = |standing: &Standing| (standing.served, standing.has_served, standing.address);
        let all = (&self.listener, &self.missing) != (&other.listener, &other.missing);
        if all || known(self) != known(other) {
            return self.objects.keys().chain(other.objects.keys()).cloned().collect();
        }
        let mut differ: BTreeSet<ObjectRef> = self.pending.symmetric_difference(&other.pending).cloned().collect();
        let moved = self.objects.changed(&other.objects);
        differ.extend(moved.filter(|object| self.is_of(object) != other.is_of(object)).cloned());
        let refused = self.refused.keys().chain(other.refused.keys());
        differ.extend(refused.filter(|object| self.refused.get(*object) != other.refused.get(*object)).cloned());
        differ
    }

    /// Whether resources came from `object`.
    fn is_of(&self, object: &ObjectRef) -> bool {
        self.objects.contains_key(object)
    }

    /// What is to be said of `object` where it has to do with `service`.
    fn condition(&self, gateway: &Name, object: &ObjectRef, of: Option<&Name>) -> Condition {
        let refused = self.refused.get(object).into_iter().flatten();
        let here = |refused: &&Refused| of.is_none() || refused.service.is_none() || refused.service.as_ref() == of;
        let here = refused.filter(here).map(|refused| refused.words.clone());
        let words: BTreeSet<String> = here.chain(self.listener.iter().cloned()).collect();
        let words: Vec<String> = words.into_iter().collect();
        if !words.is_empty() {
            let words = format!("the Envoy of Gateway {gateway} refused {}", words.join("; "));
            Condition::fails(PROGRAMMED, "Rejected", words)
        } else if !self.served || self.pending.contains(object) {
            Condition::pending(PROGRAMMED, "Pending", format!("waiting for Envoy of Gateway {gateway}"))
        } else if !self.missing.is_empty() {
            let words = format!("waiting for Envoy of Gateway {gateway} in {}", say_pods(&self.missing));
            Condition::pending(PROGRAMMED, "Pending", words)
        } else {
            Condition::holds(PROGRAMMED, "Programmed", "")
        }
    }
}

/// Pods that are ready and whose Envoys are not connected, or have taken nothing yet.
fn say_pods(missing: &BTreeSet<String>) -> String {
    let named: Vec<&str> = missing.iter().take(MOST_NAMED).map(String::as_str).collect();
    let others = match missing.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (pods, are) = if missing.len() == 1 { ("pod", "is") } else { ("pods", "are") };
    format!("{pods} {}{others}, which {are} ready and not connected", named.join(", "))
}

/// What Envoy refuses of what it is sent.
pub(crate) fn say_refusal(output: &GatewayOutput, nack: &Nack) -> String {
    format!("{}: {}", resource(output, &(nack.kind, nack.name.clone())), nack.message)
}

/// What Envoy refused and is not sent any more; none if it only has not been tried yet.
pub(crate) fn say_aside(output: &GatewayOutput, aside: &SetAside) -> Option<String> {
    let Verdict::Refused(why) = &aside.verdict else { return None };
    let what = match (aside.resource.0, aside.name.as_str()) {
        (_, "") => resource(output, &aside.resource),
        (ResourceType::Scope, rule) => format!("{rule} (on {})", output.shown(&aside.resource)),
        (_, part) => format!("{part} of {}", resource(output, &aside.resource)),
    };
    Some(format!("{what}: {why}; {}", aside.effect))
}

/// A resource as people know it.
fn resource(output: &GatewayOutput, key: &Key) -> String {
    match key.0 {
        ResourceType::Scope => format!("the routes of {}", output.shown(key)),
        kind => format!("{kind:?} {}", output.shown(key)),
    }
}

/// `said` about `object`, with a `Programmed` condition in every place of which that can be said: those where
/// it is accepted. A Gateway has its address from when its Envoys have first taken anything, and keeps it while they
/// start again or others join: a mesh lets requests pass around a waypoint that has none.
///
/// A refusal that was found while translating stands: it says more than Envoy could.
pub fn complete(
    object: &ObjectRef,
    mut said: Vec<ObjectStatus>,
    admitted: bool,
    standings: &BTreeMap<Name, Standing>,
    services: &Table<Enrolment>,
) -> Vec<ObjectStatus> {
    if said.is_empty() && admitted && standings.values().any(|standing| standing.is_of(object)) {
        said.push(ObjectStatus::new(Vec::new()));
    }
    for status in &mut said {
        let accepted = status.condition(ACCEPTED).is_none_or(|accepted| accepted.status == Some(true));
        let failed = status.condition(PROGRAMMED).is_some_and(|programmed| programmed.status == Some(false));
        if !accepted || failed {
            continue;
        }
        let (gateways, service) = served_by(object, status, standings, services);
        let conditions = gateways
            .into_iter()
            .filter_map(|gateway| Some((gateway, standings.get(gateway).filter(|s| s.is_of(object))?)))
            .map(|(gateway, standing)| standing.condition(gateway, object, service.as_ref()));
        if let Some(condition) = conditions.reduce(Condition::worse) {
            status.set(condition);
        }
        if object.kind == Kind::Gateway && status.place.is_object() {
            let standing = standings.get(&object.name).filter(|standing| standing.has_served);
            status.addresses = standing.and_then(|standing| standing.address).map(Address::Ip).into_iter().collect();
        }
    }
    said.retain(|status| !status.conditions.is_empty());
    said
}

/// The Gateways whose Envoys serve `object` in the place of `status`, and the Service if there it concerns one.
fn served_by<'a>(
    object: &'a ObjectRef,
    status: &'a ObjectStatus,
    standings: &'a BTreeMap<Name, Standing>,
    services: &'a Table<Enrolment>,
) -> (Vec<&'a Name>, Option<Name>) {
    let of = |object: &'a ObjectRef| match object.kind {
        Kind::Gateway => (vec![&object.name], None),
        Kind::Service => match services.get(&object.name).map(AsRef::as_ref) {
            Some(Enrolment::Waypoint(gateway)) => (vec![gateway], Some(object.name.clone())),
            _ => (vec![], None),
        },
        _ => (vec![], None),
    };
    match &status.place {
        Place::Parent(parent) | Place::Ancestor(parent) => of(&parent.object),
        // Of a Gateway's listeners, those that are served say that they wait for Envoy.
        Place::Listener(_) if status.condition(PROGRAMMED).is_none() => (vec![], None),
        Place::Listener(_) => (vec![&object.name], None),
        Place::Object if object.kind == Kind::Gateway => (vec![&object.name], None),
        Place::Object => (standings.keys().collect(), None),
    }
}

#[cfg(test)]
mod tests;
