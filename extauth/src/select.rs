//! Which Secrets hold the keys of an `apiKeyAuth`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::gloo::auth_config::{API_KEY, KeySource};
use api::{Kind, Name, ObjectRef, Problem, Secret, Snapshot};

/// The type a Secret must have for its key to be read.
pub const SECRET_TYPE: &str = "extauth.solo.io/apikey";

type Named<'a> = (&'a Name, &'a Arc<Secret>);

/// The Secrets of a snapshot, found by label without looking at all of them.
#[derive(Debug)]
pub struct Secrets<'a> {
    snapshot: &'a Snapshot,
    by_label: HashMap<(&'a str, &'a str), Vec<Named<'a>>, ahash::RandomState>,
}

impl<'a> Secrets<'a> {
    /// Indexes the Secrets of `snapshot`.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut by_label: HashMap<_, Vec<_>, ahash::RandomState> = HashMap::default();
        for (name, secret) in &snapshot.secrets {
            for (key, value) in secret.metadata.labels.iter().flatten() {
                by_label.entry((key.as_str(), value.as_str())).or_default().push((name, secret));
            }
        }
        Self { snapshot, by_label }
    }

    /// The Secrets that `source` selects, from any namespace, in order of name.
    ///
    /// `namespace` is that of the AuthConfig, `field` where the source stands in it.
    pub fn select(&self, source: KeySource<'_>, namespace: &str, field: &str) -> (Vec<Arc<Secret>>, Vec<Problem>) {
        let mut found: BTreeMap<&Name, &Arc<Secret>> = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, secret) in self.labelled(source.label_selector) {
            if secret.kind == SECRET_TYPE {
                found.insert(name, secret);
            } else if secret.data.contains_key(API_KEY) || secret.data.contains_key("apiKey") {
                problems.push(wrong_type(field, name, secret));
            }
        }
        for reference in source.secret_refs {
            let name = reference.resolve(namespace);
            match self.snapshot.secrets.get_key_value(&name) {
                Some((name, secret)) if secret.kind == SECRET_TYPE => drop(found.insert(name, secret)),
                Some((name, secret)) => problems.push(wrong_type(field, name, secret)),
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

    /// The Secrets that carry all of `labels`. No labels select nothing.
    fn labelled<'b>(&'b self, labels: &'b BTreeMap<String, String>) -> impl Iterator<Item = Named<'a>> + use<'a, 'b> {
        let candidates = labels
            .iter()
            .map(|(key, value)| {
                self.by_label.get(&(key.as_str(), value.as_str())).map(Vec::as_slice).unwrap_or_default()
            })
            .min_by_key(|list| list.len())
            .unwrap_or_default();
        candidates.iter().copied().filter(move |(_, secret)| {
            let own = secret.metadata.labels.as_ref();
            labels.iter().all(|(key, value)| own.and_then(|own| own.get(key)) == Some(value))
        })
    }
}

fn wrong_type(field: &str, name: &Name, secret: &Secret) -> Problem {
    Problem::warning(
        field,
        format!("Secret {name}: its type is {:?}, so its key is not read; write type: {SECRET_TYPE}", secret.kind),
    )
}
