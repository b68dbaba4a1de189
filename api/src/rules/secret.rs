//! Secret: decoded by hand, so that no message ever repeats a value and no copy of one is left behind.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

pub use super::plain::{reach, validate};
use super::prelude::*;
use crate::redacted::Redacted;
use crate::secret::Secret;

/// Secrets: base64 undone, `stringData` folded in (it wins), nothing of it ever in a message.
pub fn decode(body: &Value) -> (Option<Secret>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut data = BTreeMap::new();
    for key in body.as_object().into_iter().flat_map(Map::keys) {
        if !matches!(key.as_str(), "metadata" | "type" | "data" | "stringData" | "immutable") {
            problems
                .push(Problem::error(key.clone(), "unknown field: a Secret has type, data, stringData and immutable"));
        }
    }
    let mut entries = |field: &str, read: &dyn Fn(&str) -> Result<Redacted, &'static str>| match body.get(field) {
        None | Some(Value::Null) => {}
        Some(Value::Object(map)) => {
            for (key, value) in map {
                let path = format!("{field}.{key}");
                if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
                {
                    problems.push(Problem::error(path, "a key has letters, digits, '-', '_' and '.' only"));
                    continue;
                }
                match value {
                    Value::Null => drop(data.insert(key.clone(), Redacted::new(Vec::new()))),
                    Value::String(text) => match read(text) {
                        Ok(bytes) => drop(data.insert(key.clone(), bytes)),
                        Err(why) => problems.push(Problem::error(path, why)),
                    },
                    _ => problems.push(Problem::error(path, "wrong type: write a string (quote numbers and booleans)")),
                }
            }
        }
        Some(_) => problems.push(Problem::error(field, "wrong type: write a mapping of keys to strings")),
    };
    entries("data", &|text| {
        let compact: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect());
        base64::engine::general_purpose::STANDARD
            .decode(compact.as_bytes())
            .map(Redacted::new)
            .map_err(|_| "not base64; write plain text under stringData instead")
    });
    entries("stringData", &|text| Ok(Redacted::new(text.as_bytes())));
    let kind = match body.get("type") {
        None | Some(Value::Null) => "Opaque",
        Some(Value::String(kind)) => kind,
        Some(_) => {
            problems.push(Problem::error("type", "wrong type: write a string"));
            "Opaque"
        }
    };
    (Some(Secret::new(kind, data)), problems)
}
