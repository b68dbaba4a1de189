//! What walkthrough 000 prints, wherever it runs.

use crate::{Curl, Reply};

/// The request headers an application sees when no policy changes them.
pub const PLAIN: [&str; 6] =
    ["Accept", "Host", "User-Agent", "X-Envoy-Expected-Rq-Timeout-Ms", "X-Forwarded-Proto", "X-Request-Id"];

/// A GET of `/get`, as the walkthrough writes it.
pub fn get(service: &str) -> Curl {
    Curl::to(&format!("http://{service}:8000/get"))
}

/// [`PLAIN`] and some more, sorted.
pub fn with(extra: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = PLAIN.iter().chain(extra).map(ToString::to_string).collect();
    names.sort();
    names
}

/// Whether the request reached the application unchanged.
pub fn is_plain(reply: &Reply) -> bool {
    reply.status == 200 && reply.seen_names() == PLAIN
}

/// S0-03: what the walkthrough prints of a request that no policy touches.
pub fn assert_plain(service: &str, reply: &Reply) {
    let json = reply.json();
    assert_eq!(reply.status_line, "HTTP/1.1 200 OK");
    assert_eq!(reply.seen_names(), PLAIN, "{reply:?}");
    assert_eq!(reply.seen("Accept").as_deref(), Some("*/*"));
    assert_eq!(reply.seen("Host").as_deref(), Some(format!("{service}:8000").as_str()));
    assert!(reply.seen("User-Agent").unwrap().starts_with("curl/"));
    assert_eq!(reply.seen("X-Envoy-Expected-Rq-Timeout-Ms").as_deref(), Some("15000"));
    assert_eq!(reply.seen("X-Forwarded-Proto").as_deref(), Some("http"));
    assert_eq!(reply.seen("X-Request-Id").unwrap().len(), 36);
    assert_eq!(json["method"], "GET");
    assert_eq!(json["url"], format!("http://{service}:8000/get"));
    let origin = json["origin"].as_str().unwrap();
    assert!(origin.parse::<std::net::SocketAddr>().is_ok(), "origin is ip:port: {origin}");
    assert_eq!(reply.header("server"), Some("envoy"));
}

/// S0-07 and S0-09: the answer to a request without a valid key.
pub fn assert_unauthorized(reply: &Reply) {
    assert_eq!(reply.status_line, "HTTP/1.1 401 Unauthorized", "{reply:?}");
    assert_eq!(reply.header_names(), ["content-length", "date", "server", "www-authenticate"], "{reply:?}");
    assert_eq!(reply.header("www-authenticate"), Some("API key is missing or invalid"));
    assert_eq!(reply.header("server"), Some("envoy"));
    assert_eq!(reply.header("content-length"), Some("0"));
    assert_eq!(reply.body, "");
}

/// One 200, then 429s: a limit of one in a minute.
pub fn assert_one_then_limited(curl: &Curl) {
    let first = curl.send();
    assert_eq!(first.status_line, "HTTP/1.1 200 OK", "{first:?}");
    assert_eq!(first.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(first.header("access-control-allow-origin"), Some("*"));
    for _ in 0..2 {
        let limited = curl.send();
        assert_eq!(limited.status_line, "HTTP/1.1 429 Too Many Requests", "{limited:?}");
        assert_eq!(limited.header("x-envoy-ratelimited"), Some("true"));
        assert_eq!(limited.body, "");
    }
}
