//! A cluster in which somebody else, such as Gloo, has defined the kinds: without a status of their own, and without what
//! nobody knows.

use super::envoys::bind;
use super::*;

/// A definition that knows `spec` in camelCase and drops everything else.
fn definition(kind: &str, group: &str, version: &str, spec: &str, has_status: bool) -> String {
    let (singular, subresources) = (kind.to_lowercase(), if has_status { "subresources: {status: {}}" } else { "" });
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {{name: {singular}s.{group}, labels: {{app: somebody-else}}}}\nspec:\n  group: {group}\n  \
         scope: Namespaced\n  names: {{kind: {kind}, listKind: {kind}List, plural: {singular}s, singular: {singular}}}\n  \
         versions:\n  - name: {version}\n    served: true\n    storage: true\n    {subresources}\n    schema:\n      \
         openAPIV3Schema:\n        type: object\n        properties:\n          spec: {spec}\n          \
         status: {{type: object, x-kubernetes-preserve-unknown-fields: true}}\n"
    )
}

const NAMED: &str = "{type: object, properties: {name: {type: string}, namespace: {type: string}}}";
const MAP: &str = "{type: object, additionalProperties: {type: string}}";

fn definitions() -> Vec<String> {
    let named = NAMED;
    let target = "{type: object, properties: {group: {type: string}, kind: {type: string}, name: {type: string}, namespace: {type: string}}}";
    let options = format!(
        "{{type: object, properties: {{extauth: {{type: object, properties: {{configRef: {named}, disable: {{type: boolean}}}}}}, \
         rateLimitConfigs: {{type: object, properties: {{refs: {{type: array, items: {named}}}}}}}}}}}"
    );
    let option =
        format!("{{type: object, properties: {{targetRefs: {{type: array, items: {target}}}, options: {options}}}}}");
    let entry = "{type: object, properties: {name: {type: string}, required: {type: boolean}}}";
    let keys = format!(
        "{{type: object, properties: {{headerName: {{type: string}}, labelSelector: {MAP}, \
         headersFromMetadataEntry: {{type: object, additionalProperties: {entry}}}}}}}"
    );
    let config = format!(
        "{{type: object, properties: {{configs: {{type: array, items: {{type: object, properties: {{apiKeyAuth: {keys}}}}}}}}}}}"
    );
    let anything = "{type: object, x-kubernetes-preserve-unknown-fields: true}";
    vec![
        definition("RouteOption", "gateway.solo.io", "v1", &option, false),
        definition("AuthConfig", GROUP, "v1", &config, false),
        definition("RateLimitConfig", "ratelimit.solo.io", "v1alpha1", anything, true),
    ]
}

fn object(kind: &str, group: &str, name: &str) -> String {
    format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}, namespace: httpbin}}\n")
}

