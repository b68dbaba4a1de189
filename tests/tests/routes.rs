//! What the rules of an HTTPRoute do besides choosing where a request goes, as the real Envoy does it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use waykeeper_tests::echo::{Answer, Echo, get, send};
use waykeeper_tests::{Folder, Waykeeper, eventually, turn};

const A: &str = "127.0.20.51:8000";

/// A Gateway, the Services `a` and `b` with an application each, and a RouteOption that asks for a key of user `ann`.
fn town() -> (Folder, [Echo; 2]) {
    let folder = Folder::with_waypoint();
    let service = |name: &str, number: u8| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: t}}\nspec: {{clusterIP: 127.0.20.{number}, ports: [{{name: http, port: 8000}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: t, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints: [{{addresses: [127.0.10.{number}]}}]\n---\n"
        )
    };
    let keys = "\
apiVersion: v1
kind: Secret
type: extauth.solo.io/apikey
metadata: {name: ann, namespace: t, labels: {for: keys}}
stringData: {api-key: good}
---
apiVersion: enterprise.gloo.solo.io/v1
kind: AuthConfig
metadata: {name: keys, namespace: t}
spec: {configs: [{apiKeyAuth: {headerName: api-key, labelSelector: {for: keys}}}]}
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {name: auth, namespace: t}
spec: {options: {extauth: {configRef: {name: keys}}}}
";
    folder.apply("town.yaml", &format!("{}{}{keys}", service("a", 51), service("b", 52)));
    (folder, ["127.0.10.51:8080", "127.0.10.52:8080"].map(Echo::start))
}

/// A filter by which a rule asks for a key.
const GUARDED: &str = "{type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: auth}}";

/// The route of Service `a` with these rules, each a path and what else it says.
fn route(rules: &[(&str, &str)]) -> String {
    let rule = |(path, rest): &(&str, &str)| {
        format!("  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n    {rest}\n")
    };
    let rules: String = rules.iter().map(rule).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: a, namespace: t}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: a}}]\n  rules:\n{rules}"
    )
}

const TO_A: &str = "backendRefs: [{name: a, port: 8000}]";

/// What a browser asks before it sends a PUT to `path` for a script of `origin`.
fn preflight(path: &str, origin: &str, more: &str) -> Answer {
    let request = format!(
        "OPTIONS {path} HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n{more}Connection: close\r\n\r\n"
    );
    send(A, request.as_bytes())
}

#[test]
fn a_browser_is_answered_before_anybody_asks_who_it_is_and_the_application_never_hears_of_it() {
    let _turn = turn();
    let (folder, [a, _b]) = town();
    let cors = |cors: &str| format!("filters: [{{type: CORS, cors: {{{cors}}}}}, {GUARDED}]\n    {TO_A}");
    folder.apply(
        "route.yaml",
        &route(&[
            (
                "/some",
                &cors(
                    "allowOrigins: ['https://www.foo.com', 'https://*.bar.com'], allowMethods: [GET, PUT], allowHeaders: [x-1, x-2], exposeHeaders: [x-3, x-4], allowCredentials: true, maxAge: 3600",
                ),
            ),
            ("/all", &cors("allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'], exposeHeaders: ['*']")),
            ("/none", &cors("allowCredentials: true")),
            ("/without", &format!("filters: [{GUARDED}]\n    {TO_A}")),
        ]),
    );
    let _waykeeper = Waykeeper::up(&folder, &[]);

    for origin in ["https://www.foo.com", "https://www.foo.com:443", "https://x.bar.com", "https://y.x.bar.com"] {
        let allowed = preflight("/some", origin, "Access-Control-Request-Headers: x-1\r\n");
        assert_eq!(allowed.status(), 200, "{allowed:?}");
        for (header, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET,PUT"),
            ("access-control-allow-headers", "x-1,x-2"),
            ("access-control-expose-headers", "x-3,x-4"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "3600"),
        ] {
            assert_eq!(allowed.header(header), Some(value), "{origin} {header}");
        }
    }
    // Whom nobody allows is answered as well, without the header that would let it go on.
    for origin in [
        "https://bar.com",
        "http://www.foo.com",
        "https://www.foo.com:8443",
        "https://www.foo.com.evil.example",
        "null",
    ] {
        let refused = preflight("/some", origin, "");
        assert_eq!((refused.status(), refused.header("access-control-allow-origin")), (200, None), "{origin}");
    }
    let all = preflight("/all", "https://any.example:8443", "Access-Control-Request-Headers: x-9\r\n");
    assert_eq!(
        ["origin", "methods", "headers", "credentials"].map(|what| all.header(&format!("access-control-allow-{what}"))),
        [Some("https://any.example:8443"), Some("PUT"), Some("x-9"), None]
    );
    assert_eq!(all.header("access-control-max-age"), Some("5"));
    let none = preflight("/none", "https://www.foo.com", "");
    assert_eq!((none.status(), none.header("access-control-allow-origin")), (200, None), "none is named");
    assert_eq!(a.reached(), [""; 0], "no preflight reached the application");

    // The request itself needs a key, whatever its origin: CORS guards nothing.
    assert_eq!(get(A, "/some", "a", &["Origin: https://www.foo.com"]).status(), 401);
    let with_key = |origin: &str| get(A, "/some", "a", &[origin, "api-key: good"]);
    let allowed = with_key("Origin: https://x.bar.com");
    assert_eq!((allowed.status(), allowed.saw("x-user-id")), (200, vec!["ann"]));
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://x.bar.com"));
    assert_eq!(allowed.header("access-control-expose-headers"), Some("x-3,x-4"));
    let stranger = with_key("Origin: https://evil.example");
    assert_eq!((stranger.status(), stranger.header("access-control-allow-origin")), (200, None));
    // What is no preflight is a request as any other.
    let options = b"OPTIONS /some HTTP/1.1\r\nHost: a\r\nOrigin: https://www.foo.com\r\nConnection: close\r\n\r\n";
    assert_eq!(send(A, options).status(), 401);
    assert_eq!(preflight("/without", "https://www.foo.com", "").status(), 401, "no CORS filter, no answer");
    assert_eq!(a.reached().len(), 2);
}

