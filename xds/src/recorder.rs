//! What a client has acknowledged, as somebody learns it through whose hands its streams go. Pure.
//!
//! Once a client has been told everything that it asked for, and has answered it, what it has is a whole: another client
//! that is given it can do the same. From then on each answer makes one whole of another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::envoy::service::discovery::v3 as pb;
use proto::{Resource, ResourceSet, ResourceType};

use crate::session::by_wildcard;

/// What follows from a request for what is kept of the client.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// All as before.
    None,
    /// What is kept is not any more what the client has, and what that has is no whole yet.
    Stale,
    /// This is what it has.
    Whole(Arc<ResourceSet>),
    /// Of what is kept this is different now.
    Step {
        /// Of which type.
        kind: ResourceType,
        /// What came, or in another version.
        added: Vec<Arc<Resource>>,
        /// What went.
        removed: Vec<String>,
    },
}

/// Follows the streams of one client.
#[derive(Debug, Default)]
pub struct Recorder {
    /// The types of which a client has been told something before it has a whole.
    needed: BTreeSet<ResourceType>,
    /// The last whole.
    kept: Option<Arc<ResourceSet>>,
    /// What the client has.
    has: ResourceSet,
    /// What it had of each type on the last stream on which it spoke of it.
    had: ResourceSet,
    /// What it was sent and did not say that it took, or was told to be gone, by type, name and version: it may have it all
    /// the same.
    perhaps: BTreeMap<(ResourceType, String, String), Arc<Resource>>,
    /// Whether what it has is a whole.
    whole: bool,
    types: BTreeMap<ResourceType, Seen>,
}

/// One type on the stream.
#[derive(Debug, Default)]
struct Seen {
    wildcard: bool,
    /// Names that it asks for.
    names: BTreeSet<String>,
    /// Of these, those of which it was told that there are none, and those of which it refused what there is.
    without: BTreeSet<String>,
    /// What it says it has and nobody else knows.
    unknown: BTreeSet<String>,
    /// Whether it was told anything.
    told: bool,
    in_flight: BTreeMap<String, pb::DeltaDiscoveryResponse>,
}

impl Recorder {
    /// One that keeps this, if anything, of a client of which nothing is known yet. Nothing is a whole without something
    /// of each of the types `needed`.
    pub fn new(needed: impl IntoIterator<Item = ResourceType>, kept: Option<Arc<ResourceSet>>) -> Self {
        Self { needed: needed.into_iter().collect(), kept, ..Self::default() }
    }

    /// The last whole, if it is what the client had last.
    pub fn kept(&self) -> Option<&Arc<ResourceSet>> {
        self.kept.as_ref()
    }

    /// A stream begins.
    pub fn begin(&mut self) {
        for (kind, seen) in std::mem::take(&mut self.types) {
            // Of other types it has said nothing since.
            self.had.insert(kind, self.has.remove(&kind).unwrap_or_default());
            for response in seen.in_flight.into_values() {
                self.may_have(kind, response);
            }
        }
        self.whole = false;
    }

    /// The client is sent `response`.
    pub fn response(&mut self, response: &pb::DeltaDiscoveryResponse) {
        if let Some(kind) = ResourceType::of_type_url(&response.type_url) {
            let seen = self.types.entry(kind).or_default();
            seen.in_flight.insert(response.nonce.clone(), response.clone());
        }
    }

    /// The client sends `request`; what is kept is to be changed before anybody hears of that.
    pub fn request(&mut self, request: &pb::DeltaDiscoveryRequest) -> Change {
        let Some(kind) = ResourceType::of_type_url(&request.type_url) else { return Change::None };
        let mut added = if self.types.contains_key(&kind) { Vec::new() } else { self.greet(kind, request) };
        let mut removed = self.subscribe(kind, request);
        let seen = self.types.entry(kind).or_default();
        if let Some(answered) = seen.in_flight.remove(&request.response_nonce) {
            seen.told = true;
            if request.error_detail.is_some() {
                seen.without.extend(answered.resources.iter().map(|resource| resource.name.clone()));
                self.may_have(kind, answered);
            } else {
                added.extend(self.take(kind, answered, &mut removed));
            }
        }
        self.change(kind, added, removed)
    }

    fn may_have(&mut self, kind: ResourceType, sent: pb::DeltaDiscoveryResponse) {
        for resource in sent.resources {
            let key = (kind, resource.name.clone(), resource.version.clone());
            if let Some(resource) = read(resource) {
                self.perhaps.insert(key, resource);
            }
        }
    }

    /// The first request of a type on a stream: what it has of that type.
    fn greet(&mut self, kind: ResourceType, request: &pb::DeltaDiscoveryRequest) -> Vec<Arc<Resource>> {
        let seen = self.types.entry(kind).or_default();
        seen.wildcard = by_wildcard(kind) && request.resource_names_subscribe.is_empty();
        seen.told = !request.initial_resource_versions.is_empty();
        for (name, version) in &request.initial_resource_versions {
            let of = |set: &ResourceSet| set.get(&kind).and_then(|named| named.get(name)).cloned();
            let known = of(&self.had).filter(|known| known.version == *version);
            let known = known.or_else(|| of(self.kept.as_ref()?).filter(|known| known.version == *version));
            let known = known.or_else(|| self.perhaps.get(&(kind, name.clone(), version.clone())).cloned());
            match known {
                Some(known) => drop(self.has.entry(kind).or_default().insert(name.clone(), known)),
                None => drop(seen.unknown.insert(name.clone())),
            }
        }
        self.has.get(&kind).into_iter().flat_map(|named| named.values()).cloned().collect()
    }

