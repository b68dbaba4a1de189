//! What all objects have in common: metadata.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::pairs::Pairs;

/// Access to an object's metadata, whatever its kind.
pub trait Meta {
    /// Namespace and name.
    fn name_of(&self) -> Name;

    /// The label `key`, if set.
    fn label(&self, key: &str) -> Option<&str>;

    /// `metadata.generation`, which an API server counts up with each change of what is asked for; none where
    /// the source has none, as files do not.
    fn generation(&self) -> Option<i64>;

    /// When it was made, if that is known.
    fn created(&self) -> Option<&Time>;

    /// Makes it one that was made then.
    fn set_created(&mut self, created: Option<Time>);

    /// Gives it this metadata in place of its own.
    fn set_meta(&mut self, metadata: ObjectMeta);
}

impl Meta for ObjectMeta {
    fn name_of(&self) -> Name {
        Name::new(self.namespace.clone().unwrap_or_default(), self.name.clone().unwrap_or_default())
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(String::as_str)
    }

    fn generation(&self) -> Option<i64> {
        self.generation
    }

    fn created(&self) -> Option<&Time> {
        self.creation_timestamp.as_ref()
    }

    fn set_created(&mut self, created: Option<Time>) {
        self.creation_timestamp = created;
    }

    fn set_meta(&mut self, metadata: ObjectMeta) {
        *self = metadata;
    }
}

/// The part of an object's metadata that something reads, in a third of the room: for kinds of which there are very many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brief {
    /// Namespace.
    pub namespace: Box<str>,
    /// Name within it.
    pub name: Box<str>,
    /// When the object was made, if that is known.
    pub created: Option<Time>,
    /// Labels, in the order of their keys.
    labels: Pairs<Box<str>>,
}

impl Brief {
    /// The labels, in the order of their keys.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(key, value)| (key, &**value))
    }

    /// The label `key`, if set.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(AsRef::as_ref)
    }
}

impl From<ObjectMeta> for Brief {
    fn from(metadata: ObjectMeta) -> Self {
        let labels = metadata.labels.unwrap_or_default().into_iter();
        Self {
            namespace: metadata.namespace.unwrap_or_default().into(),
            name: metadata.name.unwrap_or_default().into(),
            created: metadata.creation_timestamp,
            labels: labels.map(|(key, value)| (key, value.into())).collect(),
        }
    }
}

impl Meta for Brief {
    fn name_of(&self) -> Name {
        Name::new(&*self.namespace, &*self.name)
    }

    fn label(&self, key: &str) -> Option<&str> {
        Brief::label(self, key)
    }

    fn generation(&self) -> Option<i64> {
        None
    }

    fn created(&self) -> Option<&Time> {
        self.created.as_ref()
    }

    fn set_created(&mut self, created: Option<Time>) {
        self.created = created;
    }

    fn set_meta(&mut self, metadata: ObjectMeta) {
        *self = metadata.into();
    }
}

/// A custom resource: metadata and a spec. Status is never read from it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Resource<S> {
    /// Name, namespace, labels, annotations, creation time.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the author asks for.
    pub spec: S,
}
