//! One folder per case: what is applied, what Envoy is told, what its author is told.
//! `UPDATE_GOLDEN=1` rewrites the expectations.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use proto::ResourceType;
use serde_json::Value;
use support::{cases, documents, settings, snapshot, status, xds};
use waypoint_translate::{AccessLog, GatewayOutput, Settings, translate};

#[test]
fn every_case_comes_out_as_written_down() {
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(!cases.is_empty());
    for case in &cases {
        let (snapshot, problems) = snapshot(&documents(case));
        let translation = translate(&snapshot, &settings());
        for (file, text) in [("xds.yaml", xds(&translation)), ("status.yaml", status(&translation, &problems))] {
            compare(&case.join(file), &text, &mut wrong);
        }
        for entry in std::fs::read_dir(case).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !["input.yaml", "xds.yaml", "status.yaml"].contains(&name.as_str()) {
                wrong.push(format!("{}/{name}: no test makes this file", case.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "run with UPDATE_GOLDEN=1 and read the difference:\n{}", wrong.join("\n"));
}

fn compare(path: &Path, text: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected != text {
        let line = expected.lines().zip(text.lines()).position(|(a, b)| a != b);
        let line = line.unwrap_or_else(|| expected.lines().count().min(text.lines().count()));
        let (was, is) = (expected.lines().nth(line).unwrap_or(""), text.lines().nth(line).unwrap_or(""));
        wrong.push(format!("{}:{}\n  - {was}\n  + {is}", path.display(), line + 1));
    }
}

#[test]
fn the_order_of_documents_does_not_matter() {
    for case in cases() {
        let mut documents = documents(&case);
        let first = translate(&snapshot(&documents).0, &settings());
        documents.reverse();
        let second = translate(&snapshot(&documents).0, &settings());
        assert_eq!(xds(&first), xds(&second), "{}", case.display());
        assert_eq!(first.report, second.report, "{}", case.display());
        for (name, output) in &first.gateways {
            assert_eq!(output.resources, second.gateways[name].resources, "{}", case.display());
            assert_eq!(output.origins, second.gateways[name].origins, "{}", case.display());
        }
    }
}

#[test]
fn what_is_referred_to_exists_and_what_exists_is_referred_to() {
    for case in cases() {
        let translation = translate(&snapshot(&documents(&case)).0, &settings());
        for output in translation.gateways.values() {
            let names = |kind| {
                output.resources.get(&kind).into_iter().flatten().map(|(n, _)| n.clone()).collect::<BTreeSet<_>>()
            };
            let listeners = json_of(output, ResourceType::Listener);
            let clusters = json_of(output, ResourceType::Cluster);
            let routes = json_of(output, ResourceType::Scope);
            assert_eq!(strings(&routes, "string_key"), names(ResourceType::Scope), "{}", case.display());
            assert_eq!(strings(&clusters, "service_name"), names(ResourceType::Endpoint), "{}", case.display());
            let mut used = strings(&listeners, "cluster");
            used.extend(strings(&routes, "cluster"));
            for route in &routes {
                weighted(route, &mut used);
            }
            used.remove("no-such-backend");
            // Connections that are not read go to the cluster that is named by where they were made to;
            // those that are refused, to none.
            let unread = |name: &String| name.parse::<std::net::SocketAddr>().is_ok();
            let passed: BTreeSet<String> = names(ResourceType::Cluster).into_iter().filter(unread).collect();
            // Also where no port needs them: taking them away would end connections.
            let chains = strings(&listeners, "name");
            assert!(chains.contains("sniffed") && chains.contains("tcp"), "{}", case.display());
            used.extend(passed);
            used.extend(["extauth".to_owned(), "ratelimit".to_owned()]);
            assert_eq!(used, names(ResourceType::Cluster), "{}", case.display());
            let all: BTreeSet<_> =
                output.resources.iter().flat_map(|(k, r)| r.keys().map(|n| (*k, n.clone()))).collect();
            assert_eq!(all, output.origins.keys().cloned().collect(), "{}", case.display());
        }
    }
}

#[test]
fn every_rule_that_envoy_is_told_is_known_with_the_objects_that_ask_for_it() {
    for case in cases() {
        let translation = translate(&snapshot(&documents(&case)).0, &settings());
        for output in translation.gateways.values() {
            for (name, scope) in output.resources.get(&ResourceType::Scope).into_iter().flatten() {
                let at = (ResourceType::Scope, name.clone());
                let hosts = proto::yaml::json(&scope.body)["route_configuration"]["virtual_hosts"].clone();
                let routes = hosts.as_array().into_iter().flatten().flat_map(|host| host["routes"].as_array().unwrap());
                let mut told: BTreeSet<_> = routes.map(|route| route["name"].as_str().unwrap().to_owned()).collect();
                told.remove("no route");
                let known = output.rules.get(&at).unwrap();
                assert_eq!(told, known.keys().cloned().collect(), "{} {name}", case.display());
                assert!(known.values().all(|origins| !origins.is_empty()), "{} {name}", case.display());
                assert!(output.ports.get(&at).is_some(), "{} {name}", case.display());
            }
        }
    }
}

#[test]
fn the_log_is_told_the_service_of_every_request_where_it_is_asked_for_as_json() {
    let mut said = BTreeSet::new();
    for case in cases() {
        for access_log in [None, Some(AccessLog::Text), Some(AccessLog::Json)] {
            let settings = Settings { access_log, ..settings() };
            let translation = translate(&snapshot(&documents(&case)).0, &settings);
            for scope in translation.gateways.values().flat_map(|output| json_of(output, ResourceType::Scope)) {
                let hosts = scope["route_configuration"]["virtual_hosts"].as_array().unwrap();
                for route in hosts.iter().flat_map(|host| host["routes"].as_array().unwrap()) {
                    let service = &route["metadata"]["filter_metadata"]["waykeeper"]["service"];
                    assert_eq!(service.is_string(), access_log == Some(AccessLog::Json), "{route}");
                    said.extend(service.as_str().map(str::to_owned));
                }
            }
        }
    }
    assert!(said.contains("inbound-vip|8000|http|httpbin2.httpbin.svc.cluster.local"), "{said:?}");
}

fn json_of(output: &GatewayOutput, kind: ResourceType) -> Vec<Value> {
    output.resources.get(&kind).into_iter().flatten().map(|(_, r)| proto::yaml::json(&r.body)).collect()
}

/// Every string under the key `key`, wherever.
fn strings(values: &[Value], key: &str) -> BTreeSet<String> {
    fn walk(value: &Value, key: &str, out: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (name, inner) in map {
                    if let (true, Some(text)) = (name == key, inner.as_str()) {
                        out.insert(text.to_owned());
                    }
                    walk(inner, key, out);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, key, out)),
            _ => {}
        }
    }
    let mut out = BTreeSet::new();
    values.iter().for_each(|value| walk(value, key, &mut out));
    out
}

fn weighted(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Array(clusters)) = map.get("weighted_clusters").and_then(|w| w.get("clusters")) {
                out.extend(clusters.iter().filter_map(|c| c["name"].as_str().map(str::to_owned)));
            }
            map.values().for_each(|inner| weighted(inner, out));
        }
        Value::Array(items) => items.iter().for_each(|item| weighted(item, out)),
        _ => {}
    }
}
