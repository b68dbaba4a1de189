//! Which Secrets hold the keys of an `apiKeyAuth`, and which AuthConfigs a Secret may hold keys for.
//!
//! Both ways are indexes that are kept up by what changes, so that an edit costs what it touches
//! and not what there is.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use api::gloo::auth_config::KeySource;
use api::secret::{API_KEY, API_KEY_SECRET};
use api::{Kind, Name, ObjectRef, Pairs, Problem, Redacted, Secret, Snapshot};

/// Secrets by label.
#[derive(Debug, Clone, Default)]
pub struct Labelled(ByLabel<ByName>);

/// Something for each label, by key and value.
type ByLabel<T> = Map<Box<str>, Map<Box<str>, BTreeSet<T>>>;
type Map<K, V> = HashMap<K, V, ahash::RandomState>;

/// A Secret among others: it is in order of namespace and name, of which there is one each.
#[derive(Debug, Clone)]
struct ByName(Arc<Secret>);

impl ByName {
    fn name(&self) -> (&str, &str) {
        name_of(&self.0)
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(&other.name())
    }
}

impl Labelled {
    /// Replaces one version of a Secret with another; either may be missing.
    pub fn replace(&mut self, old: Option<&Arc<Secret>>, new: Option<&Arc<Secret>>) {
        for (key, value) in old.into_iter().flat_map(|secret| secret.metadata.labels()) {
            old.iter().for_each(|old| remove(&mut self.0, key, value, &ByName(Arc::clone(old))));
        }
        for (key, value) in new.into_iter().flat_map(|secret| secret.metadata.labels()) {
            new.iter().for_each(|new| insert(&mut self.0, key, value, ByName(Arc::clone(new))));
        }
    }

    /// Whether there is no label.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The Secrets that carry all of `labels`. No labels select nothing.
    fn carrying<'a>(&'a self, labels: &'a Pairs<Box<str>>) -> impl Iterator<Item = &'a Arc<Secret>> {
        let found = |key: &str, value: &str| self.0.get(key)?.get(value);
        // Of a label that nobody carries there is no set, and it is the fewest.
        let all = labels.iter().map(|(key, value)| found(key, value));
        let fewest = all.min_by_key(|secrets| secrets.map_or(0, BTreeSet::len)).flatten();
        fewest.into_iter().flatten().map(|ByName(secret)| secret).filter(|secret| carries(secret, labels))
    }
}

fn carries(secret: &Secret, labels: &Pairs<Box<str>>) -> bool {
    !labels.is_empty() && labels.iter().all(|(key, value)| secret.metadata.label(key) == Some(&**value))
}

fn name_of(secret: &Secret) -> (&str, &str) {
    (&secret.metadata.namespace, &secret.metadata.name)
}

/// The Secrets of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Secrets<'a> {
    /// All of them, by name, and those that are broken.
    pub snapshot: &'a Snapshot,
    /// The Secrets, by label.
    pub labelled: &'a Labelled,
}

impl Secrets<'_> {
    /// The Secrets that `source` selects, from any namespace, in order of name.
    ///
    /// `namespace` is that of the AuthConfig, `field` where the source stands in it.
    pub fn select(&self, source: KeySource<'_>, namespace: &str, field: &str) -> (Vec<Arc<Secret>>, Vec<Problem>) {
        let mut found: BTreeMap<(&str, &str), &Arc<Secret>> = BTreeMap::new();
        let mut problems = Vec::new();
        for secret in self.labelled.carrying(source.label_selector) {
            if secret.kind == API_KEY_SECRET {
                found.insert(name_of(secret), secret);
            } else if secret.data.get(API_KEY).or(secret.data.get("apiKey")).is_some() {
                problems.push(wrong_type(field, secret));
            }
        }
        for reference in source.secret_refs {
            let name = reference.resolve(namespace);
            match self.snapshot.secrets.get(&name) {
                Some(secret) if secret.kind == API_KEY_SECRET => drop(found.insert(name_of(secret), secret)),
                Some(secret) => problems.push(wrong_type(field, secret)),
                None => {
                    let broken = ObjectRef { kind: Kind::Secret, name: name.clone() };
                    let why = match self.snapshot.broken.contains_key(&broken) {
                        true => "cannot be read; see its own status",
                        false => "does not exist",
                    };
                    problems.push(Problem::warning(field, format!("Secret {name}: {why}")));
                }
            }
        }
        (found.into_values().cloned().collect(), problems)
    }
}

