//! Where each object is declared, and in which order several declarations of one count.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use api::{Object, ObjectRef};
use blake3::Hash;
use smallvec::SmallVec;

use super::engine::{Declared, Source};

/// The declarations of all files.
#[derive(Default)]
pub(crate) struct Declarations {
    places: HashMap<Arc<ObjectRef>, Places>,
    by_file: HashMap<Arc<Path>, Vec<Arc<ObjectRef>>>,
}

/// Where an object is declared: files, and numbers in what they declare. Almost always there is one.
type Places = SmallVec<[(Arc<Path>, usize); 1]>;

/// One declaration of an object among possibly several.
pub(crate) struct Candidate<'a> {
    pub path: &'a Arc<Path>,
    pub source: &'a Source,
    pub declared: &'a Arc<Declared>,
    index: usize,
}

impl Candidate<'_> {
    fn age(&self) -> (Option<SystemTime>, &Path, u32, usize) {
        (self.source.record.modified, self.path, self.declared.document, self.index)
    }

    pub fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.declared.line)
    }

    /// What would be served of it, if it can be.
    pub fn usable(&self) -> Option<(Object, Hash)> {
        let object = self.declared.object.as_ref().filter(|_| !self.declared.is_rejected())?;
        Some((object.clone(), self.declared.digest))
    }
}

impl Declarations {
    /// Notes what the `changed` files declare now; the answer is what they declare and have declared.
    pub fn note(
        &mut self,
        sources: &BTreeMap<PathBuf, Source>,
        changed: &BTreeSet<PathBuf>,
    ) -> BTreeSet<Arc<ObjectRef>> {
        let mut due = BTreeSet::new();
        for path in changed {
            let path: Arc<Path> = Arc::from(path.as_path());
            for (index, reference) in self.by_file.remove(&path).unwrap_or_default().into_iter().enumerate() {
                if let Some(places) = self.places.get_mut(&reference) {
                    places.retain(|(file, number)| (&*file, *number) != (&path, index));
                    if places.is_empty() {
                        self.places.remove(&reference);
                    }
                }
                due.insert(reference);
            }
            let Some(source) = sources.get(path.as_ref()) else { continue };
            let mut references = Vec::with_capacity(source.declared.len());
            for (index, declared) in source.declared.iter().enumerate() {
                let reference = declared.reference.clone();
                self.places.entry(reference.clone()).or_default().push((path.clone(), index));
                due.insert(reference.clone());
                references.push(reference);
            }
            self.by_file.insert(path, references);
        }
        due
    }

    /// Every declaration of an object, the newest first. Ties go to the later path, then the later document:
    /// the order in which `kubectl apply` would have applied them. Of a list's items, which share a
    /// document, the later one comes first, too.
    pub fn of<'a>(
        &'a self,
        sources: &'a BTreeMap<PathBuf, Source>,
        reference: &ObjectRef,
    ) -> SmallVec<[Candidate<'a>; 1]> {
        let places = self.places.get(reference).into_iter().flatten();
        let mut all: SmallVec<[Candidate<'a>; 1]> = places
            .filter_map(|(path, index)| {
                let source = sources.get(path.as_ref())?;
                Some(Candidate { path, source, declared: source.declared.get(*index)?, index: *index })
            })
            .collect();
        all.sort_by(|a, b| b.age().cmp(&a.age()));
        all
    }

    /// The reference that everything known of a declared object shares.
    pub fn key(&self, reference: &ObjectRef) -> Option<&Arc<ObjectRef>> {
        self.places.get_key_value(reference).map(|(key, _)| key)
    }

    /// Whether the object is declared.
    pub fn contain(&self, reference: &ObjectRef) -> bool {
        self.places.contains_key(reference)
    }

    /// Every object that is declared.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<ObjectRef>> {
        self.places.keys()
    }
}
