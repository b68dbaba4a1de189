//! Resolves snapshot after snapshot: step after step, and in each step only the decisions that
//! rest on something that has changed.
//!
//! A step reads what stands before it and nothing behind it, so one pass is enough. What comes
//! out is what resolving the snapshot by itself comes to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use api::core::SERVICE_NAME;
use api::{Kind, Meta as _, Name, ObjectRef, Snapshot, Table};
use ir::{Destination, Enrolment, PortRef, Settings};
use status::ObjectStatus;

use crate::applications::applications;
use crate::changes::Changes;
use crate::decided::attached::Attached;
use crate::decided::said::Said;
use crate::decided::{Enrolled, Unit};
use crate::declared::KINDS;
use crate::few::{Few, remove_from};
use crate::ours::Ours;
use crate::proxies::Proxies;
use crate::readers::{Fact, Readers};
use crate::view::{Known, Speaker, View};
use crate::{
    Resolved, backends, counts, enrolment, gateways, owned, parents, refusals, services, status as statuses, units,
};

/// See the module.
#[derive(Debug, Clone)]
pub struct Resolver {
    settings: Settings,
    known: Known,
    readers: Steps,
    /// What each of those who found something out has spoken of.
    spoken: HashMap<Arc<Speaker>, Box<[ObjectRef]>>,
    /// The addresses that each Service asks for, and at which Gateway.
    asked: HashMap<Name, Box<[(Name, IpAddr)]>>,
    proxies: Proxies,
    services: Table<Enrolment>,
    report: Table<Vec<ObjectStatus>, ObjectRef>,
    begun: bool,
    remade: usize,
}

/// Who has read what, step by step.
#[derive(Debug, Clone, Default)]
struct Steps {
    gateways: Readers<()>,
    enrolments: Readers<Name>,
    attached: Readers<ObjectRef>,
    refusals: Readers<()>,
    units: Readers<Name>,
    granted: Readers<PortRef>,
    disowned: Readers<Name>,
    clusters: Readers<Destination>,
    statuses: Readers<ObjectRef>,
}

