//! What happens to pods: who reaches them, and when they go.

use waykeeper_tests::eventually;

use crate::PODS;
use crate::client::Client;

/// Nobody but the Envoys of Gateways reaches the servers.
pub fn are_reached_by_envoys_alone(client: &Client<'_>) {
    for (server, port) in [("extauth", 8083), ("ratelimit", 18081), ("waypoint", 9977)] {
        let line = format!(
            "kubectl -n httpbin exec deploy/client -- curl -sS -m 2 http://waykeeper-{server}.waykeeper:{port}/"
        );
        let said = client.node.shell(&line);
        assert!(!said.well && said.err.contains("timed out"), "{server}: {said:?}");
    }
}

/// What a Gateway had goes with it, and what it guarded is not reached past it.
pub fn go_with_their_gateway(client: &Client<'_>) {
    let node = client.node;
    node.run("kubectl -n httpbin delete gateway gloo-waypoint");
    eventually("nothing of it", PODS, || {
        let own = "-n httpbin -l gateway.networking.k8s.io/gateway-name=gloo-waypoint";
        let said = node.run(&format!("kubectl get sa,cm,svc,pdb,deploy,rs,pods {own} -o name"));
        if said.is_empty() { Ok(()) } else { Err(said) }
    });
    let reply = client.send("kubectl -n httpbin exec deploy/client -- curl -s -m 5 http://httpbin2:8000/get");
    assert!(reply.error.is_some() && reply.body.is_empty(), "{reply:?}");
}
