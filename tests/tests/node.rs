//! A whole node: both charts installed as the documentation prints it, images of ours in containerd, and walkthrough
//! 000 with the commands that it prints.
//!
//! What is not as printed:
//! - The sample applications are those of `examples/httpbin`, without the addresses and the labels that the walkthrough
//!   has not set yet, and are not looked for in a registry; the walkthrough names a file of another repository for them.
//! - There is no mesh: `waykeeper tunnel` plays ztunnel's part, in the network namespace of the client's pod. It comes
//!   over the network, where a ztunnel comes from within the waypoint's pod, so the release is upgraded to `--bind=any`.
//! - The namespace `gloo-system` is made, since Waykeeper is not installed there.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "node/client.rs"]
mod client;
#[path = "node/pods.rs"]
mod pods;
#[path = "node/walkthrough.rs"]
mod walkthrough;

use std::fs;
use std::time::Duration;

use waykeeper_tests::node::Node;
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{eventually, turn};

/// How long pods may take to be there, on a busy machine.
pub const PODS: Duration = Duration::from_secs(90);
/// How long a change may take to reach Envoy.
pub const CHANGE: Duration = Duration::from_secs(10);

/// Lines that start so below this heading of a page, as a person would copy them.
fn printed(page: &str, heading: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let (_, section) = text.split_once(heading).unwrap();
    let block = section.split_once("```console\n").unwrap().1.split_once("```").unwrap().0;
    block.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// Installs both charts, as `docs/kubernetes.md` says, and follows what Helm prints.
fn install(node: &Node) {
    assert!(
        root().join(".tools/gateway-api").exists(),
        "Gateway API's definitions are missing: scripts/tools.sh gateway-api"
    );
    node.run("kubectl apply --server-side -f .tools/gateway-api/");
    let lines = printed("docs/kubernetes.md", "\n## Installing\n");
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("helm install ")), "{lines:?}");
    let notes: String = lines.iter().map(|line| node.run(line)).collect();
    let rollouts: Vec<&str> = notes.lines().map(str::trim).filter(|line| line.starts_with("kubectl ")).collect();
    assert_eq!(rollouts.len(), 3, "{notes}");
    for line in rollouts {
        let said = node.run(&format!("timeout 120 {line}"));
        assert!(said.contains("successfully rolled out"), "{line}: {said}");
    }
}

/// Lets waypoints be reached over the network, as no mesh needs, and gives `ratelimit` the time of a busy machine.
fn without_a_mesh(node: &Node) {
    let values = "--reuse-values --set 'waypoint.args={--bind=any,--ratelimit-timeout-ms=3000}'";
    node.run(&format!("helm upgrade waykeeper deploy/helm/waykeeper --namespace waykeeper {values}"));
    node.run("timeout 120 kubectl -n waykeeper rollout status deployment/waykeeper-waypoint");
}

/// The sample applications, as the walkthrough has them before it labels anything.
fn applications(node: &Node) {
    node.run("kubectl create ns httpbin");
    let text = fs::read_to_string(root().join("examples/httpbin/apps.yaml")).unwrap();
    let ours = |line: &&str| !line.contains("clusterIP: 127.") && !line.contains("istio.io/use-waypoint");
    let apps: Vec<&str> = text.lines().filter(ours).collect();
    let client = "image: docker.io/nicolaka/netshoot:latest";
    let apps = apps.join("\n").replace(client, &format!("{client}\n        imagePullPolicy: IfNotPresent"));
    node.run(&format!("kubectl apply -f - <<'EOF'\n{apps}\nEOF"));
    eventually("all pods to run", PODS, || {
        let said = node.run("kubectl get pods -n httpbin --no-headers");
        let running = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[1..4] == ["1/1", "Running", "0"]
        };
        if said.lines().count() == 3 && said.lines().all(running) { Ok(()) } else { Err(said) }
    });
    node.run("kubectl label ns httpbin istio.io/dataplane-mode=ambient");
}

/// What `waypoint` makes itself, which no release has.
const STAYS: [&str; 3] =
    ["secret/waykeeper-extauth-tls", "secret/waykeeper-ratelimit-tls", "secret/waykeeper-waypoint-authority"];

/// What was installed goes, and nothing stays but the definitions, the class, the Leases and the authority's Secrets.
fn uninstall(node: &Node) {
    node.run("helm uninstall waykeeper --namespace waykeeper");
    node.run("helm uninstall waykeeper-crds --namespace waykeeper");
    eventually("nothing of it", PODS, || {
        let mut said = node.run("kubectl get all,cm,secret,sa,pdb,networkpolicy,role,rolebinding -n waykeeper -o name");
        let not_ours = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
        said = said.lines().filter(|line| !not_ours.contains(line) && !STAYS.contains(line)).collect();
        said += &node.run("kubectl get clusterrole,clusterrolebinding -l app.kubernetes.io/managed-by=Helm -o name");
        if said.is_empty() { Ok(()) } else { Err(said) }
    });
    assert!(node.run("kubectl get crd -o name").contains("routeoptions.gateway.solo.io"));
    assert!(node.run("kubectl get gatewayclass -o name").contains("gloo-waypoint"));
    let leases = node.run("kubectl get lease -n waykeeper -o name");
    assert_eq!(leases.lines().filter(|line| line.contains("/waykeeper-")).count(), 3, "{leases}");
}

#[test]
fn walkthrough_000_on_real_pods() {
    let _turn = turn();
    let node = Node::start("0.1.0");
    install(&node);
    without_a_mesh(&node);
    applications(&node);
    walkthrough::gateway(&node);
    let client = client::Client::start(&node);
    walkthrough::follow(&client);
    pods::are_reached_by_envoys_alone(&client);
    pods::are_replaced(&client);
    pods::are_killed(&client);
    pods::outlive_their_control_plane(&client);
    let tested = node.run("helm test waykeeper --namespace waykeeper");
    assert!(tested.contains("Succeeded") && !tested.contains("Failed"), "{tested}");
    pods::go_with_their_gateway(&client);
    drop(client);
    uninstall(&node);
}
