//! A question as people write it: `"shop.limits: type=a, number=1"`, or the same in JSON.
//!
//! It becomes the message Envoy would send, and is read at the same door: what
//! is too large or malformed there is so here.

use std::fmt;
use std::str::FromStr;

use api::gloo::rate_limit_config::{RateLimit, SET_DESCRIPTOR_MARKER};
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{Entry, RateLimitOverride};
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use proto::google::protobuf::UInt64Value;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A question: what would be answered to these descriptors?
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ask {
    /// The domain; the first that is served when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// What the request is described by.
    pub descriptors: Vec<Described>,
    /// How many hits it stands for; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hits: Option<u32>,
}

/// One description of a request.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    /// Keys and values, as Envoy sends them.
    pub entries: Vec<Pair>,
    /// A limit to use instead of the rule's, as dynamic metadata can bring one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<RateLimit>,
}

/// A key and a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// The value.
    #[serde(default)]
    pub value: String,
}

impl Ask {
    /// A question in short forms.
    ///
    /// # Errors
    /// What cannot be read, and what to write instead.
    pub fn of(texts: &[String]) -> Result<Ask, String> {
        let descriptors = texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Ask { domain: None, descriptors, hits: None })
    }

    /// The message Envoy would send, in `domain` if the question names none.
    pub fn message(&self, domain: &str) -> RateLimitRequest {
        let descriptors = self.descriptors.iter().map(|descriptor| RateLimitDescriptor {
            entries: descriptor
                .entries
                .iter()
                .map(|pair| Entry { key: pair.key.clone(), value: pair.value.clone() })
                .collect(),
            limit: descriptor.limit.map(|limit| RateLimitOverride {
                requests_per_unit: limit.requests_per_unit,
                unit: limit.unit.number(),
            }),
            // Here and not on the message, where 0 stands for 1.
            hits_addend: self.hits.map(|hits| UInt64Value { value: hits.into() }),
            ..Default::default()
        });
        RateLimitRequest {
            domain: self.domain.clone().unwrap_or_else(|| domain.to_owned()),
            descriptors: descriptors.collect(),
            hits_addend: 0,
        }
    }
}

impl<'de> Deserialize<'de> for Described {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Long {
            entries: Vec<Pair>,
            #[serde(default)]
            limit: Option<RateLimit>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Described;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"ns.name: key=value, …\" or {\"entries\": [{\"key\": …, \"value\": …}]}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Described, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Described, A::Error> {
                let Long { entries, limit } = Long::deserialize(MapAccessDeserializer::new(map))?;
                if entries.is_empty() {
                    return Err(A::Error::custom("entries is empty; write at least one key and value"));
                }
                Ok(Described { entries, limit })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl FromStr for Described {
    type Err = String;

    /// `CONFIG: key=value, …` or `CONFIG set: …`; what holds a comma or a quote stands in double quotes.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?}: {why}; write for example \"shop.limits: type=a, number=1\"");
        let (head, rest) = text
            .split_once(':')
            .ok_or_else(|| wrong("the RateLimitConfig's <namespace>.<name> and a colon come first"))?;
        let head = head.trim();
        let (config, set) = head.strip_suffix(" set").map_or((head, false), |config| (config.trim_end(), true));
        let plain = |c: char| !c.is_whitespace() && !matches!(c, '=' | ',' | '"');
        if config.is_empty() || !config.contains('.') || !config.chars().all(plain) {
            return Err(wrong("what comes before the colon is no <namespace>.<name>"));
        }
        let generic = |value: &str| Pair { key: "generic_key".to_owned(), value: value.to_owned() };
        let mut entries = vec![generic(config)];
        if set {
            entries.push(generic(SET_DESCRIPTOR_MARKER));
        }
        let mut rest = rest.trim();
        while !rest.is_empty() {
            let (key, after) = word(rest, &['=', ',']).map_err(|why| wrong(&why))?;
            let after = after.strip_prefix('=').ok_or_else(|| wrong(&format!("{key:?} has no value")))?;
            if key.is_empty() {
                return Err(wrong("a key is empty"));
            }
            let (value, after) = word(after.trim_start(), &[',']).map_err(|why| wrong(&why))?;
            entries.push(Pair { key, value });
            rest = after.strip_prefix(',').unwrap_or(after).trim_start();
        }
        Ok(Described { entries, limit: None })
    }
}

/// A quoted or plain word at the beginning of `text`, and what follows it: nothing, or one of `ends`.
fn word<'t>(text: &'t str, ends: &[char]) -> Result<(String, &'t str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = text.split_at(text.find(ends).unwrap_or(text.len()));
        return Ok((word.trim().to_owned(), rest));
    };
    let mut word = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let rest = quoted.get(at + 1..).unwrap_or_default().trim_start();
                if !rest.is_empty() && !rest.starts_with(ends) {
                    return Err(format!("{rest:?} follows a closing quote"));
                }
                return Ok((word, rest));
            }
            '\\' => word.extend(chars.next().map(|(_, c)| c)),
            c => word.push(c),
        }
    }
    Err("a quote is not closed".to_owned())
}

