//! What the targets share: bytes to documents, documents to a snapshot.

use api::Snapshot;
use serde::Deserialize as _;
use serde_json::Value;

/// The JSON document, or the YAML documents up to the first that cannot be read, in `bytes`.
pub fn documents(bytes: &[u8]) -> Vec<Value> {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return vec![value];
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return Vec::new() };
    serde_norway::Deserializer::from_str(text).map_while(|document| Value::deserialize(document).ok()).collect()
}

/// A snapshot as a provider would make it of `documents`.
pub fn snapshot(documents: &[Value]) -> Snapshot {
    Snapshot::of(documents)
}
