//! Fields of ours that Gloo's server does not have and ignores: other algorithms, other
//! windows, several limits on one descriptor, conditions on values.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::proto_json;

/// How a limit is used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Counts start over at every multiple of the window's length.
    #[default]
    FixedWindow,
    /// The count of the window before fades out evenly.
    SlidingWindow,
    /// Requests come back one by one, up to `burst`.
    TokenBucket,
}

const ALGORITHMS: &[(&str, i32)] = &[("fixedWindow", 0), ("slidingWindow", 1), ("tokenBucket", 2)];

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        proto_json::enumeration(deserializer, "an algorithm", ALGORITHMS).map(|number| match number {
            1 => Algorithm::SlidingWindow,
            2 => Algorithm::TokenBucket,
            _ => Algorithm::FixedWindow,
        })
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Algorithm::FixedWindow => "fixedWindow",
            Algorithm::SlidingWindow => "slidingWindow",
            Algorithm::TokenBucket => "tokenBucket",
        })
    }
}

/// Whether a rule counts requests that are refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CountWhenLimited {
    /// As Gloo and envoyproxy/ratelimit do: every rule that is considered counts, also when another refuses.
    #[default]
    Always,
    /// Only requests that no rule refuses.
    Never,
}

const COUNTS: &[(&str, i32)] = &[("always", 0), ("never", 1)];

impl<'de> Deserialize<'de> for CountWhenLimited {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        proto_json::enumeration(deserializer, "a way to count", COUNTS)
            .map(|number| if number == 1 { CountWhenLimited::Never } else { CountWhenLimited::Always })
    }
}

impl Serialize for CountWhenLimited {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if *self == CountWhenLimited::Never { "never" } else { "always" })
    }
}

/// Which values of a key are meant; exactly one of the fields is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ValueMatch {
    /// Addresses in one of these networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
    /// One of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Those that begin with this.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Those that end with this.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub suffix: String,
    /// Those that match this regular expression as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub regex: String,
}

impl std::fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            _ if !self.cidrs.is_empty() => write!(f, "cidrs({})", self.cidrs.join(",")),
            _ if !self.values.is_empty() => write!(f, "values({})", self.values.join(",")),
            _ if !self.prefix.is_empty() => write!(f, "prefix({})", self.prefix),
            _ if !self.suffix.is_empty() => write!(f, "suffix({})", self.suffix),
            _ => write!(f, "regex({})", self.regex),
        }
    }
}
