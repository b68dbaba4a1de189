//! What requests mean, and to whom: paths, hosts, headers, redirects, as the real Envoy and an
//! application behind it see them.
#![allow(clippy::unwrap_used)]

use std::net::TcpStream;
use std::time::Duration;

use waykeeper_tests::echo::{Answer, Echo, get, send};
use waykeeper_tests::{Folder, Waykeeper, eventually, turn};

/// Service `a` (two ports) and `b`, on one application each; a Gateway; a key `good` of user `ann`, who is of `acme`.
const TOWN: &str = "\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: t}
spec:
  clusterIP: 127.0.20.41
  ports: [{name: http, port: 8000, targetPort: 8080}, {name: http-more, port: 9000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, namespace: t, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: http-more, port: 8080}]
endpoints: [{addresses: [127.0.10.41]}]
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: t}
spec:
  clusterIP: 127.0.20.42
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: b, namespace: t, labels: {kubernetes.io/service-name: b}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.42]}]
---
apiVersion: v1
kind: Secret
type: extauth.solo.io/apikey
metadata: {name: ann, namespace: t, labels: {for: keys}}
stringData: {api-key: good, organization: acme}
---
apiVersion: enterprise.gloo.solo.io/v1
kind: AuthConfig
metadata: {name: keys, namespace: t}
spec:
  configs:
  - apiKeyAuth:
      headerName: api-key
      labelSelector: {for: keys}
      headersFromMetadataEntry: {X-Organization: {name: organization}}
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {name: auth, namespace: t}
spec:
  options: {extauth: {configRef: {name: keys}}}
";

const A: &str = "127.0.20.41:8000";
const A_MORE: &str = "127.0.20.41:9000";
const B: &str = "127.0.20.42:8000";

/// The filter by which a rule asks for a key.
const GUARDED: &str =
    "filters: [{type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: auth}}]";

fn town() -> (Folder, [Echo; 2]) {
    let folder = Folder::with_waypoint();
    folder.apply("town.yaml", TOWN);
    (folder, ["127.0.10.41:8080", "127.0.10.42:8080"].map(Echo::start))
}

/// An HTTPRoute called `name` for `parent`; `rest` is its rules, and what else its spec has.
fn route(name: &str, parent: &str, rest: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: t}}\nspec:\n  parentRefs: [{parent}]\n{rest}\n"
    )
}

fn of_service(name: &str) -> String {
    format!("{{group: '', kind: Service, name: {name}, port: 8000}}")
}

const OF_GATEWAY: &str = "{group: gateway.networking.k8s.io, kind: Gateway, name: wp}";

/// A request as a client of no ill will sends it.
fn plain(address: &str, path: &str, headers: &[&str]) -> Answer {
    get(address, path, "a", headers)
}

