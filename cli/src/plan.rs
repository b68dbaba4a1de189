//! What the tunnel is to do, from what is declared and what the control plane made of it.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use api::core::{EndpointSlice, SERVICE_NAME, Service, ServicePort};
use api::{Meta as _, Name, Snapshot};
use tunnel::{Endpoint, Plan, Target};
use waypoint_translate::{Bind, Enrolment, GrpcTarget, Translation};

/// The settings of the translation for one machine.
pub fn translate_settings(trust_domain: &str) -> waypoint_translate::Settings {
    waypoint_translate::Settings {
        bind: Bind::PerGateway,
        trust_domain: trust_domain.to_owned(),
        ztunnel: false,
        extauth: Some(GrpcTarget::Unix("extauth.sock".to_owned())),
        ratelimit: Some(GrpcTarget::Unix("ratelimit.sock".to_owned())),
        ..waypoint_translate::Settings::default()
    }
}

/// At which of its Services' addresses one listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// Those of loopback, which each machine has.
    Loopback,
    /// All of them: those that a network namespace has not are of no harm.
    All,
}

impl Addresses {
    /// Those of a Service.
    pub fn of(self, service: &Service) -> BTreeSet<IpAddr> {
        let spec = service.spec.as_ref();
        let all = spec.and_then(|s| s.cluster_ips.clone()).unwrap_or_default();
        let one = spec.and_then(|s| s.cluster_ip.clone());
        let addresses = all.into_iter().chain(one).filter_map(|text| text.parse::<IpAddr>().ok());
        addresses.filter(|address| self == Addresses::All || address.is_loopback()).collect()
    }
}