impl Resolver {
    /// What is remembered here in another way than in `other`: nothing, if both have seen the same snapshot last,
    /// whichever edits led there. Of what is gone nothing may be left.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let (known, others) = (&self.known, &other.known);
        let (readers, other_readers) = (&self.readers, &other.readers);
        let same = [
            ("slices", known.slices == others.slices),
            ("options", known.options == others.options),
            ("referring", known.referring == others.referring),
            ("policies", known.policies == others.policies),
            ("gateways", known.gateways == others.gateways),
            ("ours", known.ours == others.ours),
            ("enrolments", known.enrolments == others.enrolments),
            ("attached", known.attached == others.attached),
            ("routes", known.routes == others.routes),
            ("refusals", known.refusals == others.refusals),
            ("holders", known.holders == others.holders),
            ("units", known.units == others.units),
            ("claims", known.claims == others.claims),
            ("believed", known.believed == others.believed),
            ("attachments", known.attachments == others.attachments),
            ("said", known.said == others.said),
            ("spoken", self.spoken == other.spoken),
            ("asked", self.asked == other.asked),
            ("proxies", self.proxies == other.proxies),
            ("services", self.services == other.services),
            ("report", self.report == other.report),
            ("readers of gateways", readers.gateways.alike(&other_readers.gateways)),
            ("readers of enrolments", readers.enrolments.alike(&other_readers.enrolments)),
            ("readers of attached", readers.attached.alike(&other_readers.attached)),
            ("readers of refusals", readers.refusals.alike(&other_readers.refusals)),
            ("readers of units", readers.units.alike(&other_readers.units)),
            ("readers of granted", readers.granted.alike(&other_readers.granted)),
            ("readers of disowned", readers.disowned.alike(&other_readers.disowned)),
            ("readers of clusters", readers.clusters.alike(&other_readers.clusters)),
            ("readers of statuses", readers.statuses.alike(&other_readers.statuses)),
        ];
        same.into_iter().filter(|(_, same)| !same).map(|(what, _)| what).collect()
    }

    /// Nothing is resolved yet.
    pub fn new(settings: Settings) -> Self {
        let known = Known { ours: Ours::new(&settings, []), ..Known::default() };
        Self {
            settings,
            known,
            readers: Steps::default(),
            spoken: HashMap::new(),
            asked: HashMap::new(),
            proxies: Proxies::default(),
            services: Table::default(),
            report: Table::default(),
            begun: false,
            remade: 0,
        }
    }

    /// How many units were made anew for the last snapshot.
    pub fn remade(&self) -> usize {
        self.remade
    }

    /// Resolves `snapshot`.
    pub fn resolve(&mut self, snapshot: &Snapshot) -> Resolved {
        let first = !std::mem::replace(&mut self.begun, true);
        let mut changes = Changes::declared(&mut self.known, snapshot);
        self.gateways(&mut changes, first);
        self.enrolments(&mut changes);
        self.attached(&mut changes);
        self.refusals(&mut changes, first);
        let mut moved = self.units(&mut changes);
        self.owned(&mut changes);
        self.disown(&mut changes);
        self.clusters(&mut moved, &mut changes);
        self.statuses(&mut changes);
        self.resolved()
    }

    fn gateways(&mut self, changes: &mut Changes, first: bool) {
        let due = due(&self.readers.gateways, changes, first.then_some(()));
        for ((), found) in decide(&self.known, &self.settings, &mut self.readers.gateways, due, |view, ()| {
            Some(gateways::gateways(view))
        }) {
            let found = found.unwrap_or_default();
            let names: BTreeSet<&Name> = self.known.gateways.keys().chain(found.keys()).collect();
            for name in names {
                if self.known.gateways.get(name) != found.get(name) {
                    changes.note(Fact::Gateway(name.clone()));
                }
            }
            self.known.gateways = found;
            let addresses = self.known.gateways.values().filter_map(|gateway| gateway.address);
            let ours = Ours::new(&self.settings, addresses);
            if ours != self.known.ours {
                self.known.ours = ours;
                changes.note(Fact::Addresses);
            }
        }
    }

    fn enrolments(&mut self, changes: &mut Changes) {
        let due = due(&self.readers.enrolments, changes, changes.of(Kind::Service).cloned());
        let decided = decide(&self.known, &self.settings, &mut self.readers.enrolments, due, enrolment::enrolment);
        for (name, decision) in decided {
            if self.known.enrolments.get(&name) != decision.as_ref() {
                changes.note(Fact::Enrolment(name.clone()));
            }
            match &decision {
                Some(decision) if self.services.get(&name).is_none_or(|known| **known != decision.enrolment) => {
                    self.services.insert(name.clone(), decision.enrolment.clone());
                }
                Some(_) => {}
                None => drop(self.services.remove(&name)),
            }
            match decision {
                Some(decision) => drop(self.known.enrolments.insert(name, decision)),
                None => {
                    // It is made anew when there is such a Service.
                    self.known.enrolments.remove(&name);
                    self.readers.enrolments.forget(&name);
                }
            }
        }
        self.hold(changes);
    }

    /// Which Service has which address: those whose addresses or waypoint have changed ask anew.
    fn hold(&mut self, changes: &mut Changes) {
        let mut asking: BTreeSet<Name> = changes.of(Kind::Service).cloned().collect();
        asking.extend(changes.facts.iter().filter_map(|fact| match fact {
            Fact::Enrolment(name) => Some(name.clone()),
            _ => None,
        }));
        for name in asking {
            let before: BTreeSet<(Name, IpAddr)> = self.asked.remove(&name).into_iter().flatten().collect();
            let after: BTreeSet<(Name, IpAddr)> =
                match (self.known.snapshot.services.get(&name), self.known.enrolments.get(&name)) {
                    (Some(service), Some(Enrolled { enrolment: Enrolment::Waypoint(gateway), .. })) => {
                        services::declared_addresses(service).into_iter().map(|ip| (gateway.clone(), ip)).collect()
                    }
                    _ => BTreeSet::new(),
                };
            for key in before.symmetric_difference(&after) {
                let holders = self.known.holders.entry(key.clone()).or_default();
                let first = holders.first().cloned();
                if after.contains(key) {
                    holders.insert(name.clone());
                } else {
                    holders.remove(&name);
                }
                if holders.first() != first.as_ref() {
                    changes.note(Fact::Holder(key.0.clone(), key.1));
                }
                if holders.is_empty() {
                    self.known.holders.remove(key);
                }
            }
            if !after.is_empty() {
                self.asked.insert(name, after.into_iter().collect());
            }
        }
    }

    fn attached(&mut self, changes: &mut Changes) {
        let routes = changes.objects.iter().filter(|object| KINDS.contains(&object.kind)).cloned();
        let due = due(&self.readers.attached, changes, routes);
        for (name, now) in decide(&self.known, &self.settings, &mut self.readers.attached, due, parents::attach) {
            if now.is_none() {
                // It is made anew when there is such a route.
                self.readers.attached.forget(&name);
            }
            let before = self.known.attached.get(&name);
            if before.map(AsRef::as_ref) == now.as_ref() {
                continue;
            }
            let targets = |attached: Option<&Attached>| -> BTreeSet<ObjectRef> {
                attached.into_iter().flat_map(Attached::targets).collect()
            };
            let (old, new) = (targets(before.map(AsRef::as_ref)), targets(now.as_ref()));
            for target in old.symmetric_difference(&new) {
                let routes = self.known.routes.entry(target.clone()).or_default();
                if new.contains(target) {
                    routes.insert(name.clone());
                } else {
                    routes.remove(&name);
                }
                if routes.is_empty() {
                    self.known.routes.remove(target);
                }
                changes.note(Fact::Routes(target.clone()));
            }
            let referred = |attached: Option<&Attached>| -> BTreeSet<Name> {
                attached.into_iter().flat_map(|attached| attached.route.options()).cloned().collect()
            };
            let (old, new) = (referred(before.map(AsRef::as_ref)), referred(now.as_ref()));
            for option in old.symmetric_difference(&new) {
                if new.contains(option) {
                    self.known.referring.entry(option.clone()).or_default().insert(name.clone());
                } else {
                    remove_from(&mut self.known.referring, option, &name);
                }
                changes.note(Fact::Referring(option.clone()));
            }
            changes.note(Fact::Route(name.clone()));
            match now {
                Some(now) => drop(self.known.attached.insert(name, Arc::new(now))),
                None => drop(self.known.attached.remove(&name)),
            }
        }
    }

    fn refusals(&mut self, changes: &mut Changes, first: bool) {
        let due = due(&self.readers.refusals, changes, first.then_some(()));
        for ((), found) in decide(&self.known, &self.settings, &mut self.readers.refusals, due, |view, ()| {
            Some(refusals::refusals(view))
        }) {
            let (old, new) = (std::mem::take(&mut self.known.refusals), found.unwrap_or_default());
            if old.everything != new.everything {
                changes.note(Fact::RefusedEverything);
            }
            differing(&old.gateways, &new.gateways).for_each(|name| changes.note(Fact::RefusedGateway(name.clone())));
            differing(&old.waypoints, &new.waypoints).for_each(|name| changes.note(Fact::RefusedGateway(name.clone())));
            differing(&old.services, &new.services).for_each(|name| changes.note(Fact::RefusedService(name.clone())));
            differing(&old.rules, &new.rules).for_each(|name| changes.note(Fact::RefusedRules(name.clone())));
            self.known.refusals = new;
        }
    }

    /// What comes back is the destinations that a Gateway's chains forward to since now, or no longer.
    fn units(&mut self, changes: &mut Changes) -> BTreeSet<Destination> {
        let due = due(&self.readers.units, changes, changes.of(Kind::Service).cloned());
        self.remade = 0;
        let mut moved = BTreeSet::new();
        for (name, now) in decide(&self.known, &self.settings, &mut self.readers.units, due, units::unit) {
            self.remade += usize::from(now.is_some());
            let before = self.known.units.get(&name).cloned();
            if before.as_deref() == now.as_ref() {
                continue;
            }
            self.proxies.forward(before.as_deref(), now.as_ref(), &mut moved);
            let claims = |unit: Option<&Unit>| -> BTreeSet<(PortRef, ObjectRef)> {
                let claims = unit.into_iter().flat_map(|unit| &unit.claims);
                claims.flat_map(|(to, configs)| configs.iter().map(|config| (to.clone(), config.clone()))).collect()
            };
            let (old, new) = (claims(before.as_deref()), claims(now.as_ref()));
            for (service, config) in old.difference(&new) {
                let configs = self.known.claims.entry(service.clone()).or_default();
                if counts::down(configs, config) {
                    changes.note(Fact::Claims(service.clone()));
                }
                if configs.is_empty() {
                    self.known.claims.remove(service);
                }
            }
            for (service, config) in new.difference(&old) {
                if counts::up(self.known.claims.entry(service.clone()).or_default(), config) {
                    changes.note(Fact::Claims(service.clone()));
                }
            }
            let said = now.as_ref().map(|unit| unit.said.clone()).unwrap_or_default();
            self.say(Speaker::Unit(name.clone()), &said, changes);
            changes.note(Fact::Unit(name.clone()));
            match now {
                Some(now) => drop(self.known.units.insert(name, Arc::new(now))),
                None => drop(self.known.units.remove(&name)),
            }
        }
        for name in changes.of(Kind::Service).filter(|name| !self.known.snapshot.services.contains_key(name)) {
            self.readers.units.forget(name);
        }
        moved
    }

    /// Which headers the applications behind each Service believe: those whose endpoints have changed, or for which other
    /// headers are granted.
    fn owned(&mut self, changes: &mut Changes) {
        let mut running: BTreeSet<Name> = changes.of(Kind::Service).cloned().collect();
        for name in changes.of(Kind::EndpointSlice) {
            let slice = self.known.snapshot.endpoint_slices.get(name);
            let service = slice.and_then(|slice| slice.label(SERVICE_NAME));
            running.extend(service.map(|service| Name::new(name.namespace.as_str(), service)));
        }
        running.extend(changes.facts.iter().filter_map(|fact| match fact {
            Fact::Slices(service) => Some(service.clone()),
            _ => None,
        }));
        for service in running {
            let ports = self.known.snapshot.services.get(&service).map(|service| services::ports(service));
            let ports = ports.unwrap_or_default();
            let ports: Vec<_> = ports.iter().map(|port| (port.number, port.name.as_deref())).collect();
            let slices = self.known.slices.get(&service).into_iter().flat_map(Few::iter);
            let slices = slices.filter_map(|name| self.known.snapshot.endpoint_slices.get(name)).map(AsRef::as_ref);
            let now = applications(&ports, slices);
            let touched = self.known.believed.run(&service, now);
            touched.into_iter().for_each(|name| changes.note(Fact::Owned(name)));
        }

        let claimed = changes.facts.iter().filter_map(|fact| match fact {
            Fact::Claims(service) => Some(service.clone()),
            _ => None,
        });
        let due = due(&self.readers.granted, changes, claimed.collect::<Vec<_>>());
        for (service, now) in decide(&self.known, &self.settings, &mut self.readers.granted, due, owned::granted) {
            if now.is_none() {
                self.readers.granted.forget(&service);
            }
            if self.known.believed.granted(&service) != now.as_ref() {
                let touched = self.known.believed.grant(&service, now);
                touched.into_iter().for_each(|name| changes.note(Fact::Owned(name)));
            }
        }
    }

    fn disown(&mut self, changes: &mut Changes) {
        let remade = changes.facts.iter().filter_map(|fact| match fact {
            Fact::Unit(service) => Some(service.clone()),
            _ => None,
        });
        let due = due(&self.readers.disowned, changes, remade.collect::<Vec<_>>());
        for (service, now) in decide(&self.known, &self.settings, &mut self.readers.disowned, due, owned::disown) {
            let (chains, said) = now.map(|now| (now.chains, now.said)).unwrap_or_default();
            let said: Vec<_> = said.into_iter().map(|(object, said)| (object, Arc::new(said))).collect();
            self.say(Speaker::Disowning(service.clone()), &said, changes);
            let gateway = self.known.units.get(&service).map(|unit| unit.gateway.clone());
            if gateway.is_none() {
                self.readers.disowned.forget(&service);
            }
            self.proxies.place(service, gateway, chains);
        }
    }

    /// `moved`: destinations that chains of a Gateway forward to since now, or no longer.
    fn clusters(&mut self, moved: &mut BTreeSet<Destination>, changes: &mut Changes) {
        let (new, gone) = self.proxies.wanted(moved);
        for to in gone {
            self.readers.clusters.forget(&to);
            self.say(Speaker::Cluster(to), &[], changes);
        }
        let due = due(&self.readers.clusters, changes, new);
        for (to, now) in decide(&self.known, &self.settings, &mut self.readers.clusters, due, backends::cluster) {
            let (cluster, refused) = now.map_or((None, BTreeSet::new()), |(cluster, why)| (Some(cluster), why));
            let id = to.port();
            let said = (!refused.is_empty())
                .then(|| (ObjectRef { kind: Kind::Service, name: id.service.clone() }, Said::refused(refused).into()));
            self.say(Speaker::Cluster(to.clone()), said.as_slice(), changes);
            if self.proxies.reach(&to, cluster) {
                moved.insert(to);
            }
        }
        self.proxies.fill(moved);
    }

    /// Gateways last: they count the routes that are accepted.
    fn statuses(&mut self, changes: &mut Changes) {
        let reported =
            [Kind::Gateway, Kind::Service, Kind::RouteOption, Kind::AuthorizationPolicy, Kind::RequestAuthentication];
        let objects = changes
            .objects
            .iter()
            .filter(|object| reported.contains(&object.kind) || KINDS.contains(&object.kind))
            .cloned();
        let (gateways, others): (BTreeSet<ObjectRef>, BTreeSet<ObjectRef>) =
            due(&self.readers.statuses, changes, objects).into_iter().partition(|object| object.kind == Kind::Gateway);
        self.say_of(others, changes);
        let counted = due(&self.readers.statuses, changes, gateways);
        self.say_of(counted.into_iter().filter(|object| object.kind == Kind::Gateway).collect(), changes);
        for object in &changes.objects {
            if self.known.snapshot.get(object).is_none() {
                self.readers.statuses.forget(object);
            }
        }
    }

    fn say_of(&mut self, due: BTreeSet<ObjectRef>, changes: &mut Changes) {
        for (object, said) in decide(&self.known, &self.settings, &mut self.readers.statuses, due, statuses::status) {
            let before = self.report.get(&object);
            if before.is_some_and(|known| Some(known.as_ref()) == said.as_ref()) {
                continue;
            }
            if KINDS.contains(&object.kind) {
                let old = statuses::attached(before.map(AsRef::as_ref));
                let new = statuses::attached(said.as_ref());
                for gateway in old.difference(&new) {
                    counts::down(&mut self.known.attachments, gateway);
                    changes.note(Fact::Attachments(gateway.clone()));
                }
                for gateway in new.difference(&old) {
                    counts::up(&mut self.known.attachments, gateway);
                    changes.note(Fact::Attachments(gateway.clone()));
                }
            }
            match said {
                Some(said) => drop(self.report.insert(object, said)),
                None => drop(self.report.remove(&object)),
            }
            // What is gone is noticed when it comes back: then it is among the changed objects.
        }
    }

    /// Takes over what `speaker` has found out, in the order of objects, in place of what it had.
    fn say(&mut self, speaker: Speaker, said: &[(ObjectRef, Arc<Said>)], changes: &mut Changes) {
        let before = self.spoken.remove(&speaker).unwrap_or_default();
        let speaks = |object: &ObjectRef| said.binary_search_by(|(of, _)| of.cmp(object)).is_ok();
        for object in before.iter().filter(|object| !speaks(object)) {
            if let Some(by) = self.known.said.get_mut(object) {
                by.remove(&speaker);
                if by.is_empty() {
                    self.known.said.remove(object);
                }
                changes.note(Fact::Said(object.clone()));
            }
        }
        if said.is_empty() {
            return;
        }
        let speaker = Arc::new(speaker);
        self.spoken.insert(speaker.clone(), said.iter().map(|(object, _)| object.clone()).collect());
        for (object, said) in said {
            let by = self.known.said.entry(object.clone()).or_default();
            if by.get(&speaker) != Some(said) {
                by.insert(speaker.clone(), said.clone());
                changes.note(Fact::Said(object.clone()));
            }
        }
    }

    fn resolved(&mut self) -> Resolved {
        let proxies = self.proxies.put_together(&self.known.gateways);
        let services = match &self.known.refusals.everything {
            Some(why) => {
                let refused = Arc::new(Enrolment::Refused(why.clone()));
                self.services.keys().map(|name| (name.clone(), refused.clone())).collect()
            }
            None => self.services.clone(),
        };
        Resolved { proxies, services, report: self.report.clone() }
    }
}