    /// What the client has no longer, because it does not want it.
    fn subscribe(&mut self, kind: ResourceType, request: &pb::DeltaDiscoveryRequest) -> Vec<String> {
        let seen = self.types.entry(kind).or_default();
        for name in &request.resource_names_subscribe {
            if name == "*" {
                seen.wildcard = true;
            } else {
                seen.names.insert(name.clone());
            }
        }
        let mut removed = Vec::new();
        for name in &request.resource_names_unsubscribe {
            if name == "*" {
                seen.wildcard = false;
                let unwanted = self.has.get(&kind).into_iter().flat_map(|named| named.keys());
                removed.extend(unwanted.filter(|name| !seen.names.contains(*name)).cloned());
            } else {
                seen.names.remove(name);
                seen.without.remove(name);
                self.perhaps.retain(|(of, other, _), _| (*of, other) != (kind, name));
                if !seen.wildcard {
                    removed.push(name.clone());
                }
            }
        }
        removed.retain(|name| self.lose(kind, name));
        removed
    }

    /// The client took `answered`.
    fn take(
        &mut self,
        kind: ResourceType,
        answered: pb::DeltaDiscoveryResponse,
        removed: &mut Vec<String>,
    ) -> Vec<Arc<Resource>> {
        let seen = self.types.entry(kind).or_default();
        let mut added = Vec::new();
        for resource in answered.resources {
            seen.without.remove(&resource.name);
            seen.unknown.remove(&resource.name);
            self.perhaps.retain(|(of, name, _), _| (*of, name) != (kind, &resource.name));
            let Some(resource) = read(resource) else { continue };
            let named = self.has.entry(kind).or_default();
            if named.get(&resource.name).is_some_and(|had| had.version == resource.version) {
                continue;
            }
            named.insert(resource.name.clone(), resource.clone());
            added.push(resource);
        }
        for name in answered.removed_resources {
            seen.unknown.remove(&name);
            let lost = self.has.get_mut(&kind).and_then(|named| named.remove(&name));
            if seen.names.contains(&name) {
                seen.without.insert(name.clone());
                // Whoever asks for one by its name may go on with it.
                if let Some(lost) = &lost {
                    self.perhaps.insert((kind, name.clone(), lost.version.clone()), lost.clone());
                }
            }
            if lost.is_some() {
                removed.push(name);
            }
        }
        added
    }

    fn lose(&mut self, kind: ResourceType, name: &str) -> bool {
        self.has.get_mut(&kind).is_some_and(|named| named.remove(name).is_some())
    }

    fn change(&mut self, kind: ResourceType, added: Vec<Arc<Resource>>, removed: Vec<String>) -> Change {
        if self.whole {
            if added.is_empty() && removed.is_empty() {
                return Change::None;
            }
            self.kept = Some(Arc::new(self.has.clone()));
            return Change::Step { kind, added, removed };
        }
        if self.is_whole() {
            self.whole = true;
            self.has.retain(|_, named| !named.is_empty());
            let has = Arc::new(self.has.clone());
            let known = self.kept.as_ref().is_some_and(|kept| is_same(kept, &has));
            self.kept = Some(has.clone());
            return if known { Change::None } else { Change::Whole(has) };
        }
        let kept = |name: &String| self.kept.as_ref()?.get(&kind)?.get(name);
        let other = added.iter().any(|one| kept(&one.name).is_none_or(|kept| kept.version != one.version));
        if self.kept.is_some() && (other || removed.iter().any(|name| kept(name).is_some())) {
            self.kept = None;
            return Change::Stale;
        }
        Change::None
    }

    fn is_whole(&self) -> bool {
        let told = |kind: &ResourceType| self.types.get(kind).is_some_and(|seen| seen.told);
        let answered = |(kind, seen): (&ResourceType, &Seen)| {
            let has = |name: &String| self.has.get(kind).is_some_and(|named| named.contains_key(name));
            seen.in_flight.is_empty()
                && seen.unknown.is_empty()
                && seen.names.iter().all(|name| seen.without.contains(name) || has(name))
        };
        self.needed.iter().all(told) && self.types.iter().all(answered)
    }
}

fn read(resource: pb::Resource) -> Option<Arc<Resource>> {
    let pb::Resource { name, version, resource: Some(body), .. } = resource else { return None };
    Some(Arc::new(Resource { name, version, body }))
}

/// Whether two sets hold the same versions.
fn is_same(one: &ResourceSet, other: &ResourceSet) -> bool {
    ResourceType::ALL.into_iter().all(|kind| proto::resource::changed(one, other, kind).next().is_none())
}
