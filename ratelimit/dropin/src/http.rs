//! `/json` and `/healthcheck`, and the debug port's `/`, `/rlconfig` and `/stats`.

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use proto::envoy::service::ratelimit::v3 as pb;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use runtime::Readiness;

use super::domains::Domains;
use super::exhausted::Exhausted;
use super::service::Shared;
use super::stats::Stats;
use super::tree::{FileRule, Level, Node};
use server::Clock;
use store::CounterStore;

/// Where the schema is that JSON is read and written by.
static SCHEMA: LazyLock<Option<[MessageDescriptor; 2]>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(server::assemble::DESCRIPTORS).ok()?;
    let message = |name: &str| pool.get_message_by_name(&format!("envoy.service.ratelimit.v3.{name}"));
    Some([message("RateLimitRequest")?, message("RateLimitResponse")?])
});

/// The HTTP port.
pub fn routes<S: CounterStore, C: Clock>(service: Shared<S, C>, readiness: Readiness) -> Router {
    let json = move |body: Bytes| {
        let service = service.clone();
        async move { json(&service, &body).await }
    };
    let health = move || {
        let ready = readiness.is_ready();
        async move { if ready { (StatusCode::OK, "OK") } else { (StatusCode::INTERNAL_SERVER_ERROR, "") } }
    };
    Router::new().route("/json", any(json)).route("/healthcheck", any(health))
}

async fn json<S: CounterStore, C: Clock>(service: &Shared<S, C>, body: &[u8]) -> Response {
    let request = match from_json(body) {
        Ok(request) => request,
        Err(why) => {
            tracing::warn!(why, "a request by HTTP that cannot be read");
            return plain(StatusCode::BAD_REQUEST);
        }
    };
    let response = match service.0.answer(&request).await {
        Ok(response) => response,
        Err(failure) => {
            tracing::warn!(%failure, "a request by HTTP that cannot be answered");
            return plain(StatusCode::BAD_REQUEST);
        }
    };
    let status = match Code::try_from(response.overall_code) {
        Ok(Code::Ok) => StatusCode::OK,
        Ok(Code::OverLimit) => StatusCode::TOO_MANY_REQUESTS,
        Ok(Code::Unknown) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    match to_json(&response) {
        Some(text) => (status, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
        None => plain(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// The status' own words, as Go's server sends them.
fn plain(status: StatusCode) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, format!("{}\n", status.canonical_reason().unwrap_or_default())).into_response()
}

/// A request from proto-JSON.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn from_json(body: &[u8]) -> Result<pb::RateLimitRequest, String> {
    let [request, _] = SCHEMA.as_ref().ok_or("no schema")?;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let message = DynamicMessage::deserialize(request.clone(), &mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    message.transcode_to().map_err(|error| error.to_string())
}

/// A response as proto-JSON.
pub(crate) fn to_json(response: &pb::RateLimitResponse) -> Option<String> {
    let [_, descriptor] = SCHEMA.as_ref()?;
    let message = DynamicMessage::decode(descriptor.clone(), response.encode_to_vec().as_slice()).ok()?;
    let mut value = serde_json::to_value(&message).ok()?;
    whole(&mut value);
    serde_json::to_string(&value).ok()
}

/// Writes doubles without a fraction as JavaScript and Go do: `3`, not `3.0`.
fn whole(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(all) => all.iter_mut().for_each(whole),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(whole),
        serde_json::Value::Number(number) => {
            let double = number.as_f64().filter(|double| number.is_f64() && double.fract() == 0.0);
            if let Some(double) = double.filter(|double| double.abs() < 9e15) {
                *number = (double as i64).into();
            }
        }
        _ => {}
    }
}

/// What the debug port has besides the admin pages.
pub fn debug(domains: Arc<ArcSwap<Domains>>, stats: Arc<Stats>, exhausted: Option<Arc<Exhausted>>) -> Router {
    const INDEX: &str = "/debug/pprof/: not there: profiles are taken with perf\n\
        /livez: whether the process runs\n\
        /metrics: print out stats in Prometheus' format\n\
        /readyz: whether it is ready, or what it waits for\n\
        /rlconfig: print out the currently loaded configuration for debugging\n\
        /stats: print out stats\n";
    let statistics = move || {
        let gauges = exhausted.as_ref().map(|cache| cache.gauges()).into_iter().flatten();
        let gauges = gauges.map(|(name, value)| (name.into(), value));
        let mut all: Vec<(Box<str>, u64)> = stats.all().into_iter().chain(gauges).collect();
        all.sort();
        let page: String = all.into_iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        async move { page }
    };
    let no_profiles = || async {
        (StatusCode::NOT_FOUND, "There is no Go runtime here to profile. Use perf on the process, or /metrics.\n")
    };
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/rlconfig", get(move || async move { rlconfig(&domains.load()) }))
        .route("/stats", get(statistics))
        .route("/debug/pprof/", get(no_profiles))
        .route("/debug/pprof/{*rest}", get(no_profiles))
}

/// A line for each rule, sorted.
pub fn rlconfig(domains: &Domains) -> String {
    let mut lines = Vec::new();
    for entry in domains.all() {
        level(&entry.domain.level, &mut lines);
    }
    lines.sort();
    lines.concat()
}

fn level(level: &Level, lines: &mut Vec<String>) {
    let wild = |wild: &[super::tree::Wild], lines: &mut Vec<String>| wild.iter().for_each(|one| node(&one.node, lines));
    for values in level.keys.values() {
        values.exact.values().chain(values.any.as_deref()).for_each(|one| node(one, lines));
        wild(&values.wild, lines);
    }
    wild(&level.loose, lines);
}

fn node(node: &Node, lines: &mut Vec<String>) {
    lines.extend(node.rule.iter().flat_map(|rule| std::iter::once(&**rule).chain(&rule.more)).map(line));
    level(&node.children, lines);
}

fn line(rule: &FileRule) -> String {
    let FileRule { key, requests_per_unit, shadow, quota, .. } = rule;
    let unit = rule.limit.map_or("UNKNOWN", |limit| limit.unit().as_str());
    let units = match rule.limit.map(|limit| limit.units()) {
        None | Some(1) => String::new(),
        Some(units) => format!(" unit_multiplier={units}"),
    };
    format!(
        "{key}: unit={unit}{units} requests_per_unit={requests_per_unit}, shadow_mode: {shadow}, quota_mode: {quota}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_strictly_and_written_as_protobuf_says() {
        let request = from_json(
            br#"{"domain": "d", "hitsAddend": 2, "descriptors": [{"entries": [{"key": "k"}], "hits_addend": "3"}]}"#,
        )
        .unwrap();
        assert_eq!((request.domain.as_str(), request.hits_addend), ("d", 2));
        assert_eq!(request.descriptors[0].hits_addend.as_ref().unwrap().value, 3);
        for wrong in ["", "{", r#"{"domian": "d"}"#, r#"{"domain": 1}"#, r#"{} {}"#] {
            assert!(from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let response = pb::RateLimitResponse { overall_code: Code::OverLimit as i32, ..Default::default() };
        assert_eq!(to_json(&response).unwrap(), r#"{"overallCode":"OVER_LIMIT"}"#);
    }
}
