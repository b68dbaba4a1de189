//! How every sort of value is read, page by page in `testdata/readings.txt`: `UPDATE_GOLDEN=1` writes it anew, and then the
//! difference is to be read by somebody who would like to get past a policy.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use super::*;

const PARTS: [&str; 15] = [
    "principal",
    "namespace",
    "service account",
    "trust domain",
    "source address",
    "remote address",
    "destination address",
    "port",
    "server name",
    "host",
    "method",
    "path",
    "header",
    "request principal",
    "claim",
];

fn part(name: &str) -> Part {
    match name {
        "principal" => Part::Principal,
        "namespace" => Part::Namespace,
        "service account" => Part::ServiceAccount,
        "trust domain" => Part::TrustDomain,
        "source address" => Part::SourceAddress,
        "remote address" => Part::RemoteAddress,
        "destination address" => Part::DestinationAddress,
        "port" => Part::Port,
        "server name" => Part::ServerName,
        "host" => Part::Host,
        "method" => Part::Method,
        "path" => Part::Path,
        "header" => Part::Header("x-team".to_owned()),
        "request principal" => Part::RequestPrincipal,
        _ => Part::Claim(vec!["groups".to_owned(), "name".to_owned()]),
    }
}

/// Values that somebody may write for a part.
fn values(part: &str) -> &'static [&'static str] {
    match part {
        "principal" => &[
            "cluster.local/ns/shop/sa/a",
            "cluster.localhost/ns/shop/sa/a",
            "cluster.local/ns/shop/sa/*",
            "cluster.local/*",
            "cluster.local",
            "other.test/ns/shop/sa/a",
            "*/ns/shop/sa/a",
            "*",
            "",
        ],
        "namespace" => &["shop", "sh.p", "sh*", "*op", "*"],
        "service account" => &["a", "shop/a", "sh.p/a", "a/b/c"],
        "trust domain" => &["cluster.local", "cluster.localhost", "cluster*", "*.local", "*", "other.test"],
        "source address" | "remote address" | "destination address" => &["10.0.0.0/8", "::1", "no network"],
        "port" => &["80", "81", "080", "http"],
        "server name" => &["a.test", "*"],
        "host" => {
            &["a.test", "a.test:80", "a.test:8080", "a.test:http", "a.test:8a", "::1", "*.test", "*.test:80", "a*", "*"]
        }
        "method" => &["GET", "get", "P*", "*T", "*"],
        "path" => &["/a", "/a b", "/a/*", "/ü/*", "*.html", "*/ü", "*", "/a/{*}/b", "/a/{**}", "/a/{*}.ü"],
        "header" => &["a", "a.b", "a*", "*b", "*"],
        "request principal" => {
            &["iss/sub", "iss/a/b", "iss/", "/sub", "iss", "iss/*", "iss*", "iss/s*", "*/sub", "*sub", "*s/sub", "*"]
        }
        _ => &["admin", "7", "true", "a*", "*z", "*", ""],
    }
}

fn page() -> String {
    let mut text = String::new();
    let meshes = ["cluster.local", "mesh.test"]
        .map(|domain| Settings { trust_domain: domain.to_owned(), ..Settings::default() });
    for name in PARTS {
        let _ = writeln!(text, "{name}");
        for value in values(name) {
            let mut known: Vec<String> = Vec::new();
            for (settings, http, tokens, certain) in [
                (&meshes[0], true, true, true),
                (&meshes[0], true, true, false),
                (&meshes[1], true, true, true),
                (&meshes[1], true, true, false),
                (&meshes[0], true, false, true),
                (&meshes[0], true, false, false),
                (&meshes[0], false, false, true),
                (&meshes[0], false, false, false),
            ] {
                let reading = Reading { certain, read: Read { http, tokens }, port: 80, home: "shop", settings };
                let values = [(*value).to_owned()];
                let list = Listed { part: part(name), field: "is", values: &values, not_field: "not", not_values: &[] };
                let is = format!("{:?}", reading.list(&list));
                let not = Listed { values: &[], not_values: &values, ..list };
                // What it must not be is read the other way round.
                let other = Reading { certain: !certain, ..reading };
                let is_not = Listed { values: &values, not_values: &[], ..not.clone() };
                assert_eq!(reading.list(&not), Condition::all([other.list(&is_not).inverted()]), "{name} {value}");
                let read = match (http, tokens) {
                    (true, true) => "",
                    (true, false) => ", no tokens",
                    _ => ", not HTTP",
                };
                let who = if certain { "certain" } else { "possible" };
                let line = format!("    {who} in {}{read}: {is}", settings.trust_domain);
                // Told once: whatever the mesh is called, mostly.
                if !known.contains(&format!("{who}{is}")) {
                    known.push(format!("{who}{is}"));
                    let _ = writeln!(text, "  {value:?}\n{line}");
                }
            }
        }
    }
    text
}

