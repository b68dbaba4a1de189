//! Rules that tell requests apart by what clients say in them besides the path, as the real Envoy and an
//! application behind it see them: no spelling of a header, a query or a method gets by a guard.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use waykeeper_tests::echo::{Answer, Echo, get, send};
use waykeeper_tests::raw::status_over_http2;
use waykeeper_tests::{Folder, Waykeeper, eventually, turn};

/// Service `a` on an application, a key `good`, and the RouteOption `auth` that asks for it.
const TOWN: &str = "\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: t}
spec:
  clusterIP: 127.0.20.61
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, namespace: t, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.61]}]
---
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
---
apiVersion: ratelimit.solo.io/v1alpha1
kind: RateLimitConfig
metadata: {name: plans, namespace: t}
spec:
  raw:
    descriptors: [{key: plan, value: free, rateLimit: {requestsPerUnit: 2, unit: DAY}}]
    rateLimits: [{actions: [{requestHeaders: {headerName: x-plan, descriptorKey: plan}}]}]
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {name: limit, namespace: t}
spec: {options: {rateLimitConfigs: {refs: [{name: plans}]}}}
";

const A: &str = "127.0.20.61:8000";

fn town() -> (Folder, Echo) {
    let folder = Folder::with_waypoint();
    folder.apply("town.yaml", TOWN);
    (folder, Echo::start("127.0.10.61:8080"))
}

/// A rule for requests that match, guarded by the RouteOption `by` if any.
fn rule(matches: &str, by: Option<&str>) -> String {
    let filters = by.map(|name| {
        format!("    filters: [{{type: ExtensionRef, extensionRef: {{group: gateway.solo.io, kind: RouteOption, name: {name}}}}}]\n")
    });
    format!("  - matches: [{matches}]\n{}    backendRefs: [{{name: a, port: 8000}}]\n", filters.unwrap_or_default())
}

fn routes(name: &str, rules: &[String]) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: t}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: a}}]\n  rules:\n{}",
        rules.concat()
    )
}

fn ask(path: &str, headers: &[&str]) -> Answer {
    get(A, path, "a", headers)
}

