//! Actions: what of a request goes into the descriptors sent to the rate-limit service.
//!
//! [`Action`] is the message as written; [`Action::kind`] is the one thing it
//! asks for, which is what a reader should match on.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::number;
use crate::proto_json;

/// One descriptor to send, in tree style, in set style, or one of each.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitActions {
    /// For the tree: entries in the order of nesting. One that yields nothing drops the descriptor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// For the set rules: entries in any order. A header that is absent is left out,
    /// any other action that yields nothing drops the descriptor.
    #[serde(alias = "set_actions", skip_serializing_if = "Vec::is_empty")]
    pub set_actions: Vec<Action>,
    /// Where a request may carry a limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitOverride>,
    /// One part of a descriptor: what of a request becomes its key and value.
    #[serde(rename = "type", skip_serializing_if = "LimitType::is_request")]
    pub kind: LimitType,
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum LimitType {
    /// Requests.
    #[default]
    Request,
    /// Tokens of a language model; no Envoy can count them.
    Token,
}

impl LimitType {
    fn is_request(&self) -> bool {
        *self == LimitType::Request
    }
}

impl<'de> Deserialize<'de> for LimitType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = proto_json::enumeration(deserializer, "a type of limit", &[("REQUEST", 0), ("TOKEN", 1)])?;
        Ok(if number == 1 { LimitType::Token } else { LimitType::Request })
    }
}

impl Serialize for LimitType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_request() { "REQUEST" } else { "TOKEN" })
    }
}

/// A limit taken from the request instead of from the rule.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitOverride {
    /// Read from dynamic metadata; an absent or invalid value leaves the rule's own limit.
    #[serde(alias = "dynamic_metadata")]
    pub dynamic_metadata: Option<DynamicMetadata>,
}

/// Where in dynamic metadata a struct `{requests_per_unit, unit}` may stand.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DynamicMetadata {
    /// Filter namespace and path.
    #[serde(alias = "metadata_key")]
    pub metadata_key: MetadataKey,
}

/// One action as written. Valid ones have exactly one field set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Action {
    /// `source_cluster` = the proxy's own cluster name.
    #[serde(alias = "source_cluster", skip_serializing_if = "Option::is_none")]
    pub source_cluster: Option<Empty>,
    /// `destination_cluster` = the cluster routed to.
    #[serde(alias = "destination_cluster", skip_serializing_if = "Option::is_none")]
    pub destination_cluster: Option<Empty>,
    /// A key of one's own = a request header.
    #[serde(alias = "request_headers", skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<RequestHeaders>,
    /// A key of one's own = a parameter of the query.
    #[serde(alias = "query_parameters", skip_serializing_if = "Option::is_none")]
    pub query_parameters: Option<QueryParameters>,
    /// `remote_address` = the client's trusted address.
    #[serde(alias = "remote_address", skip_serializing_if = "Option::is_none")]
    pub remote_address: Option<Empty>,
    /// `masked_remote_address` = the network that address is in.
    #[serde(alias = "masked_remote_address", skip_serializing_if = "Option::is_none")]
    pub masked_remote_address: Option<MaskedRemoteAddress>,
    /// `generic_key` = a constant.
    #[serde(alias = "generic_key", skip_serializing_if = "Option::is_none")]
    pub generic_key: Option<GenericKey>,
    /// `header_match` = a constant, when headers match.
    #[serde(alias = "header_value_match", skip_serializing_if = "Option::is_none")]
    pub header_value_match: Option<HeaderValueMatch>,
    /// A key of one's own = a string in metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// An expression; known so that it can be refused by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cel: Option<serde_json::Value>,
    /// Belongs inside an action, as do the next six; known so that it can be told where.
    #[serde(alias = "descriptor_value", skip_serializing_if = "Option::is_none")]
    pub descriptor_value: Option<serde_json::Value>,
    /// See [`Action::descriptor_value`].
    #[serde(alias = "descriptor_key", skip_serializing_if = "Option::is_none")]
    pub descriptor_key: Option<serde_json::Value>,
    /// See [`Action::descriptor_value`].
    #[serde(alias = "header_name", skip_serializing_if = "Option::is_none")]
    pub header_name: Option<serde_json::Value>,
    /// See [`Action::descriptor_value`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<serde_json::Value>,
    /// See [`Action::descriptor_value`].
    #[serde(alias = "expect_match", skip_serializing_if = "Option::is_none")]
    pub expect_match: Option<serde_json::Value>,
    /// See [`Action::descriptor_value`].
    #[serde(alias = "metadata_key", skip_serializing_if = "Option::is_none")]
    pub metadata_key: Option<serde_json::Value>,
    /// See [`Action::descriptor_value`].
    #[serde(alias = "query_parameter_name", skip_serializing_if = "Option::is_none")]
    pub query_parameter_name: Option<serde_json::Value>,
}

