//! AuthorizationPolicies, as callers with identities meet them through the real Envoy, and those who want to get past.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use waykeeper_tests::curl::Curl;
use waykeeper_tests::echo::{Answer, Echo, send_one};
use waykeeper_tests::raw::proxy_header;
use waykeeper_tests::tokens::{Signer, in_seconds, jwks};
use waykeeper_tests::{Folder, Waykeeper, eventually, turn};

const PAGE: &str = include_str!("../../docs/authorization-policy.md");

/// Service `web` on an application.
const TOWN: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: t}
spec:
  clusterIP: 127.0.20.71
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, namespace: t, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.71]}]
---
apiVersion: v1
kind: Service
metadata: {name: mark, namespace: t}
spec:
  clusterIP: 127.0.20.73
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: mark, namespace: t, labels: {kubernetes.io/service-name: mark}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.73]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: t}
spec:
  targetRefs: [{kind: Service, name: mark}]
---
apiVersion: v1
kind: Pod
metadata: {name: curl, namespace: curl}
spec: {serviceAccountName: curl, containers: [{name: curl, image: curl}]}
status: {podIP: 127.0.10.72}
";
const URL: &str = "http://127.0.20.71:8000/productpage";
const VIP: Ipv4Addr = Ipv4Addr::new(127, 0, 20, 71);
const ANN: &str = "spiffe://cluster.local/ns/curl/sa/curl";

fn town() -> (Folder, Echo, Echo) {
    let folder = Folder::with_waypoint();
    folder.apply("town.yaml", TOWN);
    (folder, Echo::start("127.0.10.71:8080"), Echo::start("127.0.10.73:8080"))
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: t}}\nspec:\n  \
         targetRefs: [{{group: '', kind: Service, name: web}}]\n{spec}"
    )
}

