//! Each rule of a kind by itself: what is just right is admitted, what is just wrong is named, also
//! where it is the second of two and the first is right.
#![allow(clippy::unwrap_used)]

mod held;

use held::{errors, hold, several, x};
use serde_json::{Value, json};
use waykeeper_api::admit;

fn route() -> Value {
    let two = json!([{"name": "a", "value": "x"}, {"name": "b", "value": "y"}]);
    let headers =
        json!({"set": two, "add": [{"name": "c", "value": "x"}, {"name": "d", "value": "y"}], "remove": ["e", "f"]});
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
    "metadata": {"name": "r", "namespace": "t", "labels": {"a": "x", "b": "y"}},
    "spec": {
        "parentRefs": [{"group": "", "kind": "Service", "name": "a"}, {"name": "wp"}],
        "hostnames": ["example.com", "*.example.org"],
        "rules": [
            {"name": "one", "matches": [{"path": {"type": "PathPrefix", "value": "/one"}, "headers": two, "queryParams": two}],
                "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": headers},
                    {"type": "ResponseHeaderModifier", "responseHeaderModifier": headers}],
                "backendRefs": [{"name": "a", "port": 80}, {"name": "b", "port": 80, "weight": 2}],
                "timeouts": {"request": "10s", "backendRequest": "5s"}},
            {"name": "two", "filters": [{"type": "RequestRedirect", "requestRedirect":
                {"hostname": "example.org", "port": 8080, "path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"}}}]},
            {"name": "three", "matches": [{"path": {"value": "/three"}}], "backendRefs": [{"name": "a", "port": 80}],
                "filters": [{"type": "URLRewrite", "urlRewrite":
                    {"hostname": "example.org", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/y"}}}]},
        ]}})
}

fn gateway() -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "wp", "namespace": "t"},
        "spec": {"gatewayClassName": "gloo-waypoint",
            "listeners": [{"name": "proxy", "port": 15088, "protocol": "istio.io/PROXY"},
                {"name": "http", "port": 80, "protocol": "HTTP", "hostname": "*.example.com"}],
            "addresses": [{"value": "127.0.0.1"}, {"type": "Hostname", "value": "a.example"}]}})
}

fn grant() -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": {"name": "g", "namespace": "t"},
        "spec": {"from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "u"},
                {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "v"}],
            "to": [{"group": "", "kind": "Service"}, {"group": "", "kind": "Service", "name": "a"}]}})
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "t"},
        "spec": {"ports": [{"name": "web", "port": 80}, {"name": "admin", "port": 81}]}})
}

fn class() -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "c"},
        "spec": {"controllerName": "example.com/name"}})
}

#[test]
fn the_good_ones_are_good() {
    for good in [route(), gateway(), grant(), service(), class()] {
        assert_eq!(admit(&good).problems, vec![], "{good}");
    }
}

#[test]
fn labels_and_names() {
    let labels = |a: &str| json!({"first": "good", "second": a});
    let right = ["", "x", "x.y_z-1", "X9", &"x".repeat(63)].map(labels);
    let wrong = ["-x", "x-", ".x", "x_", "x y", "ü", &"x".repeat(64)].map(labels);
    hold(&route(), "/metadata/labels", &right, &wrong);
    hold(&route(), "/metadata/name", &[json!("a.b-c")], &[json!(""), json!("a_b"), json!("-a"), json!("A")]);
    hold(&service(), "/metadata/name", &[json!("a-b")], &[json!("a.b"), json!("a_b")]);
    hold(&route(), "/metadata/namespace", &[x(63)], &[x(64), json!("a.b"), json!("A"), json!(null)]);
    hold(&class(), "/metadata/namespace", &[json!("")], &[json!("t")]);
}