#[test]
fn the_walkthrough_is_served_where_somebody_else_has_defined_its_kinds() {
    let _turn = turn();
    let endpoint = address("10.244.0.2");
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    gateway_crds(&cluster);
    definitions().iter().for_each(|definition| cluster.define(definition));
    let admin = cluster.admin(None);
    let check = std::process::Command::new(binary("waykeeper"))
        .args(["check", "--pre", "--kubeconfig", admin.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout);
    for name in ["routeoptions.gateway.solo.io", "authconfigs.enterprise.gloo.solo.io"] {
        let line = said.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{said}"));
        for words in ["‼", "another owner's", "no status of its own", "fields that it does not know are dropped"] {
            assert!(line.contains(words), "{words}: {line}");
        }
    }

    for namespace in ["httpbin", "gloo-system"] {
        let labels = if namespace == "httpbin" { "{istio.io/use-waypoint: gloo-waypoint}" } else { "{}" };
        cluster
            .apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels: {labels}\n"));
    }
    let begin = |program: &str, args: &[&str]| {
        let server = Server::start(program, &account(&cluster, program, None), dir.path(), args);
        server.ready();
        server
    };
    let (mut extauth, ratelimit) = (begin("extauth", &[]), begin("ratelimit", &[]));
    let (tls, auth) = (dir.path().join("tls").display().to_string(), extauth.grpc.clone());
    let args = ["--extauth", &auth, "--ratelimit", &ratelimit.grpc, "--tls-dir", &tls];
    let mut waypoint = begin("waypoint", &args);
    cluster.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: httpbin2, namespace: httpbin}\nspec:\n  ports:\n  \
         - {name: http, port: 8000, targetPort: 8080}\n",
    );
    cluster.apply(&format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: httpbin2-1\n  namespace: httpbin\n  \
         labels: {{kubernetes.io/service-name: httpbin2}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\n\
         endpoints:\n- addresses: [{endpoint}]\n  conditions: {{ready: true}}\n"
    ));
    let _application =
        start(&binary("sample-app"), &["--listen", &format!("{endpoint}:8080")], &dir.path().join("app"));
    let gateway = fs::read_to_string(waykeeper_tests::waykeeper::root().join("examples/httpbin/gateway.yaml")).unwrap();
    cluster.apply(&gateway);
    let service = cluster.get("apiVersion: v1\nkind: Service\nmetadata: {name: httpbin2, namespace: httpbin}\n").json();
    let vip: std::net::Ipv4Addr = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    let _envoy = envoy_of("httpbin/gloo-waypoint", &waypoint.grpc, &tls, &free(), dir.path());
    let ask = |header: &str| {
        let request = format!("GET /get HTTP/1.1\r\nHost: httpbin2\r\n{header}Connection: close\r\n\r\n");
        let bytes = [proxy_header(vip.octets(), 8000, &[]), request.into_bytes()].concat();
        let answer = std::net::TcpStream::connect("127.0.0.1:15088").map(|_| send_raw("127.0.0.1:15088", &bytes));
        answer.unwrap_or_default()
    };
    let until = |header: &str, status: &str| {
        eventually(&format!("{status} for {header:?}"), CHANGE, || match ask(header) {
            answer if answer.starts_with(&format!("HTTP/1.1 {status}")) => Ok(answer),
            answer => Err(answer),
        })
    };
    let apply = |step: &str| {
        files(&format!("examples/walkthrough-000/{step}")).iter().for_each(|manifest| cluster.apply(manifest))
    };

    // The walkthrough's manifests, and what becomes of them: of limits on the object, of the others on /status alone.
    until("", "200");
    apply("apikeys");
    until("", "401");
    assert!(until("api-key: mykey\r\n", "200").contains("X-Organization"));
    let option = object("RouteOption", "gateway.solo.io/v1", "httpbin2");
    let config = object("AuthConfig", "enterprise.gloo.solo.io/v1", "apikeys");
    let written = |server: &Server, outcome: &str| {
        let (_, metrics) = server.page("/metrics");
        let all = metrics.lines().filter(|line| {
            line.starts_with("waykeeper_kubernetes_statuses_total") && line.contains(&format!("outcome=\"{outcome}\""))
        });
        all.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    for (server, object) in [(&waypoint, &option), (&extauth, &config)] {
        eventually("an attempt", CHANGE, || match written(server, "no status") {
            count if count > 0.0 => Ok(()),
            count => Err(format!("{count}\n{}", server.log())),
        });
        assert_eq!(cluster.get(object).json().get("status"), None, "there is no right to it");
    }

    // With the right it is written to the objects, whose specs stay as they are, and then it is left alone.
    bind(&cluster, "waykeeper-waypoint-on-objects");
    cluster.apply(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: on-objects}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: waykeeper-extauth-on-objects}\n\
         subjects: [{kind: ServiceAccount, name: extauth, namespace: default}]\n",
    );
    let before = [&option, &config].map(|object| cluster.get(object).json()["spec"].take());
    for server in [&mut waypoint, &mut extauth] {
        server.stop(Duration::from_secs(20));
    }
    extauth = Server::at(auth.clone(), "extauth", &account(&cluster, "extauth", None), dir.path(), &[]);
    waypoint = Server::at(waypoint.grpc.clone(), "waypoint", &account(&cluster, "waypoint", None), dir.path(), &args);
    let state =
        |wanted: &'static str| move |status: &serde_json::Value| status["statuses"]["default"]["state"] == wanted;
    for object in [&option, &config] {
        told(&cluster, object, "accepted", state("Accepted"));
    }
    assert_eq!([&option, &config].map(|object| cluster.get(object).json()["spec"].take()), before);
    let versions =
        || [&option, &config].map(|object| cluster.get(object).json()["metadata"]["resourceVersion"].to_string());
    let before = versions();
    cluster.delete(&option);
    until("", "200");
    apply("ratelimit-httpbin2");
    waykeeper_tests::fresh_minute(Duration::from_secs(20));
    until("", "429");
    let limits = object("RateLimitConfig", "ratelimit.solo.io/v1alpha1", "ratelimit-httpbin2");
    told(&cluster, &limits, "accepted", |status| status["state"] == "ACCEPTED");
    told(&cluster, &option, "accepted", state("Accepted"));
    assert_eq!(versions()[1], before[1], "what stands is not written again");

    // By a client that does not look at definitions, as kubectl would.
    let make = |list: &str, manifest: &str| {
        let answer =
            cluster.call("POST", &format!("/apis/{list}?fieldValidation=Ignore"), Some(("application/yaml", manifest)));
        assert_eq!(answer.status, 201, "{manifest}: {answer:?}");
    };
    // What is written in another way arrives empty: it refuses what it was for, and says so.
    let target = "[{group: gateway.networking.k8s.io, kind: HTTPRoute, name: httpbin2}]";
    for (spec, field) in [
        (format!("{{targetRefs: {target}, options: {{ext_auth: {{config_ref: {{name: apikeys}}}}}}}}"), "spec.options"),
        (
            format!("{{targetRefs: {target}, options: {{extauth: {{config_ref: {{name: apikeys}}}}}}}}"),
            "spec.options.extauth",
        ),
        // Nobody knows any more what it was for: nothing of its namespace is open.
        (
            format!("{{target_refs: {target}, options: {{ext_auth: {{config_ref: {{name: apikeys}}}}}}}}"),
            "spec.options",
        ),
    ] {
        cluster.delete(&option);
        until("", "200");
        make("gateway.solo.io/v1/namespaces/httpbin/routeoptions", &format!("{option}spec: {spec}\n"));
        until("", "500");
        let status = told(&cluster, &option, "rejected", state("Rejected"));
        let reason = status["statuses"]["default"]["reason"].as_str().unwrap();
        assert!(reason.contains(&format!("{field}: ")), "{spec}: {reason}");
    }
    cluster.delete(&option);
    until("", "200");
    // A policy without its keys lets nobody in.
    cluster.delete(&config);
    let keys = "{header_name: api-key, label_selector: {team: infrastructure}}";
    make(
        "enterprise.gloo.solo.io/v1/namespaces/httpbin/authconfigs",
        &format!("{config}spec: {{configs: [{{apiKeyAuth: {keys}}}]}}\n"),
    );
    let guarded = files("examples/walkthrough-000/apikeys");
    cluster.apply(guarded.iter().find(|text| text.contains("kind: RouteOption")).unwrap());
    eventually("a refusal", CHANGE, || match ask("api-key: mykey\r\n") {
        answer if answer.starts_with("HTTP/1.1 5") || answer.starts_with("HTTP/1.1 40") => Ok(()),
        answer => Err(answer),
    });
    told(&cluster, &config, "rejected", state("Rejected"));
    for mut server in [waypoint, ratelimit, extauth] {
        server.stop(Duration::from_secs(20));
    }
}
