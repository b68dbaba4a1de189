//! `RateLimitConfig`: which requests are counted, and how many may pass.
//!
//! The two halves of `spec.raw` have two readers: `descriptors` and
//! `setDescriptors` are the rules the rate-limit service compiles; `rateLimits`
//! are the actions the control plane turns into Envoy's, so that each request
//! is described in the rules' own words.

pub mod action;
pub mod beyond;
mod number;
pub mod unit;
mod validate;

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::resource::Resource;

pub use action::{
    Action, ActionKind, DynamicMetadata, Empty, GenericKey, HeaderMatcher, HeaderValueMatch, Int64Range, LimitOverride,
    LimitType, MaskedRemoteAddress, MatchHow, Metadata, MetadataKey, MetadataSource, PathSegment, QueryParameters,
    RateLimitActions, RequestHeaders,
};
pub use beyond::{Algorithm, CountWhenLimited, ValueMatch};
pub use unit::Unit;
pub use validate::validate;

/// `ratelimit.solo.io/v1alpha1` RateLimitConfig.
pub type RateLimitConfig = Resource<RateLimitConfigSpec>;

/// The second entry of a descriptor in set style, as a `generic_key`. Reserved: no rule may use it.
pub const SET_DESCRIPTOR_MARKER: &str = "solo.setDescriptor.uniqueValue";

/// `rateLimits` that one RateLimitConfig may hold: each is a descriptor in every request, or one for each style.
pub const MOST_RATE_LIMITS: usize = 32;

/// References to RateLimitConfigs that one RouteOption may hold, all its stages together.
pub const MOST_REFS: usize = 16;

/// The most descriptors that a request on one route is described by, `ratelimitBasic` included.
/// The rate-limit service takes more.
pub const MOST_DESCRIPTORS_PER_ROUTE: usize = MOST_REFS * 2 * MOST_RATE_LIMITS + 2;

/// Entries of one RateLimitConfig whose values come from the client: each may be as long as a header.
pub const MOST_CLIENT_VALUES: usize = 96;

/// Such entries of all RateLimitConfigs on one route, an object that is named twice counted twice.
///
/// Envoy takes 60 KiB of headers, so one request becomes at most 15 MiB of such values in a message
/// to the rate-limit service, which takes more.
pub const MOST_CLIENT_VALUES_PER_ROUTE: usize = 256;

/// The first entry of every descriptor of the RateLimitConfig `name`, as a `generic_key`.
///
/// A namespace has no dot, so the text names one object only.
pub fn config_id(name: &Name) -> String {
    format!("{}.{}", name.namespace, name.name)
}

/// The `spec` of a RateLimitConfig.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitConfigSpec {
    /// The rules and the actions that feed them.
    pub raw: Raw,
}

/// Rules in tree style and in set style, and the actions that feed them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Raw {
    /// Rules in tree style: a request's descriptor must follow a path exactly, entry by entry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub descriptors: Vec<Descriptor>,
    /// Rules in set style, in order: the first whose conditions all hold applies.
    #[serde(alias = "set_descriptors", skip_serializing_if = "Vec::is_empty")]
    pub set_descriptors: Vec<SetDescriptor>,
    /// What a request is described by; one descriptor is sent for each.
    #[serde(alias = "rate_limits", skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimitActions>,
}

impl Raw {
    /// How many entries of a request's descriptors are copied from what its client sends, or from
    /// what was read of that before.
    pub fn client_values(&self) -> usize {
        let lists = self.rate_limits.iter().flat_map(|entry| entry.actions.iter().chain(&entry.set_actions));
        let from_client = |action: &&Action| {
            let kind = action.kind();
            matches!(
                kind,
                Some(ActionKind::RequestHeaders(_) | ActionKind::QueryParameters(_) | ActionKind::Metadata(_))
            )
        };
        lists.filter(from_client).count()
    }
}

