//! What a request says, in go-httpbin's words.

use std::net::SocketAddr;

use axum::http::request::Parts;
use serde_json::Value;

use crate::go::{self, Values};

/// Headers in which hosting platforms name the caller, the strongest first.
const CALLER: [&str; 4] = ["fly-client-ip", "cf-connecting-ip", "fastly-client-ip", "true-client-ip"];

/// The value of a header, empty if absent.
pub fn header<'a>(parts: &'a Parts, name: &str) -> &'a str {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The query's names and values.
pub fn args(parts: &Parts) -> Values {
    go::query(parts.uri.query().unwrap_or_default()).0
}

/// One value of the query, empty if absent.
pub fn arg(parts: &Parts, name: &str) -> String {
    args(parts).remove(name).and_then(|values| values.into_iter().next()).unwrap_or_default()
}

/// Every header, by its name as Go writes it.
pub fn headers(parts: &Parts) -> Values {
    let mut headers = Values::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(go::header_name(name.as_str())).or_default().push(value);
    }
    headers.insert("Host".to_owned(), vec![host(parts)]);
    headers
}

/// Who called: what a proxy in front says, else the peer's address and port.
pub fn origin(parts: &Parts, peer: SocketAddr) -> String {
    if let Some(caller) = CALLER.iter().map(|name| header(parts, name)).find(|caller| !caller.is_empty()) {
        return caller.to_owned();
    }
    match header(parts, "x-forwarded-for") {
        "" => peer.to_string(),
        forwarded => forwarded.split(',').next().unwrap_or_default().trim().to_owned(),
    }
}

/// The URL as the caller meant it.
pub fn url(parts: &Parts) -> String {
    let said = ["x-forwarded-proto", "x-forwarded-protocol"].map(|name| header(parts, name));
    let scheme = match said.into_iter().find(|scheme| !scheme.is_empty()) {
        Some(scheme) => scheme,
        None if header(parts, "x-forwarded-ssl") == "on" => "https",
        None => "http",
    };
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{}{}{query}", host(parts), parts.uri.path())
}

fn host(parts: &Parts) -> String {
    match parts.uri.authority() {
        Some(authority) => authority.to_string(),
        None => header(parts, "host").to_owned(),
    }
}

/// The fields that every echo begins with.
pub fn echo(parts: &Parts, peer: SocketAddr) -> Vec<(&'static str, Value)> {
    vec![
        ("args", go::values(&args(parts))),
        ("headers", go::values(&headers(parts))),
        ("method", parts.method.as_str().into()),
        ("origin", origin(parts, peer).into()),
        ("url", url(parts).into()),
    ]
}
