//! JSON as others send it to be believed: no mapping says a key twice.
//!
//! Of two entries of one key some readers take the first and some the last, so that whoever checks such a text and whoever
//! acts on it may read two different ones.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A value in which no mapping says a key twice.
struct Unique(Value);

/// Reads `text`.
///
/// # Errors
/// What is wrong with it. The text is not repeated: there may be secrets in it.
fn unique(text: &[u8]) -> Result<Value, &'static str> {
    match serde_json::from_slice(text) {
        Ok(Unique(value)) => Ok(value),
        Err(error) if error.is_data() => Err("says a key twice"),
        Err(_) => Err("is not JSON"),
    }
}

/// Reads `text`, which is a mapping.
///
/// # Errors
/// What is wrong with it. The text is not repeated: there may be secrets in it.
pub fn unique_object(text: &[u8]) -> Result<Map<String, Value>, &'static str> {
    match unique(text)? {
        Value::Object(map) => Ok(map),
        _ => Err("is no mapping"),
    }
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reads).map(Unique)
    }
}

struct Reads;

impl<'de> Visitor<'de> for Reads {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON in which no mapping says a key twice")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is none"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let Unique(value) = entries.next_value()?;
            if read.insert(key, value).is_some() {
                return Err(de::Error::custom("a key twice"));
            }
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_comes_twice_is_refused_wherever_it_does() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":{"c":1,"c":2}}"#,
            r#"[[{"a":null,"a":null}]]"#,
            // The same key in another spelling.
            r#"{"kid":1,"\u006bid":2}"#,
        ] {
            assert_eq!(unique(text.as_bytes()), Err("says a key twice"), "{text}");
        }
        for text in ["", "{", "{} x", "nul", "{'a':1}", "1e999", "\u{feff}{}", "{\"a\":\"\n\"}", "[1,]"] {
            assert_eq!(unique(text.as_bytes()), Err("is not JSON"), "{text:?}");
        }
        assert_eq!(unique(b"\"\xff\""), Err("is not JSON"));
        let deep = "[".repeat(100_000);
        assert_eq!(unique(deep.as_bytes()), Err("is not JSON"));
        assert_eq!(unique_object(b"[]"), Err("is no mapping"));
        assert_eq!(unique_object(b"{\"a\":[{\"a\":1},{\"a\":1}]}").unwrap()["a"], json!([{"a": 1}, {"a": 1}]));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in value()) {
            prop_assert_eq!(unique(&serde_json::to_vec(&value).unwrap()), Ok(value));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = unique(&bytes);
        }
    }
}