/// The short form of entries as they are sent; the reverse of parsing.
pub fn short<'e>(entries: impl IntoIterator<Item = (&'e str, &'e str)>) -> String {
    let mut entries = entries.into_iter().peekable();
    let mut text = String::new();
    if let Some((_, config)) = entries.next_if(|(key, value)| *key == "generic_key" && value.contains('.')) {
        text.push_str(config);
        if entries.next_if(|entry| *entry == ("generic_key", SET_DESCRIPTOR_MARKER)).is_some() {
            text.push_str(" set");
        }
        text.push(':');
    }
    let mut first = true;
    for (key, value) in entries {
        text.push_str(match (first, text.is_empty()) {
            (true, true) => "",
            (true, false) => " ",
            (false, _) => ", ",
        });
        first = false;
        quote(key, &mut text);
        text.push('=');
        quote(value, &mut text);
    }
    text
}

fn quote(word: &str, text: &mut String) {
    let plain = |c: char| !c.is_control() && !matches!(c, ',' | '=' | '"' | '\\');
    if word.trim() == word && word.chars().all(plain) {
        text.push_str(word);
        return;
    }
    text.push('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn pairs(described: &Described) -> Vec<(&str, &str)> {
        described.entries.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect()
    }

    #[test]
    fn a_line_says_what_envoy_would_send() {
        let set: Described = "shop.limits set: path=/a:b, note=\"x, \\\"y\\\"\", none=".parse().unwrap();
        let marker = ("generic_key", SET_DESCRIPTOR_MARKER);
        let expected = [("generic_key", "shop.limits"), marker, ("path", "/a:b"), ("note", "x, \"y\""), ("none", "")];
        assert_eq!(pairs(&set), expected);
        let json: Ask = serde_json::from_str(
            r#"{"descriptors": ["shop.limits: a=1", {"entries": [{"key": "generic_key", "value": "shop.limits"}, {"key": "a", "value": "1"}]}]}"#,
        )
        .unwrap();
        assert_eq!(json.descriptors[0], json.descriptors[1]);
        assert_eq!(json.message("crd").domain, "crd");
    }

    #[test]
    fn what_cannot_be_read_says_what_to_write() {
        for wrong in [
            "",
            "a=1",
            "limits: a=1",
            "shop.limits: a",
            "shop.limits: =1",
            "shop.limits: a=\"1",
            "a b.c: a=1",
            "shop.limits: a=\"1\"2",
        ] {
            let why = wrong.parse::<Described>().unwrap_err();
            assert!(why.contains("shop.limits: type=a, number=1"), "{why}");
        }
        let unknown = serde_json::from_str::<Ask>(r#"{"descriptors": [], "descriptor": []}"#).unwrap_err();
        assert!(unknown.to_string().contains("unknown field `descriptor`"), "{unknown}");
        let empty = serde_json::from_str::<Ask>(r#"{"descriptors": [{"entries": []}]}"#).unwrap_err();
        assert!(empty.to_string().contains("at least one"), "{empty}");
    }

    proptest! {
        #[test]
        fn every_descriptor_has_a_short_form_that_reads_back(
            set in any::<bool>(), entries in prop::collection::vec((".{1,6}", ".{0,6}"), 0..4)
        ) {
            prop_assume!(entries.first().is_none_or(|(_, value)| value != SET_DESCRIPTOR_MARKER));
            let mut all = vec![("generic_key", "shop.limits")];
            all.extend(set.then_some(("generic_key", SET_DESCRIPTOR_MARKER)));
            all.extend(entries.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            let text = short(all.iter().copied());
            let read: Described = text.parse().map_err(|why: String| TestCaseError::fail(why))?;
            prop_assert_eq!(pairs(&read), all, "{}", text);
        }
    }
}
