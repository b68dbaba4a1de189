//! What objects are called.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Namespace and name of an object; the namespace is empty for cluster-wide kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name {
    /// Namespace, empty for cluster-wide kinds.
    pub namespace: String,
    /// Name within the namespace.
    pub name: String,
}

impl Name {
    /// Namespace and name, in that order.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// Whether `text` is an RFC 1123 subdomain, as names of objects are.
pub(crate) fn is_dns_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Whether `text` may be the name of a namespace.
pub fn is_namespace(text: &str) -> bool {
    text.len() <= 63 && !text.contains('.') && is_dns_name(text)
}
