//! What becomes of a resource when parts of it are in quarantine.
#![allow(clippy::unwrap_used)]

use proto::envoy::config::route::v3::{Route, ScopedRouteConfiguration, route};
use proto::schema::resource_json;
use serde_json::{Value, json};

use super::*;

fn table(routes: Value) -> Resource {
    let hosts = json!([{"name": "shop/cart/80", "domains": ["*"], "routes": routes}]);
    let key = "10.0.0.1:80";
    let scope = json!({
        "name": key,
        "key": {"fragments": [{"string_key": key}]},
        "route_configuration": {"name": "shop/cart/80", "virtual_hosts": hosts},
    });
    resource_json(ResourceType::Scope, key, scope).unwrap()
}

fn three() -> Resource {
    let answer = json!({"status": 200});
    table(json!([
        {"name": "first", "match": {"path": "/first"}, "direct_response": answer},
        {
            "name": "second",
            "match": {
                "safe_regex": {"regex": "/zz(a|b){1,400}"},
                "headers": [
                    {"name": ":method", "string_match": {"exact": "PUT"}},
                    {"name": ":authority", "string_match": {"safe_regex": {"regex": "a"}}},
                    {"name": "x", "string_match": {"exact": "y"}},
                ],
                "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}],
            },
            "route": {"cluster": "c"},
            "request_headers_to_add": [{"header": {"key": "a", "value": "%NO%"}}],
        },
        {"name": "last", "match": {"prefix": "/"}, "direct_response": answer},
    ]))
}

fn routes(resource: &Resource) -> Vec<Route> {
    let scope = ScopedRouteConfiguration::decode(resource.body.value.as_slice()).unwrap();
    assert_eq!((scope.name.as_str(), scope.key.unwrap().fragments.len()), ("10.0.0.1:80", 1));
    scope.route_configuration.unwrap().virtual_hosts.remove(0).routes
}

fn refused(digest: Digest) -> (Digest, Verdict) {
    (digest, Verdict::Refused("no".to_owned()))
}

fn status(route: &Route) -> Option<u32> {
    match &route.action {
        Some(route::Action::DirectResponse(answer)) => Some(answer.status),
        _ => None,
    }
}

