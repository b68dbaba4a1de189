//! Manifests as values, for tests that need no server to read them.

use serde::Deserialize as _;
use serde_json::Value;

/// The documents of `yaml`, without those that are empty.
pub fn documents(yaml: &str) -> Vec<Value> {
    let read = |document| Value::deserialize(document).unwrap_or_else(|error| panic!("{error}:\n{yaml}"));
    serde_norway::Deserializer::from_str(yaml).map(read).filter(|document| !document.is_null()).collect()
}
