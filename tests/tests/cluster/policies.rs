//! What becomes of AuthorizationPolicies is written to them, beside what Istio's control plane writes there.

use serde_json::{Value, json};

use waykeeper_tests::kubernetes::Answer;

use super::envoys::{Certificates, Pod, bind, gateway};
use super::*;

const PATH: &str = "/apis/security.istio.io/v1/namespaces/t/authorizationpolicies/p";

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: t}}\nspec: {spec}\n"
    )
}

fn service(name: &str, label: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: t, labels: {{{label}}}}}\nspec:\n  ports:\n  \
         - {{name: http, port: 80}}\n"
    )
}

/// As istiod applies a condition of its own: a list that is one to the API server is then as it says, and nothing else is.
fn apply_as_istiod(cluster: &Cluster, message: &str) {
    let status = json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "t"},
        "status": {"conditions": [{"type": "WaypointAccepted", "status": "True", "reason": "Accepted", "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let path = format!("{PATH}/status?fieldManager=istiod&force=true");
    let answer = cluster.call("PATCH", &path, Some(("application/apply-patch+yaml", &status.to_string())));
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The condition of this type.
fn condition(status: &Value, kind: &str) -> Value {
    let all = status["conditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["type"] == kind).unwrap_or_default()
}

fn until(cluster: &Cluster, kind: &str, status: &str, reason: &str) -> Value {
    let is_so = |all: &Value| {
        let one = condition(all, kind);
        one["status"] == status && one["reason"] == reason
    };
    told(cluster, &policy("{}"), &format!("{kind} {status} {reason}"), is_so)
}

#[test]
fn what_becomes_of_a_policy_stands_on_it_beside_what_istiod_says() {
    let _turn = turn();
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    let certificates = Certificates::new(dir.path());
    namespace(&cluster);
    gateway_crds(&cluster);
    cluster.define(&lax_crd("AuthorizationPolicy", "security.istio.io", "v1", "Namespaced"));
    let kubeconfig = account(&cluster, "waypoint", None);
    bind(&cluster, "waykeeper-waypoint-xds");
    let (cert, key) = (certificates.at("tls.crt"), certificates.at("tls.key"));
    let mut waypoint = Server::start("waypoint", &kubeconfig, dir.path(), &["--tls-cert", &cert, "--tls-key", &key]);
    waypoint.ready();
    cluster.apply(&gateway("a", free().rsplit(':').next().unwrap().parse().unwrap()));
    cluster.apply(&service("web", "istio.io/use-waypoint: a"));
    cluster.apply(&service("bare", ""));
    let of = |service: &str, rules: &str| {
        policy(&format!("{{targetRefs: [{{group: \"\", kind: Service, name: {service}}}], rules: {rules}}}"))
    };
    let rules = "[{to: [{operation: {methods: [GET]}}]}]";

    // Accepted once it is read, in force once an Envoy has it.
    cluster.apply(&of("web", rules));
    let status = until(&cluster, "waykeeper.dev/Accepted", "True", "Accepted");
    let accepted = condition(&status, "waykeeper.dev/Accepted");
    assert_eq!((&accepted["message"], &accepted["observedGeneration"]), (&json!("guards Service t/web"), &json!(1)));
    until(&cluster, "waykeeper.dev/Programmed", "Unknown", "Pending");
    let token = cluster.token_for("t", "gloo-proxy-a", envoys::AUDIENCE);
    let envoy = Pod::of(dir.path(), "a", &token, &waypoint.grpc, &certificates.at("ca.crt"));
    until(&cluster, "waykeeper.dev/Programmed", "True", "Programmed");

    // istiod says what it says, under its own type, and nobody takes the other's words away.
    for message in ["bound to t/a", "bound to t/a again"] {
        apply_as_istiod(&cluster, message);
        let status = until(&cluster, "waykeeper.dev/Programmed", "True", "Programmed");
        assert_eq!(condition(&status, "WaypointAccepted")["message"], message);
        assert_eq!(condition(&status, "waykeeper.dev/Accepted")["message"], accepted["message"]);
    }
    // Once both have spoken nobody writes any more.
    let looked = || {
        let (_, metrics) = waypoint.page("/metrics");
        let stands = "waykeeper_kubernetes_statuses_total{kind=\"AuthorizationPolicy\",outcome=\"stands\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(stands)?.parse::<u64>().ok()).unwrap_or_default()
    };
    let seen = looked();
    let touched = json!({"metadata": {"annotations": {"touched": "yes"}}}).to_string();
    let touched = cluster.call("PATCH", PATH, Some(("application/merge-patch+json", &touched)));
    eventually("a look at it", CHANGE, || if looked() > seen { Ok(()) } else { Err(waypoint.log()) });
    let version = |answer: Answer| answer.json()["metadata"]["resourceVersion"].to_string();
    assert_eq!(version(touched), version(cluster.call("GET", PATH, None)));

    // What does not guard says so, and what to write instead.
    cluster.apply(&of("bare", rules));
    let status = until(&cluster, "waykeeper.dev/Accepted", "False", "NotAttached");
    let message = condition(&status, "waykeeper.dev/Accepted")["message"].to_string();
    assert!(message.contains("istio.io/use-waypoint"), "{message}");
    assert_eq!(condition(&status, "waykeeper.dev/Programmed"), Value::Null);
    assert_eq!(condition(&status, "WaypointAccepted")["status"], "True", "which is another's to mend");
    let (_, message, _) = event(&cluster, "p", "Refused");
    assert!(message.contains("Service t/bare has no waypoint"), "{message}");

    // A mistake names its field; the good version before it stays in force.
    cluster.apply(&of("web", rules));
    until(&cluster, "waykeeper.dev/Programmed", "True", "Programmed");
    cluster.apply(&of("web", &rules.replace("methods: [GET]", "method: [GET]")));
    let status = until(&cluster, "waykeeper.dev/Accepted", "False", "Invalid");
    let message = condition(&status, "waykeeper.dev/Accepted")["message"].to_string();
    assert!(message.contains("spec.rules[0].to[0].operation.method"), "{message}");

    // Of what is for another controller's class nothing of ours stays.
    let class = "{targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: other}], rules: [{}]}";
    cluster.apply(&policy(class));
    until(&cluster, "waykeeper.dev/Accepted", "False", "TargetNotFound");
    cluster.delete(&policy(class));
    envoy.stop();
    waypoint.stop(Duration::from_secs(20));
}