#[test]
fn a_refused_route_answers_500_to_what_it_matches_and_the_others_stay_as_they_are() {
    let written = three();
    let quarantine = Quarantine::from([refused(parts(ResourceType::Scope, &written)[1].digest)]);
    let offer = offer(ResourceType::Scope, &written, &quarantine);
    let (before, after) = (routes(&written), routes(offer.resource.as_ref().unwrap()));
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
    assert_eq!((status(&after[1]), &after[1].r#match), (Some(500), &before[1].r#match));
    assert!(after[1].request_headers_to_add.is_empty());
    assert_eq!(offer.aside.len(), 1);
    assert_eq!(offer.aside[0].name, "second");
    assert!(offer.parts.iter().all(|part| !part.safe), "its match may be refused, too");
}

#[test]
fn when_the_match_is_refused_too_all_that_it_might_match_is_answered_500() {
    let written = three();
    let first = refused(parts(ResourceType::Scope, &written)[1].digest);
    let once = offer(ResourceType::Scope, &written, &Quarantine::from([first.clone()]));
    let second = refused(once.parts[1].digest);
    let offer = offer(ResourceType::Scope, &written, &Quarantine::from([first, second]));
    let after = routes(offer.resource.as_ref().unwrap());
    let expected = routes(&table(json!([{
        "match": {"prefix": "/zz", "headers": [{"name": ":method", "string_match": {"exact": "PUT"}}]},
        "direct_response": {"status": 500},
    }])));
    assert_eq!(after[1].r#match, expected[0].r#match, "nothing is kept that was not compared letter by letter");
    assert_eq!(status(&after[1]), Some(500));
    assert_eq!((after[0].name.as_str(), after[2].name.as_str()), ("first", "last"));
    assert!(offer.parts[1].safe);
}

#[test]
fn what_was_not_tried_is_answered_by_the_widest_match_at_once() {
    let written = three();
    let quarantine = Quarantine::from([(parts(ResourceType::Scope, &written)[1].digest, Verdict::Untried)]);
    let offer = offer(ResourceType::Scope, &written, &quarantine);
    assert!(offer.parts[1].safe);
}

#[test]
fn a_table_that_is_refused_as_a_whole_answers_500_to_everything() {
    let written = three();
    let offer = offer(ResourceType::Scope, &written, &Quarantine::from([refused(whole(&written))]));
    let after = routes(offer.resource.as_ref().unwrap());
    assert_eq!((after.len(), status(&after[0])), (1, Some(500)));
    assert!(offer.parts.is_empty());
}

#[test]
fn a_refused_chain_is_left_out_of_its_listener_and_a_refused_cluster_altogether() {
    let of_a = json!({"filter_chain_match": {"transport_protocol": "raw_buffer"}, "name": "a"});
    let chains = json!([of_a, {"name": "b", "filters": []}]);
    let listener =
        resource_json(ResourceType::Listener, "proxy", json!({"name": "proxy", "filter_chains": chains})).unwrap();
    let digest = parts(ResourceType::Listener, &listener)[0].digest;
    let offered = offer(ResourceType::Listener, &listener, &Quarantine::from([refused(digest)]));
    assert_eq!((offered.aside[0].name.as_str(), offered.parts.len()), ("a", 1));
    let only_b = json!({"name": "proxy", "filter_chains": [{"name": "b", "filters": []}]});
    assert_eq!(offered.resource, Some(resource_json(ResourceType::Listener, "proxy", only_b).unwrap()));

    let cluster = resource_json(ResourceType::Cluster, "c", json!({"name": "c"})).unwrap();
    let offered = offer(ResourceType::Cluster, &cluster, &Quarantine::from([refused(whole(&cluster))]));
    assert_eq!((offered.resource, offered.aside.len()), (None, 1));

    let endpoints = json!({"cluster_name": "c", "endpoints": [{"priority": 3}]});
    let endpoints = resource_json(ResourceType::Endpoint, "c", endpoints).unwrap();
    let offered = offer(ResourceType::Endpoint, &endpoints, &Quarantine::from([refused(whole(&endpoints))]));
    let none = resource_json(ResourceType::Endpoint, "c", json!({"cluster_name": "c"})).unwrap();
    assert_eq!(offered.resource, Some(none));
}

#[test]
fn what_is_edited_is_sent_again_and_its_verdict_forgotten() {
    let mut output = GatewayOutput::default();
    let written = Arc::new(three());
    let key = (ResourceType::Scope, written.name.clone());
    output.resources.entry(key.0).or_default().insert(key.1.clone(), written.clone());
    let mut quarantine = Quarantine::from([refused(parts(key.0, &written)[1].digest)]);
    output.keep_apart(&mut quarantine);
    assert_ne!(output.resources[&key.0][&key.1], written);
    assert_eq!((output.as_written(&key), output.aside.len(), quarantine.len()), (Some(&written), 1, 1));
    let sent = output.resources.clone();
    output.keep_apart(&mut quarantine);
    assert_eq!(output.resources, sent, "it begins from what was written");

    quarantine.clear();
    output.keep_apart(&mut quarantine);
    assert_eq!((&output.resources[&key.0][&key.1], output.aside.len()), (&written, 0));

    let mut old = Quarantine::from([refused(Digest::of(b"an older wording"))]);
    output.keep_apart(&mut old);
    assert!(old.is_empty() && output.written.is_empty());
}

#[test]
fn endpoints_are_a_part_that_may_be_refused() {
    let endpoints = resource_json(ResourceType::Endpoint, "c", json!({"cluster_name": "c"})).unwrap();
    let parts = parts(ResourceType::Endpoint, &endpoints);
    assert_eq!(parts, [Part { digest: whole(&endpoints), safe: false }]);
}

#[test]
fn a_resource_concerns_the_service_of_its_port_or_of_its_name() {
    let mut output = GatewayOutput::default();
    let scope = (ResourceType::Scope, "10.0.0.1:80".to_owned());
    assert_eq!(output.service(&scope), None);
    let port = ir::PortRef { service: Name::new("shop", "cart"), port: 80 };
    output.ports.insert(scope.clone(), port);
    assert_eq!(output.service(&scope), Some(Name::new("shop", "cart")));
    let cluster = |name: &str| (ResourceType::Cluster, name.to_owned());
    assert_eq!(output.service(&cluster("shop/cart/80")), Some(Name::new("shop", "cart")));
    assert_eq!((output.service(&cluster("extauth")), output.service(&cluster("sniffed"))), (None, None));
}

/// A match that keeps too much would let requests past that the refused rule was to refuse.
#[test]
fn a_widened_match_keeps_a_method_that_is_compared_letter_by_letter_and_no_other_header() {
    let widened = |matches: Value| {
        let written = table(json!([{"match": matches, "direct_response": {"status": 200}}]));
        widened(routes(&written)[0].r#match.clone().unwrap())
    };
    let method = |how: Value| json!({"name": ":method", "string_match": how});
    let mut inverted = method(json!({"exact": "GET"}));
    inverted["invert_match"] = json!(true);
    for dropped in [
        inverted,
        method(json!({"prefix": "GE"})),
        method(json!({"safe_regex": {"regex": "GET"}})),
        json!({"name": ":method", "present_match": true}),
        json!({"name": "x-tenant", "string_match": {"exact": "a"}}),
        json!({"name": "x-tenant", "range_match": {"start": "1", "end": "2"}}),
    ] {
        let kept = method(json!({"exact": "PUT"}));
        let now = widened(json!({"path": "/a", "headers": [dropped, kept], "runtime_fraction": {"default_value": {}}}));
        assert_eq!(now.headers.iter().map(|header| header.name.as_str()).collect::<Vec<_>>(), [":method"], "{dropped}");
        assert_eq!((now.path_specifier, now.runtime_fraction), (Some(PathSpecifier::Path("/a".to_owned())), None));
    }
    let path = |matches: Value| widened(matches).path_specifier.unwrap();
    assert_eq!(path(json!({"prefix": "/p"})), PathSpecifier::Prefix("/p".to_owned()));
    assert_eq!(path(json!({"path_separated_prefix": "/p"})), PathSpecifier::PathSeparatedPrefix("/p".to_owned()));
    assert_eq!(path(json!({"safe_regex": {"regex": "/p/[0-9]"}})), PathSpecifier::Prefix("/p/".to_owned()));
    assert_eq!(path(json!({"connect_matcher": {}})), PathSpecifier::Prefix("/".to_owned()));
    let insensitive = json!({"path": "/A", "case_sensitive": false});
    assert_eq!(widened(insensitive).case_sensitive.map(|sensitive| sensitive.value), Some(false));
}

#[test]
fn of_several_that_are_refused_each_is_told() {
    let mut output = GatewayOutput::default();
    let (table, cluster) = (three(), resource_json(ResourceType::Cluster, "c", json!({"name": "c"})).unwrap());
    let parts = parts(ResourceType::Scope, &table);
    let mut quarantine: Quarantine = [parts[0].digest, parts[2].digest, whole(&cluster)].map(refused).into();
    output.resources.entry(ResourceType::Scope).or_default().insert(table.name.clone(), table);
    output.resources.entry(ResourceType::Cluster).or_default().insert("c".to_owned(), cluster);
    output.keep_apart(&mut quarantine);
    let told: Vec<(&str, &str)> =
        output.aside.iter().map(|aside| (aside.resource.1.as_str(), aside.name.as_str())).collect();
    assert_eq!(told, [("c", ""), ("10.0.0.1:80", "first"), ("10.0.0.1:80", "last")]);
    assert_eq!((quarantine.len(), output.written.len()), (3, 2));
}