/// The one thing an [`Action`] asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ActionKind<'a> {
    /// See [`Action::source_cluster`].
    SourceCluster,
    /// See [`Action::destination_cluster`].
    DestinationCluster,
    /// See [`Action::request_headers`].
    RequestHeaders(&'a RequestHeaders),
    /// See [`Action::query_parameters`].
    QueryParameters(&'a QueryParameters),
    /// See [`Action::remote_address`].
    RemoteAddress,
    /// See [`Action::masked_remote_address`].
    MaskedRemoteAddress(&'a MaskedRemoteAddress),
    /// See [`Action::generic_key`].
    GenericKey(&'a GenericKey),
    /// See [`Action::header_value_match`].
    HeaderValueMatch(&'a HeaderValueMatch),
    /// See [`Action::metadata`].
    Metadata(&'a Metadata),
    /// See [`Action::cel`]; never in an admitted object.
    Cel,
}

impl ActionKind<'_> {
    /// The field of the action that asks for it.
    pub fn field(&self) -> &'static str {
        match self {
            ActionKind::SourceCluster => "sourceCluster",
            ActionKind::DestinationCluster => "destinationCluster",
            ActionKind::RequestHeaders(_) => "requestHeaders",
            ActionKind::QueryParameters(_) => "queryParameters",
            ActionKind::RemoteAddress => "remoteAddress",
            ActionKind::MaskedRemoteAddress(_) => "maskedRemoteAddress",
            ActionKind::GenericKey(_) => "genericKey",
            ActionKind::HeaderValueMatch(_) => "headerValueMatch",
            ActionKind::Metadata(_) => "metadata",
            ActionKind::Cel => "cel",
        }
    }
}

impl Action {
    /// What this action asks for; `None` when nothing or more than one thing is set.
    pub fn kind(&self) -> Option<ActionKind<'_>> {
        match self.kinds().as_slice() {
            [kind] => Some(*kind),
            _ => None,
        }
    }

    /// The fields beside an action that belong inside.
    pub(super) fn astray(&self) -> Vec<&'static str> {
        [
            (&self.descriptor_value, "descriptorValue"),
            (&self.descriptor_key, "descriptorKey"),
            (&self.header_name, "headerName"),
            (&self.headers, "headers"),
            (&self.expect_match, "expectMatch"),
            (&self.metadata_key, "metadataKey"),
            (&self.query_parameter_name, "queryParameterName"),
        ]
        .into_iter()
        .filter_map(|(written, name)| written.as_ref().map(|_| name))
        .collect()
    }

    /// Everything that is set.
    pub(super) fn kinds(&self) -> Vec<ActionKind<'_>> {
        [
            self.source_cluster.as_ref().map(|_| ActionKind::SourceCluster),
            self.destination_cluster.as_ref().map(|_| ActionKind::DestinationCluster),
            self.request_headers.as_ref().map(ActionKind::RequestHeaders),
            self.query_parameters.as_ref().map(ActionKind::QueryParameters),
            self.remote_address.as_ref().map(|_| ActionKind::RemoteAddress),
            self.masked_remote_address.as_ref().map(ActionKind::MaskedRemoteAddress),
            self.generic_key.as_ref().map(ActionKind::GenericKey),
            self.header_value_match.as_ref().map(ActionKind::HeaderValueMatch),
            self.metadata.as_ref().map(ActionKind::Metadata),
            self.cel.as_ref().map(|_| ActionKind::Cel),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A message without fields: its presence says it all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Empty {}

/// An entry from a request header.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestHeaders {
    /// The header to read.
    #[serde(alias = "header_name")]
    pub header_name: String,
    /// The entry's key.
    #[serde(alias = "descriptor_key")]
    pub descriptor_key: String,
    /// Without the header the request is described without this entry, rather than not at all.
    /// In set style it always is.
    #[serde(alias = "skip_if_absent", skip_serializing_if = "std::ops::Not::not")]
    pub skip_if_absent: bool,
}

/// An entry from the query of the path.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryParameters {
    /// The parameter to read.
    #[serde(alias = "query_parameter_name")]
    pub query_parameter_name: String,
    /// The entry's key.
    #[serde(alias = "descriptor_key")]
    pub descriptor_key: String,
    /// See [`RequestHeaders::skip_if_absent`].
    #[serde(alias = "skip_if_absent", skip_serializing_if = "std::ops::Not::not")]
    pub skip_if_absent: bool,
}

/// An entry from the network that the client's address is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MaskedRemoteAddress {
    /// Of an IPv4 address, so many bits; all 32 if left out.
    #[serde(alias = "v4_prefix_mask_len", with = "number::optional_uint32", skip_serializing_if = "Option::is_none")]
    pub v4_prefix_mask_len: Option<u32>,
    /// Of an IPv6 address, so many bits; all 128 if left out.
    #[serde(alias = "v6_prefix_mask_len", with = "number::optional_uint32", skip_serializing_if = "Option::is_none")]
    pub v6_prefix_mask_len: Option<u32>,
}

