//! Never: a check that panics, goes unanswered, or is allowed without exactly the key.
#![no_main]

use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use extauth::{Authority, Compilation, Compiler, Settings};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use waykeeper_fuzz::{documents, snapshot};

const KEY: &str = "mykey";
const CONFIG: &str = "default.keys";
/// What the AuthConfig reads, as a route of an Envoy says it that leaves out everything else.
const READS: &str = "api-key,x-org";

static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let manifests = format!(
        "{{apiVersion: v1, kind: Secret, type: extauth.solo.io/apikey,
           metadata: {{name: owner, labels: {{team: a}}}}, stringData: {{api-key: {KEY}, org: o}}}}
---
{{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {{name: keys}}, spec: {{configs: [
    {{apiKeyAuth: {{labelSelector: {{team: a}}, headersFromMetadataEntry: {{x-org: {{name: org}}}}}}}}]}}}}"
    );
    let snapshot = snapshot(&documents(manifests.as_bytes()));
    assert!(snapshot.broken.is_empty() && snapshot.auth_configs.len() == 1, "the fixture is wrong");
    let authority = Authority::new();
    let compiled = Compiler::new(&Settings::default()).compile(Compilation::default(), &snapshot, Instant::now());
    authority.install(compiled.index);
    authority
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut check) = pb::CheckRequest::decode(bytes) else { return };
    judge(&check);
    // The route says which config decides and what is brought; the rest is the client's.
    let few = bytes.len() % 2 == 1;
    let brings = few.then(|| ("headers".to_owned(), READS.to_owned()));
    let route = [("config_id".to_owned(), CONFIG.to_owned())].into_iter().chain(brings);
    check.attributes.get_or_insert_default().context_extensions = route.collect();
    judge(&check);
    let http = check.attributes.get_or_insert_default().request.get_or_insert_default().http.get_or_insert_default();
    http.header_map = None;
    http.headers.insert("api-key".to_owned(), KEY.to_owned());
    assert!(judge(&check), "the key does not open");
});

/// Whether `check` is allowed, which it may only be with the key.
fn judge(check: &pb::CheckRequest) -> bool {
    // A config that is not there is waited for, on a clock that does not make the fuzzer wait.
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime")
    });
    let answer = runtime.block_on(AUTHORITY.answer(check, Instant::now() + Duration::from_secs(10)));
    let code = answer.status.expect("every answer has a status").code;
    let allowed = matches!(answer.http_response.expect("every answer says what to do"), HttpResponse::OkResponse(_));
    assert_eq!(allowed, code == 0, "the two halves of the answer disagree");
    assert!(!allowed || sent(check).as_deref() == Some(KEY.as_bytes()), "allowed without the key: {check:?}");
    allowed
}

/// The one `api-key` header of a check for our config.
fn sent(check: &pb::CheckRequest) -> Option<Vec<u8>> {
    let attributes = check.attributes.as_ref()?;
    let http = attributes.request.as_ref()?.http.as_ref()?;
    attributes.context_extensions.get("config_id").filter(|id| *id == CONFIG)?;
    let Some(raw) = &http.header_map else { return http.headers.get("api-key").map(|value| value.clone().into()) };
    let mut keys = raw.headers.iter().filter(|header| header.key == "api-key");
    let (Some(header), None) = (keys.next(), keys.next()) else { return None };
    Some(if header.raw_value.is_empty() { header.value.clone().into() } else { header.raw_value.clone() })
}