/// A binding for each of these addresses and every TCP port of every Service, and an
/// identity for the address of every Pod. No Service leads to where waypoints listen, nor to `reserved`. Pure.
pub fn plan(
    snapshot: &Snapshot,
    translation: &Translation,
    listen: Addresses,
    trust_domain: &str,
    reserved: &BTreeSet<Endpoint>,
) -> Plan {
    let mut bindings = BTreeMap::new();
    let slices = LazyCell::new(|| slices(snapshot));
    for (name, service) in &snapshot.services {
        let Some(spec) = &service.spec else { continue };
        for port in spec.ports.iter().flatten() {
            let Some(number) = tcp_port(port) else { continue };
            for address in listen.of(service) {
                bindings.insert(SocketAddr::new(address, number), target(&slices, translation, name, port));
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

/// Whether nothing has changed between the two that a plan is made of. Pure.
pub fn same(old: (&Snapshot, &Translation), new: (&Snapshot, &Translation)) -> bool {
    let ((was, before), (is, now)) = (old, new);
    let addresses = |translation: &Translation| -> BTreeMap<Name, Option<SocketAddr>> {
        translation.gateways.iter().map(|(name, gateway)| (name.clone(), gateway.address)).collect()
    };
    is.services.changed(&was.services).next().is_none()
        && is.endpoint_slices.changed(&was.endpoint_slices).next().is_none()
        && is.pods.changed(&was.pods).next().is_none()
        && now.services.changed(&before.services).all(|name| now.services.get(name) == before.services.get(name))
        && addresses(now) == addresses(before)
}

/// EndpointSlices by the namespace and name of their Service.
type Slices<'s> = BTreeMap<(&'s str, &'s str), Vec<&'s EndpointSlice>>;

fn slices(snapshot: &Snapshot) -> Slices<'_> {
    let mut slices = Slices::new();
    for (name, slice) in &snapshot.endpoint_slices {
        if let Some(service) = slice.label(SERVICE_NAME) {
            slices.entry((&name.namespace, service)).or_default().push(slice);
        }
    }
    slices
}

/// Every port of an address.
pub fn ports(address: IpAddr) -> RangeInclusive<SocketAddr> {
    SocketAddr::new(address, 0)..=SocketAddr::new(address, u16::MAX)
}

fn tcp_port(port: &ServicePort) -> Option<u16> {
    if port.protocol.as_deref().unwrap_or("TCP") == "TCP" { u16::try_from(port.port).ok() } else { None }
}

/// Which waypoint a Service has is what the translation says; nothing is decided here.
fn target<'s>(
    slices: &LazyCell<Slices<'s>, impl FnOnce() -> Slices<'s>>,
    translation: &Translation,
    name: &Name,
    port: &ServicePort,
) -> Target {
    match translation.services.get(name).map(AsRef::as_ref) {
        Some(Enrolment::Waypoint(gateway)) => match translation.gateways.get(gateway).and_then(|g| g.address) {
            Some(address) => Target::Waypoint(address.into()),
            None => Target::Refuse(format!("its waypoint {gateway} has no PROXY listener")),
        },
        Some(Enrolment::Refused(why)) => Target::Refuse(why.clone()),
        Some(Enrolment::None) => Target::Direct(endpoints(slices, name, port)),
        // The translation is of another snapshot; the one of this follows.
        None => Target::Refuse("not known yet".to_owned()),
    }
}

fn endpoints(slices: &Slices<'_>, name: &Name, port: &ServicePort) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for slice in slices.get(&(name.namespace.as_str(), name.name.as_str())).into_iter().flatten() {
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
        let translation = waypoint_translate::translate(snapshot, &translate_settings(trust_domain));
        plan(snapshot, &translation, Addresses::Loopback, trust_domain, &BTreeSet::new())
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
        let snapshot = snapshot(&[service(json!({})), slice()]);
        let plan = plan(&snapshot, &Translation::default(), Addresses::Loopback, "cluster.local", &BTreeSet::new());
        assert!(matches!(plan.bindings.values().next(), Some(Target::Refuse(_))), "{plan:?}");
    }

    #[test]
    fn a_plan_is_made_again_of_whatever_it_is_made_of_and_of_nothing_else() {
        let gateway = |name: &str, port: u16| {
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": name, "namespace": "x"},
                "spec": {"gatewayClassName": "gloo-waypoint", "listeners": [{"name": "proxy", "port": port, "protocol": "istio.io/PROXY"}]}})
        };
        let pod = |ip: &str| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c", "namespace": "x"},
                "spec": {"containers": []}, "status": {"podIP": ip}})
        };
        let route = |header: &str| {
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r", "namespace": "x"},
                "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "a"}], "rules": [{"backendRefs": [{"name": "a", "port": 80}],
                "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": [header]}}]}]}})
        };
        let slice_at = |ip: &str| {
            let mut slice = slice();
            slice["endpoints"][0]["addresses"][0] = ip.into();
            slice
        };
        let labelled = |gateway: &str| service(json!({"istio.io/use-waypoint": gateway}));
        let mut all =
            vec![gateway("w", 15088), gateway("v", 15089), labelled("w"), slice(), pod("127.0.10.4"), route("a")];
        let settings = crate::plan::translate_settings("td");
        let mut translator = waypoint_translate::Translator::new(settings);
        let mut made = |all: &[serde_json::Value], last: &mut Snapshot| {
            let mut now = last.clone();
            let changed = snapshot(all);
            now.revision += 1;
            // Only what differs is another version, as the provider has it.
            for document in all {
                let object = api::admit(document).object.unwrap();
                let reference = object.reference();
                if format!("{:?}", last.get(&reference)) != format!("{:?}", changed.get(&reference)) {
                    now.insert(object);
                }
            }
            let (translation, _) = translator.translate(&now, Default::default());
            *last = now.clone();
            (now, translation)
        };
        let mut last = Snapshot::default();
        let (mut was, mut before) = made(&all, &mut last);
        for (at, edited, same_plan) in [
            (5, route("b"), true),
            (5, route("b"), true),
            (4, pod("127.0.10.5"), false),
            (3, slice_at("127.0.10.9"), false),
            (2, labelled("v"), false),
            (0, gateway("w", 15090), false),
            (1, gateway("v", 15091), false),
            (2, service(json!({})), false),
        ] {
            all[at] = edited;
            let (is, now) = made(&all, &mut last);
            assert_eq!(same((&was, &before), (&is, &now)), same_plan, "{}", all[at]);
            let of = |snapshot, translation| plan(snapshot, translation, Addresses::Loopback, "td", &BTreeSet::new());
            assert!(!same_plan || of(&was, &before) == of(&is, &now));
            (was, before) = (is, now);
        }
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
