//! What a client asked for of one type, what it was told, and what it made of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proto::envoy::service::discovery::v3 as pb;
use proto::resource::Named;
use proto::{Resource, ResourceType};

use super::rejection::{Nack, Rejection, presentable};

/// Says of which resources, by type and name, a client is told only if it asks for them by name.
pub type OnDemand = fn(ResourceType, &str) -> bool;

/// One type on one stream.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    pub wildcard: bool,
    /// Of which names of the type the client is told only if it asks for them.
    pub on_demand: Option<(ResourceType, OnDemand)>,
    pub names: BTreeSet<String>,
    pub entries: BTreeMap<String, Entry>,
    pub rejections: BTreeMap<String, Rejection>,
    pub in_flight: BTreeMap<u64, InFlight>,
    /// Names whose resource may have changed since it was sent.
    pub dirty: Names,
    /// Names that may have to be removed.
    pub removals: Names,
    /// Names that are to be had in a version that was neither taken nor refused yet.
    pub open: BTreeSet<String>,
    /// An answer is expected even if it is empty.
    unanswered: bool,
    /// Parts of a rejected response, to be tried apart.
    apart: VecDeque<Vec<(String, String)>>,
}

/// Some names, or all.
#[derive(Debug)]
pub(super) enum Names {
    All,
    These(BTreeSet<String>),
}

impl Default for Names {
    fn default() -> Self {
        Names::These(BTreeSet::new())
    }
}

impl Names {
    pub fn is_empty(&self) -> bool {
        matches!(self, Names::These(names) if names.is_empty())
    }

    fn insert(&mut self, name: &str) {
        if let Names::These(names) = self {
            names.insert(name.to_owned());
        }
    }
}

/// One name on one stream.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub told: Told,
    pub acked: Option<String>,
}

/// What the client was told of a name last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    #[default]
    Nothing,
    Absent,
    Version(String),
    /// A version that it refused together with others, and of which it may have taken this one: it is told anew of
    /// whatever it is to have, and of its end.
    Doubtful,
}

/// A response that was not answered yet.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Names and versions; empty when the response only removes.
    pub sent: Vec<(String, String)>,
    pub generation: u64,
}

/// What the next response is to hold.
pub(super) struct Additions {
    pub resources: Vec<Arc<Resource>>,
    /// Names asked for that do not exist: said at once, or Envoy would wait for them.
    pub absent: Vec<String>,
}

/// Whether a client that names nothing wants all resources of `kind`.
pub(crate) fn by_wildcard(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Scope) || unprompted(kind)
}

/// Whether every client asks for `kind`, without having been told of it by another resource.
pub(super) fn unprompted(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Cluster | ResourceType::Listener)
}

/// A resource as it stands in a response.
pub(super) fn wire(resource: &Resource) -> pb::Resource {
    pb::Resource {
        name: resource.name.clone(),
        version: resource.version.clone(),
        resource: Some(resource.body.clone()),
        ..Default::default()
    }
}

impl Subscription {
    /// Reads the fields that a client sends only in its first request of a type on a stream.
    pub fn greet(&mut self, kind: ResourceType, request: &pb::DeltaDiscoveryRequest) {
        self.wildcard = by_wildcard(kind) && request.resource_names_subscribe.is_empty();
        self.unanswered = self.wildcard && request.initial_resource_versions.is_empty();
        self.dirty = Names::All;
        self.removals = Names::All;
        let wants_all = self.wildcard || request.resource_names_subscribe.iter().any(|name| name == "*");
        // A cluster may have been left warming by the last stream; it needs its endpoints again.
        if kind != ResourceType::Endpoint {
            for (name, version) in &request.initial_resource_versions {
                let entry = Entry { told: Told::Version(version.clone()), acked: Some(version.clone()) };
                self.entries.insert(name.clone(), entry);
                // A client that wants all uses what it has, though another stream, or another control plane, told
                // it of that unasked: it is told of changes as if it had asked.
                if wants_all && self.is_on_demand(name) {
                    self.names.insert(name.clone());
                }
            }
        }
    }

