//! What requests mean, and to whom: paths, hosts, headers, redirects, as the real Envoy and an
//! application behind it see them.
#![allow(clippy::unwrap_used)]

use waykeeper_tests::echo::{Answer, Echo, get};
use waykeeper_tests::{Folder, Waykeeper, turn};

/// Service `a` (two ports) and `b`, on one application each; a Gateway; a key `good` of user `ann`, who is of `acme`.
const TOWN: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: t, labels: {istio.io/use-waypoint: wp}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: wp, namespace: t}
spec:
  gatewayClassName: gloo-waypoint
  listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY}]
---
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
    let folder = Folder::empty();
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
