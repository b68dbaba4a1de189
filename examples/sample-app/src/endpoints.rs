//! The endpoints, by path.

mod body;
mod bytes;
mod status;

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use rand::Rng as _;

use crate::{MAX_DURATION, answer, go, request};

const INDEX: &str = "<!doctype html>\n<title>sample-app</title>\n\
    <p>Answers as go-httpbin does. Try <a href=\"/get\">/get</a>, <a href=\"/headers\">/headers</a>, \
    <a href=\"/status/418\">/status/418</a> or <a href=\"/anything\">/anything</a>.\n";

/// Answers any request.
pub async fn answer(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut response =
        if parts.method == Method::OPTIONS { answer::preflight(&parts) } else { route(&parts, body, peer).await };
    // What /response-headers was asked to set comes after these, as a second value.
    let mut headers = axum::http::HeaderMap::new();
    answer::allow_origin(&parts, &mut headers);
    for (name, value) in response.headers() {
        headers.append(name, value.clone());
    }
    *response.headers_mut() = headers;
    response
}

async fn route(parts: &Parts, body: axum::body::Body, peer: SocketAddr) -> Response {
    let path = parts.uri.path().strip_prefix('/').unwrap_or_default();
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let ok = |fields: &[(&str, serde_json::Value)]| answer::json(StatusCode::OK, fields);
    match (first, rest) {
        ("", None) => only(parts, &[Method::GET], || answer::body(StatusCode::OK, answer::HTML, INDEX)),
        ("get", None) => only(parts, &[Method::GET], || ok(&request::echo(parts, peer))),
        ("head", None) => only(parts, &[Method::HEAD], || ok(&request::echo(parts, peer))),
        ("anything", _) if parts.method == Method::HEAD => ok(&request::echo(parts, peer)),
        ("anything", _) => body::echo(parts, body, peer).await,
        ("post" | "put" | "patch" | "delete", None) => {
            if parts.method.as_str().eq_ignore_ascii_case(first) {
                body::echo(parts, body, peer).await
            } else {
                not_allowed(parts)
            }
        }
        ("headers", None) => ok(&[("headers", go::values(&request::headers(parts)))]),
        ("ip", None) => ok(&[("origin", request::origin(parts, peer).into())]),
        ("user-agent", None) => ok(&[("user-agent", request::header(parts, "user-agent").into())]),
        ("uuid", None) => ok(&[("uuid", uuid().into())]),
        ("hostname", None) => ok(&[("hostname", "go-httpbin".into())]),
        ("response-headers", None) => response_headers(parts),
        ("status" | "delay" | "bytes" | "stream-bytes", None) => {
            answer::plain_error(StatusCode::NOT_FOUND, "404 page not found")
        }
        ("status", Some(codes)) if !codes.contains('/') => status::answer(codes),
        ("delay", Some(time)) if !time.contains('/') => match bounded(time) {
            Ok(time) => {
                tokio::time::sleep(time).await;
                body::echo(parts, body, peer).await
            }
            Err(why) => answer::error(StatusCode::BAD_REQUEST, &format!("invalid duration: {why}")),
        },
        ("bytes", Some(count)) if !count.contains('/') => bytes::at_once(count),
        ("stream-bytes", Some(count)) if !count.contains('/') => bytes::in_chunks(parts, count),
        ("drip", None) => bytes::drip(parts).await,
        _ => answer::error(StatusCode::NOT_FOUND, ""),
    }
}

/// Answers the methods given (GET stands for HEAD too) and no other.
fn only(parts: &Parts, methods: &[Method], answer: impl FnOnce() -> Response) -> Response {
    let head = parts.method == Method::HEAD && methods.contains(&Method::GET);
    if head || methods.contains(&parts.method) { answer() } else { not_allowed(parts) }
}

fn not_allowed(parts: &Parts) -> Response {
    answer::plain_error(StatusCode::METHOD_NOT_ALLOWED, &format!("method {} not allowed", parts.method))
}

/// A duration that an answer may take.
fn bounded(text: &str) -> Result<std::time::Duration, String> {
    match go::duration(text) {
        None => Err(format!("{text:?} is neither seconds nor a Go duration")),
        Some(time) if time > MAX_DURATION => Err(format!("{time:?} not in range [0s, {MAX_DURATION:?}]")),
        Some(time) => Ok(time),
    }
}

/// The query's names and values as headers of the response, and as its body.
fn response_headers(parts: &Parts) -> Response {
    let args = request::args(parts);
    let fields: Vec<_> = args.iter().map(|(name, values)| (name.as_str(), values.clone().into())).collect();
    let mut response = answer::json(StatusCode::OK, &fields);
    for (name, values) in &args {
        let Ok(name) = HeaderName::try_from(name) else { continue };
        // The type of the body and its length are one value each.
        if name == CONTENT_TYPE {
            response.headers_mut().remove(CONTENT_TYPE);
        }
        if name == axum::http::header::CONTENT_LENGTH || name == axum::http::header::TRANSFER_ENCODING {
            continue;
        }
        for value in values.iter().filter_map(|value| HeaderValue::try_from(value).ok()) {
            response.headers_mut().append(&name, value);
        }
    }
    response
}

/// A random UUID, version 4.
fn uuid() -> String {
    let random: u128 = rand::rng().random();
    let versioned = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{versioned:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
