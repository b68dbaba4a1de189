//! Manifests to a snapshot, requests to answers, answers to something a test can compare.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use api::Snapshot;
use api::contract::READ_ALWAYS;
use extauth::{Authority, Compilation, Compiler, Settings};
use proto::envoy::config::core::v3::HeaderValueOption;
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use waykeeper_tests::manifests::documents;

/// A snapshot as a provider would make it of `yaml`.
pub fn snapshot(revision: u64, yaml: &str) -> Snapshot {
    Snapshot { revision, ..Snapshot::of(&documents(yaml)) }
}

/// An authority that serves `yaml`.
pub fn authority(yaml: &str) -> Authority {
    let authority = Authority::new();
    authority.install(compile(&compiler(), &snapshot(1, yaml), Compilation::default()).index);
    authority
}

pub fn compiler() -> Compiler {
    Compiler::new(&Settings::default())
}

pub fn compile(compiler: &Compiler, snapshot: &Snapshot, before: Compilation) -> Compilation {
    compiler.compile(before, snapshot, Instant::now())
}

/// Asks, on a clock that jumps over what is only waited for.
pub fn ask(authority: &Authority, check: &pb::CheckRequest) -> pb::CheckResponse {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    RUNTIME.with(|runtime| runtime.block_on(authority.answer(check, deadline)))
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

/// The same question with the headers `brings` and those that are always brought, as Envoy asks it that leaves out all others.
pub fn bringing(brings: &str, mut check: pb::CheckRequest) -> pb::CheckRequest {
    let attributes = check.attributes.as_mut().unwrap();
    attributes.context_extensions.insert("headers".to_owned(), brings.to_owned());
    let user = attributes.context_extensions.get("user_header").cloned();
    let http = attributes.request.as_mut().unwrap().http.as_mut().unwrap();
    http.headers
        .retain(|name, _| brings.split(',').chain(user.as_deref()).chain(READ_ALWAYS).any(|brought| brought == name));
    check
}

/// An answer, as Envoy understands it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: i32,
    pub set: BTreeMap<String, String>,
    pub removed: Vec<String>,
    pub user: Option<String>,
    pub challenge: Option<String>,
}

pub fn read(response: &pb::CheckResponse) -> Answer {
    let code = response.status.as_ref().unwrap().code;
    match response.http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(ok) => {
            assert_eq!(code, 0);
            let user = response.dynamic_metadata.as_ref().map(|m| format!("{:?}", m.fields["userId"].kind));
            let set = overwritten(&ok.headers);
            // No header that may be set comes in another spelling; stories need not tell that each time.
            for name in set.keys().chain(&ok.headers_to_remove).filter(|name| name.contains('-')) {
                let other = name.replace('-', "_");
                assert!(ok.headers_to_remove.contains(&other), "{other} is let through: {ok:?}");
            }
            let removed = ok.headers_to_remove.iter().filter(|name| !name.contains('_')).cloned().collect();
            Answer { status: 200, set, removed, user, challenge: None }
        }
        HttpResponse::DeniedResponse(denied) => {
            let status = denied.status.as_ref().unwrap().code;
            assert_eq!(code, if status == 401 { 16 } else { 7 });
            assert_eq!(denied.body, "");
            let mut told = overwritten(&denied.headers);
            let challenge = told.remove("www-authenticate");
            assert_eq!(challenge.is_some(), status == 401);
            assert!(told.is_empty());
            Answer { status, set: BTreeMap::new(), removed: Vec::new(), user: None, challenge }
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
