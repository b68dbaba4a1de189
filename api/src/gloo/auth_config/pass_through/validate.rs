//! What is wrong with a `passThroughAuth` taken by itself. What is not enforced is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::said::Said;
use super::{BackOff, PassThroughAuth, PassThroughGrpc, PassThroughHttp, RetryPolicy, Target, TlsConfig};
use crate::header::{self, HeaderUse};
use crate::problem::Problem;
use crate::proto_json::ProtoDuration;

/// Nobody waits for so many.
const MOST_RETRIES: u32 = 10;
/// More headers than this in one list are a mistake.
const MOST_HEADERS: usize = 64;
/// The longest value of a header.
const LONGEST_VALUE: usize = 8 * 1024;

/// What is wrong with `auth`, which stands at `field`.
pub(in crate::gloo::auth_config) fn pass_through(field: &str, auth: &PassThroughAuth, problems: &mut Vec<Problem>) {
    let mut said = Said { field, problems };
    if auth.config.as_ref().is_some_and(|config| !config.is_object()) {
        said.wrong(".config", "write a mapping, which the service is handed as it is");
    }
    match (&auth.grpc, &auth.http) {
        (Some(grpc), None) => of_grpc(grpc, &mut said),
        (None, Some(http)) => of_http(http, &mut said),
        (None, None) => said.wrong("", "names no service: write grpc.address or http.url"),
        (Some(_), Some(_)) => said.wrong("", "names two services, grpc and http; write each in a config of its own"),
    }
}

fn of_grpc(grpc: &PassThroughGrpc, said: &mut Said<'_>) {
    match grpc.address.as_deref().filter(|address| !address.is_empty()) {
        None => said.wrong(".grpc.address", "missing: write host:port"),
        Some(address) => {
            if let Err(why) = Target::of_address(address, false) {
                said.wrong(".grpc.address", why);
            }
        }
    }
    patience(".grpc.connectionTimeout", grpc.connection_timeout, said);
    tls(".grpc.tlsConfig", grpc.tls_config.as_ref(), said);
    retries(grpc.retry_policy.as_ref(), said);
    names(".grpc.allowedUpstreamHeaders", &grpc.allowed_upstream_headers, HeaderUse::Write, said);
}

fn of_http(http: &PassThroughHttp, said: &mut Said<'_>) {
    match http.url.as_deref().filter(|url| !url.is_empty()) {
        None => said.wrong(".http.url", "missing: write http:// or https://, a host and a path"),
        Some(url) => match Target::of_url(url) {
            Err(why) => said.wrong(".http.url", why),
            Ok(target) if !target.tls && http.tls_config.is_some() => {
                said.wrong(".http.tlsConfig", "has no effect on a URL that begins with http://; write https://");
            }
            Ok(_) => {}
        },
    }
    patience(".http.connectionTimeout", http.connection_timeout, said);
    patience(".http.responseHeaderTimeout", http.response_header_timeout, said);
    tls(".http.tlsConfig", http.tls_config.as_ref(), said);
    if let Some(request) = &http.request {
        names(".http.request.allowedHeaders", &request.allowed_headers, HeaderUse::Read, said);
        let added: Vec<String> = request.headers_to_add.keys().cloned().collect();
        names(".http.request.headersToAdd", &added, HeaderUse::Write, said);
        for (name, value) in &request.headers_to_add {
            let bytes = value.expose();
            let fits = !bytes.is_empty() && bytes.len() <= LONGEST_VALUE;
            if !fits || !bytes.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\t') {
                let why = "its value is one that no header carries: write 1 to 8192 visible characters";
                said.wrong(&format!(".http.request.headersToAdd.{name}"), why);
            }
        }
        if request.pass_through_body {
            said.refused(
                ".http.request.passThroughBody",
                "bodies of requests are not sent for authorization, so that the service would be shown none",
            );
        }
    }
    if let Some(response) = &http.response {
        let (append, overwrite) = (&response.allowed_upstream_headers, &response.allowed_upstream_headers_to_overwrite);
        names(".http.response.allowedUpstreamHeaders", append, HeaderUse::Write, said);
        names(".http.response.allowedUpstreamHeadersToOverwrite", overwrite, HeaderUse::Write, said);
        let lower =
            |list: &[String]| -> BTreeSet<String> { list.iter().map(|name| name.to_ascii_lowercase()).collect() };
        for both in lower(append).intersection(&lower(overwrite)) {
            said.wrong(
                ".http.response.allowedUpstreamHeadersToOverwrite",
                format!("{both:?} is also in allowedUpstreamHeaders; write it in one of the two"),
            );
        }
        let (denied, success) =
            (&response.allowed_client_headers_on_denied, &response.allowed_client_headers_on_success);
        names(".http.response.allowedClientHeadersOnDenied", denied, HeaderUse::Write, said);
        names(".http.response.allowedClientHeadersOnSuccess", success, HeaderUse::Write, said);
    }
}

fn names(at: &str, names: &[String], header_use: HeaderUse, said: &mut Said<'_>) {
    if names.len() > MOST_HEADERS {
        said.wrong(at, format!("more than {MOST_HEADERS} headers"));
    }
    let mut seen = BTreeSet::new();
    for name in names {
        if let Err(why) = header::check(name, header_use) {
            said.wrong(at, why);
        } else if !seen.insert(name.to_ascii_lowercase()) {
            said.wrong(
                at,
                format!("{name:?} stands there twice: names of headers do not differ in upper and lower case"),
            );
        }
    }
}

fn patience(at: &str, duration: Option<ProtoDuration>, said: &mut Said<'_>) {
    if duration.is_some_and(|ProtoDuration(duration)| duration.is_zero() || duration > Duration::from_secs(3600)) {
        said.wrong(at, "write a duration above zero and of at most an hour");
    }
}

fn tls(at: &str, config: Option<&TlsConfig>, said: &mut Said<'_>) {
    let Some(TlsConfig { secret_ref, ssl_params, sni, verify_subject_alt_name, alpn_protocols }) = config else {
        return;
    };
    if secret_ref.is_some() {
        said.refused(
            &format!("{at}.secretRef"),
            "Secrets with certificates are not read yet; write tlsConfig: {}, and an authority of your own in the \
             environment of the authorization service",
        );
    }
    for (name, written) in [
        ("sslParams", ssl_params.is_some()),
        ("sni", sni.is_some()),
        ("verifySubjectAltName", !verify_subject_alt_name.is_empty()),
        ("alpnProtocols", !alpn_protocols.is_empty()),
    ] {
        if written {
            let why = "is not enforced yet: TLS 1.2 or 1.3 is spoken, and the certificate must be for the host";
            said.refused(&format!("{at}.{name}"), why);
        }
    }
}

fn retries(policy: Option<&RetryPolicy>, said: &mut Said<'_>) {
    let Some(RetryPolicy { num_retries, retry_back_off }) = policy else { return };
    if num_retries.is_some_and(|retries| retries > MOST_RETRIES) {
        said.wrong(".grpc.retryPolicy.numRetries", format!("at most {MOST_RETRIES}"));
    }
    let Some(BackOff { base_interval, max_interval }) = retry_back_off else { return };
    let at = ".grpc.retryPolicy.retryBackOff";
    patience(&format!("{at}.baseInterval"), *base_interval, said);
    patience(&format!("{at}.maxInterval"), *max_interval, said);
    if max_interval.is_some_and(|most| base_interval.unwrap_or(ProtoDuration(Duration::from_secs(1))) > most) {
        said.wrong(&format!("{at}.maxInterval"), "is shorter than baseInterval (1s unless written)");
    }
}
