//! A map of few entries in little room. A tree has room for eleven entries from the first one on, and of some kinds there are
//! very many objects with one entry each.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Map;
use std::slice::Iter;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Values by key, in the order of their keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pairs<V>(Box<[(Box<str>, V)]>);

impl<V> Pairs<V> {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&V> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.into_iter()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<V: fmt::Debug> fmt::Debug for Pairs<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

/// Of several values of one key the last counts.
impl<K: Into<Box<str>>, V> FromIterator<(K, V)> for Pairs<V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let sorted: BTreeMap<Box<str>, V> = entries.into_iter().map(|(key, value)| (key.into(), value)).collect();
        Self(sorted.into_iter().collect())
    }
}

impl<'a, V> IntoIterator for &'a Pairs<V> {
    type Item = (&'a str, &'a V);
    type IntoIter = Map<Iter<'a, (Box<str>, V)>, fn(&'a (Box<str>, V)) -> (&'a str, &'a V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

impl<V: Serialize> Serialize for Pairs<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<String, V>::deserialize(deserializer).map(|entries| entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_put_in_is_found_by_its_key_and_in_order() {
        let pairs: Pairs<u8> = [("b", 1), ("c", 2), ("a", 3), ("b", 4)].into_iter().collect();
        assert_eq!(pairs.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((pairs.get("a"), pairs.get("b"), pairs.get("d")), (Some(&3), Some(&4), None));
        assert!(!pairs.is_empty() && Pairs::<u8>::default().is_empty());
        let text = serde_json::to_string(&pairs).unwrap();
        assert_eq!(text, r#"{"a":3,"b":4,"c":2}"#);
        assert_eq!(serde_json::from_str::<Pairs<u8>>(&text).unwrap(), pairs);
        assert_eq!(format!("{pairs:?}"), r#"{"a": 3, "b": 4, "c": 2}"#);
    }
}