#[test]
fn parents_and_host_names_of_routes() {
    let route = route();
    hold(&route, "/spec/parentRefs/1/port", &[json!(1), json!(65535)], &[json!(0), json!(65536), json!(-1)]);
    hold(&route, "/spec/parentRefs/1/name", &[x(253)], &[x(254), json!("")]);
    hold(&route, "/spec/parentRefs/1/namespace", &[x(63)], &[x(64), json!("a.b"), json!("-a"), json!("A")]);
    hold(&route, "/spec/parentRefs/1/sectionName", &[json!("a.b")], &[json!("A B")]);
    let service = |more: Value| {
        let mut parent = json!({"group": "", "kind": "Service", "name": "a"});
        parent.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parent
    };
    let apart = [json!({"port": 80}), json!({"sectionName": "web"}), json!({"name": "b"}), json!({"namespace": "u"})];
    hold(&route, "/spec/parentRefs/1", &apart.map(service), &[service(json!({}))]);
    let named = |number: usize| json!({"name": format!("wp{number}")});
    hold(&route, "/spec/parentRefs", &[several(32, named)], &[several(33, named)]);
    let kind = |kind: Value| json!({"group": "example.com", "kind": kind, "name": "a"});
    let right = [json!("a-b"), json!("A1"), x(63)].map(kind);
    hold(&route, "/spec/parentRefs/1", &right, &[json!("a b"), json!("1a"), json!("a-"), x(64)].map(kind));
    let groups = [json!("a b"), json!("-a"), json!("A")];
    hold(&route, "/spec/parentRefs/1", &[], &groups.map(|group| json!({"group": group, "kind": "Thing", "name": "a"})));
    hold(&route, "/spec/hostnames/1", &[json!("a.b"), json!("*.b.c")], &[json!("a b"), json!("a.*.b"), json!("")]);
    let host = |number: usize| json!(format!("a{number}.example"));
    hold(&route, "/spec/hostnames", &[several(16, host)], &[several(17, host)]);
}

#[test]
fn rules_and_matches_of_routes() {
    let route = route();
    hold(&route, "/spec/rules/1/name", &[json!("four"), json!("a.b")], &[json!("one"), json!("A B")]);
    let rule = |number: usize| json!({"name": format!("n{number}"), "backendRefs": [{"name": "a", "port": 80}]});
    hold(&route, "/spec/rules", &[several(16, rule)], &[several(17, rule), json!([])]);
    let path = |number: usize| json!({"path": {"value": format!("/p{number}")}});
    hold(&route, "/spec/rules/0/matches", &[several(64, path)], &[several(65, path)]);
    let many = |count: usize| json!({"matches": several(count, path), "backendRefs": [{"name": "a", "port": 80}]});
    let all = |last: usize| json!([many(64), many(63), many(last)]);
    hold(&route, "/spec/rules", &[all(1)], &[all(2)]);
    for (list, most) in [("headers", 4096), ("queryParams", 1024)] {
        let at = |rest: &str| format!("/spec/rules/0/matches/0/{list}{rest}");
        let one = |number: usize| json!({"name": format!("n{number}"), "value": "x"});
        hold(&route, &at(""), &[several(16, one)], &[several(17, one)]);
        hold(&route, &at("/1/name"), &[json!("n~!")], &[json!("a"), json!("a b"), json!("")]);
        hold(&route, &at("/1/value"), &[x(most), json!("é")], &[x(most + 1), json!("")]);
        if list == "queryParams" {
            // Clients may escape what is not plain, in more ways than are looked for in a long value.
            let ends = |plain: usize, with: &str| json!("x".repeat(plain) + with);
            hold(&route, &at("/1/value"), &[ends(127, "!"), ends(128, "~")], &[ends(128, "!")]);
        }
        let regex = |value: Value| json!({"name": "r", "type": "RegularExpression", "value": value});
        hold(&route, &at("/1"), &[regex(json!("a+"))], &[regex(json!("(")), regex(json!("")), regex(json!("(?=a)"))]);
    }
    let expression = |value: &str| json!({"type": "RegularExpression", "value": value});
    let wrong = ["", "(", "(?!a)"].map(expression);
    hold(&route, "/spec/rules/2/matches/0/path", &[], &wrong);
    hold(&route, "/spec/rules/0/matches/0/path", &[expression("/a.*")], &wrong);
    let needless = ["/%61", "/a%2D", "/(x|%2e).*", "/%7e", "/%5f"].map(expression);
    hold(
        &route,
        "/spec/rules/0/matches/0/path",
        &["/%40", "/%2F", "/%7C", "/%", "/%6", "/%4g", "/%6G", "/%g1"].map(expression),
        &needless,
    );
    let query = |value: &str| json!({"name": "r", "type": "RegularExpression", "value": value});
    hold(&route, "/spec/rules/0/matches/0/queryParams/1", &[query("%20.*")], &[query("%41.*")]);
}