#[test]
fn what_authorization_says_to_an_application_nobody_else_does() {
    let _turn = turn();
    let (folder, _echoes) = town();
    let guarded = |path: &str| {
        format!(
            "  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n    {GUARDED}\n    backendRefs: [{{name: a, port: 8000}}]\n"
        )
    };
    let open = |path: &str, to: &str| {
        format!(
            "  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n    backendRefs: [{{name: {to}, port: 8000}}]\n"
        )
    };
    folder.apply("a.yaml", &route("a", &of_service("a"), &format!("  rules:\n{}{}", guarded("/"), open("/open", "a"))));
    folder
        .apply("b.yaml", &route("b", &of_service("b"), &format!("  rules:\n{}{}", open("/", "b"), open("/to-a", "a"))));
    // What nobody is authorized to say is nobody's: each spelling of the header, from anywhere.
    let lies =
        ["X-Organization: evil", "X_Organization: evil", "x-user-id: root", "X_User_Id: root", "x_user-id: root"];
    let organization = |answer: &Answer| -> Vec<String> {
        let lines = answer.reached().unwrap_or_else(|| panic!("{answer:?}")).lines();
        let lines = lines.filter_map(|line| line.split_once(": "));
        let folded = lines.map(|(name, value)| (name.to_ascii_lowercase().replace('_', "-"), value));
        folded
            .filter(|(name, _)| ["x-organization", "x-user-id"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    };
    let with_key: Vec<&str> = lies.iter().copied().chain(["api-key: good"]).collect();

    for flags in [&[][..], &["--user-id-header", "X-User-Id"]] {
        let waykeeper = Waykeeper::up(&folder, flags);
        assert_eq!(plain(A, "/", &[]).status(), 401);
        let mut said = organization(&plain(A, "/", &with_key));
        said.sort();
        assert_eq!(said, ["x-organization=acme", "x-user-id=ann"], "the key's own and nothing else");
        for (address, path) in [(A, "/open"), (A_MORE, "/"), (B, "/to-a")] {
            assert_eq!(organization(&plain(address, path, &lies)), [""; 0], "{address}{path}");
        }
        assert_eq!(organization(&plain(B, "/", &lies)).len(), lies.len(), "nothing of the sort is said to b");
        let other = plain(A_MORE, "/", &["X-Organizations: x", "XOrganization: y"]);
        assert_eq!(
            (other.saw("x-organizations").len(), other.saw("xorganization").len()),
            (1, 1),
            "other headers stay"
        );
        drop(waykeeper);
    }

    // Routes of the Gateway lead there too.
    folder.apply("gateway.yaml", &route("all", OF_GATEWAY, &format!("  rules:\n{}", open("/all", "a"))));
    let _waykeeper = Waykeeper::up(&folder, &["--user-id-header", "x-who"]);
    assert_eq!(organization(&plain(B, "/all", &lies[..2])), [""; 0]);
    assert_eq!(plain(B, "/all", &["x-who: root", "x_who: root"]).saw("x-who"), [""; 0]);
    assert_eq!(plain(A, "/", &["x-who: root", "api-key: good"]).saw("x-who"), ["ann"]);
}

#[test]
fn a_limit_for_each_user_counts_by_the_header_that_authorization_sets_whatever_it_is_called() {
    let _turn = turn();
    let (folder, _echoes) = town();
    folder.apply(
        "a.yaml",
        &route(
            "a",
            &of_service("a"),
            &format!("  rules:\n  - {GUARDED}\n    backendRefs: [{{name: a, port: 8000}}]\n"),
        ),
    );
    folder.apply("limit.yaml", "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {name: limit, namespace: t}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}]\n  options: {ratelimitBasic: {authorizedLimits: {requestsPerUnit: 3, unit: DAY}}}\n");
    for flags in [&[][..], &["--user-id-header", "x-who"]] {
        let _waykeeper = Waykeeper::up(&folder, flags);
        let ask = |n: usize| {
            plain(
                A,
                "/",
                &["api-key: good", &format!("x-user-id: {n}"), &format!("x_who: {n}"), &format!("x-who: {n}")],
            )
        };
        let statuses: Vec<u16> = (0..5).map(|n| ask(n).status()).collect();
        assert_eq!(statuses, [200, 200, 200, 429, 429], "{flags:?}");
    }
}

/// A rule for paths below `path`, with what else it says, to Service `a`.
fn rule(path: &str, more: &str) -> String {
    format!(
        "  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n{more}    backendRefs: [{{name: a, port: 8000}}]\n"
    )
}

fn guarded(path: &str) -> String {
    rule(path, &format!("    {GUARDED}\n"))
}

/// Every way to write `/admin/users` that some application takes for it.
const ADMIN: [&str; 55] = [
    "/admin/users",
    "//admin/users",
    "/admin//users",
    "/./admin/users",
    "/admin/./users",
    "/open/../admin/users",
    "/open/%2e%2e/admin/users",
    "/open/%2E%2e/admin/users",
    "/open/.%2e/admin/users",
    "/open/..%2fadmin/users",
    "/open/..%2Fadmin/users",
    "/open/%2e%2e%2fadmin/users",
    "/open/%2e%2e%2fadmin%2fusers",
    "/open%2f..%2fadmin/users",
    "/open%2f../admin/users",
    "/open/..\\admin/users",
    "/open\\..\\admin\\users",
    "/open/..%5cadmin/users",
    "/open/..%5Cadmin/users",
    "/open%5c..%5cadmin%5cusers",
    "/open/..;/admin/users",
    "/open/..;x=1/admin/users",
    "/open/%2e%2e;/admin/users",
    "/open;/../admin/users",
    "/admin;/users",
    "/admin;x=1/users",
    "/admin%3b/users",
    "/admin%3Bx/users",
    "/;/admin/users",
    "/;x/admin/users",
    "/admin%2fusers",
    "/admin%2Fusers",
    "/admin%5cusers",
    "/%61dmin/users",
    "/%61%64%6d%69%6e/users",
    "/%2fadmin/users",
    "/%2f/admin/users",
    "\\admin\\users",
    "/\\admin/users",
    "/admin\\users",
    "/open%c0%af..%c0%afadmin/users",
    "/open/%c0%ae%c0%ae/admin/users",
    "/%c1%a1dmin/users",
    "/%e0%81%a1dmin/users",
    "/open/%252e%252e%252fadmin/users",
    "/%2561dmin/users",
    "/%u0061dmin/users",
    "/admin%/users",
    "/admin%zz/users",
    "/admin%00/users",
    "/admin%0a/users",
    "/admin%7f/users",
    "http://a/admin/users",
    "http://a/open/../admin/users",
    "http://a//admin/users",
];

#[test]
fn no_spelling_of_a_path_gets_by_its_guard() {
    let _turn = turn();
    let (folder, _echoes) = town();
    let table = |rules: &[String]| route("a", &of_service("a"), &format!("  rules:\n{}", rules.concat()));
    let waykeeper = Waykeeper::up(&folder, &[]);

    // Nothing is declared: paths reach the application as they come.
    for path in [
        "/api/v4/projects/group%2Fproject",
        "/v2/a%2fb/manifests/1",
        "/a;jsessionid=1/b",
        "/a%5Cb",
        "/a%40b",
        "/a%252fb",
        "/a%c0%afb",
    ] {
        let seen = plain(A, path, &[]).reached().map(|head| head.lines().next().unwrap_or_default().to_owned());
        assert_eq!(seen.as_deref(), Some(format!("GET {path} HTTP/1.1").as_str()));
    }

    folder.apply("a.yaml", &table(&[guarded("/admin"), rule("/", "")]));
    let refused = |path: &str| {
        eventually(path, Duration::from_secs(2), || {
            let answer = plain(A, path, &[]);
            if answer.status() == 401 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
    };
    refused("/admin/users");
    for path in ADMIN {
        let answer = plain(A, path, &[]);
        assert!([400, 401].contains(&answer.status()), "{path}: {answer:?}");
        let with_key = plain(A, path, &["api-key: good"]);
        assert!([200, 400].contains(&with_key.status()), "{path}: {with_key:?}");
    }
    for path in
        ["/", "/open", "/administrator", "/open/%40x", "/open/a%20b", "/caf%C3%A9", "/a%2Bb", "/open?a=/../admin;%2f"]
    {
        assert_eq!(plain(A, path, &[]).status(), 200, "{path}");
    }

    // The other way round: all is guarded but for one path, by any kind of match.
    let exact = |path: &str| rule(path, "").replace("PathPrefix", "Exact");
    let regex = |path: &str| rule(path, "").replace("PathPrefix", "RegularExpression");
    for opening in [rule("/open", ""), exact("/open"), regex("'/open(/[^/]*)?'")] {
        folder.apply("a.yaml", &table(&[opening, guarded("/")]));
        refused("/");
        for path in
            ADMIN.iter().chain(&["/open/../x", "/open/..%2fx", "/open%2f..%2fx", "/open/..;/x", "/open/%2e%2e%5cx"])
        {
            let answer = plain(A, path, &[]);
            assert!([400, 401].contains(&answer.status()), "{path}: {answer:?}");
        }
        assert_eq!(plain(A, "/open", &[]).status(), 200);
    }

    // An expression that takes one character takes no escape for it.
    let one_of_many = guarded("'/adm.n(/.*)?'").replace("PathPrefix", "RegularExpression");
    folder.apply("a.yaml", &table(&[one_of_many, rule("/", "")]));
    eventually("the rest, open", Duration::from_secs(2), || match plain(A, "/admn", &[]).status() {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
    for (path, status) in [("/admin", 401), ("/adm@n", 401), ("/adm%40n", 400), ("/adm%C3%AFn/x", 400), ("/a%20b", 400)]
    {
        assert_eq!(plain(A, path, &[]).status(), status, "{path}");
    }

    // Characters that may as well be escaped, in the rule or in the request.
    for (written, sent) in [
        ("/adm@in", "/adm%40in"),
        ("/adm%40in", "/adm@in"),
        ("/adm(in)", "/adm%28in%29"),
        ("/adm%2Bin", "/adm+in"),
        ("/caf%C3%A9", "/caf%c3%a9"),
        ("/a%64min", "/admin"),
        ("/a=b", "/a%3Db"),
    ] {
        folder.apply("a.yaml", &table(&[guarded(&format!("'{written}'")), rule("/", "")]));
        eventually("the other paths, open", Duration::from_secs(2), || {
            let answer = plain(A, &format!("{sent}er"), &[]);
            if answer.status() == 200 { Ok(()) } else { Err(format!("{written}: {answer:?}")) }
        });
        refused(written);
        for path in [sent.to_owned(), format!("{sent}/below"), format!("{written}/below")] {
            assert_eq!(plain(A, &path, &[]).status(), 401, "{written}: {path}");
        }
    }
    let regex = guarded("'/adm@in(/.*)?'").replace("PathPrefix", "RegularExpression");
    folder.apply("a.yaml", &table(&[regex, rule("/", "")]));
    refused("/adm@in");
    assert_eq!(plain(A, "/adm%40in", &[]).status(), 400);

    // An expression is gone by in no other spelling: what it writes escaped as it is, or in the other case; what may stand in
    // a path only escaped; a class of characters that takes none of an escape, or the digits of one alone.
    for (expression, sent) in [
        ("/u/%40a.*", &[("/u/%40a", 401), ("/u/@a", 400)][..]),
        ("/u/%5Ba.*", &[("/u/%5Ba", 401), ("/u/%5ba", 400), ("/u/[a", 400)]),
        (r"/u/\[a.*", &[("/u/[a", 401), ("/u/%5ba", 400)]),
        (r"/u/(\{|\^|a)b.*", &[("/u/ab", 401), ("/u/{b", 400), ("/u/%7Bb", 400), ("/u/^b", 400)]),
        ("/u/[@:]+b", &[("/u/@b", 401), ("/u/%40b", 400)]),
        (r"/u/\W+b", &[("/u/@b", 401), ("/u/%40b", 400)]),
        ("/u/[^%]+b", &[("/u/@b", 401), ("/u/%40b", 400)]),
        ("/u/%[0-9A-F]{2}b", &[("/u/%40b", 400), ("/u/@b", 400)]),
        ("/u/.*b", &[("/u/@b", 401), ("/u/%40b", 401), ("/u/%2b", 400)]),
        ("/caf%C3%A9.*", &[("/caf%C3%A9", 401), ("/caf%c3%a9", 400)]),
    ] {
        let regex = guarded(&format!("'{expression}'")).replace("PathPrefix", "RegularExpression");
        folder.apply("a.yaml", &table(&[regex, rule("/", "")]));
        eventually(expression, Duration::from_secs(2), || {
            let answers: Vec<u16> = sent.iter().map(|(path, _)| plain(A, path, &[]).status()).collect();
            let wanted: Vec<u16> = sent.iter().map(|(_, status)| *status).collect();
            if answers == wanted { Ok(()) } else { Err(format!("{answers:?}")) }
        });
        assert_eq!(plain(A, "/other/a-b", &[]).status(), 200, "{expression}");
    }
    for (written, sent) in [("/u%5Bin", "/u[in"), ("/u%5Din", "/u%5din"), ("/u%7Cin", "/u|in"), ("/u%22in", "/u%22in")]
    {
        folder.apply("a.yaml", &table(&[guarded(&format!("'{written}'")), rule("/", "")]));
        refused(written);
        assert_eq!(plain(A, sent, &[]).status(), 401, "{written}: {sent}");
    }

    // Paths all of one policy: only what leads out of where it was sent is refused.
    folder.apply("a.yaml", &table(&[guarded("/one"), guarded("/two")]));
    refused("/two");
    for (path, status) in
        [("/one/a%2Fb", 200), ("/one/a;b", 200), ("/one/..%2ftwo", 400), ("/one/..%5cother", 400), ("/other", 404)]
    {
        assert_eq!(plain(A, path, &["api-key: good"]).status(), status, "{path}");
    }

    // The owner of an application that reads paths as Envoy does may have them all.
    folder.apply("a.yaml", &table(&[guarded("/admin"), rule("/", "")]));
    folder.apply(
        "town.yaml",
        &TOWN.replace(
            "metadata: {name: a, namespace: t}\nspec:\n  clusterIP",
            "metadata: {name: a, namespace: t, annotations: {waykeeper.dev/doubtful-paths: keep}}\nspec:\n  clusterIP",
        ),
    );
    waykeeper_tests::eventually("kept", Duration::from_secs(2), || {
        let answer = plain(A, "/open/a%2Fb", &[]);
        if answer.status() == 200 && plain(A, "/admin", &[]).status() == 401 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    });
    drop(waykeeper);
}

#[test]
fn no_spelling_of_a_host_gets_by_its_guard() {
    let _turn = turn();
    let (folder, _echoes) = town();
    let of = |name: &str, hosts: &str, rules: &str| route(name, OF_GATEWAY, &format!("{hosts}  rules:\n{rules}"));
    folder.apply("admin.yaml", &of("admin", "  hostnames: [admin.example]\n", &guarded("/")));
    folder.apply("wild.yaml", &of("wild", "  hostnames: ['*.wild.example']\n", &guarded("/")));
    folder.apply("open.yaml", &of("open", "", &format!("{}{}", rule("/", ""), rule("/deep/er", ""))));
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let ask = |host: &str, path: &str| get(A, path, host, &[]);
    for host in ["admin.example", "a.wild.example", "a.b.wild.example"] {
        let shout = host.to_ascii_uppercase();
        for host in [
            host.to_owned(),
            shout,
            format!("{host}."),
            format!("{host}:"),
            format!("{host}.:80"),
            format!("{host}:8000"),
            format!("{host}:80x"),
            format!("x@{host}"),
            format!("x:y@{host}:80"),
            format!("{host}:80:80"),
            format!("{host}.."),
            format!("{host}%2e"),
            format!("{host}%00"),
            format!("{host}/"),
            format!("{host}#"),
            format!("{host}?"),
            format!("{host} "),
            format!("{host}, other.example"),
            format!("\u{ff41}{host}"),
            format!("{host}:-1"),
            format!("[{host}]"),
        ] {
            // A longer path of the route for any host is no reason to prefer it.
            for path in ["/", "/deep/er"] {
                let answer = ask(&host, path);
                assert!([400, 401].contains(&answer.status()), "{host:?}: {answer:?}");
            }
        }
    }
    let absolute = send(A, b"GET http://x@admin.example/ HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n");
    assert!([400, 401].contains(&absolute.status()), "{absolute:?}");
    for host in [
        "other.example",
        "other.example:8000",
        "un_der.example",
        "127.0.20.41:8000",
        "[::1]:8000",
        "other",
        "other.",
        "wild.example",
    ] {
        let answer = ask(host, "/");
        assert_eq!(answer.saw("host"), [host], "{answer:?}");
    }
}

#[test]
fn a_match_on_x_forwarded_for_sees_what_the_client_sent() {
    let _turn = turn();
    let (folder, _echoes) = town();
    let with_header =
        guarded("/xff").replace("value: /xff}", "value: /xff}, headers: [{name: X-Forwarded-For, value: 1.2.3.4}]");
    folder.apply("a.yaml", &route("a", &of_service("a"), &format!("  rules:\n{with_header}{}", rule("/xff", ""))));
    for flags in [&[][..], &["--trusted-proxies", "10.9.0.0/16"], &["--trusted-proxies", "127.0.0.1/32"]] {
        let _waykeeper = Waykeeper::up(&folder, flags);
        assert_eq!(plain(A, "/xff", &["X-Forwarded-For: 1.2.3.4"]).status(), 401, "{flags:?}");
        let other = plain(A, "/xff", &["X-Forwarded-For: 5.6.7.8"]);
        assert_eq!(other.status(), 200);
        assert!(
            other.saw("x-forwarded-for")[0].starts_with("5.6.7.8") && !other.text.contains("waykeeper"),
            "{other:?}"
        );
        assert_eq!(plain(A, "/xff", &["x-waykeeper-forwarded-for: 1.2.3.4"]).status(), 200);
    }
}

#[test]
fn redirects_name_a_port_only_where_the_scheme_does_not() {
    let _turn = turn();
    let (folder, _echoes) = town();
    let cases = [
        ("{scheme: https}", "https://{host}/r"),
        ("{scheme: https, port: 443}", "https://{host}/r"),
        ("{scheme: https, port: 8443}", "https://{host}:8443/r"),
        ("{scheme: http}", "http://{host}/r"),
        ("{scheme: http, port: 80}", "http://{host}/r"),
        ("{port: 80}", "http://{host}/r"),
        ("{port: 443}", "http://{host}:443/r"),
        ("{port: 8080}", "http://{host}:8080/r"),
        ("{statusCode: 301}", "http://{host}:8000/r"),
        ("{hostname: example.org}", "http://example.org:8000/r"),
        ("{hostname: example.org, scheme: https}", "https://example.org/r"),
        ("{hostname: example.org, port: 80}", "http://example.org/r"),
        ("{hostname: example.org, scheme: https, port: 443}", "https://example.org/r"),
        ("{hostname: example.org, scheme: https, port: 8443}", "https://example.org:8443/r"),
        ("{path: {type: ReplaceFullPath, replaceFullPath: '/x:80/y'}, scheme: http}", "http://{host}/x:80/y"),
    ];
    let rules: String = cases
        .iter()
        .enumerate()
        .map(|(n, (redirect, _))| format!("  - matches: [{{path: {{type: Exact, value: /r}}, queryParams: [{{name: n, value: 'q{n}'}}]}}]\n    filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]\n"))
        .collect();
    folder.apply("a.yaml", &route("a", &of_service("a"), &format!("  rules:\n{rules}")));
    let _waykeeper = Waykeeper::up(&folder, &[]);
    for (n, (redirect, wanted)) in cases.iter().enumerate() {
        for (sent, host) in [("echo", "echo"), ("echo:32080", "echo"), ("echo:80", "echo"), ("[::1]:8000", "[::1]")] {
            let answer = get(A, &format!("/r?n=q{n}"), sent, &[]);
            let wanted = format!("{}?n=q{n}", wanted.replace("{host}", host));
            assert_eq!(answer.header("location"), Some(wanted.as_str()), "{redirect} for Host: {sent}");
        }
    }
    let https = get(A, "/r?n=q5", "echo", &["X-Forwarded-Proto: https"]);
    assert_eq!(https.header("location"), Some("https://echo:80/r?n=q5"), "{https:?}");
}

#[test]
fn a_try_may_take_as_long_as_its_route_says() {
    let _turn = turn();
    let (folder, _echoes) = town();
    let timeouts = |path: &str, timeouts: &str| rule(path, &format!("    timeouts: {{{timeouts}}}\n"));
    let rules = [
        timeouts("/long", "backendRequest: 18s"),
        timeouts("/none", "backendRequest: 0s"),
        timeouts("/short", "backendRequest: 1s"),
        timeouts("/both", "backendRequest: 1s, request: 0s"),
        rule("/", ""),
    ];
    folder.apply("a.yaml", &route("a", &of_service("a"), &format!("  rules:\n{}", rules.concat())));
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let asked: Vec<_> = [("/long", 200), ("/none", 200), ("/slow", 504)]
        .into_iter()
        .map(|(path, status)| {
            let path = if path == "/slow" { "/slow?16".to_owned() } else { format!("{path}/slow?16") };
            std::thread::spawn(move || (plain(A, &path, &[]).status(), status, path))
        })
        .collect();
    for path in ["/short/slow?3", "/both/slow?3"] {
        assert_eq!(plain(A, path, &[]).status(), 504, "{path}");
    }
    for asked in asked {
        let (got, wanted, path) = asked.join().unwrap();
        assert_eq!(got, wanted, "{path}");
    }
}

/// A Service `name` at `vip`, on these ports, whose endpoint is `address`.
fn service(name: &str, vip: &str, port: &str, address: &str) -> String {
    let (ip, number) = address.rsplit_once(':').unwrap();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: t}}\nspec:\n  clusterIP: {vip}\n  ports: [{{name: {port}, port: 8000}}]\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: t, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{name: {port}, port: {number}}}]\nendpoints: [{{addresses: [{ip}]}}]\n"
    )
}

#[test]
fn no_service_exposes_our_own_addresses() {
    let _turn = turn();
    let (folder, _echoes) = town();
    let waykeeper = Waykeeper::up(&folder, &[]);
    let config = waykeeper.admin("/config").json();
    let listener = config["gateways"][0]["listener"].as_str().unwrap().to_owned();
    let admin_port = waykeeper.admin.rsplit_once(':').unwrap().1;
    for (address, port) in [
        (waykeeper.admin.clone(), "http"),
        (format!("0.0.0.0:{admin_port}"), "http"),
        (waykeeper.admin.clone(), "tcp"),
        (listener.clone(), "tcp"),
    ] {
        folder.apply("c.yaml", &service("c", "127.0.20.43", port, &address));
        eventually(&address, Duration::from_secs(2), || {
            let status = waykeeper.status().to_string();
            if status.contains(&format!("its endpoint {}", address.replace(':', " port "))) {
                Ok(())
            } else {
                Err(status)
            }
        });
        // The status is out before the tunnel listens.
        eventually("127.0.20.43:8000 to listen", Duration::from_secs(2), || {
            TcpStream::connect("127.0.20.43:8000").map(drop).map_err(|error| error.to_string())
        });
        let answer = get("127.0.20.43:8000", "/status", "c", &[]);
        assert!([0, 503].contains(&answer.status()), "{address} as {port}: {answer:?}");
        folder.delete("c.yaml");
    }
    assert_eq!(plain(A, "/", &[]).status(), 200);
}

#[test]
fn headers_that_never_end_are_given_up() {
    let _turn = turn();
    let (folder, _echoes) = town();
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let start = std::time::Instant::now();
    let answer = send(A, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    assert_eq!(answer.status(), 408, "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(15));
}

/// What a route's header modifiers are not to touch: where a message ends, and where it goes.
#[test]
fn header_modifiers_smuggle_nothing() {
    let _turn = turn();
    let (folder, _echoes) = town();
    let waykeeper = Waykeeper::up(&folder, &[]);
    let inner = "GET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let body = format!("0\r\n\r\n{inner}");
    let request =
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    for (name, value) in [
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "3"),
        ("Connection", "close, x-user-id"),
        ("Host", "b"),
        ("Upgrade", "h2c"),
        ("TE", "trailers"),
        ("Keep-Alive", "max=1"),
        ("Proxy-Connection", "close"),
    ] {
        for filter in [
            format!(
                "{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: {name}, value: '{value}'}}]}}}}"
            ),
            format!(
                "{{type: RequestHeaderModifier, requestHeaderModifier: {{add: [{{name: {name}, value: '{value}'}}]}}}}"
            ),
            format!(
                "{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: {name}, value: '{value}'}}]}}}}"
            ),
        ] {
            folder.apply(
                "a.yaml",
                &route(
                    "a",
                    &of_service("a"),
                    &format!("  rules:\n  - filters: [{filter}]\n    backendRefs: [{{name: a, port: 8000}}]\n"),
                ),
            );
            let answer = eventually(&filter, Duration::from_secs(2), || {
                let answer = send(A, request.as_bytes());
                if answer.status() == 500 { Ok(answer) } else { Err(format!("{answer:?}")) }
            });
            assert!(!answer.text.contains("/smuggled"), "{answer:?}");
            folder.delete("a.yaml");
            eventually("the modifier gone", Duration::from_secs(2), || {
                let answer = plain(A, "/", &[]);
                if answer.status() == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
            });
        }
    }
    drop(waykeeper);
}

#[test]
fn what_holds_goes_on_holding() {
    let _turn = turn();
    let (folder, _echoes) = town();
    folder.apply("a.yaml", &route("a", &of_service("a"), &format!("  rules:\n{}{}", guarded("/"), rule("/open", ""))));
    let waykeeper = Waykeeper::up(&folder, &[]);
    let long = "x".repeat(50_000);
    let many: String = (0..10_000).map(|n| format!("h{n}: 1\r\n")).collect();
    let close = "Connection: close\r\n\r\n";
    // Each is refused or answered by us; none reaches the application without a key that is right.
    let refused: Vec<(&str, Vec<u8>)> = vec![
        ("no key", format!("GET / HTTP/1.1\r\nHost: a\r\n{close}").into()),
        ("case of the value", format!("GET / HTTP/1.1\r\nHost: a\r\napi-key: GOOD\r\n{close}").into()),
        ("two keys", format!("GET / HTTP/1.1\r\nHost: a\r\napi-key: good\r\napi-key: good\r\n{close}").into()),
        ("a comma", format!("GET / HTTP/1.1\r\nHost: a\r\napi-key: good,\r\n{close}").into()),
        ("a wrong and a right key", format!("GET / HTTP/1.1\r\nHost: a\r\napi-key: bad\r\nAPI-Key: good\r\n{close}").into()),
        ("an underscore", format!("GET / HTTP/1.1\r\nHost: a\r\napi_key: good\r\n{close}").into()),
        ("50 KB", format!("GET / HTTP/1.1\r\nHost: a\r\napi-key: {long}\r\n{close}").into()),
        ("not UTF-8", [b"GET / HTTP/1.1\r\nHost: a\r\napi-key: \xff\xfe\r\n".as_slice(), close.as_bytes()].concat()),
        ("NUL", [b"GET / HTTP/1.1\r\nHost: a\r\napi-key: good\0\r\n".as_slice(), close.as_bytes()].concat()),
        ("a header of the connection", b"GET / HTTP/1.1\r\nHost: a\r\napi-key: bad\r\nConnection: close, api-key\r\n\r\n".to_vec()),
        ("the absolute form", format!("GET http://a/ HTTP/1.1\r\nHost: a\r\n{close}").into()),
        ("the absolute form of another host", format!("GET http://b/open/../ HTTP/1.1\r\nHost: a\r\n{close}").into()),
        ("CONNECT", format!("CONNECT a:8000 HTTP/1.1\r\nHost: a\r\n{close}").into()),
        ("TRACE", format!("TRACE / HTTP/1.1\r\nHost: a\r\n{close}").into()),
        ("OPTIONS *", format!("OPTIONS * HTTP/1.1\r\nHost: a\r\n{close}").into()),
        ("HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"GET /\r\n\r\n".to_vec()),
        ("an upgrade to HTTP/2", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n".to_vec()),
        ("a websocket", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".to_vec()),
        ("a length and chunks", format!("POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /in HTTP/1.1\r\nHost: a\r\n{close}").into()),
        ("two codings", format!("POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /in HTTP/1.1\r\nHost: a\r\n{close}").into()),
        ("two lengths", format!("POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nGET /in HTTP/1.1\r\nHost: a\r\n{close}").into()),
        ("a negative length", format!("POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nGET /in HTTP/1.1\r\nHost: a\r\n{close}").into()),
        ("a folded line", format!("GET / HTTP/1.1\r\nHost: a\r\napi-key:\r\n bad\r\n good\r\n{close}").into()),
        ("10,000 headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}{close}").into()),
        ("two hosts", format!("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n{close}").into()),
        ("no host", format!("GET / HTTP/1.1\r\n{close}").into()),
        ("a space before the colon", format!("GET / HTTP/1.1\r\nHost: a\r\napi-key : good\r\n{close}").into()),
        ("a bare line feed", b"GET / HTTP/1.1\nHost: a\nX: 1\n\n".to_vec()),
        ("headers of Envoy's", format!("GET / HTTP/1.1\r\nHost: a\r\nx-envoy-original-path: /open\r\nX-Envoy-Internal: true\r\n{close}").into()),
    ];
    for (what, bytes) in &refused {
        let answer = send(A, bytes);
        assert!(
            answer.reached().is_none_or(|seen| !seen.contains("/in ") && seen.starts_with("POST /open")),
            "{what}: {answer:?}"
        );
        assert!(!answer.text.contains("GET /in"), "{what}: {answer:?}");
    }
    // A key in trailers is none.
    let trailers = send(A, format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: api-key\r\n{close}0\r\napi-key: good\r\n\r\n").as_bytes());
    assert_eq!(trailers.status(), 401, "{trailers:?}");
    // HTTP/2: pseudo-headers, whatever the client makes of them.
    for args in [&["--http2-prior-knowledge"][..], &["--http2-prior-knowledge", "-H", "api-key: bad"]] {
        let reply = waykeeper_tests::Curl::to("http://127.0.20.41:8000/").args(args).send();
        assert_eq!(reply.status, 401, "{args:?}: {reply:?}");
    }
    // And the right key is right in every case of its header, on a connection kept alive, over HTTP/2.
    assert_eq!(plain(A, "/", &["API-KEY: good"]).status(), 200);
    let twice = send(
        A,
        format!("GET / HTTP/1.1\r\nHost: a\r\napi-key: good\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n{close}").as_bytes(),
    );
    assert_eq!(twice.text.matches("HTTP/1.1 200").count(), 1, "{twice:?}");
    assert_eq!(twice.text.matches("HTTP/1.1 401").count(), 1, "{twice:?}");
    let second = waykeeper_tests::Curl::to("http://127.0.20.41:8000/")
        .args(&["--http2-prior-knowledge", "-H", "api-key: good"])
        .send();
    assert_eq!(second.status, 200, "{second:?}");
    let (_, log) = waykeeper.stop();
    assert!(!log.contains("good"), "a key was logged");
}
