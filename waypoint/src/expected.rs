//! Which Envoys of a Gateway are to have answered where pods run them: those of the pods that are ready, by the
//! EndpointSlices of the Gateway's own Service. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use api::core::{EndpointSlice, SERVICE_NAME};
use api::{Meta as _, Name, Table};
use xds::AckState;

use crate::proxy_name::{PREFIX, proxy_name};

/// So long an Envoy that had taken everything may be without a connection: one whose control plane was away tries again
/// after 30 seconds at most.
const COMES_BACK: Duration = Duration::from_secs(35);

/// The ready pods of all Gateways.
#[derive(Debug, Default)]
pub struct Expected {
    /// To which Service each slice belongs.
    services: BTreeMap<Name, Name>,
    /// The ready pods of each Service, slice by slice.
    ready: BTreeMap<Name, BTreeMap<Name, BTreeSet<String>>>,
    /// Since when pods are gone that had taken everything, of each Gateway.
    gone: BTreeMap<Name, BTreeMap<String, Instant>>,
}

impl Expected {
    /// Takes what has changed in the slices.
    pub fn follow(&mut self, slices: &Table<EndpointSlice>, old: &Table<EndpointSlice>) {
        for name in slices.changed(old) {
            if let Some(service) = self.services.remove(name)
                && let Some(of) = self.ready.get_mut(&service)
            {
                of.remove(name);
                if of.is_empty() {
                    self.ready.remove(&service);
                }
            }
            let Some(slice) = slices.get(name) else { continue };
            let Some(service) = slice.label(SERVICE_NAME).filter(|service| service.starts_with(PREFIX)) else {
                continue;
            };
            let service = Name::new(name.namespace.as_str(), service);
            self.services.insert(name.clone(), service.clone());
            self.ready.entry(service).or_default().insert(name.clone(), ready(slice));
        }
    }

    /// The ready pods of `gateway` whose Envoys serve nothing that we know of, while `generation` is the newest: those that
    /// are not connected, and those that have taken nothing yet. One that had taken everything has a while to come back.
    pub fn missing(&mut self, gateway: &Name, acks: &AckState, generation: u64, now: Instant) -> BTreeSet<String> {
        let service = Name::new(gateway.namespace.as_str(), proxy_name(&gateway.name));
        let pods: BTreeSet<&String> =
            self.ready.get(&service).into_iter().flat_map(BTreeMap::values).flatten().collect();
        let absent: Vec<&String> = pods.into_iter().filter(|pod| !acks.serving.contains(*pod)).collect();
        // Those who did not prove which pod they are may be any of them.
        if absent.len() <= acks.unnamed {
            self.gone.remove(gateway);
            return BTreeSet::new();
        }
        let before = self.gone.remove(gateway).unwrap_or_default();
        let (mut gone, mut missing) = (BTreeMap::new(), BTreeSet::new());
        for pod in absent {
            let had_all = acks.left.get(pod).is_some_and(|had| *had >= generation);
            let since = *before.get(pod).unwrap_or(&now);
            if had_all && now.saturating_duration_since(since) < COMES_BACK {
                gone.insert(pod.clone(), since);
            } else {
                missing.insert(pod.clone());
            }
        }
        if !gone.is_empty() {
            self.gone.insert(gateway.clone(), gone);
        }
        missing
    }

    /// When the first of those that are gone had its while.
    pub fn due(&self) -> Option<Instant> {
        self.gone.values().flat_map(BTreeMap::values).min().map(|since| *since + COMES_BACK)
    }

    /// Forgets all Gateways but these.
    pub fn keep(&mut self, is_there: impl Fn(&Name) -> bool) {
        self.gone.retain(|gateway, _| is_there(gateway));
    }
}

