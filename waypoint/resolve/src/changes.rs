//! What has changed since the last snapshot: what is declared differently, and then what each step decides
//! differently. Keeps up what is found by another name than its own: slices by Service, RouteOptions by route.

use std::collections::{BTreeSet, HashSet};

use api::core::SERVICE_NAME;
use api::{Kind, Meta as _, Name, ObjectRef, Snapshot};

use crate::access;
use crate::declared::{Age, age};
use crate::few::remove_from;
use crate::gloo;
use crate::readers::Fact;
use crate::view::Known;

/// What has changed since the last snapshot, as far as it is known in each step.
#[derive(Default)]
pub struct Changes {
    pub facts: HashSet<Fact>,
    pub objects: BTreeSet<ObjectRef>,
}

impl Changes {
    pub fn note(&mut self, fact: Fact) {
        self.facts.insert(fact);
    }

    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Name> {
        self.objects.iter().filter(move |object| object.kind == kind).map(|object| &object.name)
    }

    /// What `snapshot` declares differently from what is known, which it becomes.
    pub fn declared(known: &mut Known, snapshot: &Snapshot) -> Changes {
        let old = std::mem::replace(&mut known.snapshot, snapshot.clone());
        let delta = snapshot.delta(&old);
        let mut changes = Changes::default();
        for object in &delta.objects {
            changes.note(Fact::Object(object.clone()));
            changes.note(Fact::Every(object.kind));
            changes.note(Fact::In(object.kind, object.name.namespace.clone()));
            if old.broken.contains_key(object) || snapshot.broken.contains_key(object) {
                changes.note(Fact::Broken(object.kind));
            }
        }
        if delta.withheld {
            changes.note(Fact::Withheld);
        }
        if delta.unserved {
            changes.note(Fact::Unserved);
        }
        for name in delta.of(Kind::EndpointSlice) {
            let of = |snapshot: &Snapshot| {
                let slice = snapshot.endpoint_slices.get(name)?;
                Some(Name::new(name.namespace.as_str(), slice.label(SERVICE_NAME)?))
            };
            let (before, after) = (of(&old), of(snapshot));
            if before == after {
                continue;
            }
            if let Some(service) = &before {
                remove_from(&mut known.slices, service, name);
            }
            if let Some(service) = &after {
                known.slices.entry(service.clone()).or_default().insert(name.clone());
            }
            changes.facts.extend([before, after].into_iter().flatten().map(Fact::Slices));
        }
        for name in delta.of(Kind::RouteOption) {
            let of = |snapshot: &Snapshot| -> BTreeSet<(ObjectRef, Age)> {
                let option = snapshot.route_options.get(name);
                let named = option.map(|option| {
                    let age = age(&option.metadata);
                    gloo::targets(name, option).map(|(route, _)| (route, age.clone())).collect()
                });
                named.unwrap_or_default()
            };
            let (before, after) = (of(&old), of(snapshot));
            for (route, age) in before.difference(&after) {
                remove_from(&mut known.options, route, &(age.clone(), name.clone()));
            }
            for (route, age) in after.difference(&before) {
                known.options.entry(route.clone()).or_default().insert((age.clone(), name.clone()));
            }
            changes.facts.extend(before.symmetric_difference(&after).map(|(route, _)| Fact::Options(route.clone())));
        }
        let callers = [Kind::AuthorizationPolicy, Kind::RequestAuthentication];
        for object in delta.objects.iter().filter(|object| callers.contains(&object.kind)) {
            let of = |snapshot: &Snapshot| -> BTreeSet<ObjectRef> {
                let attachment = match object.kind {
                    Kind::AuthorizationPolicy => {
                        snapshot.authorization_policies.get(&object.name).map(|policy| policy.spec.attachment())
                    }
                    _ => snapshot.request_authentications.get(&object.name).map(|policy| policy.spec.attachment()),
                };
                attachment.map(|of| access::targets(&object.name.namespace, of)).unwrap_or_default()
            };
            let (before, after) = (of(&old), of(snapshot));
            for target in before.difference(&after) {
                remove_from(&mut known.policies, target, object);
            }
            for target in after.difference(&before) {
                known.policies.entry(target.clone()).or_default().insert(object.clone());
            }
            changes.facts.extend(before.symmetric_difference(&after).cloned().map(Fact::Policies));
        }
        changes.objects = delta.objects;
        changes
    }
}
