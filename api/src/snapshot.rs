//! Everything that is declared, at one moment.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::Table;
use crate::admit::{Admission, admit};
use crate::broken::Broken;
use crate::kinds::kinds;
use crate::name::Name;
use crate::object::{Kind, Object, ObjectRef};
use crate::reach::Reach;
use crate::resource::Meta as _;
use crate::unserved::UnservedRef;

/// Why nothing but refusals may be served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Withheld {
    /// The file, with the line if one is meant.
    pub place: String,
    /// What is wrong there and what to do about it.
    pub why: String,
}

impl std::fmt::Display for Withheld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.place.is_empty() { f.write_str(&self.why) } else { write!(f, "{}: {}", self.place, self.why) }
    }
}

/// What two snapshots do not have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Objects that came, went, or are another version, broken ones included.
    pub objects: BTreeSet<ObjectRef>,
    /// Whether something else is withheld, or for other reasons.
    pub withheld: bool,
    /// Whether objects of kinds that are not served came, went or govern something else.
    pub unserved: bool,
}

impl Delta {
    /// Whether they say the same.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && !self.withheld && !self.unserved
    }

    /// The names of the changed objects of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Name> {
        let first = ObjectRef::new(kind, "", "");
        self.objects.range(first..).take_while(move |object| object.kind == kind).map(|object| &object.name)
    }
}

/// Makes a table of each row of the table of kinds.
macro_rules! snapshot {
    ($($(#[$doc:meta])* $variant:ident {
        type: $ty:ty, kind: $kind:literal, plural: $plural:literal,
        versions: [$($version:literal),+], namespaced: $namespaced:literal,
        table: $table:ident, rules: $rules:ident, governs: $governs:ident, read_by: [$($reader:ident),*],
        told: $told:ident $(by $teller:ident)?,
    })+) => {
        /// An immutable view of all declared objects: the input of every compile and translate step.
        ///
        /// Copies share their tables, and an object that did not change is the same allocation in both.
        #[derive(Debug, Clone, Default)]
        pub struct Snapshot {
            /// Counts up by one with every snapshot a provider publishes; the first is 1.
            pub revision: u64,
            $($(#[$doc])* pub $table: Table<$ty>,)+
            /// Objects that were never admitted; an object is either here or in its table.
            pub broken: Table<Broken, ObjectRef>,
            /// Not empty as long as, since the start, something could not be read that may hold policies:
            /// then whoever serves answers nothing but refusals.
            pub withheld: Vec<Withheld>,
            /// Objects of kinds that are not served yet, each with what it was to govern: that is refused.
            pub unserved: Table<Reach, UnservedRef>,
        }

        impl Snapshot {
            /// Adds an object to its table, replacing one of the same name.
            pub fn insert(&mut self, object: Object) {
                match object {
                    $(Object::$variant(object) => drop(self.$table.insert(object.name_of(), object)),)+
                }
            }

            /// Takes an object away, from its table and from the broken ones.
            pub fn remove(&mut self, object: &ObjectRef) {
                self.broken.remove(object);
                match object.kind {
                    $(Kind::$variant => drop(self.$table.remove(&object.name)),)+
                }
            }

            /// The admitted object of that kind and name.
            pub fn get(&self, object: &ObjectRef) -> Option<Object> {
                match object.kind {
                    $(Kind::$variant => self.$table.get(&object.name).map(|found| Object::$variant(found.clone())),)+
                }
            }

            /// How many admitted objects of `kind` there are.
            pub fn count(&self, kind: Kind) -> usize {
                match kind { $(Kind::$variant => self.$table.len(),)+ }
            }

            /// What changed since `old`.
            pub fn delta(&self, old: &Snapshot) -> Delta {
                let mut objects: BTreeSet<ObjectRef> = self.broken.changed(&old.broken).cloned().collect();
                $(objects.extend(
                    self.$table.changed(&old.$table).map(|name| ObjectRef { kind: Kind::$variant, name: name.clone() }),
                );)+
                Delta {
                    objects,
                    withheld: self.withheld != old.withheld,
                    unserved: self.unserved.changed(&old.unserved).next().is_some(),
                }
            }
        }
    };
}

kinds!(snapshot);

impl Snapshot {
    /// The first snapshot of a provider that found these manifests and nothing else.
    pub fn of<'v>(documents: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
        documents.into_iter().for_each(|document| snapshot.declare(admit(document)));
        snapshot
    }

    /// Adds what became of one manifest: the object, or a broken one unless there is a good one of
    /// that name, or a reason to withhold everything.
    pub fn declare(&mut self, admission: Admission) {
        let rejected = admission.rejected();
        match (&admission.reference, &admission.object) {
            (Some(reference), Some(object)) if !rejected => {
                self.broken.remove(reference);
                self.insert(object.clone());
            }
            (Some(reference), _) if self.get(reference).is_none() => {
                let reference = reference.clone();
                drop(self.broken.insert(reference, admission.into_broken()));
            }
            (None, _) if admission.withholds => {
                let why = admission.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                self.withheld.push(Withheld { place: String::new(), why });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::core::ConfigMap;

    fn config_map(name: &str) -> Object {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.namespace = Some("t".to_owned());
        Object::ConfigMap(Arc::new(object))
    }

    #[test]
    fn a_delta_names_what_is_another_version_and_nothing_else() {
        let mut old = Snapshot::default();
        (0..1_000).for_each(|number| old.insert(config_map(&format!("c{number}"))));
        let mut new = old.clone();
        assert!(new.delta(&old).is_empty());
        new.insert(config_map("c7"));
        new.insert(config_map("new"));
        new.remove(&ObjectRef::new(Kind::ConfigMap, "t", "c8"));
        let delta = new.delta(&old);
        assert!(!delta.is_empty());
        let names: Vec<&str> = delta.of(Kind::ConfigMap).map(|name| name.name.as_str()).collect();
        assert_eq!(names, ["c7", "c8", "new"]);
        assert_eq!(delta.of(Kind::Secret).count(), 0);
        assert_eq!(old.config_maps.len(), 1_000, "the copy is another snapshot");
        let mut new = old.clone();
        new.withheld.push(Withheld { place: "a.yaml".into(), why: "x".into() });
        let delta = new.delta(&old);
        assert!(delta.withheld && delta.objects.is_empty() && !delta.is_empty());
    }

    #[test]
    fn an_object_is_in_its_table_or_among_the_broken() {
        let good = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
        let bad =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 0}]}});
        for order in [[&good, &bad], [&bad, &good]] {
            let snapshot = Snapshot::of(order);
            assert_eq!((snapshot.services.len(), snapshot.broken.len()), (1, 0));
        }
        assert_eq!(Snapshot::of([&bad]).broken.len(), 1);
        let misspelt = json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOptions", "metadata": {"name": "a"}});
        assert_eq!(Snapshot::of([&misspelt]).withheld.len(), 1);
    }
}
