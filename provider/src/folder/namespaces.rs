//! Namespaces that are there because objects are in them, and the label that every Namespace has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use api::core::{Namespace, Time};
use api::{Kind, Object, ObjectRef};

use super::creation::CreationTimes;
use crate::assembly::Version;

/// Label by which selectors find a namespace by its name; every API server sets it.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The Namespaces that nobody declares.
#[derive(Default)]
pub(crate) struct Namespaces {
    /// How many declared objects are in each.
    population: BTreeMap<String, usize>,
    /// Those that are there because objects are in them.
    implicit: BTreeSet<String>,
}

/// The Namespaces that come and go.
#[derive(Default)]
pub(crate) struct Moves {
    pub come: BTreeSet<String>,
    pub gone: Vec<ObjectRef>,
}

impl Namespaces {
    /// Notes that an object is declared since now, or not any more.
    pub fn count(&mut self, reference: &ObjectRef, was: bool, is: bool) {
        if was == is {
            return;
        }
        // What is in no namespace is counted under the empty name, which nobody asks about.
        let namespace = &reference.name.namespace;
        let population = self.population.entry(namespace.clone()).or_default();
        *population = if is { *population + 1 } else { *population - 1 };
        if *population == 0 {
            self.population.remove(namespace);
        }
    }

    /// Whether the object is a Namespace that nobody declares and that is there.
    pub fn hold(&self, reference: &ObjectRef) -> bool {
        reference.kind == Kind::Namespace && self.implicit.contains(&reference.name.name)
    }

    /// Which of them come, since objects are in them, and which go. `due` are the objects that may have come
    /// or gone.
    pub fn settle(&mut self, due: &BTreeSet<Arc<ObjectRef>>, is_declared: impl Fn(&ObjectRef) -> bool) -> Moves {
        let named = |reference: &Arc<ObjectRef>| match reference.kind {
            Kind::Namespace => Some(reference.name.name.clone()),
            kind => kind.namespaced().then(|| reference.name.namespace.clone()),
        };
        let mut moves = Moves::default();
        for name in due.iter().filter_map(named).collect::<BTreeSet<String>>() {
            let reference = reference(&name);
            let declared = is_declared(&reference);
            let needed = self.population.contains_key(&name) && !declared;
            if needed && self.implicit.insert(name.clone()) {
                moves.come.insert(name);
            } else if !needed && self.implicit.remove(&name) && !declared {
                moves.gone.push(reference);
            }
        }
        moves
    }
}

/// The Namespace of this name, as an object.
pub(crate) fn reference(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::Namespace, "", name)
}

/// The Namespace of this name, as old as the oldest object in it.
pub(crate) fn made(name: &str, since: SystemTime, creations: &mut CreationTimes) -> Version {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespace.metadata.creation_timestamp = Some(Time(creations.of(reference(name), since)));
    Version::Good { object: Object::Namespace(Arc::new(labelled(namespace))), digest: None, made: String::new() }
}

/// `namespace` with the label that tells its name, whatever its manifest says of that.
pub(crate) fn labelled(mut namespace: Namespace) -> Namespace {
    let name = namespace.metadata.name.clone().unwrap_or_default();
    namespace.metadata.labels.get_or_insert_default().insert(NAMESPACE_NAME.to_owned(), name);
    namespace
}
