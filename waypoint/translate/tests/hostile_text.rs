//! Text that Envoy would refuse, in every field of every good example: what is
//! admitted all the same reaches Envoy in a form that it takes. A new field that
//! forgets the rules of `api::envoy` is found here, without being listed.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use waypoint_translate::translate;

/// In turn in the place of each text.
const HOSTILE: &[&str] = &["a\r\nb: c", "(?x)a", "%PROTOCOL(x)%", "(a{1,40}){1,40}", "[", "\u{0}", "%"];

#[test]
fn hostile_text_is_refused_or_harmless_wherever_it_is_written() {
    let (mut tried, mut findings) = (0, Vec::new());
    for area in
        ["policy/every-option-that-works", "policy/every-way-to-describe-a-request", "routes/redirects-and-rewrites"]
    {
        let documents = support::documents(&support::testdata().join(area));
        for (number, document) in documents.iter().enumerate() {
            let kind = document["kind"].as_str().unwrap();
            if !matches!(kind, "HTTPRoute" | "RouteOption" | "RateLimitConfig") {
                continue;
            }
            for place in places(&document["spec"], "/spec") {
                for hostile in HOSTILE {
                    let mut documents = documents.clone();
                    *documents[number].pointer_mut(&place).unwrap() = Value::from(*hostile);
                    tried += 1;
                    if api::admit(&documents[number]).rejected() {
                        continue;
                    }
                    let translation = translate(&support::snapshot(&documents).0, &support::settings());
                    for output in translation.gateways.values() {
                        for resource in output.resources.values().flat_map(|all| all.values()) {
                            let found = refused(&proto::yaml::json(&resource.body));
                            findings.extend(found.map(|why| format!("{area} {kind} {place} {hostile:?}: {why}")));
                        }
                    }
                }
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert!(tried > 300, "{tried}");
}

/// Pointers to every text in `value`.
fn places(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::String(_) => vec![at.to_owned()],
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(index, item)| places(item, &format!("{at}/{index}"))).collect()
        }
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, item)| places(item, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))))
            .collect(),
        _ => Vec::new(),
    }
}

/// What Envoy would not take in the resource `value`.
fn refused(value: &Value) -> Option<String> {
    match value {
        Value::Object(map) => map.iter().find_map(|(key, item)| match (key.as_str(), item) {
            ("regex", Value::String(regex)) => api::envoy::regex::check(regex).err(),
            ("request_headers_to_add" | "response_headers_to_add", Value::Array(headers)) => {
                // Expressions in CEL are ours; admission lets nobody write one.
                let format = |entry: &Value| {
                    let written = entry["header"]["value"].as_str().filter(|text| !text.contains("%CEL("))?;
                    api::envoy::format::check(written).err()
                };
                headers.iter().find_map(format).or_else(|| refused(item))
            }
            (
                "host_rewrite_literal"
                | "prefix_rewrite"
                | "substitution"
                | "host_redirect"
                | "path_redirect"
                | "path"
                | "path_separated_prefix"
                | "value"
                | "allow_methods"
                | "allow_headers"
                | "expose_headers"
                | "max_age",
                Value::String(text),
            ) => text.contains(['\r', '\n', '\0']).then(|| format!("{text:?}")),
            _ => refused(item),
        }),
        Value::Array(items) => items.iter().find_map(refused),
        _ => None,
    }
}
