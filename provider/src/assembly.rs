//! The snapshot of what is declared, changed by what changed: last good versions, broken ones, and
//! what withholds everything. The same for every provider, which decides what the newest version of each object is.

use std::collections::BTreeMap;

use api::{Broken, Fingerprint, Object, ObjectRef, Problem, Snapshot, Withheld};
use blake3::Hash;
use serde_json::Value;
use tracing::info;

/// An object and what tells it from other versions of itself.
pub type Stamped = (Object, Hash);

/// What is to be served of an object.
#[derive(Debug)]
pub enum Version {
    /// This version. `made` tells apart what the provider itself put into it.
    Good {
        /// The object.
        object: Object,
        /// The digest of its manifest; none if the provider made it up.
        digest: Option<Hash>,
        /// What the provider put into it.
        made: String,
    },
    /// Nothing: it was never good.
    Broken(Broken, Hash),
}

/// What tells a version from another of the same object.
#[derive(Debug, PartialEq)]
enum Identity {
    Good { digest: Option<Hash>, made: String },
    Broken { digest: Hash, problems: Vec<Problem> },
}

impl Identity {
    fn of(version: &Version) -> Self {
        match version {
            Version::Good { digest, made, .. } => Identity::Good { digest: *digest, made: made.clone() },
            Version::Broken(broken, digest) => Identity::Broken { digest: *digest, problems: broken.problems.clone() },
        }
    }
}

/// The hash of a manifest, computed without another copy of it. Keyed: it may be that of a Secret.
pub fn digest(manifest: &Value) -> Hash {
    let mut hasher = Fingerprint::hasher();
    // Writing to a hasher cannot fail, nor can a value fail to serialise.
    drop(serde_json::to_writer(&mut hasher, manifest));
    hasher.finalize()
}

/// The state kept between one reading and the next.
#[derive(Debug, Default)]
pub struct Assembly {
    snapshot: Snapshot,
    served: BTreeMap<ObjectRef, Identity>,
    /// The newest version of each declared object that could be served.
    good: BTreeMap<ObjectRef, Stamped>,
    /// Whether everything was readable once since the start.
    begun: bool,
}

impl Assembly {
    /// The newest version of the object that could be served.
    pub fn last_good(&self, object: &ObjectRef) -> Option<&Stamped> {
        self.good.get(object)
    }

    /// Notes the newest version that can be served.
    pub fn keep_good(&mut self, object: ObjectRef, version: Stamped) {
        self.good.insert(object, version);
    }

    /// Forgets the last good version of what is not declared any more.
    pub fn forget_good(&mut self, object: &ObjectRef) {
        self.good.remove(object);
    }

    /// Takes in the versions of the objects that may have changed, none for those that are not declared
    /// any more, and why not all that is there could be read. Returns the snapshot and whether it says
    /// anything else than the one before.
    ///
    /// Until everything could be read once, what could not withholds everything. After that the last
    /// good versions stand for it, and only the provider's report tells.
    pub fn assemble(
        &mut self,
        versions: impl IntoIterator<Item = (ObjectRef, Option<Version>)>,
        unread: Vec<Withheld>,
    ) -> (Snapshot, bool) {
        let (mut added, mut changed, mut removed) = (0_usize, 0_usize, 0_usize);
        for (reference, version) in versions {
            let known = self.served.remove(&reference);
            let Some(version) = version else {
                if known.is_some() {
                    removed += 1;
                    self.snapshot.remove(&reference);
                }
                continue;
            };
            let identity = Identity::of(&version);
            if known.as_ref() != Some(&identity) {
                if known.is_some() {
                    changed += 1;
                    self.snapshot.remove(&reference);
                } else {
                    added += 1;
                }
                match version {
                    Version::Good { object, .. } => self.snapshot.insert(object),
                    Version::Broken(broken, _) => drop(self.snapshot.broken.insert(reference.clone(), broken)),
                }
            }
            self.served.insert(reference, identity);
        }

        self.begun |= unread.is_empty();
        let withheld = if self.begun { Vec::new() } else { unread };
        let differs =
            self.snapshot.revision == 0 || added + changed + removed > 0 || withheld != self.snapshot.withheld;
        self.snapshot.withheld = withheld;
        if differs {
            self.snapshot.revision += 1;
            let (revision, withheld) = (self.snapshot.revision, self.snapshot.withheld.len());
            let broken = self.snapshot.broken.len();
            let objects = self.served.len() - broken;
            info!(revision, objects, broken, withheld, added, changed, removed, "manifests read");
        }
        (self.snapshot.clone(), differs)
    }
}

#[cfg(test)]
mod tests {
    use api::{Kind, admit};
    use serde_json::json;

    use super::*;

    fn service(port: u16) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "t"},
            "spec": {"ports": [{"port": port}]}})
    }

    fn version(manifest: &Value) -> (ObjectRef, Option<Version>) {
        let admission = admit(manifest);
        let digest = blake3::hash(manifest.to_string().as_bytes());
        let reference = admission.reference.clone().unwrap_or_else(|| ObjectRef::new(Kind::Service, "", ""));
        let version = match (admission.rejected(), &admission.object) {
            (false, Some(object)) => {
                Version::Good { object: object.clone(), digest: Some(digest), made: String::new() }
            }
            _ => Version::Broken(admission.into_broken(), digest),
        };
        (reference, Some(version))
    }

    fn unread() -> Vec<Withheld> {
        vec![Withheld { place: "a.yaml:1".into(), why: "not valid YAML".into() }]
    }

    #[test]
    fn only_a_start_withholds() {
        let mut assembly = Assembly::default();
        let (first, _) = assembly.assemble([version(&service(80))], unread());
        assert_eq!((first.revision, first.withheld.len(), first.services.len()), (1, 1, 1));
        let (_, differs) = assembly.assemble([version(&service(80))], unread());
        assert!(!differs);
        let (mended, differs) = assembly.assemble([version(&service(80))], Vec::new());
        assert!(differs && mended.withheld.is_empty() && mended.revision == 2);
        let (later, differs) = assembly.assemble([version(&service(80))], unread());
        assert!(!differs && later.withheld.is_empty(), "what is served goes on being served");
    }

    #[test]
    fn an_object_is_replaced_by_other_versions_of_itself_only() {
        let mut assembly = Assembly::default();
        let (first, _) = assembly.assemble([version(&service(80))], Vec::new());
        let (same, differs) = assembly.assemble([version(&service(80))], Vec::new());
        assert!(!differs && same.delta(&first).is_empty());
        let (broken, _) = assembly.assemble([version(&service(0))], Vec::new());
        assert_eq!((broken.services.len(), broken.broken.len()), (0, 1));
        let (good, _) = assembly.assemble([version(&service(81))], Vec::new());
        assert_eq!((good.services.len(), good.broken.len()), (1, 0));
        let (gone, _) = assembly.assemble([(version(&service(81)).0, None)], Vec::new());
        assert_eq!((gone.services.len(), gone.broken.len(), gone.revision), (0, 0, 4));
    }
}