/// A constant entry.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GenericKey {
    /// The entry's key; `generic_key` if left out.
    #[serde(alias = "descriptor_key", skip_serializing_if = "String::is_empty")]
    pub descriptor_key: String,
    /// The entry's value.
    #[serde(alias = "descriptor_value")]
    pub descriptor_value: String,
}

/// A constant entry, when headers match.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderValueMatch {
    /// The entry's value.
    #[serde(alias = "descriptor_value")]
    pub descriptor_value: String,
    /// False to have the entry when the headers do *not* match; true if not set.
    #[serde(alias = "expect_match", skip_serializing_if = "Option::is_none")]
    pub expect_match: Option<bool>,
    /// All must match.
    pub headers: Vec<HeaderMatcher>,
}

/// A condition on one header, as written. At most one of the `*_match` fields is set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderMatcher {
    /// The header.
    pub name: String,
    /// The value is this.
    #[serde(alias = "exact_match", skip_serializing_if = "Option::is_none")]
    pub exact_match: Option<String>,
    /// The whole value matches this RE2 expression.
    #[serde(alias = "regex_match", skip_serializing_if = "Option::is_none")]
    pub regex_match: Option<String>,
    /// The value is an integer in this half-open range.
    #[serde(alias = "range_match", skip_serializing_if = "Option::is_none")]
    pub range_match: Option<Int64Range>,
    /// The header is there (true) or is not (false).
    #[serde(alias = "present_match", skip_serializing_if = "Option::is_none")]
    pub present_match: Option<bool>,
    /// The value begins with this.
    #[serde(alias = "prefix_match", skip_serializing_if = "Option::is_none")]
    pub prefix_match: Option<String>,
    /// The value ends with this.
    #[serde(alias = "suffix_match", skip_serializing_if = "Option::is_none")]
    pub suffix_match: Option<String>,
    /// The opposite of all that.
    #[serde(alias = "invert_match", skip_serializing_if = "std::ops::Not::not")]
    pub invert_match: bool,
}

/// How a [`HeaderMatcher`] looks at the value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MatchHow<'a> {
    /// See [`HeaderMatcher::exact_match`].
    Exact(&'a str),
    /// See [`HeaderMatcher::regex_match`].
    Regex(&'a str),
    /// See [`HeaderMatcher::range_match`].
    Range(Int64Range),
    /// See [`HeaderMatcher::present_match`]; `true` also when nothing is set.
    Present(bool),
    /// See [`HeaderMatcher::prefix_match`].
    Prefix(&'a str),
    /// See [`HeaderMatcher::suffix_match`].
    Suffix(&'a str),
}

impl HeaderMatcher {
    /// How the value is looked at; `None` when more than one way is set.
    pub fn how(&self) -> Option<MatchHow<'_>> {
        match self.hows().as_slice() {
            [] => Some(MatchHow::Present(true)),
            [how] => Some(*how),
            _ => None,
        }
    }

    pub(super) fn hows(&self) -> Vec<MatchHow<'_>> {
        [
            self.exact_match.as_deref().map(MatchHow::Exact),
            self.regex_match.as_deref().map(MatchHow::Regex),
            self.range_match.map(MatchHow::Range),
            self.present_match.map(MatchHow::Present),
            self.prefix_match.as_deref().map(MatchHow::Prefix),
            self.suffix_match.as_deref().map(MatchHow::Suffix),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Integers from `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Int64Range {
    /// The first integer within.
    #[serde(with = "number::int64")]
    pub start: i64,
    /// The first integer beyond.
    #[serde(with = "number::int64")]
    pub end: i64,
}

/// An entry from metadata.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The entry's key.
    #[serde(alias = "descriptor_key")]
    pub descriptor_key: String,
    /// Where the string stands.
    #[serde(alias = "metadata_key")]
    pub metadata_key: MetadataKey,
    /// Used when there is none; empty to have no entry then.
    #[serde(alias = "default_value", skip_serializing_if = "String::is_empty")]
    pub default_value: String,
    /// Which metadata.
    pub source: MetadataSource,
}

/// A place in metadata.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetadataKey {
    /// The filter's namespace, e.g. `envoy.filters.http.jwt_authn`.
    pub key: String,
    /// Keys from there on down.
    pub path: Vec<PathSegment>,
}

/// One step of a [`MetadataKey`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathSegment {
    /// The key of a struct.
    pub key: String,
}

/// Which metadata an action reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MetadataSource {
    /// What filters said about the request.
    #[default]
    Dynamic,
    /// What the route's configuration carries.
    RouteEntry,
}

impl<'de> Deserialize<'de> for MetadataSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number =
            proto_json::enumeration(deserializer, "a source of metadata", &[("DYNAMIC", 0), ("ROUTE_ENTRY", 1)])?;
        Ok(if number == 1 { MetadataSource::RouteEntry } else { MetadataSource::Dynamic })
    }
}

impl Serialize for MetadataSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            MetadataSource::Dynamic => "DYNAMIC",
            MetadataSource::RouteEntry => "ROUTE_ENTRY",
        })
    }
}