impl Secrets<'_> {
    /// The entry `key` of the Secret called `name`, which is of the type `kind`; else why there is none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn named(&self, name: &Name, kind: &str, key: &str) -> Result<Arc<Secret>, String> {
        let Some(secret) = self.snapshot.secrets.get(name) else {
            let broken = ObjectRef { kind: Kind::Secret, name: name.clone() };
            let is_broken = self.snapshot.broken.contains_key(&broken);
            let why = if is_broken { "cannot be read; see its own status" } else { "does not exist" };
            return Err(format!("Secret {name}: {why}"));
        };
        if secret.kind != kind {
            return Err(format!("Secret {name}: its type is {:?}; write type: {kind}", secret.kind));
        }
        match secret.data.get(key).map(Redacted::expose) {
            None | Some([]) => Err(format!("Secret {name}: has no entry {key}; write it there")),
            Some(_) => Ok(secret.clone()),
        }
    }
}

fn wrong_type(field: &str, secret: &Secret) -> Problem {
    let (namespace, name) = name_of(secret);
    let kind = &secret.kind;
    Problem::warning(
        field,
        format!(
            "Secret {namespace}/{name}: its type is {kind:?}, so its key is not read; write type: {API_KEY_SECRET}"
        ),
    )
}

/// What a step reads: as long as none of it changes, the step stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need<'a> {
    /// Every Secret that carries all of these labels.
    Labelled(&'a Pairs<Box<str>>),
    /// The Secret of this name, if it is there or not.
    Named(Name),
}

impl<'a> Need<'a> {
    /// What `source` needs, in an AuthConfig of `namespace`.
    pub fn of(source: KeySource<'a>, namespace: &str) -> Vec<Need<'a>> {
        let labelled = (!source.label_selector.is_empty()).then_some(Need::Labelled(source.label_selector));
        labelled
            .into_iter()
            .chain(source.secret_refs.iter().map(|named| Need::Named(named.resolve(namespace))))
            .collect()
    }

    /// Whether the Secret called `name` is needed, or was as `versions` of it.
    pub(crate) fn is_met(&self, name: &Name, versions: &[&Secret]) -> bool {
        match self {
            Need::Labelled(labels) => versions.iter().any(|secret| carries(secret, labels)),
            Need::Named(named) => named == name,
        }
    }
}

/// AuthConfigs by what they read.
#[derive(Debug, Clone, Default)]
pub struct Readers {
    /// By one label of each selector: whom it selects carries that one.
    labelled: ByLabel<Box<Name>>,
    named: Map<Name, BTreeSet<Box<Name>>>,
}

impl Readers {
    /// Notes that `reader` has these needs.
    pub fn insert(&mut self, reader: &Name, needs: &[Need<'_>]) {
        for need in needs {
            match need {
                Need::Labelled(labels) => {
                    labels.iter().take(1).for_each(|(k, v)| insert(&mut self.labelled, k, v, Box::new(reader.clone())));
                }
                Need::Named(name) => drop(self.named.entry(name.clone()).or_default().insert(Box::new(reader.clone()))),
            }
        }
    }

    /// Forgets that `reader` has these needs.
    pub fn remove(&mut self, reader: &Name, needs: &[Need<'_>]) {
        for need in needs {
            match need {
                Need::Labelled(labels) => {
                    labels.iter().take(1).for_each(|(k, v)| remove(&mut self.labelled, k, v, reader))
                }
                Need::Named(name) => remove_one(&mut self.named, name, reader),
            }
        }
    }

    /// Whether nobody reads anything.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.labelled.is_empty() && self.named.is_empty()
    }

    /// Whoever may read the Secret called `name`, or may have read it as `versions` of it.
    pub fn of<'a>(&'a self, name: &Name, versions: &'a [&Secret]) -> impl Iterator<Item = &'a Name> {
        let labels = versions.iter().flat_map(|secret| secret.metadata.labels());
        let labelled = labels.filter_map(|(key, value)| self.labelled.get(key)?.get(value));
        self.named.get(name).into_iter().chain(labelled).flatten().map(AsRef::as_ref)
    }
}

fn insert<T: Ord>(index: &mut ByLabel<T>, key: &str, value: &str, entry: T) {
    if !index.contains_key(key) {
        index.insert(key.into(), Map::default());
    }
    let Some(values) = index.get_mut(key) else { return };
    match values.get_mut(value) {
        Some(set) => drop(set.insert(entry)),
        None => drop(values.insert(value.into(), BTreeSet::from([entry]))),
    }
}

fn remove<T: Ord + Borrow<E>, E: Ord>(index: &mut ByLabel<T>, key: &str, value: &str, entry: &E) {
    let Some(values) = index.get_mut(key) else { return };
    remove_one(values, value, entry);
    if values.is_empty() {
        index.remove(key);
    }
}

fn remove_one<K, Q, T, E>(sets: &mut Map<K, BTreeSet<T>>, key: &Q, entry: &E)
where
    K: Borrow<Q> + Hash + Eq,
    Q: Hash + Eq + ?Sized,
    T: Ord + Borrow<E>,
    E: Ord,
{
    let Some(set) = sets.get_mut(key) else { return };
    set.remove(entry);
    if set.is_empty() {
        sets.remove(key);
    }
}