/// The pods that are ready; by their addresses where a slice does not say which they are.
fn ready(slice: &EndpointSlice) -> BTreeSet<String> {
    let is_ready = |endpoint: &&api::core::Endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let name = |endpoint: &api::core::Endpoint| {
        let pod = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
        pod.and_then(|pod| pod.name.clone()).or_else(|| endpoint.addresses.first().cloned())
    };
    slice.endpoints.iter().filter(is_ready).filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn slice(service: &str, pods: &[(&str, Value)]) -> EndpointSlice {
        let endpoint = |(name, ready): &(&str, Value)| json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": name}});
        let endpoints: Vec<Value> = pods.iter().map(endpoint).collect();
        let metadata = json!({"name": "x", "namespace": "shop", "labels": {SERVICE_NAME: service}});
        serde_json::from_value(json!({"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints})).unwrap()
    }

    /// One that follows these slices, by their names.
    fn following(expected: &mut Expected, old: &mut Table<EndpointSlice>, slices: Vec<(&str, EndpointSlice)>) {
        let now: Table<EndpointSlice> =
            slices.into_iter().map(|(name, slice)| (Name::new("shop", name), slice)).collect();
        expected.follow(&now, old);
        *old = now;
    }

    fn gateway() -> Name {
        Name::new("shop", "gateway")
    }

    fn acks(serving: &[&str], unnamed: usize, left: &[(&str, u64)]) -> AckState {
        let serving = serving.iter().map(|name| (*name).to_owned()).collect();
        let left = left.iter().map(|(name, generation)| ((*name).to_owned(), *generation)).collect();
        AckState { serving, unnamed, left, ..AckState::default() }
    }

    fn said(missing: BTreeSet<String>) -> String {
        missing.into_iter().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ready_pods_of_the_gateways_own_service_are_missed_until_they_serve() {
        let (mut expected, mut old, now) = (Expected::default(), Table::default(), Instant::now());
        let missing = |expected: &mut Expected, acks: &AckState| said(expected.missing(&gateway(), acks, 7, now));
        assert_eq!(missing(&mut expected, &acks(&[], 0, &[])), "", "there is no pod");
        let pods = slice("gloo-proxy-gateway", &[("a", json!(true)), ("b", json!(false)), ("c", Value::Null)]);
        let (others, apps) =
            (slice("gloo-proxy-other", &[("d", json!(true))]), slice("gateway", &[("e", json!(true))]));
        following(&mut expected, &mut old, vec![("one", pods.clone()), ("two", others), ("three", apps)]);
        assert_eq!(missing(&mut expected, &acks(&[], 0, &[])), "a c", "one that is not ready does not count");
        assert_eq!(missing(&mut expected, &acks(&["a", "d"], 0, &[])), "c");
        assert_eq!(missing(&mut expected, &acks(&["a", "c", "x"], 0, &[])), "");
        assert_eq!(missing(&mut expected, &acks(&["a"], 1, &[])), "", "one that has not proved who it is may be it");
        assert_eq!(missing(&mut expected, &acks(&[], 1, &[])), "a c");
        // The slice of the other family of addresses, and one that comes to another Service.
        let more = slice("gloo-proxy-gateway", &[("a", json!(true)), ("f", json!(true))]);
        following(&mut expected, &mut old, vec![("one", pods), ("four", more.clone())]);
        assert_eq!(missing(&mut expected, &acks(&[], 0, &[])), "a c f");
        following(&mut expected, &mut old, vec![("one", slice("gateway", &[("a", json!(true))])), ("four", more)]);
        assert_eq!(missing(&mut expected, &acks(&[], 0, &[])), "a f");
        following(&mut expected, &mut old, vec![]);
        assert_eq!(missing(&mut expected, &acks(&[], 0, &[])), "");
        assert!(expected.services.is_empty() && expected.ready.is_empty());
    }

    #[test]
    fn one_that_had_taken_everything_has_a_while_to_come_back() {
        let (mut expected, mut old, begun) = (Expected::default(), Table::default(), Instant::now());
        let pods = slice("gloo-proxy-gateway", &[("a", json!(true)), ("b", json!(true))]);
        following(&mut expected, &mut old, vec![("one", pods)]);
        let gone = acks(&["b"], 0, &[("a", 7)]);
        let missing =
            |expected: &mut Expected, generation, now| said(expected.missing(&gateway(), &gone, generation, now));
        let moment = Duration::from_nanos(1);
        assert_eq!((missing(&mut expected, 7, begun), expected.due()), (String::new(), Some(begun + COMES_BACK)));
        assert_eq!(missing(&mut expected, 7, begun + COMES_BACK - moment), "");
        assert_eq!((missing(&mut expected, 7, begun + COMES_BACK), expected.due()), ("a".to_owned(), None));
        // What is new it has not.
        assert_eq!(missing(&mut expected, 8, begun), "a");
        // It comes back, and goes again: it has another while.
        assert_eq!(missing(&mut expected, 7, begun), "");
        let back = acks(&["a", "b"], 0, &[]);
        assert_eq!(said(expected.missing(&gateway(), &back, 7, begun)), "");
        assert_eq!(expected.due(), None);
        assert_eq!(missing(&mut expected, 7, begun + COMES_BACK), "");
        expected.keep(|_| false);
        assert_eq!(expected.due(), None);
    }
}
