//! Which fields a type has, and which of them a misspelt one may be meant to be.
//!
//! A type tells its fields when it is deserialised: [`known`] deserialises it from a value that
//! consists of one path only and listens.

use std::cell::Cell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// The fields that `T` has at `path`; none where it takes any, or does not tell.
pub(crate) fn known<T: DeserializeOwned>(path: &[Step]) -> Option<&'static [&'static str]> {
    let found = Cell::new(None);
    drop(T::deserialize(Probe { path, found: &found }));
    found.get()
}

/// The one of `known` that `written` is probably meant to be.
pub(crate) fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    // Two that differ in spelling alone come before two that differ in letters.
    let folded = fold(written);
    known
        .iter()
        .filter(|name| resembles(written, name))
        .min_by_key(|name| (strsim::osa_distance(&folded, &fold(name)), name.len()))
        .copied()
}

/// Whether `written` may be `name` misspelt: in other case, with underscores, in singular or plural,
/// or with as many letters wrong as its length forgives.
pub(crate) fn resembles(written: &str, name: &str) -> bool {
    let (written, name) = (fold(written), fold(name));
    if written == name || written.strip_suffix('s') == Some(&name) || name.strip_suffix('s') == Some(&written) {
        return !written.is_empty();
    }
    let length = name.len().min(written.len());
    let forgiven = match length {
        0..=3 => 0,
        4..=5 => 1,
        _ => 2,
    };
    // The distance is at least the difference of the lengths: cheap to see first.
    written.len().abs_diff(name.len()) <= forgiven && strsim::osa_distance(&written, &name) <= forgiven
}

fn fold(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// A value that has nothing but `path` in it.
struct Probe<'p> {
    path: &'p [Step],
    found: &'p Cell<Option<&'static [&'static str]>>,
}

/// Said to end the deserialisation; nobody reads it.
#[derive(Debug)]
struct End;

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the end of the path")
    }
}

impl std::error::Error for End {}

impl de::Error for End {
    fn custom<T: fmt::Display>(_: T) -> Self {
        End
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = End;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, End> {
        match self.path {
            [] => Err(End),
            [Step::Key(_), ..] => visitor.visit_map(Entries(Some(self))),
            [Step::Index(_), ..] => visitor.visit_seq(Entries(Some(self))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, End> {
        if self.path.is_empty() {
            self.found.set(Some(fields));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, End> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, End> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, End> {
        Err(End)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map enum identifier
    }
}

/// The one entry of a mapping or list on the path.
struct Entries<'p>(Option<Probe<'p>>);

impl<'p> Entries<'p> {
    fn value(&mut self) -> Result<Probe<'p>, End> {
        let Probe { path, found } = self.0.take().ok_or(End)?;
        Ok(Probe { path: path.get(1..).unwrap_or_default(), found })
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = End;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, End> {
        let Some(Step::Key(key)) = self.0.as_ref().and_then(|probe| probe.path.first()) else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, End> {
        seed.deserialize(self.value()?)
    }
}

impl<'de> SeqAccess<'de> for Entries<'_> {
    type Error = End;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, End> {
        // The first always ends the deserialisation: there is no end of the list to be told.
        seed.deserialize(self.value()?).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Namespace, Service};
    use crate::gateway::HttpRoute;
    use crate::gloo::{RateLimitConfig, RouteOption};

    fn at<T: DeserializeOwned>(path: &[&str]) -> &'static [&'static str] {
        let step = |step: &&str| step.parse().map_or_else(|_| Step::Key((*step).to_owned()), Step::Index);
        known::<T>(&path.iter().map(step).collect::<Vec<_>>()).unwrap_or_default()
    }

    #[test]
    fn every_type_tells_its_fields_at_every_depth() {
        assert!(at::<Namespace>(&["metadata"]).contains(&"labels"));
        assert!(at::<Service>(&["spec", "ports", "0"]).contains(&"targetPort"));
        assert!(at::<HttpRoute>(&["spec"]).contains(&"parentRefs"));
        assert!(at::<HttpRoute>(&["spec", "rules", "3", "filters", "0", "extensionRef"]).contains(&"name"));
        assert!(at::<RouteOption>(&[]).contains(&"spec"));
        assert!(at::<RouteOption>(&["spec"]).contains(&"target_refs"));
        assert!(at::<RateLimitConfig>(&["spec", "raw", "descriptors", "0", "rateLimit"]).contains(&"unit"));
        assert!(at::<Namespace>(&["metadata", "labels"]).is_empty(), "a mapping takes any");
        assert!(at::<Namespace>(&["nothing", "there"]).is_empty());
    }

    #[test]
    fn a_misspelt_field_finds_the_one_that_was_meant() {
        let known = ["targetRefs", "options", "name", "kind", "key"];
        for (written, meant) in [
            ("targetRef", Some("targetRefs")),
            ("targetrefs", Some("targetRefs")),
            ("target_refs", Some("targetRefs")),
            ("tragetRefs", Some("targetRefs")),
            ("Options", Some("options")),
            ("opitons", Some("options")),
            ("nmae", Some("name")),
            ("keys", Some("key")),
            ("kay", None),
            ("parentRefs", None),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, &known), meant, "{written}");
        }
        assert!(!resembles("--", "") && !resembles("", "--"), "nothing is like nothing");
    }
}