#[test]
fn filters_of_routes() {
    let route = route();
    for (number, kind) in [(0, "requestHeaderModifier"), (1, "responseHeaderModifier")] {
        let at = |rest: &str| format!("/spec/rules/0/filters/{number}/{kind}/{rest}");
        for list in ["set", "add"] {
            let first = if list == "set" { "a" } else { "c" };
            let one = |number: usize| json!({"name": format!("n{number}"), "value": "x"});
            hold(&route, &at(list), &[several(16, one)], &[several(17, one)]);
            let names = [json!(first), json!("a b"), json!(""), json!("Content-Length"), json!("Transfer-Encoding")];
            hold(&route, &at(&format!("{list}/1/name")), &[json!("x-a")], &names);
            hold(&route, &at(&format!("{list}/1/value")), &[x(4096)], &[x(4097), json!(""), json!("a\nb")]);
        }
        hold(
            &route,
            &at("remove"),
            &[several(16, |n| json!(format!("n{n}")))],
            &[several(17, |n| json!(format!("n{n}")))],
        );
        hold(&route, &at("remove/1"), &[json!("x-a")], &[json!("e"), json!("a b"), json!("")]);
    }
    let redirect = "/spec/rules/1/filters/0/requestRedirect";
    hold(&route, &format!("{redirect}/port"), &[json!(1), json!(65535)], &[json!(0), json!(65536)]);
    hold(&route, &format!("{redirect}/hostname"), &[json!("a.b")], &[json!("a b"), json!("*.a")]);
    hold(&route, "/spec/rules/2/filters/0/urlRewrite/hostname", &[json!("a.b")], &[json!("a b"), json!("*.a")]);
    let full = |path: Value| json!({"type": "ReplaceFullPath", "replaceFullPath": path});
    let prefix = json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": "/z"});
    for (at, right) in [
        (format!("{redirect}/path"), full(json!("/z"))),
        ("/spec/rules/2/filters/0/urlRewrite/path".to_owned(), prefix),
    ] {
        let wrong = [
            json!({"type": "ReplaceFullPath"}),
            json!({"type": "ReplacePrefixMatch"}),
            json!({"type": "ReplaceFullPath", "replacePrefixMatch": "/z"}),
            json!({"type": "ReplaceFullPath", "replaceFullPath": "/z", "replacePrefixMatch": "/z"}),
            full(json!("/a\nb")),
        ];
        hold(&route, &at, &[right], &wrong);
    }
    // A prefix is replaced where one prefix is matched.
    let prefix_only =
        [json!([{"path": {"value": "/a"}}]), json!([{"path": {"type": "PathPrefix", "value": "/a"}}]), json!([])];
    let not_one = [
        json!([{"path": {"type": "Exact", "value": "/a"}}]),
        json!([{"path": {"value": "/a"}}, {"path": {"value": "/b"}}]),
    ];
    hold(&route, "/spec/rules/2/matches", &prefix_only, &[]);
    for matches in not_one {
        assert!(!errors(&route, "/spec/rules/2/matches", &matches).is_empty(), "{matches}");
    }
    let filters = &route["spec"]["rules"];
    let (redirect, rewrite) = (&filters[1]["filters"][0], &filters[2]["filters"][0]);
    hold(&route, "/spec/rules/1/filters", &[], &[json!([redirect, rewrite]), json!([redirect, redirect])]);
    hold(&route, "/spec/rules/1/backendRefs", &[json!([])], &[json!([{"name": "a", "port": 80}])]);
    let extension = |group: &str, kind: &str, name: &str| json!({"type": "ExtensionRef", "extensionRef": {"group": group, "kind": kind, "name": name}});
    let (right, wrong) =
        (extension("gateway.solo.io", "RouteOption", "a"), extension("gateway.solo.io", "RouteOption", ""));
    let odd = [extension("a b", "RouteOption", "a"), extension("gateway.solo.io", "Route Option", "a"), wrong];
    hold(&route, "/spec/rules/1/filters/0", &[right], &odd);
    for kind in ["requestRedirect", "urlRewrite", "extensionRef", "requestHeaderModifier"] {
        let pointer = format!("/spec/rules/0/filters/1/{kind}");
        assert!(!errors(&route, &pointer, &json!({})).is_empty(), "{kind} does not belong there");
    }
    hold(&route, "/spec/rules/1/filters/0", &[], &[json!({"type": "RequestRedirect"})]);
}

