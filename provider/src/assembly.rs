//! The snapshot of what is declared, changed by what changed: last good versions, broken ones, and
//! what withholds everything. The same for every provider, which decides what the newest version of each object is.

use std::collections::HashMap;
use std::sync::Arc;

use api::unserved::UnservedRef;
use api::{Broken, Fingerprint, Object, ObjectRef, Problem, Reach, Snapshot, Withheld};
use blake3::Hash;
use serde_json::Value;
use status::Condition;
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

/// What tells a version from another of the same object: equal for equal ones. There is one of these for each
/// object, and there may be very many.
fn identity(version: &Version) -> Hash {
    let mut hasher = Fingerprint::hasher();
    match version {
        // Its manifest alone, as of almost all.
        Version::Good { digest: Some(digest), made, .. } if made.is_empty() => return *digest,
        Version::Good { digest, made, .. } => {
            hasher.update(b"good").update(digest.map(|digest| *digest.as_bytes()).as_ref().map_or(&[], |d| &d[..]));
            hasher.update(b"made").update(made.as_bytes());
        }
        Version::Broken(broken, digest) => {
            hasher.update(b"broken").update(digest.as_bytes());
            for problem in &broken.problems {
                // Each part with its length, so that no two lists run into the same bytes.
                for part in [&problem.field, &problem.message] {
                    hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
                }
            }
        }
    }
    hasher.finalize()
}

/// What is said of an object of which the newest version cannot be served and an earlier one is.
pub const LAST_GOOD: &str = "serving the last good version";

/// What a provider says of an object with these problems, the worst first and each once. `note` is added in brackets
/// unless it is empty.
pub fn judged(mut problems: Vec<Problem>, note: &str) -> Condition {
    problems.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
    problems.dedup();
    let mut condition = Condition::accepted(problems);
    condition.message = match (condition.message.as_str(), note) {
        (message, "") => message.to_owned(),
        ("", note) => note.to_owned(),
        (message, note) => format!("{message} [{note}]"),
    };
    condition
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
    known: HashMap<Arc<ObjectRef>, Known>,
    /// What was put since the last snapshot.
    since: Count,
    /// Whether everything was readable once since the start.
    begun: bool,
}

/// What is kept of one object.
#[derive(Debug, Default)]
struct Known {
    /// The newest version that could be served.
    good: Option<Stamped>,
    /// What tells the version that is in the snapshot.
    served: Served,
}

/// What tells the version of an object that is in the snapshot, in little room.
#[derive(Debug, Default)]
enum Served {
    /// There is none.
    #[default]
    Nothing,
    /// It is told by the digest of the last good version's manifest.
    Good,
    /// By this.
    Other(Box<Hash>),
}

impl Known {
    fn served(&self) -> Option<Hash> {
        match (&self.served, &self.good) {
            (Served::Nothing, _) | (Served::Good, None) => None,
            (Served::Good, Some((_, digest))) => Some(*digest),
            (Served::Other(identity), _) => Some(**identity),
        }
    }

    /// Changes both, neither by way of the other.
    fn put(&mut self, good: Option<Stamped>, served: Option<Hash>) {
        self.served = match served {
            None => Served::Nothing,
            Some(identity) if good.as_ref().is_some_and(|(_, digest)| *digest == identity) => Served::Good,
            Some(identity) => Served::Other(Box::new(identity)),
        };
        self.good = good;
    }

    fn is_nothing(&self) -> bool {
        self.good.is_none() && matches!(self.served, Served::Nothing)
    }
}

/// How many objects there are, and what became of others.
#[derive(Debug, Default)]
struct Count {
    served: usize,
    added: usize,
    changed: usize,
    removed: usize,
}

impl Assembly {
    /// The newest version of the object that could be served.
    pub fn last_good(&self, object: &ObjectRef) -> Option<&Stamped> {
        self.known.get(object)?.good.as_ref()
    }

    /// Notes the newest version that can be served.
    pub fn keep_good(&mut self, object: impl Into<Arc<ObjectRef>>, version: Stamped) {
        let known = self.known.entry(object.into()).or_default();
        let served = known.served();
        known.put(Some(version), served);
    }

    /// Forgets the last good version of what is not declared any more.
    pub fn forget_good(&mut self, object: &ObjectRef) {
        if let Some(known) = self.known.get_mut(object) {
            let served = known.served();
            known.put(None, served);
            if known.is_nothing() {
                self.known.remove(object);
            }
        }
    }

    /// Takes in the version of an object that may have changed, none for one that is not declared any more.
    pub fn put(&mut self, object: impl Into<Arc<ObjectRef>>, version: Option<Version>) {
        let object = object.into();
        let served = version.as_ref().map(identity);
        let known = self.known.get(&object).and_then(Known::served);
        if served == known {
            return;
        }
        match (known.is_some(), served.is_some()) {
            (true, true) => self.since.changed += 1,
            (true, false) => (self.since.removed, self.since.served) = (self.since.removed + 1, self.since.served - 1),
            (false, _) => (self.since.added, self.since.served) = (self.since.added + 1, self.since.served + 1),
        }
        if known.is_some() {
            self.snapshot.remove(&object);
        }
        match version {
            Some(Version::Good { object, .. }) => self.snapshot.insert(object),
            Some(Version::Broken(broken, _)) => drop(self.snapshot.broken.insert(ObjectRef::clone(&object), broken)),
            None => {}
        }
        let known = self.known.entry(object.clone()).or_default();
        let good = known.good.take();
        known.put(good, served);
        if known.is_nothing() {
            self.known.remove(&object);
        }
    }

