//! What all objects have in common: metadata.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::name::Name;

/// Access to an object's metadata, whatever its kind.
pub trait Meta {
    /// The metadata.
    fn meta(&self) -> &ObjectMeta;

    /// The metadata, to be changed.
    fn meta_mut(&mut self) -> &mut ObjectMeta;

    /// Namespace and name.
    fn name_of(&self) -> Name {
        let meta = self.meta();
        Name::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }

    /// The label `key`, if set.
    fn label(&self, key: &str) -> Option<&str> {
        self.meta().labels.as_ref()?.get(key).map(String::as_str)
    }
}

impl Meta for ObjectMeta {
    fn meta(&self) -> &ObjectMeta {
        self
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self
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
