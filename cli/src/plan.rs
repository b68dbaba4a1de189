//! What the tunnel is to do, from what is declared and what the control plane made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use api::core::{EndpointSlice, SERVICE_NAME, Service, ServicePort};
use api::{Meta as _, Name, Snapshot};
use tunnel::{Endpoint, Plan, Target};
use waypoint_translate::{Enrolment, Translation};

/// A binding for every loopback address and TCP port of every Service, and an
/// identity for the address of every Pod. No Service leads to where waypoints listen, nor to `reserved`. Pure.
pub fn plan(snapshot: &Snapshot, translation: &Translation, trust_domain: &str, reserved: &BTreeSet<Endpoint>) -> Plan {
    let mut bindings = BTreeMap::new();
    for (name, service) in &snapshot.services {
        let Some(spec) = &service.spec else { continue };
        for port in spec.ports.iter().flatten() {
            let Some(number) = tcp_port(port) else { continue };
            for address in addresses(service) {
                bindings.insert(SocketAddr::new(address, number), target(snapshot, translation, name, port));
            }
        }
    }
    let waypoints = translation.gateways.values().filter_map(|gateway| gateway.address).map(Endpoint::from);
    Plan {
        bindings,
        published: BTreeMap::new(),
        reserved: reserved.iter().cloned().chain(waypoints).collect(),
        identities: identities(snapshot, trust_domain),
    }
}

/// The loopback addresses of a Service.
pub fn addresses(service: &Service) -> BTreeSet<IpAddr> {
    let spec = service.spec.as_ref();
    let all = spec.and_then(|s| s.cluster_ips.clone()).unwrap_or_default();
    let one = spec.and_then(|s| s.cluster_ip.clone());
    all.into_iter().chain(one).filter_map(|text| text.parse::<IpAddr>().ok()).filter(IpAddr::is_loopback).collect()
}

fn tcp_port(port: &ServicePort) -> Option<u16> {
    if port.protocol.as_deref().unwrap_or("TCP") == "TCP" { u16::try_from(port.port).ok() } else { None }
}

/// Which waypoint a Service has is what the translation says; nothing is decided here.
fn target(snapshot: &Snapshot, translation: &Translation, name: &Name, port: &ServicePort) -> Target {
    match translation.services.get(name).map(AsRef::as_ref) {
        Some(Enrolment::Waypoint(gateway)) => match translation.gateways.get(gateway).and_then(|g| g.address) {
            Some(address) => Target::Waypoint(address.into()),
            None => Target::Refuse(format!("its waypoint {gateway} has no PROXY listener")),
        },
        Some(Enrolment::Refused(why)) => Target::Refuse(why.clone()),
        Some(Enrolment::None) => Target::Direct(endpoints(snapshot, name, port)),
        // The translation is of another snapshot; the one of this follows.
        None => Target::Refuse("not known yet".to_owned()),
    }
}

fn endpoints(snapshot: &Snapshot, name: &Name, port: &ServicePort) -> Vec<Endpoint> {
    let of_service = |slice: &&std::sync::Arc<EndpointSlice>| {
        slice.name_of().namespace == name.namespace && slice.label(SERVICE_NAME) == Some(name.name.as_str())
    };
    let mut found = Vec::new();
    for slice in snapshot.endpoint_slices.values().filter(of_service) {
        let number = slice
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_deref().unwrap_or("") == port.name.as_deref().unwrap_or(""))
            .and_then(|p| u16::try_from(p.port?).ok());
        let Some(number) = number else { continue };
        for endpoint in &slice.endpoints {
            if endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true) {
                found.extend(endpoint.addresses.iter().map(|host| Endpoint { host: host.clone(), port: number }));
            }
        }
    }
    found
}

/// Every loopback address and port of the EndpointSlices.
pub fn loopback_endpoints(snapshot: &Snapshot) -> BTreeSet<SocketAddr> {
    let mut found = BTreeSet::new();
    for slice in snapshot.endpoint_slices.values() {
        for port in slice.ports.iter().flatten().filter_map(|p| u16::try_from(p.port?).ok()) {
            let addresses = slice.endpoints.iter().flat_map(|e| &e.addresses);
            let loopback = addresses.filter_map(|a| a.parse::<IpAddr>().ok()).filter(IpAddr::is_loopback);
            found.extend(loopback.map(|address| SocketAddr::new(address, port)));
        }
    }
    found
}

fn identities(snapshot: &Snapshot, trust_domain: &str) -> BTreeMap<IpAddr, String> {
    let mut identities = BTreeMap::new();
    for (name, pod) in &snapshot.pods {
        let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).unwrap_or("default");
        let id = format!("spiffe://{trust_domain}/ns/{}/sa/{account}", name.namespace);
        let Some(status) = &pod.status else { continue };
        let many = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
        for address in status.pod_ip.as_deref().into_iter().chain(many).filter_map(|ip| ip.parse().ok()) {
            identities.insert(address, id.clone());
        }
    }
    identities
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(documents: &[serde_json::Value]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for document in documents {
            let admission = api::admit(document);
            assert!(!admission.rejected(), "{:?}", admission.problems);
            snapshot.insert(admission.object.unwrap());
        }
        snapshot
    }

    fn planned(snapshot: &Snapshot, trust_domain: &str) -> Plan {
        let translation = waypoint_translate::translate(snapshot, &crate::up::translate_settings(trust_domain));
        plan(snapshot, &translation, trust_domain, &BTreeSet::new())
    }

    fn service(labels: serde_json::Value) -> serde_json::Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "x", "labels": labels},
            "spec": {"clusterIP": "127.0.20.2", "ports": [{"port": 80, "name": "http"}]}})
    }

    fn slice() -> serde_json::Value {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "a-1", "namespace": "x", "labels": {"kubernetes.io/service-name": "a"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["127.0.10.2"]}, {"addresses": ["127.0.10.3"], "conditions": {"ready": false}}]})
    }

    #[test]
    fn a_service_without_a_waypoint_goes_straight_to_its_ready_endpoints() {
        let plan = planned(&snapshot(&[service(json!({})), slice()]), "cluster.local");
        let at = "127.0.20.2:80".parse().unwrap();
        assert_eq!(plan.bindings[&at], Target::Direct(vec![Endpoint { host: "127.0.10.2".into(), port: 8080 }]));
    }

    #[test]
    fn a_service_whose_waypoint_is_missing_is_refused_not_opened() {
        let labelled = snapshot(&[service(json!({"istio.io/use-waypoint": "gone"})), slice()]);
        let plan = planned(&labelled, "cluster.local");
        assert!(matches!(plan.bindings.values().next(), Some(Target::Refuse(_))), "{plan:?}");
    }

    #[test]
    fn a_service_of_which_the_translation_says_nothing_is_refused() {
        let plan =
            plan(&snapshot(&[service(json!({})), slice()]), &Translation::default(), "cluster.local", &BTreeSet::new());
        assert!(matches!(plan.bindings.values().next(), Some(Target::Refuse(_))), "{plan:?}");
    }

    #[test]
    fn none_opts_out_and_pods_have_identities() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c", "namespace": "x"},
            "spec": {"serviceAccountName": "client", "containers": []}, "status": {"podIP": "127.0.10.4"}});
        let snapshot = snapshot(&[service(json!({"istio.io/use-waypoint": "none"})), slice(), pod]);
        let plan = planned(&snapshot, "td");
        assert!(matches!(plan.bindings.values().next(), Some(Target::Direct(_))), "{plan:?}");
        assert_eq!(plan.identities[&"127.0.10.4".parse::<IpAddr>().unwrap()], "spiffe://td/ns/x/sa/client");
    }
}