#[test]
fn it_is_tried_again_where_no_answer_came_or_one_with_a_status_that_is_worth_it() {
    let _turn = turn();
    let (folder, [a, _b]) = town();
    let guarded = format!("filters: [{GUARDED}]");
    folder.apply(
        "route.yaml",
        &route(&[
            ("/codes", &format!("{guarded}\n    retry: {{codes: [503], attempts: 3, backoff: 10ms}}\n    {TO_A}")),
            ("/once", &format!("retry: {{codes: [503]}}\n    {TO_A}")),
            ("/never", &format!("retry: {{codes: [503], attempts: 0}}\n    {TO_A}")),
            (
                "/in-time",
                &format!("retry: {{attempts: 2, backoff: 10ms}}\n    timeouts: {{backendRequest: 300ms}}\n    {TO_A}"),
            ),
            (
                "/in-all",
                &format!(
                    "retry: {{codes: [503], attempts: 1000, backoff: 200ms}}\n    timeouts: {{request: 1s}}\n    {TO_A}"
                ),
            ),
            ("/", TO_A),
        ]),
    );
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let tried = |path: &str, key: &str| {
        let answer = get(A, path, "a", &[key]);
        (answer.status(), a.reached().len())
    };
    assert_eq!(tried("/codes/status?503", "api-key: good"), (503, 4), "one try and three more");
    assert_eq!(tried("/codes/status?503", "api-key: bad"), (401, 0), "who is refused is not tried at all");
    assert_eq!(tried("/codes/status?500", "api-key: good"), (500, 1), "another status");
    assert_eq!(tried("/codes/close", "api-key: good"), (503, 4), "no answer");
    assert_eq!(tried("/once/status?503", "x: y"), (503, 2));
    assert_eq!(tried("/never/status?503", "x: y"), (503, 1));
    assert_eq!(tried("/never/close", "x: y"), (503, 1));
    assert_eq!(tried("/in-time/slow?2", "x: y"), (504, 3), "each try has its time");
    assert_eq!(tried("/status?503", "x: y"), (503, 1), "no retry, no second try");
    let begun = std::time::Instant::now();
    assert_eq!(tried("/in-all/status?503", "x: y").0, 504);
    assert!(begun.elapsed().as_secs_f32() < 3.0, "all tries have one time: {:?}", begun.elapsed());
}

/// What reached `echo` within a while: `count` requests.
fn copies(echo: &Echo, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    eventually("copies", Duration::from_secs(5), || {
        seen.extend(echo.reached());
        if seen.len() >= count { Ok(()) } else { Err(format!("{} of {count}", seen.len())) }
    });
    seen
}