    /// Takes names that are wanted from now on, and names that no longer are.
    pub fn subscribe(&mut self, wanted: &[String], unwanted: &[String], first: bool) {
        for name in wanted {
            if name == "*" {
                self.dirty = Names::All;
                self.unanswered |= !self.wildcard && self.entries.is_empty();
                self.wildcard = true;
                continue;
            }
            self.dirty.insert(name);
            self.names.insert(name.clone());
            // A second subscription to a name means: send it again. On a new stream the client says itself what it has.
            let entry = self.entries.entry(name.clone()).or_default();
            if !first {
                entry.told = Told::Nothing;
            }
        }
        for name in unwanted {
            if name == "*" {
                self.wildcard = false;
                let names = &self.names;
                self.entries.retain(|name, _| names.contains(name));
                self.rejections.retain(|name, _| names.contains(name));
            } else if self.names.remove(name) && !self.wants(name) {
                self.entries.remove(name);
                self.rejections.remove(name);
            }
        }
        if first && !self.wildcard {
            let names = &self.names;
            self.entries.retain(|name, _| names.contains(name));
        }
    }

    /// Whether the client wants the resource of this name.
    pub fn wants(&self, name: &str) -> bool {
        self.names.contains(name) || (self.wildcard && !self.is_on_demand(name))
    }

    fn is_on_demand(&self, name: &str) -> bool {
        self.on_demand.is_some_and(|(kind, on_demand)| on_demand(kind, name))
    }

    /// Sets the resources for the first time on this stream, of which nothing was sent yet.
    pub fn begin(&mut self, target: Option<&Named>) {
        let names = target.into_iter().flat_map(Named::keys);
        self.open = names.filter(|name| self.is_open(name, target)).cloned().collect();
    }