#[test]
fn cross_origin_filters_of_routes() {
    let mut route = route();
    route["spec"]["rules"][2]["filters"] = json!([{"type": "CORS", "cors": {"allowOrigins": ["https://a.example", "http://*.b.example:81"],
            "allowMethods": ["GET", "PUT"], "allowHeaders": ["g", "h"], "exposeHeaders": ["i", "*"], "maxAge": 5}}]);
    let at = |field: &str| format!("/spec/rules/2/filters/0/cors/{field}");
    let origin = |number: usize| json!(format!("https://a{number}.example"));
    let header = |number: usize| json!(format!("x-{number}"));
    hold(&route, &at("allowOrigins"), &[several(64, origin), json!(["*"]), json!([])], &[several(65, origin)]);
    let wrong = ["*", "a.example", "https://a.example", "https://a.example/", "ftp://a.example", "https://a.*", ""];
    hold(
        &route,
        &at("allowOrigins/1"),
        &[json!("https://*"), json!("http://A:8080")],
        &wrong.map(|wrong| json!(wrong)),
    );
    hold(&route, &at("allowMethods"), &[json!(["*"])], &[json!(["GET", "*"]), json!(["*", "GET"])]);
    hold(&route, &at("allowMethods/1"), &[json!("PATCH")], &[json!("GET"), json!("get"), json!("PURGE"), json!("")]);
    for list in ["allowHeaders", "exposeHeaders"] {
        hold(&route, &at(list), &[several(64, header), json!(["*"])], &[several(65, header)]);
        let right = if list == "exposeHeaders" { json!("*") } else { json!("x-a") };
        hold(&route, &at(&format!("{list}/1")), &[right], &[json!("a b"), json!(""), json!("x_waykeeper_a")]);
    }
    hold(&route, &at("allowHeaders/1"), &[], &[json!("*"), json!("g")]);
    hold(&route, &at("exposeHeaders/1"), &[], &[json!("i")]);
    hold(&route, &at("maxAge"), &[json!(1), json!(i32::MAX)], &[json!(0), json!(-1)]);
    let filter = &route["spec"]["rules"][2]["filters"][0];
    hold(&route, "/spec/rules/2/filters", &[json!([filter])], &[json!([filter, filter]), json!([{"type": "CORS"}])]);
}