#[test]
fn every_sort_of_value_is_read_as_the_page_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/readings.txt");
    let page = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(page, std::fs::read_to_string(&path).unwrap_or_default(), "UPDATE_GOLDEN=1 writes it anew");
}

/// Headers of which there is one, with commas in its value, are no lists to whoever lets callers pass.
#[test]
fn a_header_that_is_no_list_is_compared_as_a_whole() {
    let settings = Settings::default();
    let reading = |certain| Reading {
        certain,
        read: Read { http: true, tokens: true },
        port: 80,
        home: "shop",
        settings: &settings,
    };
    for name in WHOLE {
        let text = Condition::Text(Of::Header(name.to_owned()), Text::Prefix("a, b".to_owned()));
        assert_eq!(reading(true).header(name, Pattern::Prefix("a, b")), text);
        assert_ne!(reading(false).header(name, Pattern::Prefix("a, b")), text);
    }
    assert_ne!(
        reading(true).header("x-team", Pattern::Prefix("a, b")),
        Condition::Text(Of::Header("x-team".to_owned()), Text::Prefix("a, b".to_owned()))
    );
}

/// An expression that Envoy would not compile is not known: it lets nobody pass and refuses everybody.
#[test]
fn what_envoy_would_not_compile_is_not_known() {
    let settings = Settings::default();
    let long = format!("/{}ü", "a".repeat(4_000));
    for certain in [true, false] {
        let read = Read { http: true, tokens: false };
        let reading = Reading { certain, read, port: 80, home: "shop", settings: &settings };
        assert_eq!(reading.value(&Part::Path, &long), reading.unknown());
        assert_eq!(reading.unknown().constant(), Some(!certain));
    }
}

/// A rule that nobody can meet is none; one of which some callers can, is for those.
#[test]
fn a_rule_is_for_the_callers_that_can_meet_it() {
    let settings = Settings::default();
    let read = Read { http: true, tokens: false };
    let reading = Reading { certain: true, read, port: 80, home: "shop", settings: &settings };
    let from = |principals: &[&str], ports: &[&str]| -> Option<Rule> {
        let all = |of: &[&str]| of.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        let source = istio::Source { principals: all(principals), ..istio::Source::default() };
        let operation = istio::Operation { ports: all(ports), ..istio::Operation::default() };
        let written = istio::Rule {
            from: Some(vec![istio::From { source }]),
            to: Some(vec![istio::To { operation }]),
            when: None,
        };
        reading.rule("r".to_owned(), &written)
    };
    let callers =
        |rule: Option<Rule>| rule.map(|rule| rule.callers.into_iter().map(|c| (c.named, c.that)).collect::<Vec<_>>());
    let named = |name: &str| Some(BTreeSet::from([format!("spiffe://{name}")]));
    let (a, b) = ("cluster.local/ns/shop/sa/a", "cluster.local/ns/shop/sa/b");
    assert_eq!(callers(from(&[a], &["80"])), Some(vec![(named(a), Condition::always())]));
    assert_eq!(callers(from(&[a], &["81"])), None, "nobody comes to this port by another");
    let both = callers(from(&[a, "*/sa/c", b], &[])).unwrap();
    assert_eq!(both.iter().map(|(named, _)| named.as_ref().map(BTreeSet::len)).collect::<Vec<_>>(), [Some(2), None]);
    let like = callers(from(&["*/sa/c"], &[])).unwrap();
    assert_eq!(like.iter().map(|(named, _)| named.is_none()).collect::<Vec<_>>(), [true]);
}
