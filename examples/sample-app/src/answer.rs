//! Responses of the shapes go-httpbin gives.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use crate::{go, request};

pub const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
pub const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A body of a type.
pub fn body(status: StatusCode, content_type: HeaderValue, body: impl Into<Body>) -> Response {
    (status, [(CONTENT_TYPE, content_type)], body.into()).into_response()
}

/// A JSON object with its fields in this order.
pub fn json(status: StatusCode, fields: &[(&str, Value)]) -> Response {
    body(status, JSON, go::object(fields))
}

/// go-httpbin's own errors; no detail when empty.
pub fn error(status: StatusCode, detail: &str) -> Response {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut fields = vec![("status_code", status.as_u16().into()), ("error", reason.into())];
    if !detail.is_empty() {
        fields.push(("detail", detail.into()));
    }
    json(status, &fields)
}

/// Errors of Go's HTTP library.
pub fn plain_error(status: StatusCode, text: &str) -> Response {
    let mut response = body(status, TEXT, format!("{text}\n"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The headers that let any web page call: on every response.
pub fn allow_origin(parts: &Parts, headers: &mut HeaderMap) {
    let origin = parts.headers.get("origin").filter(|origin| !origin.is_empty()).cloned();
    let any = HeaderValue::from_static("*");
    set(headers, "access-control-allow-origin", origin.unwrap_or(any));
    set(headers, "access-control-allow-credentials", HeaderValue::from_static("true"));
}

/// The answer to OPTIONS, whatever the path.
pub fn preflight(parts: &Parts) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, HEAD, PUT, DELETE, PATCH, OPTIONS");
    set(headers, "access-control-allow-methods", methods);
    set(headers, "access-control-max-age", HeaderValue::from_static("3600"));
    if !request::header(parts, "access-control-request-headers").is_empty() {
        let asked = parts.headers["access-control-request-headers"].clone();
        set(headers, "access-control-allow-headers", asked);
    }
    response
}

fn set(headers: &mut HeaderMap, name: &'static str, value: HeaderValue) {
    headers.insert(HeaderName::from_static(name), value);
}