#[test]
fn mirrors_of_routes() {
    let mut route = route();
    let mirror = json!({"backendRef": {"name": "b", "port": 80}, "percent": 50});
    route["spec"]["rules"][2]["filters"] = json!([{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a", "port": 80}}},
        {"type": "RequestMirror", "requestMirror": mirror}]);
    let at = |field: &str| format!("/spec/rules/2/filters/1/requestMirror/{field}");
    hold(&route, &at("percent"), &[json!(0), json!(100)], &[json!(-1), json!(101)]);
    hold(&route, &at("backendRef/port"), &[json!(1), json!(65535)], &[json!(0), json!(65536), json!(null)]);
    hold(&route, &at("backendRef/namespace"), &[json!("u")], &[json!("A"), json!("a.b")]);
    hold(&route, &at("backendRef/name"), &[], &[json!("")]);
    let other = json!({"group": "example.com", "kind": "Other", "name": "b"});
    hold(
        &route,
        &at("backendRef"),
        &[other],
        &[json!({"kind": "a b", "name": "b"}), json!({"group": "a b", "name": "b"})],
    );
    let fraction = |fraction: Value| json!({"backendRef": {"name": "b", "port": 80}, "fraction": fraction});
    let right = [json!({"numerator": 0}), json!({"numerator": 100}), json!({"numerator": 3, "denominator": 3})];
    let wrong = [
        json!({"numerator": -1}),
        json!({"numerator": 101}),
        json!({"numerator": 4, "denominator": 3}),
        json!({"numerator": 0, "denominator": 0}),
        json!({"numerator": -1, "denominator": -1}),
    ];
    hold(&route, "/spec/rules/2/filters/1/requestMirror", &right.map(fraction), &wrong.map(fraction));
    hold(&route, &at("fraction"), &[], &[json!({"numerator": 1})]);
    hold(&route, "/spec/rules/2/filters/1", &[], &[json!({"type": "RequestMirror"})]);
}

#[test]
fn retries_of_routes() {
    let mut route = route();
    route["spec"]["rules"][2]["retry"] = json!({"codes": [500, 503], "attempts": 2, "backoff": "1s"});
    let at = |field: &str| format!("/spec/rules/2/retry/{field}");
    hold(&route, &at("codes"), &[json!([]), several(200, |n| json!(400 + n % 200))], &[several(201, |_| json!(500))]);
    hold(&route, &at("codes/1"), &[json!(400), json!(599)], &[json!(399), json!(600), json!(-1)]);
    hold(&route, &at("attempts"), &[json!(0), json!(1000)], &[json!(-1), json!(1001)]);
    hold(
        &route,
        &at("backoff"),
        &[json!("0s"), json!("1h")],
        &[json!("1"), json!("-1s"), json!("99999h99999h"), json!("")],
    );
}

#[test]
fn backends_and_timeouts_of_routes() {
    let route = route();
    let backend = "/spec/rules/0/backendRefs/1";
    hold(&route, &format!("{backend}/port"), &[json!(1), json!(65535)], &[json!(0), json!(65536), json!(null)]);
    hold(&route, &format!("{backend}/weight"), &[json!(0), json!(1_000_000)], &[json!(-1), json!(1_000_001)]);
    hold(&route, &format!("{backend}/namespace"), &[json!("u")], &[json!("A"), json!("a.b")]);
    hold(
        &route,
        backend,
        &[json!({"group": "example.com", "kind": "Other", "name": "b"})],
        &[
            json!({"name": "b"}),
            json!({"name": "b", "kind": "Service"}),
            json!({"name": "b", "group": "", "kind": "Service"}),
        ],
    );
    let one = |number: usize| json!({"name": format!("b{number}"), "port": 80});
    hold(&route, "/spec/rules/0/backendRefs", &[several(16, one)], &[several(17, one)]);
    let times = |text: &str| json!(text);
    let right = ["10s", "1h2m3s4ms", "00010s", "87600h", "0s"].map(times);
    let wrong = ["10", "s", "1d", "10s5", "1s2s3s4s5s", "100000s", "1.5s", "-1s", "87601h", "1us", "1ns"].map(times);
    hold(&route, "/spec/rules/0/timeouts/request", &right, &wrong);
    hold(
        &route,
        "/spec/rules/0/timeouts/backendRequest",
        &["10s", "9999ms", "0s"].map(times),
        &["11s", "10001ms", "1"].map(times),
    );
    let unbounded = json!({"request": "0s", "backendRequest": "1h"});
    hold(&route, "/spec/rules/0/timeouts", &[unbounded, json!({"backendRequest": "1h"})], &[]);
}

#[test]
fn gateways_and_their_classes() {
    let gateway = gateway();
    let listener = "/spec/listeners/1";
    hold(&gateway, "/spec/gatewayClassName", &[x(253)], &[json!(""), x(254)]);
    hold(&gateway, &format!("{listener}/name"), &[json!("a.b")], &[json!("proxy"), json!("A B")]);
    hold(&gateway, &format!("{listener}/port"), &[json!(1), json!(65535)], &[json!(0), json!(65536)]);
    let word = |text: &str| json!(text);
    let right = ["HTTP", "a/B1", "example.com/X", "HTTP-2"].map(word);
    let wrong = ["", "a b", "-HTTP", "HTTP-", "a/b/c", "a b/X", "a/", "/X", "a/x-y"].map(word);
    hold(&gateway, &format!("{listener}/protocol"), &right, &wrong);
    hold(&gateway, &format!("{listener}/hostname"), &["a.b", "*.b.c", ""].map(word), &["a b", "a.*"].map(word));
    let at = |protocol: &str, more: Value| {
        let mut listener = json!({"name": "other", "port": 81, "protocol": protocol});
        listener.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        listener
    };
    let (host, reference) = (json!({"hostname": "a.b"}), json!([{"name": "c"}]));
    let tls = |mode: &str| json!({"tls": {"mode": mode, "certificateRefs": reference}});
    let right = [at("TCP", json!({})), at("HTTPS", tls("Terminate")), at("TLS", tls("Passthrough"))];
    let wrong = [
        at("TCP", host.clone()),
        at("UDP", host),
        at("HTTP", tls("Terminate")),
        at("TCP", tls("Terminate")),
        at("HTTPS", tls("Passthrough")),
        at("HTTPS", json!({"tls": {"mode": "Terminate"}})),
        at("HTTPS", json!({"tls": {"certificateRefs": []}})),
        at("TLS", json!({})),
        json!({"name": "other", "port": 15088, "protocol": "istio.io/PROXY"}),
    ];
    hold(&gateway, listener, &right, &wrong);
    let apart = json!({"name": "other", "port": 15088, "protocol": "istio.io/PROXY", "hostname": "a.b"});
    hold(&gateway, listener, &[apart], &[]);
    let kinds = |kind: &str| json!({"kinds": [{"kind": "HTTPRoute"}, {"kind": kind}]});
    let allowed = |kind: &str| json!({"name": "other", "port": 81, "protocol": "HTTP", "allowedRoutes": kinds(kind)});
    hold(&gateway, listener, &[allowed("Other")], &[allowed(""), allowed("no kind"), allowed("-")]);
    let many = |number: usize| json!({"name": format!("l{number}"), "port": 1000 + number, "protocol": "HTTP"});
    hold(&gateway, "/spec/listeners", &[several(64, many)], &[several(65, many), json!([])]);
    hold(&gateway, "/spec/addresses/0/value", &[json!("::1"), json!("")], &[json!("x"), json!("127.0.0")]);
    hold(&gateway, "/spec/addresses/1/value", &[json!("*.a.b")], &[json!("a b")]);
    let address = |number: usize| json!({"value": format!("127.0.0.{number}")});
    hold(&gateway, "/spec/addresses", &[several(16, address)], &[several(17, address)]);
    let names = ["example.com", "a b/c", "a.b/", "a.b/c d", "/c", ""].map(word);
    hold(&class(), "/spec/controllerName", &["a.b/c/d", "a.b/c-._~%!$&'()*+,;=:"].map(word), &names);
}

#[test]
fn selectors_of_namespaces_and_expressions_together() {
    let allowed = |selector: Value| json!({"namespaces": {"from": "Selector", "selector": selector}});
    let values =
        |values: &[&str]| allowed(json!({"matchExpressions": [{"key": "a", "operator": "In", "values": values}]}));
    let at = "/spec/listeners/0/allowedRoutes";
    hold(&gateway(), at, &[values(&["a", "b"])], &[values(&["a", "b c"]), values(&[])]);
    let labels = |key: &str, value: &str| allowed(json!({"matchLabels": {"a": "b", key: value}}));
    hold(&gateway(), at, &[labels("c", "d")], &[labels("c d", "e"), labels("c", "d e")]);

    // Each by itself is small enough; where they are too many, that is said once.
    let large = |number: usize| {
        let value = format!("{number}[a-z]{{900}}");
        let expression = |name: &str| json!({"name": name, "type": "RegularExpression", "value": value});
        json!({"path": {"value": format!("/{number}")}, "headers": [expression("x-a"), expression("x-b")]})
    };
    let found = errors(&route(), "/spec/rules/0/matches", &several(64, large));
    let told = found.iter().filter(|field| field.contains("matches")).count();
    assert_eq!(told, 1, "{found:?}");
}

#[test]
fn grants_and_services() {
    let grant = grant();
    let from = |number: usize| json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": format!("n{number}")});
    hold(&grant, "/spec/from", &[several(16, from)], &[several(17, from), json!([])]);
    hold(&grant, "/spec/from/1/namespace", &[json!("w")], &[json!("A"), json!("a.b")]);
    for side in ["from", "to"] {
        let at = |field: &str| format!("/spec/{side}/1/{field}");
        hold(&grant, &at("group"), &[json!(""), json!("example.com")], &[json!("a b"), json!("-a"), json!("A")]);
        hold(&grant, &at("kind"), &[json!("Gateway")], &[json!("a b"), json!("1a"), json!("a-"), x(64)]);
    }
    let to = |number: usize| json!({"group": "", "kind": "Service", "name": format!("n{number}")});
    hold(&grant, "/spec/to", &[several(16, to)], &[several(17, to), json!([])]);
    hold(&grant, "/spec/to/1/name", &[x(253), json!("")], &[x(254)]);
    let service = service();
    hold(&service, "/spec/ports/1/port", &[json!(1), json!(65535)], &[json!(0), json!(65536)]);
    hold(&service, "/spec/ports/1/name", &[json!("other")], &[json!(null)]);
    hold(
        &service,
        "/spec/ports",
        &[json!([{"port": 80}]), json!([])],
        &[json!([{"port": 80}, {"name": "b", "port": 81}])],
    );
}

fn option() -> Value {
    let target = |name: &str| json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name});
    json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption", "metadata": {"name": "o", "namespace": "t"},
        "spec": {"targetRefs": [target("r"), target("s")], "options": {
            "extauth": {"configRef": {"name": "keys", "namespace": "t"}},
            "rateLimitEarlyConfigs": {"refs": [{"name": "a", "namespace": "t"}]},
            "rateLimitConfigs": {"refs": [{"name": "b", "namespace": "t"}, {"name": "c", "namespace": "t"}]},
            "timeout": "3s",
            "retries": {"retryOn": "5xx", "numRetries": 2, "retriableStatusCodes": [500, 503],
                "retryBackOff": {"baseInterval": "1s", "maxInterval": "2s"}},
            "cors": {"allowOrigin": ["https://a.example", "*"], "allowOriginRegex": ["a+", "b+"], "allowMethods": ["GET", "PUT"],
                "allowHeaders": ["a", "b"], "exposeHeaders": ["a", "b"], "maxAge": "1d"},
            "faults": {"abort": {"percentage": 50, "httpStatus": 500}, "delay": {"percentage": 1, "fixedDelay": "2s"}}}}})
}