#[test]
fn copies_are_made_of_what_passed_as_it_was_sent_on_and_believe_no_client() {
    let _turn = turn();
    for flags in [&[][..], &["--clusters-on-demand"]] {
        let (folder, [a, b]) = town();
        let mirror = |more: &str| {
            format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: b, port: 8000}}{more}}}}}")
        };
        let changed = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: yes}]}}, {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /inner}}}";
        let broken = mirror("").replace("name: b", "name: gone");
        folder.apply(
            "route.yaml",
            &route(&[
                ("/guarded", &format!("filters: [{GUARDED}, {}]\n    {TO_A}", mirror(""))),
                ("/open", &format!("filters: [{}, {changed}]\n    {TO_A}", mirror(""))),
                ("/half", &format!("filters: [{}]\n    {TO_A}", mirror(", percent: 50"))),
                ("/none", &format!("filters: [{}, {broken}]\n    {TO_A}", mirror(", percent: 0"))),
            ]),
        );
        let _waykeeper = Waykeeper::up(&folder, flags);

        // Who is refused is copied to nobody.
        assert_eq!(get(A, "/guarded/1", "a", &["api-key: bad"]).status(), 401);
        assert_eq!(get(A, "/guarded/2", "a:8000", &["api-key: good", "X-User-Id: root"]).status(), 200);
        let copy = copies(&b, 1).remove(0);
        let header = |copy: &str, name: &str| -> Vec<String> {
            let lines = copy.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(n, _)| n.replace('_', "-") == name).map(|(_, value)| value.to_owned()).collect()
        };
        assert!(copy.starts_with("get /guarded/2 "), "{copy}");
        assert_eq!(header(&copy, "x-user-id"), ["ann"], "{copy}");
        assert_eq!(header(&copy, "host"), ["a-shadow:8000"], "{copy}");

        // What authorization says to b, no client says by a copy.
        assert_eq!(get(A, "/open/3", "a", &["X-User-Id: root", "X_User_Id: root", "x-set: no"]).status(), 200);
        let copy = copies(&b, 1).remove(0);
        assert!(copy.starts_with("get /inner/3 "), "{copy}");
        assert_eq!((header(&copy, "x-user-id").len(), header(&copy, "x-set")), (0, vec!["yes".to_owned()]), "{copy}");
        assert!(!copy.contains("x-waykeeper"), "{copy}");
        assert_eq!(a.reached().len(), 2);

        for n in 0..200 {
            assert_eq!(get(A, &format!("/half/{n}"), "a", &[]).status(), 200);
            if n < 5 {
                assert_eq!(get(A, "/none", "a", &[]).status(), 200, "requests are answered whoever gets no copies");
            }
        }
        let seen = copies(&b, 50);
        assert!((60..140).contains(&(seen.len() + copies(&b, 0).len())), "{} of 200", seen.len());
        assert!(seen.iter().all(|copy| copy.starts_with("get /half/")), "{seen:?}");
    }
}

#[test]
fn each_backend_gets_its_share_with_what_is_its_own() {
    let _turn = turn();
    let (folder, [a, b]) = town();
    let path = |path: &str| {
        format!("{{type: URLRewrite, urlRewrite: {{path: {{type: ReplacePrefixMatch, replacePrefixMatch: {path}}}}}}}")
    };
    let of_a = format!(
        "{{name: a, port: 8000, weight: 50, filters: [{}, {{type: RequestMirror, requestMirror: {{backendRef: {{name: b, port: 8000}}, percent: 50}}}}]}}",
        path("/of-a")
    );
    let away = "{name: b, port: 8000, weight: 25, filters: [{type: RequestRedirect, requestRedirect: {hostname: away.example, scheme: https, statusCode: 307}}]}";
    let gone = format!("{{name: gone, port: 8000, weight: 25, filters: [{}]}}", path("/of-nobody"));
    folder.apply(
        "route.yaml",
        &route(&[
            ("/shared", &format!("filters: [{GUARDED}]\n    backendRefs: [{of_a}, {away}, {gone}]")),
            (
                "/one",
                &format!(
                    "filters: [{}]\n    backendRefs: [{}]",
                    path("/of-the-rule"),
                    of_a.replace(", percent: 50", "")
                ),
            ),
        ]),
    );
    let _waykeeper = Waykeeper::up(&folder, &[]);
    // Whatever becomes of a share, nobody gets around what guards the rule.
    for _ in 0..20 {
        assert_eq!(get(A, "/shared/x", "a", &["api-key: bad"]).status(), 401);
    }
    assert_eq!((a.reached().len(), b.reached().len()), (0, 0));

    const ALL: usize = 400;
    let (mut answered, mut redirected, mut refused) = (0, 0, 0);
    for _ in 0..ALL {
        let answer = get(A, "/shared/x", "a", &["api-key: good"]);
        match answer.status() {
            200 => answered += 1,
            307 => {
                assert_eq!(answer.header("location"), Some("https://away.example/shared/x"));
                redirected += 1;
            }
            500 => refused += 1,
            other => panic!("{other}: {answer:?}"),
        }
    }
    let about = |count: usize, percent: usize| {
        let expected = ALL * percent / 100;
        assert!(count.abs_diff(expected) < 50, "{count} of {ALL} are not {percent} %");
    };
    about(answered, 50);
    about(redirected, 25);
    about(refused, 25);
    let seen = a.reached();
    assert_eq!(seen.len(), answered);
    assert!(seen.iter().all(|head| head.starts_with("get /of-a/x ")), "{seen:?}");
    let copied = copies(&b, 50);
    about(copied.len() + copies(&b, 0).len(), 25);
    assert!(copied.iter().all(|head| head.starts_with("get /of-a/x ")), "{copied:?}");

    assert_eq!(get(A, "/one/x", "a", &[]).status(), 200);
    assert!(a.reached()[0].starts_with("get /of-a/x "), "the backend's own comes before its rule's");
    assert_eq!(copies(&b, 1).len(), 1);
}