/// What the application saw of a header, however its name was spelt.
fn saw(answer: &Answer, header: &str) -> Vec<String> {
    let lines = answer.reached().unwrap_or_else(|| panic!("{answer:?}")).lines().skip(1);
    let lines = lines.filter_map(|line| line.split_once(": "));
    let folded = lines.filter(|(name, _)| name.to_ascii_lowercase().replace(['_', '.', '~'], "-") == header);
    folded.map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn no_list_and_no_spelling_of_a_header_gets_by_its_guard() {
    let _turn = turn();
    let (folder, _echo) = town();
    let with = |condition: &str| format!("{{headers: [{{name: X-Role, {condition}}}]}}");
    let table = |condition: &str, by: Option<&str>, rest: Option<&str>| {
        routes("a", &[rule(&with(condition), by), rule("{path: {value: /}}", rest)])
    };
    folder.apply("a.yaml", &table("value: admin", Some("auth"), None));
    let waykeeper = Waykeeper::up(&folder, &[]);
    let status = |headers: &[&str]| ask("/", headers).status();
    for headers in
        [&["x-role: admin"][..], &["X-ROLE:   admin  "], &["x-role:\tadmin"], &["x-role: admin", "x-role: admin"]]
    {
        assert_eq!(status(headers), 401, "{headers:?}");
    }
    for headers in [
        &["x-role: admin,"][..],
        &["x-role: ,admin"],
        &["x-role: guest, admin"],
        &["x-role: admin;q=1,admin"],
        &["x-role: guest", "x-role: admin"],
        &["x-role: admin", "x-role: guest"],
        &["x-role: admin", "x-role:"],
        &["x-role: a,admin,b", "api-key: good"],
    ] {
        assert_eq!(status(headers), 400, "{headers:?}");
    }
    // What another spelling says reaches nobody, whichever rule takes the request.
    for spelling in ["X_Role", "x_role", "x.role", "X~Role"] {
        for headers in
            [&[format!("{spelling}: admin")][..], &[format!("{spelling}: admin"), "x-role: guest".to_owned()]]
        {
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            let answer = ask("/", &headers);
            assert_eq!(answer.status(), 200, "{headers:?}");
            assert!(saw(&answer, "x-role").iter().all(|line| line == "x-role: guest"), "{answer:?}");
        }
    }
    for headers in
        [&["x-role: guest"][..], &["x-role: guest, user"], &["x-role: administrator"], &["xrole: admin"], &[]]
    {
        assert_eq!(status(headers), 200, "{headers:?}");
    }

    // An expression, too.
    folder.apply("a.yaml", &table("type: RegularExpression, value: 'adm.*|root'", Some("auth"), None));
    eventually("expression", Duration::from_secs(5), || {
        let all = [status(&["x-role: root"]), status(&["x-role: admiral"]), status(&["x-role: guest"])];
        if all == [401, 401, 200] { Ok(()) } else { Err(format!("{all:?}")) }
    });
    for headers in [&["x-role: guest, root"][..], &["x-role: guest", "x-role: a, admiral"], &["x-role: root,"]] {
        assert_eq!(status(headers), 400, "{headers:?}");
    }

    // Where all are treated alike, or the rest is what is guarded, lists are passed on as they come.
    folder.apply("a.yaml", &table("value: admin", None, None));
    eventually("open", Duration::from_secs(5), || {
        let answer = ask("/", &["x-role: guest, admin", "x_role: admin"]);
        if answer.status() == 200 && saw(&answer, "x-role").len() == 2 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    folder.apply("a.yaml", &table("value: guest", None, Some("auth")));
    eventually("guarded rest", Duration::from_secs(5), || {
        let all = [status(&["x-role: guest"]), status(&["x-role: guest, admin"]), status(&[])];
        if all == [200, 401, 401] { Ok(()) } else { Err(format!("{all:?}")) }
    });
    assert_eq!(saw(&ask("/", &["x-role: guest", "x_role: admin"]), "x-role"), ["x-role: guest"]);
    for lines in [["x-role: guest", "x-role: admin"], ["x-role: admin", "x-role: guest"], ["x-role: guest", "x-role:"]]
    {
        assert_eq!(status(&lines), 400, "{lines:?}");
    }
    drop(waykeeper);
}

#[test]
fn a_host_is_the_same_however_a_header_match_spells_it() {
    let _turn = turn();
    let (folder, _echo) = town();
    let guarded = |condition: &str| {
        let matches = format!("{{headers: [{{name: Host, {condition}}}]}}");
        routes("a", &[rule(&matches, Some("auth")), rule("{path: {value: /}}", None)])
    };
    folder.apply("a.yaml", &guarded("value: admin.example"));
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let spellings = [
        ("admin.example", 401),
        ("ADMIN.example", 401),
        ("admin.example.", 401),
        ("admin.example:8000", 401),
        ("admin.example.:", 401),
        ("x@admin.example", 400),
        ("admin.example:80x", 400),
        ("admin.example, b", 400),
        ("other.example", 200),
    ];
    for (host, status) in spellings {
        assert_eq!(get(A, "/", host, &[]).status(), status, "{host}");
    }
    // An expression takes the name, by itself or from its beginning to its end.
    for expression in ["'(admin|root)[.]example'", "'^(admin|root)[.]exampl.$'", "'adm.n.example|root'"] {
        folder.apply("a.yaml", &guarded(&format!("type: RegularExpression, value: {expression}")));
        eventually(expression, Duration::from_secs(5), || match get(A, "/", "root.example", &[]).status() {
            401 => Ok(()),
            _ if expression.ends_with("root'") && get(A, "/", "root", &[]).status() == 401 => Ok(()),
            other => Err(other.to_string()),
        });
        for (host, status) in spellings {
            assert_eq!(get(A, "/", host, &[]).status(), status, "{expression}: {host}");
        }
    }
}

#[test]
fn no_spelling_of_a_query_gets_by_its_guard() {
    let _turn = turn();
    let (folder, _echo) = town();
    let with = |name: &str, value: &str| format!("{{queryParams: [{{name: '{name}', value: '{value}'}}]}}");
    let guarded = |name: &str, value: &str| {
        routes("a", &[rule(&with(name, value), Some("auth")), rule("{path: {value: /}}", None)])
    };
    folder.apply("a.yaml", &guarded("role", "admin user"));
    let waykeeper = Waykeeper::up(&folder, &[]);
    let status = |query: &str| ask(&format!("/x{query}"), &[]).status();
    for query in ["?role=admin%20user", "?a=b&role=admin+user", "?role=admin+user&b"] {
        assert_eq!(status(query), 401, "{query}");
    }
    for query in [
        "?role=admin+user#x",
        "?role=%61dmin%20user",
        "?role=admin%20use%72",
        "?ro%6ce=admin+user",
        "?%72ole=admin+user",
        "?%72%6f%6C%65=admin+user",
        "?a=b&r%6fle=admin+user",
        "?Role=admin+user",
        "?ROLE=admin+user",
        "?+role=admin+user",
        "?%20role=admin+user",
        "?role[]=admin+user",
        "?role%5B%5d=admin+user",
        "?role[x]=admin+user",
        "?role=guest&role=admin+user",
        "?role=admin+user&role=guest",
        "?role=admin+user&Role=guest",
        "?role&role=admin+user",
        "?role=&role=admin+user",
        "?a=b;role=admin+user",
        "?a;role=admin+user",
        "?role=guest;role=admin+user",
    ] {
        assert_eq!(status(query), 400, "{query}");
    }
    for query in [
        "",
        "?",
        "?role=guest",
        "?role",
        "?roles=admin+user&myrole=admin+user",
        "?q=%C3%A9%20x&role=gu%20est",
        "?filter%5Bname%5D=x&a=b&a=c",
        "?url=/x?role=guest",
    ] {
        assert_eq!(status(query), 200, "{query}");
    }

    // Of a value that an expression looks at, no escape hides a character from it.
    let expression = |value: &str| {
        let with = format!("{{queryParams: [{{type: RegularExpression, name: role, value: '{value}'}}]}}");
        routes("a", &[rule(&with, Some("auth")), rule("{path: {value: /}}", None)])
    };
    for (value, sent) in [
        ("/(etc|root)/.*", &[("/etc/x", 401), ("%2Fetc%2fx", 400), ("/etc%2Fx", 400), ("x%20y", 200)][..]),
        ("a.b", &[("axb", 401), ("a%2Fb", 400), ("a+b", 400), ("a%C3%A9b", 400), ("ab", 200)]),
        ("adm.*", &[("admin", 401), ("adm%69n", 400), ("%u0061dmin", 400), ("%2561dmin", 400), ("x%2Fy+z", 200)]),
    ] {
        folder.apply("a.yaml", &expression(value));
        eventually(value, Duration::from_secs(5), || match status(&format!("?role={}", sent[0].0)) {
            401 => Ok(()),
            other => Err(other.to_string()),
        });
        for (sent, expected) in sent {
            assert_eq!(status(&format!("?role={sent}")), *expected, "{value}: {sent}");
        }
    }

    // Where the value does not matter to a policy, the query is nobody's business.
    let alike = [rule(&with("role", "admin"), None), rule("{path: {value: /}}", None)];
    folder.apply("a.yaml", &routes("a", &alike));
    eventually("open", Duration::from_secs(5), || match status("?role=a&ro%6ce=b") {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
    // Nor where rules that look at it are for other paths than those with another policy.
    let apart = [
        rule("{path: {value: /search}, queryParams: [{name: tag, value: x}]}", None),
        rule("{path: {value: /admin}}", Some("auth")),
        rule("{path: {value: /search}}", None),
    ];
    folder.apply("a.yaml", &routes("a", &apart));
    eventually("apart", Duration::from_secs(5), || {
        let all = [ask("/admin", &[]), ask("/search?tag=a&tag=b", &[])].map(|answer| answer.status());
        if all == [401, 200] { Ok(()) } else { Err(format!("{all:?}")) }
    });
    // An owner whose application reads queries as Envoy does may have them all.
    folder.apply("a.yaml", &guarded("role", "admin"));
    folder.apply("town.yaml", &annotated("waykeeper.dev/doubtful-queries"));
    eventually("kept", Duration::from_secs(5), || {
        let all = [status("?role=admin"), status("?Role=admin")];
        if all == [401, 200] { Ok(()) } else { Err(format!("{all:?}")) }
    });
    drop(waykeeper);
}

/// The town, its Service with this annotation.
fn annotated(annotation: &str) -> String {
    TOWN.replacen(
        "{name: a, namespace: t}",
        &format!("{{name: a, namespace: t, annotations: {{{annotation}: keep}}}}"),
        1,
    )
}

#[test]
fn no_method_but_the_requests_own_gets_by_a_guard() {
    let _turn = turn();
    let (folder, _echo) = town();
    let table = |by: Option<&str>| routes("a", &[rule("{method: DELETE}", by), rule("{path: {value: /}}", None)]);
    folder.apply("a.yaml", &table(Some("auth")));
    let waykeeper = Waykeeper::up(&folder, &[]);
    let with = |method: &str, path: &str, header: &str| {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n");
        send(A, request.as_bytes()).status()
    };
    assert_eq!((with("DELETE", "/", ""), with("POST", "/", ""), with("GET", "/?method=DELETE", "")), (401, 200, 200));
    let overrides = ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "X_HTTP_Method_Override"];
    for (header, status) in overrides.into_iter().zip([400, 400, 400, 200]) {
        for method in ["POST", "GET"] {
            assert_eq!(with(method, "/", &format!("{header}: DELETE\r\n")), status, "{method} {header}");
        }
    }
    // What is spelt otherwise does not get there.
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nX_HTTP_Method_Override: DELETE\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(saw(&send(A, request), "x-http-method-override"), [""; 0]);
    for query in ["?_method=DELETE", "?a=b&_method=delete", "?_METHOD=DELETE", "?a;_method=DELETE", "?%5fmethod=DELETE"]
    {
        assert_eq!(with("POST", &format!("/{query}"), ""), 400, "{query}");
    }
    let over_http2 = ["DELETE", "delete", "Delete", "dELETE"].map(|method| status_over_http2(A, method, "/"));
    assert_eq!(over_http2, [401, 400, 400, 400]);
    folder.apply("town.yaml", &annotated("waykeeper.dev/doubtful-methods"));
    eventually("kept", Duration::from_secs(5), || {
        let all = [with("DELETE", "/", ""), with("POST", "/", "X-HTTP-Method-Override: DELETE\r\n")];
        if all == [401, 200] { Ok(()) } else { Err(format!("{all:?}")) }
    });
    folder.apply("town.yaml", TOWN);
    folder.apply("a.yaml", &table(None));
    eventually("alike", Duration::from_secs(5), || {
        match with("POST", "/?_method=DELETE", "X-HTTP-Method: DELETE\r\n") {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    drop(waykeeper);
}

#[test]
fn no_header_says_another_host_or_path_than_the_guard_saw() {
    let _turn = turn();
    let (folder, _echo) = town();
    let said =
        ["X-Forwarded-Host", "x_forwarded_host", "X-Host", "Forwarded", "X-Original-Host", "X-HTTP-Host_Override"];
    let reaches = |names: &[&str], answer: &Answer| -> usize {
        names.iter().map(|name| saw(answer, &name.to_ascii_lowercase().replace('_', "-")).len()).sum()
    };
    let lines: Vec<String> = said.iter().map(|name| format!("{name}: admin.example")).collect();
    let hosts: Vec<&str> = lines.iter().map(String::as_str).collect();
    let paths = ["X-Original-URL: /admin", "x-rewrite-url: /admin", "X_Original_URL: /admin", "X.Rewrite.Url: /admin"];
    let path_names = ["x-original-url", "x-rewrite-url"];
    let by_host = |by: Option<&str>| {
        routes("a", &[rule("{headers: [{name: Host, value: admin.example}]}", by), rule("{path: {value: /}}", None)])
    };
    folder.apply("a.yaml", &by_host(Some("auth")));
    let waykeeper = Waykeeper::up(&folder, &[]);
    let answer = ask("/", &hosts);
    assert_eq!((answer.status(), reaches(&said, &answer)), (200, 0), "{answer:?}");
    // What says another path is nobody's business here.
    assert_eq!(reaches(&path_names, &ask("/", &paths)), 4);

    let by_path =
        |by: Option<&str>| routes("a", &[rule("{path: {value: /admin}}", by), rule("{path: {value: /}}", None)]);
    folder.apply("a.yaml", &by_path(Some("auth")));
    eventually("by path", Duration::from_secs(5), || {
        let answer = ask("/", &paths);
        let all = (ask("/admin", &[]).status(), answer.status(), reaches(&path_names, &answer));
        if all == (401, 200, 0) { Ok(()) } else { Err(format!("{all:?}")) }
    });
    assert!(reaches(&said, &ask("/", &hosts)) >= said.len());
    folder.apply("town.yaml", &annotated("waykeeper.dev/doubtful-paths"));
    eventually("kept", Duration::from_secs(5), || match reaches(&path_names, &ask("/", &paths)) {
        4 => Ok(()),
        other => Err(other.to_string()),
    });
    folder.apply("a.yaml", &by_host(Some("auth")));
    folder.apply("town.yaml", &annotated("waykeeper.dev/doubtful-hosts"));
    eventually("hosts kept", Duration::from_secs(5), || match reaches(&said, &ask("/", &hosts)) {
        0 => Err("taken out".to_owned()),
        _ => Ok(()),
    });
    folder.apply("town.yaml", TOWN);
    // Where nobody decides by it, or a limit counts by it, it is passed on.
    folder.apply("a.yaml", &by_host(None));
    eventually("alike", Duration::from_secs(5), || match reaches(&said, &ask("/", &hosts)) {
        0 => Err("taken out".to_owned()),
        _ => Ok(()),
    });
    drop(waykeeper);
}

#[test]
fn a_header_by_which_is_counted_comes_in_one_spelling() {
    let _turn = turn();
    let (folder, _echo) = town();
    folder.apply("a.yaml", &routes("a", &[rule("{path: {value: /}}", Some("limit"))]));
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let statuses: Vec<u16> = (0..3).map(|_| ask("/", &["x-plan: free"]).status()).collect();
    assert_eq!(statuses, [200, 200, 429]);
    for spelling in ["X_Plan", "x.plan"] {
        let answer = ask("/", &[&format!("{spelling}: free")]);
        assert_eq!((answer.status(), saw(&answer, "x-plan")), (200, vec![]), "{spelling}");
    }
}