#[test]
fn route_options() {
    let option = option();
    hold(&option, "/metadata/labels", &[json!({})], &[]);
    let target = "/spec/targetRefs/1";
    hold(&option, &format!("{target}/name"), &[json!("t")], &[json!("")]);
    hold(&option, &format!("{target}/namespace"), &[json!("t"), json!("")], &[json!("u")]);
    hold(&option, &format!("{target}/kind"), &[], &[json!("Service"), json!("Gateway"), json!("HTTPRoutes")]);
    hold(&option, &format!("{target}/group"), &[], &[json!(""), json!("example.com")]);
    let refs = |count: usize| json!({"refs": several(count, |number| json!({"name": format!("n{number}"), "namespace": "t"}))});
    for list in ["rateLimitEarlyConfigs", "rateLimitRegularConfigs"] {
        let others = if list == "rateLimitEarlyConfigs" { 2 } else { 3 };
        hold(&option, &format!("/spec/options/{list}"), &[refs(16 - others)], &[]);
        let found = errors(&option, &format!("/spec/options/{list}"), &refs(17 - others));
        assert_eq!(found, ["spec.options.rateLimitConfigs.refs"], "early and regular ones included");
        let nameless = json!({"refs": [{"name": "x", "namespace": "t"}, {"name": "", "namespace": "t"}]});
        hold(&option, &format!("/spec/options/{list}"), &[], &[nameless]);
    }
    hold(&option, "/spec/options/rateLimitConfigs/refs/1/name", &[json!("d")], &[json!("")]);
    hold(&option, "/spec/options/timeout", &[json!("315360000s"), json!("0s")], &[json!("315360001s")]);
    hold(&option, "/spec/options/prefixRewrite", &[json!("/x")], &[json!("x"), json!("/a b")]);
    hold(&option, "/spec/options/hostRewrite", &[json!("a.b")], &[json!("a b"), json!("")]);
    let retries = |rest: &str| format!("/spec/options/retries/{rest}");
    hold(&option, &retries("retriableStatusCodes/1"), &[json!(100), json!(599)], &[json!(99), json!(600)]);
    hold(&option, &retries("retryBackOff/baseInterval"), &[json!("2s"), json!("0.001s")], &[json!("0s")]);
    hold(
        &option,
        &retries("retryBackOff/maxInterval"),
        &[json!("1s"), json!("315360000s")],
        &[json!("0.5s"), json!("315360001s")],
    );
    hold(&option, &retries("retryBackOff"), &[], &[json!({"maxInterval": "2s"})]);
    for (list, right, wrong) in [
        ("allowOrigin", json!("null"), json!("")),
        ("allowOriginRegex", json!("c+"), json!("(")),
        ("allowMethods", json!("*"), json!("a b")),
        ("allowHeaders", json!("*"), json!("a b")),
        ("exposeHeaders", json!("x-a"), json!("")),
    ] {
        hold(&option, &format!("/spec/options/cors/{list}/1"), &[right], &[wrong]);
        let most = waykeeper_api::envoy::MOST_ENTRIES;
        let one = |number: usize| json!(format!("n{number}"));
        hold(&option, &format!("/spec/options/cors/{list}"), &[several(most, one)], &[several(most + 1, one)]);
    }
    let faults = |rest: &str| format!("/spec/options/faults/{rest}");
    for of in ["abort", "delay"] {
        hold(&option, &faults(&format!("{of}/percentage")), &[json!(0), json!(100)], &[json!(-0.1), json!(100.1)]);
    }
    hold(&option, &faults("abort/httpStatus"), &[json!(200), json!(599)], &[json!(199), json!(600)]);
    hold(&option, &faults("delay/fixedDelay"), &[json!("0.001s")], &[json!("0s"), json!("315360001s"), json!(null)]);
}

#[test]
fn endpoints() {
    let slice = |kind: &str, first: &str, second: &str| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "e", "namespace": "t"},
            "addressType": kind, "endpoints": [{"addresses": [first]}, {"addresses": [first, second]}],
            "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]})
    };
    for (kind, good, bad) in [("IPv4", "10.0.0.1", "::1"), ("IPv6", "::1", "10.0.0.1"), ("FQDN", "a.example.", "a b")] {
        let slice = slice(kind, good, good);
        let (good, bad) = (json!(good), json!(bad));
        hold(&slice, "/endpoints/1/addresses/1", std::slice::from_ref(&good), &[bad.clone(), json!("")]);
        hold(&slice, "/endpoints/0/addresses/0", &[good], &[bad]);
        hold(&slice, "/ports/1/port", &[json!(1), json!(65535)], &[json!(0), json!(65536)]);
        hold(&slice, "/addressType", &[], &[json!("IP"), json!("")]);
    }
}
