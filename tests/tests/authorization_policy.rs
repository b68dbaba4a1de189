//! AuthorizationPolicies, as callers with identities meet them through the real Envoy, and those who want to get past.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use waykeeper_tests::curl::Curl;
use waykeeper_tests::echo::{Answer, Echo, send_one};
use waykeeper_tests::raw::proxy_header;
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

/// Sends `request` as ztunnel would for a caller with this identity.
fn as_caller(listener: &str, identity: Option<&str>, port: u16, request: &str) -> Answer {
    let tlv = identity.map(|identity| {
        let length = u16::try_from(identity.len()).unwrap().to_be_bytes();
        [&[0xD0][..], &length, identity.as_bytes()].concat()
    });
    let mut bytes = proxy_header(VIP, port, &tlv.unwrap_or_default());
    bytes.extend(request.replace('\n', "\r\n").as_bytes());
    send_one(listener, &bytes)
}

fn request(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\nHost: web\n{more}Connection: close\n\n")
}

/// Sends a GET as ztunnel would for this caller.
fn get(listener: &str, identity: Option<&str>, path: &str, more: &str) -> u16 {
    as_caller(listener, identity, 8000, &request("GET", path, more)).status()
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
        let answer = as_caller(&to, Some(ANN), 8000, request);
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
        let answer = as_caller(&to, Some(ANN), 8000, &request("GET", "/", &format!("{header}: /admin\n")));
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
        let answer = as_caller(&to, Some(ANN), 8000, &request("GET", "/", &more));
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
    let spelt = as_caller(&to, Some(ANN), 8000, &request("GET", "/", "X_HTTP_Method_Override: DELETE\n"));
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
    let spelt = as_caller(&to, Some(ANN), 8000, &request("GET", "/", "X_Role: guest\n"));
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
}