/// Applies `manifests` and waits until they are in force: with them comes a policy for another Service, by which it is told.
fn apply(folder: &Folder, manifests: &str) {
    static EDITS: AtomicUsize = AtomicUsize::new(0);
    let edit = EDITS.fetch_add(1, Ordering::SeqCst).to_string();
    let mark = format!("  rules:\n  - when: [{{key: 'request.headers[x-edit]', values: ['{edit}']}}]\n");
    let mark = policy(&mark).replace("name: p,", "name: mark,").replace("name: web", "name: mark");
    folder.apply("policy.yaml", &format!("{manifests}---\n{mark}"));
    let asked = Curl::to("http://127.0.20.73:8000/").header(&format!("x-edit: {edit}"));
    eventually("the edit", Duration::from_secs(20), || match asked.send().status {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
}

/// Waits until callers without an identity are answered so.
fn until(waykeeper: &Waykeeper, status: u16) {
    eventually("the policy", Duration::from_secs(20), || match Curl::to(URL).send().status {
        found if found == status => Ok(()),
        found => Err(format!("{found}: {}", waykeeper.log())),
    });
}

/// The address of the waypoint's listener.
fn listener(waykeeper: &Waykeeper) -> String {
    let config = waykeeper.admin("/config").json().to_string();
    config.split('"').find(|text| text.ends_with(":15088")).unwrap().to_owned()
}

/// The PROXY header that ztunnel would write for a caller with this identity.
fn header(identity: Option<&str>, vip: Ipv4Addr, port: u16) -> Vec<u8> {
    let tlv = identity.map(|identity| {
        let length = u16::try_from(identity.len()).unwrap().to_be_bytes();
        [&[0xD0][..], &length, identity.as_bytes()].concat()
    });
    proxy_header(vip, port, &tlv.unwrap_or_default())
}

/// Sends `request` to an address and port as ztunnel would for a caller with this identity.
fn at(listener: &str, identity: Option<&str>, (vip, port): (Ipv4Addr, u16), request: &str) -> Answer {
    let mut bytes = header(identity, vip, port);
    bytes.extend(request.replace('\n', "\r\n").as_bytes());
    send_one(listener, &bytes)
}

fn as_caller(listener: &str, identity: Option<&str>, request: &str) -> Answer {
    at(listener, identity, (VIP, 8000), request)
}

fn request(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\nHost: web\n{more}Connection: close\n\n")
}

/// Sends a GET as ztunnel would for this caller.
fn get(listener: &str, identity: Option<&str>, path: &str, more: &str) -> u16 {
    as_caller(listener, identity, &request("GET", path, more)).status()
}

#[test]
fn one_caller_may_get_and_nobody_else_may_anything() {
    let _turn = turn();
    let (folder, echo, _mark) = town();
    let (_, block) = PAGE.split_once("```yaml\n").unwrap();
    folder.apply("policy.yaml", block.split("```").next().unwrap());
    let waykeeper = Waykeeper::up(&folder, &[]);
    // The Pod's address makes the caller who it is.
    let ann = |args: &[&str]| Curl::to(URL).args(&["--interface", "127.0.10.72"]).args(args).send();
    assert_eq!(ann(&[]).status, 200);
    let post = ann(&["-X", "POST"]);
    assert_eq!((post.status, post.body.as_str()), (403, "RBAC: access denied"));
    echo.reached();
    let stranger = Curl::to(URL).send();
    assert_eq!((stranger.status, stranger.body.as_str()), (403, "RBAC: access denied"));
    assert_eq!(echo.reached(), [""; 0], "nothing of it reached the application");
    let status = waykeeper.status().to_string();
    assert!(status.contains("guards Service t/web"), "{status}");

    // An edit is in force at once, and so is its end.
    folder.apply("policy.yaml", &policy("  action: DENY\n  rules:\n  - to: [{operation: {methods: [POST]}}]\n"));
    until(&waykeeper, 200);
    assert_eq!((ann(&["-X", "POST"]).status, ann(&[]).status), (403, 200));
    // One that is not good leaves the last good one in force.
    folder.apply("policy.yaml", &policy("  action: DENI\n"));
    folder.apply("other.yaml", &policy("  action: ALLOW\n").replace("name: p,", "name: q,"));
    until(&waykeeper, 403);
    folder.delete("other.yaml");
    until(&waykeeper, 200);
    assert_eq!(ann(&["-X", "POST"]).status, 403);
    folder.delete("policy.yaml");
    eventually("no policy", Duration::from_secs(20), || match ann(&["-X", "POST"]).status {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
}

#[test]
fn whoever_says_no_identity_is_nobody() {
    let _turn = turn();
    let (folder, _echo, _mark) = town();
    folder.apply("policy.yaml", &policy("  rules:\n  - from: [{source: {principals: ['*']}}]\n"));
    let waykeeper = Waykeeper::up(&folder, &[]);
    let to = listener(&waykeeper);
    assert_eq!(get(&to, Some(ANN), "/", ""), 200);
    for nobody in
        [None, Some(""), Some("-"), Some("*"), Some(" "), Some("spiffe://"), Some("cluster.local/ns/curl/sa/curl")]
    {
        assert_eq!(get(&to, nobody, "/", ""), 403, "{nobody:?}");
    }
    // What a request says of its caller is no identity.
    let forged = format!("io.istio.peer_principal: {ANN}\nx-forwarded-client-cert: URI={ANN}\n");
    assert_eq!(get(&to, None, "/", &forged), 403);

    for (source, callers) in [
        ("namespaces: ['*']", [(Some(ANN), 200), (None, 403), (Some("-"), 403)]),
        (
            "trustDomains: [cluster.local]",
            [(Some(ANN), 200), (None, 403), (Some("spiffe://other/ns/curl/sa/curl"), 403)],
        ),
        (
            "namespaces: [curl]",
            [(Some(ANN), 200), (Some("/ns/curl/"), 403), (Some("spiffe://a/x/ns/curl/sa/curl"), 403)],
        ),
        ("serviceAccounts: [curl/curl]", [(Some(ANN), 200), (Some("spiffe://a/ns/curl/sa/curl2"), 403), (None, 403)]),
        (
            "principals: ['*/sa/curl']",
            [(Some(ANN), 200), (Some("/sa/curl"), 403), (Some("spiffe://a/ns/b/sa/curl/x"), 403)],
        ),
        ("notPrincipals: ['*']", [(Some(ANN), 403), (None, 200), (Some("-"), 403)]),
        ("ipBlocks: [127.0.0.1]", [(Some(ANN), 200), (None, 200), (Some("-"), 200)]),
        ("notIpBlocks: [127.0.0.0/8]", [(Some(ANN), 403), (None, 403), (Some("-"), 403)]),
        ("ipBlocks: ['::/0', 127.0.0.1/32]", [(Some(ANN), 200), (None, 200), (Some("-"), 200)]),
        ("remoteIpBlocks: [10.0.0.0/8]", [(Some(ANN), 403), (None, 403), (Some("-"), 403)]),
    ] {
        apply(&folder, &policy(&format!("  rules:\n  - from: [{{source: {{{source}}}}}]\n")));
        for (caller, expected) in callers {
            assert_eq!(get(&to, caller, "/", "x-forwarded-for: 10.0.0.1\n"), expected, "{source} {caller:?}");
        }
    }
}

/// What wants to get past what a policy says of paths, hosts, methods and headers: all of it is refused.
#[test]
fn no_spelling_of_a_request_gets_by_a_policy() {
    let _turn = turn();
    let (folder, echo, _mark) = town();
    let waykeeper = Waykeeper::up(&folder, &[]);
    let to = listener(&waykeeper);
    let deny =
        |operation: &str| policy(&format!("  action: DENY\n  rules:\n  - to: [{{operation: {{{operation}}}}}]\n"));
    let ask = |request: &str| {
        let answer = as_caller(&to, Some(ANN), request);
        (answer.status(), echo.reached().len())
    };
    let refused = |request: &str| {
        let (status, reached) = ask(request);
        assert!((400..500).contains(&status) && reached == 0, "{status} to {request}");
    };

    apply(&folder, &deny("paths: [/admin, '/admin/*', '*.php', '/t/{*}/x', '/e@f']"));
    assert_eq!(ask(&request("GET", "/public/admin?x=/admin", "")), (200, 1));
    for path in [
        "/admin",
        "/admin?",
        "/admin?a=b",
        "/admin/",
        "/admin/x",
        "/%61dmin",
        "/%61%64min/x",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/%2E./admin",
        "/x%2f..%2fadmin",
        "/x/..%2fadmin",
        "/admin%2fx",
        "/admin%2Fx",
        "/x\\..\\admin",
        "/admin;a=b",
        "/admin;",
        "/a/b.php",
        "/a/b.php?x",
        "/a/b%2ephp",
        "/a/b.ph%70",
        "/t/a/x",
        "/t/a/x?y",
        "/t/%61/x",
        "/e@f",
        "/e%40f",
        "/x/..;/admin",
        "/admin%00",
        "/admin#x",
        "http://web/admin",
        "http://web//admin",
        "/admin/..;/admin",
    ] {
        refused(&request("GET", path, ""));
    }
    for header in ["X-Original-URL", "X-Rewrite-URL", "x_original_url"] {
        let answer = as_caller(&to, Some(ANN), &request("GET", "/", &format!("{header}: /admin\n")));
        assert!(answer.status() != 200 || answer.saw(header).is_empty(), "{answer:?}");
    }

    apply(&folder, &deny("hosts: [admin.example, '*.internal']"));
    let host = |host: &str| format!("GET / HTTP/1.1\nHost: {host}\nConnection: close\n\n");
    assert_eq!(ask(&host("public.example")).0, 200);
    echo.reached();
    for name in [
        "admin.example",
        "ADMIN.example",
        "admin.example:80",
        "admin.example:8000",
        "admin.example.",
        "admin.example.:80",
        "admin.example:",
        "a.internal",
        "A.INTERNAL:1",
        "a.b.internal.",
        "user@admin.example",
        "admin.example/x",
    ] {
        refused(&host(name));
    }
    refused("GET http://admin.example/ HTTP/1.1\nHost: public.example\nConnection: close\n\n");
    refused("GET / HTTP/1.1\nHost: public.example\nHost: admin.example\nConnection: close\n\n");
    for header in ["X-Forwarded-Host", "Forwarded", "X-Host", "x_forwarded_host"] {
        let more = format!("{header}: admin.example\n");
        let answer = as_caller(&to, Some(ANN), &request("GET", "/", &more));
        assert!(answer.status() != 200 || answer.saw(header).is_empty(), "{answer:?}");
    }

    apply(&folder, &deny("methods: [DELETE, 'P*']"));
    assert_eq!(ask(&request("GET", "/", "")).0, 200);
    echo.reached();
    for method in ["DELETE", "POST", "PUT", "PATCH", "delete", "Delete"] {
        refused(&request(method, "/", ""));
    }
    for more in ["X-HTTP-Method-Override: DELETE\n", "x-method-override: delete\n", "X-HTTP-Method: DELETE\n"] {
        refused(&request("GET", "/", more));
    }
    refused(&request("GET", "/?_method=DELETE", ""));
    let spelt = as_caller(&to, Some(ANN), &request("GET", "/", "X_HTTP_Method_Override: DELETE\n"));
    assert!(spelt.saw("x_http_method_override").is_empty(), "{spelt:?}");

    let when = |action: &str, condition: &str| {
        policy(&format!("  action: {action}\n  rules:\n  - when: [{{key: 'request.headers[X-Role]', {condition}}}]\n"))
    };
    apply(&folder, &when("DENY", "values: [guest]"));
    assert_eq!(ask(&request("GET", "/", "x-role: admin\n")).0, 200);
    echo.reached();
    for more in [
        "x-role: guest\n",
        "X-ROLE: guest\n",
        "x-role:   guest  \n",
        "x-role: admin\nx-role: guest\n",
        "x-role: guest\nx-role: admin\n",
        "x-role: admin, guest\n",
        "x-role: guest,admin\n",
        "x-role: ,guest,\n",
    ] {
        refused(&request("GET", "/", more));
    }
    let spelt = as_caller(&to, Some(ANN), &request("GET", "/", "X_Role: guest\n"));
    assert!(spelt.status() == 200 && spelt.saw("x_role").is_empty(), "{spelt:?}");
    for (condition, passes, does_not) in [
        (
            "values: [admin]",
            "x-role: admin\n",
            &[
                "x-role: guest\nx-role: admin\n",
                "x-role: admin\nx-role: guest\n",
                "x-role: admin,guest\n",
                "x_role: admin\n",
                "",
            ][..],
        ),
        (
            "values: ['adm*']",
            "x-role: admin\n",
            &["x-role: adm\nx-role: guest\n", "x-role: x,adm\n", "x-role: guest\nx-role: adm\n"],
        ),
        ("values: ['*min']", "x-role: admin\n", &["x-role: guest\nx-role: admin\n", "x-role: guest, admin\n"]),
        ("values: ['*']", "x-role: \n", &["", "x_role: a\n"]),
        (
            "notValues: [guest]",
            "x-role: admin\n",
            &["x-role: guest\n", "x-role: admin\nx-role: guest\n", "x-role: a, guest\n"],
        ),
    ] {
        apply(&folder, &when("ALLOW", condition));
        assert_eq!(ask(&request("GET", "/", passes)).0, 200, "{condition}");
        echo.reached();
        does_not.iter().for_each(|more| refused(&request("GET", "/", more)));
    }
    let agent = |action: &str, value: &str| {
        policy(&format!(
            "  action: {action}\n  rules:\n  - when: [{{key: 'request.headers[User-Agent]', values: ['{value}']}}]\n"
        ))
    };
    apply(&folder, &agent("ALLOW", "Mozilla/*"));
    assert_eq!(ask(&request("GET", "/", "user-agent: Mozilla/5.0 (KHTML, like Gecko)\n")).0, 200);
    echo.reached();
    refused(&request("GET", "/", "user-agent: curl\nuser-agent: Mozilla/5.0\n"));
    apply(&folder, &agent("DENY", "evil"));
    for more in ["user-agent: evil\n", "user-agent: good\nuser-agent: evil\n", "user-agent: evil\nuser-agent: good\n"] {
        refused(&request("GET", "/", more));
    }
}

/// Numbers that look drawn, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Mostly nothing, or one or two.
    fn few(&mut self, of: &[&str]) -> Vec<String> {
        let count = [0, 0, 0, 1, 1, 2][self.below(6)];
        (0..count).map(|_| self.one(of).to_owned()).collect()
    }
}

const IDENTITIES: [Option<&str>; 6] = [
    None,
    Some("cluster.local/ns/a/sa/x"),
    Some("cluster.local/ns/a/sa/y"),
    Some("cluster.local/ns/b/sa/x"),
    Some("cluster.local/ns/b-ns/sa/z"),
    Some("old/ns/a/sa/x"),
];
const PRINCIPALS: [&str; 7] = [
    "*",
    "cluster.local/ns/a/sa/x",
    "old/ns/a/sa/x",
    "cluster.local/ns/b*",
    "*/sa/x",
    "*/ns/a/sa/y",
    "cluster.local/ns/c/sa/x",
];
const NAMESPACES: [&str; 5] = ["a", "b", "b*", "*-ns", "*"];
const METHODS: [&str; 3] = ["GET", "PUT", "PATCH"];
const OF_METHODS: [&str; 4] = ["GET", "P*", "*CH", "*"];
const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/a/b/c?x=/admin", "/b.html", "/b.html?a", "/admin/x"];
const OF_PATHS: [&str; 10] =
    ["/", "/a", "/a*", "*.html", "/a/{*}", "/a/{**}", "/{**}/c", "/{*}/b/{*}", "*", "/admin/*"];
const HOSTS: [&str; 4] = ["web", "a.shop.example", "B.example", "shop.example"];
const OF_HOSTS: [&str; 5] = ["web", "*.shop.example", "b.*", "shop.example", "*"];
const TEAMS: [Option<&str>; 4] = [None, Some("blue"), Some("green"), Some("green-1")];
const OF_TEAMS: [&str; 5] = ["blue", "green*", "*1", "*", "red"];
/// Whom a token is of, and its groups.
const TOKENS: [Option<(&str, &str, &str)>; 5] = [
    None,
    Some(("i", "ann", r#"["staff","blue"]"#)),
    Some(("i", "bob", r#""staff""#)),
    Some(("j", "ann", r#"[]"#)),
    Some(("k", "joann", r#""blues""#)),
];
const OF_TOKENS: [&str; 8] = ["*", "i/ann", "i/*", "*/ann", "j/ann", "*bob", "k*", "l/ann"];
const OF_GROUPS: [&str; 4] = ["staff", "st*", "*ue", "*"];
const BLOCKS: [&str; 3] = ["127.0.0.1", "127.0.0.0/8", "10.0.0.0/8"];

/// A policy as it is written.
fn drawn(dice: &mut Dice) -> Value {
    let lists = |dice: &mut Dice, of: &[(&str, &[&str])]| {
        let mut all = Map::new();
        for (field, values) in of {
            let values = dice.few(values);
            if !values.is_empty() {
                all.insert((*field).to_owned(), json!(values));
            }
        }
        all
    };
    let mut rules = Vec::new();
    for _ in 0..dice.below(3) {
        let mut rule = Map::new();
        let sources: &[(&str, &[&str])] = &[
            ("principals", &PRINCIPALS),
            ("notPrincipals", &PRINCIPALS),
            ("namespaces", &NAMESPACES),
            ("notNamespaces", &NAMESPACES),
            ("ipBlocks", &BLOCKS),
            ("notRemoteIpBlocks", &BLOCKS[2..]),
            ("requestPrincipals", &OF_TOKENS),
            ("notRequestPrincipals", &OF_TOKENS),
        ];
        let from: Vec<Value> = (0..dice.below(3))
            .map(|_| lists(dice, sources))
            .filter(|one| !one.is_empty())
            .map(|source| json!({"source": source}))
            .collect();
        let operations: &[(&str, &[&str])] = &[
            ("methods", &OF_METHODS),
            ("notMethods", &OF_METHODS[..3]),
            ("paths", &OF_PATHS),
            ("notPaths", &OF_PATHS[..8]),
            ("hosts", &OF_HOSTS),
            ("notHosts", &OF_HOSTS[..4]),
            ("ports", &["8000", "81"]),
        ];
        let to: Vec<Value> = (0..dice.below(3))
            .map(|_| lists(dice, operations))
            .filter(|one| !one.is_empty())
            .map(|operation| json!({"operation": operation}))
            .collect();
        let condition = lists(dice, &[("values", &OF_TEAMS), ("notValues", &OF_TEAMS)]);
        for (field, list) in [("from", from), ("to", to)] {
            if !list.is_empty() {
                rule.insert(field.to_owned(), json!(list));
            }
        }
        let groups = lists(dice, &[("values", &OF_GROUPS), ("notValues", &OF_GROUPS)]);
        let mut when = Vec::new();
        for (key, mut one) in [("request.headers[x-team]", condition), ("request.auth.claims[groups]", groups)] {
            if !one.is_empty() {
                one.insert("key".to_owned(), json!(key));
                when.push(one);
            }
        }
        if !when.is_empty() {
            rule.insert("when".to_owned(), json!(when));
        }
        rules.push(json!(rule));
    }
    json!({"action": dice.one(&["ALLOW", "DENY"]), "rules": rules})
}

#[derive(Debug)]
struct Asked {
    identity: Option<&'static str>,
    method: &'static str,
    path: &'static str,
    host: &'static str,
    team: Option<&'static str>,
    token: Option<(&'static str, &'static str, &'static str)>,
}

/// Whether these policies let it pass, as the documentation of Istio has it, one sentence after the other.
fn passes(policies: &[Value], asked: &Asked) -> bool {
    let meets = |policy: &&Value| policy["rules"].as_array().unwrap().iter().any(|rule| of_rule(rule, asked));
    let of = |action: &str| policies.iter().filter(|policy| policy["action"] == action).collect::<Vec<_>>();
    !of("DENY").iter().any(meets) && (of("ALLOW").is_empty() || of("ALLOW").iter().any(meets))
}

fn of_rule(rule: &Value, asked: &Asked) -> bool {
    let part = |list: &str, one: &dyn Fn(&Value) -> bool| {
        rule.get(list).is_none_or(|all| all.as_array().unwrap().iter().any(one))
    };
    let identity: Vec<&str> = asked.identity.unwrap_or_default().split('/').collect();
    let pair = |of: &Value, field: &str, is: &dyn Fn(&str) -> bool| {
        let not = format!("not{}{}", field[..1].to_uppercase(), &field[1..]);
        let any = |list: &Value| list.as_array().unwrap().iter().any(|value| is(value.as_str().unwrap()));
        of.get(field).is_none_or(any) && !of.get(&not).is_some_and(any)
    };
    let path = asked.path.split('?').next().unwrap();
    part("from", &|from| {
        let source = &from["source"];
        pair(source, "principals", &|value| asked.identity.is_some_and(|identity| like(value, identity)))
            && pair(source, "namespaces", &|value| identity.len() == 5 && like(value, identity[2]))
            && pair(source, "requestPrincipals", &|value| {
                asked.token.is_some_and(|(issuer, subject, _)| like(value, &format!("{issuer}/{subject}")))
            })
            && pair(source, "ipBlocks", &|value| value.starts_with("127."))
            && pair(source, "remoteIpBlocks", &|value| value.starts_with("127."))
    }) && part("to", &|to| {
        let operation = &to["operation"];
        pair(operation, "methods", &|value| like(value, asked.method))
            && pair(operation, "hosts", &|value| like(value, &asked.host.to_lowercase()))
            && pair(operation, "ports", &|value| value == "8000")
            && pair(operation, "paths", &|value| match value.contains('{') {
                true => segments(&value.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>()),
                false => like(value, path),
            })
    }) && rule.get("when").is_none_or(|all| all.as_array().unwrap().iter().all(|when| of_condition(when, &pair, asked)))
}

type Pair<'p> = dyn Fn(&Value, &str, &dyn Fn(&str) -> bool) -> bool + 'p;

fn of_condition(when: &Value, pair: &Pair<'_>, asked: &Asked) -> bool {
    if when["key"] == "request.headers[x-team]" {
        return pair(when, "values", &|value| asked.team.is_some_and(|team| like(value, team)));
    }
    let groups = asked.token.map_or(Value::Null, |(_, _, groups)| serde_json::from_str(groups).unwrap());
    let groups: Vec<&str> = match &groups {
        Value::Array(several) => several.iter().map(|one| one.as_str().unwrap()).collect(),
        one => one.as_str().into_iter().collect(),
    };
    pair(when, "values", &|value| groups.iter().any(|group| like(value, group)))
}

fn like(value: &str, text: &str) -> bool {
    match (value.strip_prefix('*'), value.strip_suffix('*')) {
        (Some(end), _) => text.ends_with(end),
        (_, Some(beginning)) => text.starts_with(beginning),
        _ => value == text,
    }
}

fn segments(template: &[&str], path: &[&str]) -> bool {
    match (template.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"{**}", rest)), Some((_, more))) => segments(rest, more) || segments(template, more),
        (Some((&"{*}", rest)), Some((one, more))) => !one.is_empty() && segments(rest, more),
        (Some((text, rest)), Some((one, more))) => text == one && segments(rest, more),
        _ => false,
    }
}

#[test]
fn envoy_decides_as_the_documentation_reads() {
    const SERVICES: u8 = 60;
    const REQUESTS: usize = 12;
    let _turn = turn();
    let (folder, _echo, _mark) = town();
    let signer = Signer::ed25519("key");
    let issuers: Vec<Value> =
        ["i", "j", "k"].map(|name| json!({"issuer": name, "jwks": jwks([&signer])})).into_iter().collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut policies: Vec<Vec<Value>> = Vec::new();
    let mut manifests = String::new();
    for number in 1..=SERVICES {
        let own: Vec<Value> = (0..=dice.below(3)).map(|_| drawn(&mut dice)).collect();
        manifests += &TOWN
            .split("---\n")
            .take(2)
            .collect::<Vec<_>>()
            .join("---\n")
            .replace("127.0.20.71", &format!("127.0.21.{number}"))
            .replace("web", &format!("s{number}"));
        manifests += "---\n";
        let tokens = json!({"targetRefs": [{"group": "", "kind": "Service", "name": format!("s{number}")}],
            "jwtRules": issuers});
        manifests += &format!(
            "{}\n---\n",
            json!({"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
                "metadata": {"name": format!("p{number}"), "namespace": "t"}, "spec": tokens})
        );
        for (index, spec) in own.iter().enumerate() {
            let mut spec = spec.clone();
            spec["targetRefs"] = json!([{"group": "", "kind": "Service", "name": format!("s{number}")}]);
            let policy = json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                "metadata": {"name": format!("p{number}-{index}"), "namespace": "t"}, "spec": spec});
            manifests += &format!("{policy}\n---\n");
        }
        policies.push(own);
    }
    let waykeeper = Waykeeper::up(&folder, &[]);
    let to = listener(&waykeeper);
    apply(&folder, manifests.trim_end_matches("---\n"));
    let mut answered = [0, 0];
    for (number, policies) in (1..=SERVICES).zip(&policies) {
        for _ in 0..REQUESTS {
            let asked = Asked {
                identity: dice.one(&IDENTITIES),
                method: dice.one(&METHODS),
                path: dice.one(&PATHS),
                host: dice.one(&HOSTS),
                team: dice.one(&TEAMS),
                token: dice.one(&TOKENS),
            };
            let token = asked.token.map(|(issuer, subject, groups)| {
                let groups: Value = serde_json::from_str(groups).unwrap();
                let claims = json!({"iss": issuer, "sub": subject, "groups": groups, "exp": in_seconds(600)});
                format!("authorization: Bearer {}\n", signer.token(&claims))
            });
            let token = token.unwrap_or_default();
            let identity = asked.identity.map(|identity| format!("spiffe://{identity}"));
            let team = asked.team.map(|team| format!("x-team: {team}\n")).unwrap_or_default();
            let Asked { method, path, host, .. } = asked;
            let request = format!("{method} {path} HTTP/1.1\nHost: {host}\n{team}{token}Connection: close\n\n");
            let vip = Ipv4Addr::new(127, 0, 21, number);
            let answer = at(&to, identity.as_deref(), (vip, 8000), &request);
            let (status, expected) = (answer.status(), if passes(policies, &asked) { 200 } else { 403 });
            assert_eq!(status, expected, "{asked:?}\n{}\n{}", json!(policies), answer.text);
            answered[usize::from(status == 200)] += 1;
        }
    }
    assert!(answered.iter().all(|count| *count > 150), "{answered:?}");
}

/// Only who may come to a port that is not HTTP reaches its server, which may be the first to speak.
#[test]
fn a_server_that_speaks_first_says_nothing_to_whoever_may_not_come() {
    let _turn = turn();
    let (folder, _echo, _mark) = town();
    let server = TcpListener::bind("127.0.10.74:5432").unwrap();
    server.set_nonblocking(true).unwrap();
    let db = TOWN
        .split("---\n")
        .take(2)
        .collect::<Vec<_>>()
        .join("---\n")
        .replace("127.0.20.71", "127.0.20.74")
        .replace("127.0.10.71", "127.0.10.74");
    let db = db
        .replace("web", "db")
        .replace("name: http, port: 8000, targetPort: 8080", "name: tcp-db, port: 5432, targetPort: 5432")
        .replace("name: http, port: 8080", "name: tcp-db, port: 5432");
    folder.apply("db.yaml", &db);
    let guarded = |spec: &str| policy(spec).replace("name: web", "name: db");
    let waykeeper = Waykeeper::up(&folder, &[]);
    let to = listener(&waykeeper);
    // What the caller hears: the server's greeting, if it comes there.
    let hears = |identity: Option<&str>| {
        let mut stream = TcpStream::connect(&to).unwrap();
        stream.write_all(&header(identity, Ipv4Addr::new(127, 0, 20, 74), 5432)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok((mut connection, _)) = server.accept() {
                connection.write_all(b"hello").unwrap();
                drop(connection);
                let (mut heard, _) = (String::new(), stream.set_read_timeout(Some(Duration::from_secs(20))));
                stream.read_to_string(&mut heard).unwrap();
                return heard;
            }
            match stream.read(&mut [0; 1]) {
                Ok(_) => return "closed".to_owned(),
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(_) => return "closed".to_owned(),
            }
            assert!(Instant::now() < deadline);
        }
    };
    assert_eq!(hears(None), "hello");
    let rule = |what: &str| format!("  rules:\n  - {what}\n");
    for (spec, ann, stranger) in [
        (rule("from: [{source: {principals: [cluster.local/ns/curl/sa/curl]}}]"), "hello", "closed"),
        (rule("from: [{source: {namespaces: ['cur*']}}]"), "hello", "closed"),
        (rule("from: [{source: {notPrincipals: ['*']}}]"), "closed", "hello"),
        (rule("from: [{source: {ipBlocks: [127.0.0.0/8]}}]"), "hello", "hello"),
        (rule("from: [{source: {ipBlocks: [10.0.0.0/8]}}]"), "closed", "closed"),
        (rule("to: [{operation: {ports: ['5432']}}]"), "hello", "hello"),
        (rule("to: [{operation: {ports: ['80']}}]"), "closed", "closed"),
        (String::new(), "closed", "closed"),
        // What only HTTP has lets nobody pass, and keeps nobody from being refused.
        (rule("to: [{operation: {methods: [GET]}}]"), "closed", "closed"),
        (rule("to: [{operation: {notPaths: [/]}}]"), "closed", "closed"),
        (
            format!(
                "  action: DENY\n{}",
                rule("from: [{source: {principals: ['*']}}]\n    to: [{operation: {methods: [GET]}}]")
            ),
            "closed",
            "hello",
        ),
        (format!("  action: DENY\n{}", rule("to: [{operation: {notHosts: [a]}}]")), "closed", "closed"),
        (format!("  action: DENY\n{}", rule("from: [{source: {notNamespaces: [curl]}}]")), "hello", "closed"),
    ] {
        apply(&folder, &guarded(&spec));
        // The listener changes in its own time.
        eventually("the listener", Duration::from_secs(20), || match (hears(Some(ANN)), hears(None)) {
            (a, s) if (a.as_str(), s.as_str()) == (ann, stranger) => Ok(()),
            heard => Err(format!("{spec}: {heard:?}")),
        });
    }
}
