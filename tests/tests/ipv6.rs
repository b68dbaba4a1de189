//! Services with IPv6 addresses, on one machine.
#![allow(clippy::unwrap_used)]

use waykeeper_tests::echo::Echo;
use waykeeper_tests::{Curl, Folder, Waykeeper, turn};

/// A Service with an address of each family, whose application listens on IPv6.
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: six, namespace: httpbin, labels: {istio.io/use-waypoint: gloo-waypoint}}
spec:
  clusterIP: 'fd00:1:0::5'
  clusterIPs: ['fd00:1:0::5', 10.96.7.7]
  ports: [{name: http, port: 8000, targetPort: 8099}, {name: tcp, port: 7000, targetPort: 8099}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: six, namespace: httpbin, labels: {kubernetes.io/service-name: six}}
addressType: IPv6
ports: [{name: http, port: 8099}, {name: tcp, port: 8099}]
endpoints: [{addresses: ['::1']}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: six, namespace: httpbin}
spec:
  parentRefs: [{group: '', kind: Service, name: six, port: 8000}]
  rules:
  - filters: [{type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: six}}]
    backendRefs: [{name: six, port: 8000}]
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {name: six, namespace: httpbin}
spec: {options: {extauth: {configRef: {name: apikeys}}}}
";

#[test]
fn on_one_machine_it_is_given_an_address_that_the_machine_has_and_is_told_so() {
    let _turn = turn();
    let _echo = Echo::start("[::1]:8099");
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    folder.apply("six.yaml", SERVICE);
    let waykeeper = Waykeeper::up(&folder, &[]);
    let status = waykeeper.admin("/status").body;
    assert!(status.contains("fd00:1:0::5 is not an IPv4 loopback address; served at 127."), "{status}");
    let services = waykeeper.status()["services"].clone();
    let row = services.as_array().unwrap().iter().find(|row| row["name"] == "six" && row["read"] == "http");
    let address = row.unwrap_or_else(|| panic!("{services}"))["address"].as_str().unwrap().to_owned();
    let status = |key: &str| Curl::to(&format!("http://{address}/get")).header(key).send().status;
    assert_eq!([status("api-key: mykey"), status("api-key: other")], [200, 401]);
}
