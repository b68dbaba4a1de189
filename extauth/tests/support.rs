//! Manifests to a snapshot, requests to answers, answers to something a test can compare.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Snapshot, admit};
use extauth::{Authority, Compiler, Index};
use proto::envoy::config::core::v3::HeaderValueOption;
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use serde::Deserialize as _;

/// A snapshot as a provider would make it of `yaml`.
pub fn snapshot(revision: u64, yaml: &str) -> Snapshot {
    let mut snapshot = Snapshot { revision, ..Snapshot::default() };
    for document in serde_norway::Deserializer::from_str(yaml) {
        let document = serde_json::Value::deserialize(document).unwrap();
        if document.is_null() {
            continue;
        }
        snapshot.declare(admit(&document));
    }
    snapshot
}

/// An authority that serves `yaml`.
pub fn authority(yaml: &str) -> Authority {
    let authority = Authority::new();
    authority.install(Arc::new(Compiler::new("x-user-id").compile(&snapshot(1, yaml), &Index::default())));
    authority
}

/// What Envoy asks.
pub fn check(config_id: Option<&str>, headers: &[(&str, &str)]) -> pb::CheckRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let http = HttpRequest { method: "GET".into(), path: "/get?access_token=t".into(), headers, ..Default::default() };
    let extensions = config_id.map(|id| ("config_id".to_owned(), id.to_owned()));
    pb::CheckRequest {
        attributes: Some(pb::AttributeContext {
            request: Some(Request { http: Some(http), ..Default::default() }),
            context_extensions: extensions.into_iter().collect(),
            ..Default::default()
        }),
    }
}

/// An answer, as Envoy understands it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: i32,
    pub set: BTreeMap<String, String>,
    pub removed: Vec<String>,
    pub user: Option<String>,
}

pub fn read(response: &pb::CheckResponse) -> Answer {
    let code = response.status.as_ref().unwrap().code;
    match response.http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(ok) => {
            assert_eq!(code, 0);
            let user = response.dynamic_metadata.as_ref().map(|m| format!("{:?}", m.fields["userId"].kind));
            Answer { status: 200, set: overwritten(&ok.headers), removed: ok.headers_to_remove.clone(), user }
        }
        HttpResponse::DeniedResponse(denied) => {
            let status = denied.status.as_ref().unwrap().code;
            assert_eq!(code, if status == 401 { 16 } else { 7 });
            assert_eq!(denied.body, "");
            let set = overwritten(&denied.headers);
            match status {
                401 => assert_eq!(set["www-authenticate"], "API key is missing or invalid"),
                _ => assert!(set.is_empty()),
            }
            Answer { status, set: BTreeMap::new(), removed: Vec::new(), user: None }
        }
        other => panic!("{other:?}"),
    }
}

#[allow(deprecated)]
fn overwritten(headers: &[HeaderValueOption]) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|option| {
            assert_eq!(option.append.as_ref().map(|append| append.value), Some(false), "{option:?}");
            assert_eq!(option.append_action, 2, "{option:?}");
            let header = option.header.as_ref().unwrap();
            (header.key.clone(), header.value.clone())
        })
        .collect()
}

/// A Secret and an AuthConfig `default/keys`.
pub fn one_key(key: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Secret, type: extauth.solo.io/apikey, metadata: {{name: owner, labels: {{team: a}}}}, stringData: {{api-key: {key:?}, org: o}}}}
---
{{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {{name: keys}}, spec: {{configs: [{{apiKeyAuth: {{labelSelector: {{team: a}}, headersFromMetadataEntry: {{x-org: {{name: org}}}}}}}}]}}}}
"
    )
}