    /// Replaces the resources; only those named in `changed` differ from the ones before.
    pub fn retarget<'n>(&mut self, changed: impl Iterator<Item = &'n String>, target: Option<&Named>) {
        for name in changed {
            self.dirty.insert(name);
            self.removals.insert(name);
            self.look([name].into_iter(), target);
        }
    }

    /// Updates which of these names still wait for the client to acknowledge what was sent.
    pub fn look<'n>(&mut self, names: impl Iterator<Item = &'n String>, target: Option<&Named>) {
        for name in names {
            if name == "*" {
                let names = target.into_iter().flat_map(Named::keys);
                self.open = names.filter(|name| self.is_open(name, target)).cloned().collect();
            } else if self.is_open(name, target) {
                self.open.insert(name.clone());
            } else {
                self.open.remove(name);
            }
        }
    }

    fn is_open(&self, name: &str, target: Option<&Named>) -> bool {
        let resource = target.and_then(|target| target.get(name));
        let expected = || self.names.contains(name) || !self.is_on_demand(name);
        resource.is_some_and(|resource| !self.has_answered(resource)) && expected()
    }

    /// The next response to send, if anything is to be said.
    pub fn next_additions(&mut self, target: Option<&Named>) -> Option<Additions> {
        while let Some(part) = self.apart.pop_front() {
            let resources = self.still_wanted(part, target);
            if !resources.is_empty() {
                return Some(Additions { resources, absent: Vec::new() });
            }
        }
        if self.dirty.is_empty() {
            return None;
        }
        let dirty = std::mem::take(&mut self.dirty);
        let additions =
            Additions { resources: self.untold(&dirty, target), absent: self.untold_absent(&dirty, target) };
        for resource in &additions.resources {
            self.entries.entry(resource.name.clone()).or_default().told = Told::Version(resource.version.clone());
        }
        for name in &additions.absent {
            self.entries.entry(name.clone()).or_default().told = Told::Absent;
            self.rejections.remove(name);
        }
        let answer = std::mem::take(&mut self.unanswered);
        (answer || !additions.resources.is_empty() || !additions.absent.is_empty()).then_some(additions)
    }

    fn untold(&self, dirty: &Names, target: Option<&Named>) -> Vec<Arc<Resource>> {
        let Some(target) = target else { return Vec::new() };
        let untold = |resource: &&Arc<Resource>| match self.entries.get(&resource.name).map(|entry| &entry.told) {
            Some(Told::Version(version)) => *version != resource.version,
            _ => true,
        };
        match dirty {
            Names::All if self.wildcard => {
                target.values().filter(|resource| self.wants(&resource.name)).filter(untold).cloned().collect()
            }
            Names::All => self.names.iter().filter_map(|name| target.get(name)).filter(untold).cloned().collect(),
            Names::These(names) => {
                let wanted = names.iter().filter(|name| self.wants(name));
                wanted.filter_map(|name| target.get(name)).filter(untold).cloned().collect()
            }
        }
    }

    fn untold_absent(&self, dirty: &Names, target: Option<&Named>) -> Vec<String> {
        let missing = |name: &&String| {
            !target.is_some_and(|target| target.contains_key(*name))
                && self.entries.get(*name).is_none_or(|entry| entry.told == Told::Nothing)
        };
        match dirty {
            Names::All => self.names.iter().filter(missing).cloned().collect(),
            Names::These(names) => {
                names.iter().filter(|name| self.names.contains(*name)).filter(missing).cloned().collect()
            }
        }
    }

    /// What of a refused part the client is still to have. The rest is not tried again as it was.
    fn still_wanted(&mut self, part: Vec<(String, String)>, target: Option<&Named>) -> Vec<Arc<Resource>> {
        let mut wanted = Vec::with_capacity(part.len());
        for (name, version) in part {
            let Some(entry) = self.entries.get_mut(&name).filter(|entry| entry.told == Told::Version(version.clone()))
            else {
                continue;
            };
            match target.and_then(|target| target.get(&name)).filter(|resource| resource.version == version) {
                Some(resource) => wanted.push(resource.clone()),
                None => entry.told = Told::Doubtful,
            }
        }
        wanted
    }

    /// The names to say are gone, which the client was told of.
    pub fn next_removals(&mut self, target: Option<&Named>) -> Vec<String> {
        let removals = std::mem::take(&mut self.removals);
        let gone = |name: &&String| {
            let told = |entry: &Entry| matches!(entry.told, Told::Version(_) | Told::Doubtful);
            let told = self.entries.get(*name).is_some_and(told);
            told && !target.is_some_and(|target| target.contains_key(*name))
        };
        let gone: Vec<String> = match &removals {
            Names::All => self.entries.keys().filter(gone).cloned().collect(),
            Names::These(names) => names.iter().filter(gone).cloned().collect(),
        };
        for name in &gone {
            self.rejections.remove(name);
            if self.names.contains(name) {
                self.entries.insert(name.clone(), Entry { told: Told::Absent, acked: None });
            } else {
                self.entries.remove(name);
            }
        }
        gone
    }

    /// Makes the client be told of `name` again, if it wants it.
    pub fn forget(&mut self, name: &str) {
        if self.wants(name)
            && let Some(entry) = self.entries.get_mut(name)
        {
            entry.told = Told::Nothing;
            self.dirty.insert(name);
        }
    }

    /// The client took everything in a response.
    pub fn accepted(&mut self, answered: InFlight) {
        for (name, version) in answered.sent {
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.acked = Some(version);
                self.rejections.remove(&name);
            }
        }
    }

    /// The client refused a response. It may have taken part of it, so the
    /// resources are tried apart, half by half, until it is known which are bad.
    pub fn rejected(&mut self, kind: ResourceType, mut answered: InFlight, message: &str) {
        match answered.sent.len() {
            0 => {}
            1 => {
                let message = presentable(kind, message);
                for (name, version) in answered.sent {
                    if self.entries.contains_key(&name) {
                        let generation = answered.generation;
                        self.rejections.insert(name, Rejection { version, message: message.clone(), generation });
                    }
                }
            }
            many => {
                let second = answered.sent.split_off(many / 2);
                self.apart.extend([answered.sent, second]);
            }
        }
    }

    /// Whether nothing is to be added and every addition was answered.
    pub fn additions_answered(&self) -> bool {
        self.dirty.is_empty()
            && self.apart.is_empty()
            && self.in_flight.values().all(|in_flight| in_flight.sent.is_empty())
    }

    /// Whether the client took or refused this very version.
    pub fn has_answered(&self, resource: &Resource) -> bool {
        self.entries.get(&resource.name).is_some_and(|entry| entry.acked.as_deref() == Some(&resource.version))
            || self.rejections.get(&resource.name).is_some_and(|rejection| rejection.version == resource.version)
    }

    /// Whether something was refused of which the client keeps an older version.
    pub fn serves_old_versions(&self) -> bool {
        self.rejections.keys().any(|name| self.entries.get(name).is_some_and(|entry| entry.acked.is_some()))
    }

    /// What is refused at present.
    pub fn nacks(&self, kind: ResourceType) -> impl Iterator<Item = Nack> + '_ {
        self.rejections.iter().map(move |(name, rejection)| Nack {
            kind,
            name: name.clone(),
            version: rejection.version.clone(),
            message: rejection.message.clone(),
            generation: rejection.generation,
        })
    }
}