/// A node of a descriptor tree.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    /// The entry's key.
    pub key: String,
    /// The entry's value; empty for any value, each counted by itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Instead of `value`: any value of these, each counted by itself.
    #[serde(alias = "value_match", skip_serializing_if = "Option::is_none")]
    pub value_match: Option<ValueMatch>,
    /// All values that `valueMatch` or an empty `value` stand for are counted as one.
    #[serde(alias = "share_counter", skip_serializing_if = "std::ops::Not::not")]
    pub share_counter: bool,
    /// The limit of descriptors that end here; without one they pass uncounted.
    #[serde(alias = "rate_limit", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// More limits for the same descriptors; all of them hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<RateLimit>,
    /// What may follow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub descriptors: Vec<Descriptor>,
    /// Of all rules a request matches, only those of the greatest weight apply.
    #[serde(with = "number::uint32", skip_serializing_if = "number::is_zero")]
    pub weight: u32,
    /// Applies whatever its weight.
    #[serde(alias = "always_apply", skip_serializing_if = "std::ops::Not::not")]
    pub always_apply: bool,
}

/// A rule in set style.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetDescriptor {
    /// The entries a descriptor must have, in any order, among others; none matches all.
    #[serde(alias = "simple_descriptors", skip_serializing_if = "Vec::is_empty")]
    pub simple_descriptors: Vec<SimpleDescriptor>,
    /// The limit; without one what matches passes uncounted.
    #[serde(alias = "rate_limit", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// More limits for the same descriptors; all of them hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<RateLimit>,
    /// Applies even when an earlier rule matched.
    #[serde(alias = "always_apply", skip_serializing_if = "std::ops::Not::not")]
    pub always_apply: bool,
}

/// One condition of a rule in set style.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SimpleDescriptor {
    /// The entry's key.
    pub key: String,
    /// The entry's value; empty for any value, each counted by itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Instead of `value`: any value of these, each counted by itself.
    #[serde(alias = "value_match", skip_serializing_if = "Option::is_none")]
    pub value_match: Option<ValueMatch>,
    /// All values that `valueMatch` or an empty `value` stand for are counted as one.
    #[serde(alias = "share_counter", skip_serializing_if = "std::ops::Not::not")]
    pub share_counter: bool,
}

/// So many requests per unit of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimit {
    /// The length of the window.
    pub unit: Unit,
    /// How many pass in a window; 0 (also when left out, as in protobuf) lets none pass.
    #[serde(alias = "requests_per_unit", with = "number::uint32")]
    pub requests_per_unit: u32,
    /// A window is of so many units; 1 if left out.
    #[serde(alias = "unit_multiplier", with = "number::uint32", skip_serializing_if = "number::is_zero")]
    pub unit_multiplier: u32,
    /// How it is used up.
    #[serde(skip_serializing_if = "is_default")]
    pub algorithm: Algorithm,
    /// Of a token bucket, the most that pass at once; `requestsPerUnit` if left out.
    #[serde(with = "number::uint32", skip_serializing_if = "number::is_zero")]
    pub burst: u32,
    /// Whether refused requests count.
    #[serde(alias = "count_when_limited", skip_serializing_if = "is_default")]
    pub count_when_limited: CountWhenLimited,
    /// Counts, and says in metrics what it would refuse, but refuses nothing.
    #[serde(alias = "shadow_mode", skip_serializing_if = "std::ops::Not::not")]
    pub shadow_mode: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Descriptor {
    /// `rateLimit` and `limits`, each with its field.
    pub fn all_limits(&self) -> impl Iterator<Item = (String, &RateLimit)> {
        all_limits(self.rate_limit.as_ref(), &self.limits)
    }
}

impl SetDescriptor {
    /// `rateLimit` and `limits`, each with its field.
    pub fn all_limits(&self) -> impl Iterator<Item = (String, &RateLimit)> {
        all_limits(self.rate_limit.as_ref(), &self.limits)
    }
}

fn all_limits<'l>(
    first: Option<&'l RateLimit>,
    more: &'l [RateLimit],
) -> impl Iterator<Item = (String, &'l RateLimit)> {
    let more = more.iter().enumerate().map(|(index, limit)| (format!("limits[{index}]"), limit));
    first.map(|limit| ("rateLimit".to_owned(), limit)).into_iter().chain(more)
}

/// `regex`, to be matched by a whole value.
///
/// # Errors
/// A sentence for its author.
pub fn whole(regex: &str) -> Result<regex::Regex, String> {
    let build = |text: &str| regex::RegexBuilder::new(text).size_limit(1 << 18).build();
    // By itself first: `a)|(b` is none, and must not become one by what we put around it.
    build(regex).and_then(|_| build(&format!("^(?:{regex})$"))).map_err(|why| match why {
        regex::Error::CompiledTooBig(_) => "too large a regular expression; write a simpler one".to_owned(),
        why => format!("not a regular expression: {why}"),
    })
}