    /// Takes in an object of a kind that is not served, with what it is to govern; none if it is not there any more.
    pub fn put_unserved(&mut self, object: UnservedRef, reach: Option<Reach>) {
        let known = self.snapshot.unserved.get(&object).map(|known| Reach::clone(known));
        match (&known, &reach) {
            (None, None) => return,
            (Some(known), Some(reach)) if known == reach => return,
            (Some(_), Some(_)) => self.since.changed += 1,
            (Some(_), None) => self.since.removed += 1,
            (None, Some(_)) => self.since.added += 1,
        }
        match reach {
            Some(reach) => drop(self.snapshot.unserved.insert(object, reach)),
            None => drop(self.snapshot.unserved.remove(&object)),
        }
    }

    /// The objects of kinds that are not served.
    pub fn unserved(&self) -> impl Iterator<Item = (&UnservedRef, &Arc<Reach>)> {
        self.snapshot.unserved.iter()
    }

    /// The snapshot of what was put so far, and whether it says anything else than the one before. `unread`
    /// says why not all that is there could be read.
    ///
    /// Until everything could be read once, what could not withholds everything. After that the last
    /// good versions stand for it, and only the provider's report tells.
    pub fn assemble(&mut self, unread: Vec<Withheld>) -> (Snapshot, bool) {
        let Count { served, added, changed, removed } = self.since;
        self.since = Count { served, ..Count::default() };
        self.begun |= unread.is_empty();
        let withheld = if self.begun { Vec::new() } else { unread };
        let differs =
            self.snapshot.revision == 0 || added + changed + removed > 0 || withheld != self.snapshot.withheld;
        self.snapshot.withheld = withheld;
        if differs {
            self.snapshot.revision += 1;
            let (revision, withheld) = (self.snapshot.revision, self.snapshot.withheld.len());
            let broken = self.snapshot.broken.len();
            let objects = served - broken;
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

    fn version(manifest: &Value) -> (Arc<ObjectRef>, Option<Version>) {
        let admission = admit(manifest);
        let digest = blake3::hash(manifest.to_string().as_bytes());
        let reference = admission.reference.clone().unwrap_or_else(|| ObjectRef::new(Kind::Service, "", "")).into();
        let version = match (admission.rejected(), &admission.object) {
            (false, Some(object)) => {
                Version::Good { object: object.clone(), digest: Some(digest), made: String::new() }
            }
            _ => Version::Broken(admission.into_broken(), digest),
        };
        (reference, Some(version))
    }

    impl Assembly {
        fn of(
            &mut self,
            (object, version): (Arc<ObjectRef>, Option<Version>),
            unread: Vec<Withheld>,
        ) -> (Snapshot, bool) {
            self.put(object, version);
            self.assemble(unread)
        }
    }

    fn unread() -> Vec<Withheld> {
        vec![Withheld { place: "a.yaml:1".into(), why: "not valid YAML".into() }]
    }

    #[test]
    fn only_a_start_withholds() {
        let mut assembly = Assembly::default();
        let (first, _) = assembly.of(version(&service(80)), unread());
        assert_eq!((first.revision, first.withheld.len(), first.services.len()), (1, 1, 1));
        let (_, differs) = assembly.of(version(&service(80)), unread());
        assert!(!differs);
        let (mended, differs) = assembly.of(version(&service(80)), Vec::new());
        assert!(differs && mended.withheld.is_empty() && mended.revision == 2);
        let (later, differs) = assembly.of(version(&service(80)), unread());
        assert!(!differs && later.withheld.is_empty(), "what is served goes on being served");
    }

    #[test]
    fn an_object_is_replaced_by_other_versions_of_itself_only() {
        let mut assembly = Assembly::default();
        let (first, _) = assembly.of(version(&service(80)), Vec::new());
        let (same, differs) = assembly.of(version(&service(80)), Vec::new());
        assert!(!differs && same.delta(&first).is_empty());
        let (broken, _) = assembly.of(version(&service(0)), Vec::new());
        assert_eq!((broken.services.len(), broken.broken.len()), (0, 1));
        // What is left of it may be something else, with the same mistakes.
        let mut other = service(0);
        other["metadata"]["labels"] = json!({"istio.io/use-waypoint": "wp"});
        let (other, differs) = assembly.of(version(&other), Vec::new());
        assert!(differs && !other.delta(&broken).is_empty());
        let (good, _) = assembly.of(version(&service(81)), Vec::new());
        assert_eq!((good.services.len(), good.broken.len()), (1, 0));
        let (gone, _) = assembly.of((version(&service(81)).0, None), Vec::new());
        assert_eq!((gone.services.len(), gone.broken.len(), gone.revision), (0, 0, 5));
    }
}