/// The decisions that rest on what has changed, and `new` ones.
fn due<N: Clone + Eq + Ord + Hash>(
    readers: &Readers<N>,
    changes: &Changes,
    new: impl IntoIterator<Item = N>,
) -> BTreeSet<N> {
    let mut due = readers.of(&changes.facts);
    due.extend(new);
    due
}

/// Makes the decisions that are `due`, and notes what they rest on.
fn decide<N: Clone + Eq + Ord + Hash, V>(
    known: &Known,
    settings: &Settings,
    readers: &mut Readers<N>,
    due: BTreeSet<N>,
    decision: impl Fn(&View<'_>, &N) -> Option<V>,
) -> Vec<(N, Option<V>)> {
    let decided = due.into_iter().map(|name| {
        let view = View::new(known, settings);
        let value = decision(&view, &name);
        readers.note(&name, view.into_read());
        (name, value)
    });
    decided.collect()
}

fn differing<'m, K: Ord, V: PartialEq>(
    old: &'m BTreeMap<K, V>,
    new: &'m BTreeMap<K, V>,
) -> impl Iterator<Item = &'m K> {
    let changed = new.iter().filter(|(key, value)| old.get(key) != Some(value)).map(|(key, _)| key);
    changed.chain(old.keys().filter(|key| !new.contains_key(key)))
}
