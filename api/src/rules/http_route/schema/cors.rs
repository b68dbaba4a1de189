//! What the schema asks of a CORS filter.

use crate::envoy::Checks;
use crate::gateway::httproutes::HttpRouteRulesFiltersCors as Cors;
use crate::rules::names::{self, Duplicates};

/// Origins, and headers of either sort.
const MOST: usize = 64;
const MOST_METHODS: usize = 9;
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"];

/// What is wrong with the filter `cors` at `field`.
pub fn cors(field: &str, cors: &Cors, checks: &mut Checks) {
    for (name, list, most) in [
        ("allowOrigins", &cors.allow_origins, MOST),
        ("allowMethods", &cors.allow_methods, MOST_METHODS),
        ("allowHeaders", &cors.allow_headers, MOST),
        ("exposeHeaders", &cors.expose_headers, MOST),
    ] {
        let list = list.as_deref().unwrap_or_default();
        let field = format!("{field}.{name}");
        checks.at_most(&field, list.len(), most);
        if name != "exposeHeaders" && list.len() > 1 && list.iter().any(|entry| entry == "*") {
            checks.error(&field, "\"*\" stands for all; write it alone, or leave it out");
        }
        let mut known = Duplicates::default();
        for (index, entry) in list.iter().enumerate().take(most) {
            let field = format!("{field}[{index}]");
            known.note(&field, entry.clone(), "named twice; write one entry", checks);
            match name {
                "allowOrigins" => origin(&field, entry, checks),
                "allowMethods" if METHODS.contains(&entry.as_str()) => {}
                "allowMethods" => {
                    checks.error(&field, format!("{entry:?} is not a method; write one of {}", METHODS.join(", ")));
                }
                _ => {
                    names::token(&field, entry, checks);
                    checks.header_mentioned(&field, entry);
                }
            }
        }
    }
    if cors.max_age.is_some_and(|seconds| seconds < 1) {
        checks.error(&format!("{field}.maxAge"), "write at least 1 second");
    }
}

fn origin(field: &str, origin: &str, checks: &mut Checks) {
    if !is_origin(origin) {
        let message = format!(
            "{origin:?} is not an origin; write \"*\", or a scheme, a host and no path, \
             for example \"https://www.example.com\", \"https://*.example.com\" or \"http://*:8080\""
        );
        checks.error(field, message);
    } else if origin.len() > 253 {
        checks.error(field, "longer than 253 characters");
    }
}

fn is_origin(origin: &str) -> bool {
    if origin == "*" {
        return true;
    }
    let Some(rest) = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")) else { return false };
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let is_port = |port: &str| {
        (1..=5).contains(&port.len())
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_host = host == "*" || host.strip_prefix("*.").unwrap_or(host).split('.').all(is_label);
    is_host && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_path_and_a_wildcard_only_at_its_beginning() {
        for right in
            ["*", "https://a", "http://A-1.example:1", "https://*.example.com:65535", "https://*", "http://*:8080"]
        {
            assert!(is_origin(right), "{right}");
        }
        for wrong in [
            "",
            "**",
            "a.example",
            "ftp://a",
            "https://",
            "https://a/",
            "https://a.*",
            "https://*a",
            "https://a..b",
            "https://a.",
            "https://*.",
            "https://a:",
            "https://a:0",
            "https://a:65536",
            "https://a:1:2",
            "https://u@a",
            "https://a_b",
            "https://[::1]",
            "HTTPS://a",
            "null",
        ] {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }
}
