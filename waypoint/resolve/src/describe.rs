//! How requests are described to the rate-limit service: what RateLimitConfigs and
//! `ratelimitBasic` say, as descriptors.
//!
//! A descriptor begins with the id of whoever made the rules; in set style the
//! marker follows, and headers that are absent are left out rather than
//! dropping the descriptor.

use api::gloo::rate_limit_config::{
    Action, ActionKind, HeaderMatcher, MatchHow, MetadataKey, MetadataSource as Source, RateLimitActions,
    SET_DESCRIPTOR_MARKER,
};
use api::gloo::route_option::RatelimitBasic;
use api::gloo::route_option::basic::{ANONYMOUS, AUTHENTICATED, USER};
use ir::{Descriptor, Entry, HeaderCondition, HeaderTest, MetadataPath, MetadataSource, Stage};

/// What the RateLimitConfig `config_id` says with `written`.
pub fn configured(stage: Stage, config_id: &str, written: &[RateLimitActions]) -> Vec<Descriptor> {
    let mut out = Vec::new();
    for actions in written {
        let own = Entry::Constant(config_id.to_owned());
        let dynamic = actions.limit.as_ref().and_then(|limit| limit.dynamic_metadata.as_ref());
        let limit_from = dynamic.map(|dynamic| metadata_path(&dynamic.metadata_key));
        if !actions.actions.is_empty() {
            let mut entries = vec![own.clone()];
            entries.extend(actions.actions.iter().filter_map(|written| entry(written, false)));
            out.push(Descriptor { stage, entries, limit_from: limit_from.clone() });
        }
        if !actions.set_actions.is_empty() {
            let mut entries = vec![own, Entry::Constant(SET_DESCRIPTOR_MARKER.to_owned())];
            entries.extend(actions.set_actions.iter().filter_map(|written| entry(written, true)));
            out.push(Descriptor { stage, entries, limit_from });
        }
    }
    out
}

/// What `ratelimitBasic` says; `user_header` tells who calls where authorization is asked.
///
/// Users are told apart by the header that authorization sets, and cleans of what callers wrote.
/// Where nobody is asked who they are nobody is known, whatever the header says.
pub fn by_caller(id: &str, basic: &RatelimitBasic, user_header: Option<&str>) -> Vec<Descriptor> {
    let present =
        |name: &str| vec![HeaderCondition { name: name.to_owned(), test: HeaderTest::Present(true), invert: false }];
    let mut out = Vec::new();
    if let (Some(_), Some(user)) = (basic.authorized_limits, user_header) {
        out.push(vec![
            Entry::Constant(id.to_owned()),
            Entry::HeadersMatch { value: AUTHENTICATED.to_owned(), headers: present(user), expect: true },
            Entry::Header { name: user.to_owned(), key: USER.to_owned(), optional: false },
        ]);
    }
    if basic.anonymous_limits.is_some() {
        let headers = present(user_header.unwrap_or(":path"));
        let expect = user_header.is_none();
        let unknown = Entry::HeadersMatch { value: ANONYMOUS.to_owned(), headers, expect };
        out.push(vec![Entry::Constant(id.to_owned()), unknown, Entry::RemoteAddress]);
    }
    out.into_iter().map(|entries| Descriptor { stage: Stage::Regular, entries, limit_from: None }).collect()
}

/// Admission has seen to it that an action asks for exactly one thing.
fn entry(written: &Action, set: bool) -> Option<Entry> {
    Some(match written.kind()? {
        ActionKind::SourceCluster => Entry::SourceCluster,
        ActionKind::DestinationCluster => Entry::DestinationCluster,
        ActionKind::RemoteAddress => Entry::RemoteAddress,
        ActionKind::MaskedRemoteAddress(masked) => {
            Entry::RemoteNetwork { v4: masked.v4_prefix_mask_len, v6: masked.v6_prefix_mask_len }
        }
        ActionKind::GenericKey(key) if key.descriptor_key.is_empty() => Entry::Constant(key.descriptor_value.clone()),
        ActionKind::GenericKey(key) => {
            Entry::Named { key: key.descriptor_key.clone(), value: key.descriptor_value.clone() }
        }
        ActionKind::RequestHeaders(header) => Entry::Header {
            name: header.header_name.clone(),
            key: header.descriptor_key.clone(),
            optional: set || header.skip_if_absent,
        },
        ActionKind::QueryParameters(query) => Entry::Parameter {
            name: query.query_parameter_name.clone(),
            key: query.descriptor_key.clone(),
            optional: set || query.skip_if_absent,
        },
        ActionKind::HeaderValueMatch(matched) => Entry::HeadersMatch {
            value: matched.descriptor_value.clone(),
            headers: matched.headers.iter().map(condition).collect(),
            expect: matched.expect_match != Some(false),
        },
        ActionKind::Metadata(metadata) => Entry::Metadata {
            key: metadata.descriptor_key.clone(),
            path: metadata_path(&metadata.metadata_key),
            default: metadata.default_value.clone(),
            source: match metadata.source {
                Source::Dynamic => MetadataSource::Dynamic,
                Source::RouteEntry => MetadataSource::Route,
            },
        },
        ActionKind::Cel => return None,
    })
}

fn metadata_path(key: &MetadataKey) -> MetadataPath {
    MetadataPath { namespace: key.key.clone(), path: key.path.iter().map(|segment| segment.key.clone()).collect() }
}

fn condition(written: &HeaderMatcher) -> HeaderCondition {
    let test = match written.how().unwrap_or(MatchHow::Present(true)) {
        MatchHow::Exact(value) => HeaderTest::Exact(value.to_owned()),
        MatchHow::Regex(value) => HeaderTest::Regex(value.to_owned()),
        MatchHow::Prefix(value) => HeaderTest::Prefix(value.to_owned()),
        MatchHow::Suffix(value) => HeaderTest::Suffix(value.to_owned()),
        MatchHow::Range(range) => HeaderTest::Range(range.start, range.end),
        MatchHow::Present(present) => HeaderTest::Present(present),
    };
    HeaderCondition { name: written.name.clone(), test, invert: written.invert_match }
}
