//! Whatever is set, acknowledged and rejected in whatever order, a client ends
//! with the newest resources and never has a route without its cluster; and whoever stands between knows what it has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use proto::ResourceType::{self, Cluster, Endpoint, Listener, Route};
use proto::envoy::service::discovery::v3 as pb;
use proto::{ResourceSet, ResourceType as Type};
use xds::{Change, Limits, Recorder, Session};

use crate::support::{ack, nack, resource, subscribe};

/// A service: its cluster's version, its route's version, and what is bad about it.
#[derive(Debug, Clone)]
struct Service {
    cluster: u8,
    route: u8,
    bad_route: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Set(Vec<Option<Service>>),
    Deliver,
    Answer,
    Reconnect,
}

fn service() -> impl Strategy<Value = Option<Service>> {
    let some = (0..3_u8, 0..3_u8, prop::bool::weighted(0.2));
    prop::option::weighted(0.7, some.prop_map(|(cluster, route, bad_route)| Service { cluster, route, bad_route }))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => prop::collection::vec(service(), 3).prop_map(Step::Set),
        8 => Just(Step::Deliver),
        8 => Just(Step::Answer),
        1 => Just(Step::Reconnect),
    ]
}

/// Each service is a listener that names a route that names a cluster of that name.
fn resources(services: &[Option<Service>]) -> Arc<ResourceSet> {
    let mut set = ResourceSet::new();
    for (index, service) in services.iter().enumerate() {
        let Some(service) = service else { continue };
        let name = format!("s{index}");
        let bad = if service.bad_route { "bad" } else { "" };
        let versions = [
            (Cluster, service.cluster.to_string()),
            (Endpoint, "1".to_owned()),
            (Listener, "1".to_owned()),
            (Route, format!("{}{bad}", service.route)),
        ];
        for (kind, version) in versions {
            set.entry(kind).or_default().insert(name.clone(), resource(kind, &name, &version));
        }
    }
    Arc::new(set)
}

/// A client that behaves as Envoy does: clusters warm, and what is wanted follows from what is had.
#[derive(Default)]
struct Client {
    has: BTreeMap<Type, BTreeMap<String, String>>,
    warming: BTreeSet<String>,
    /// Acknowledgements of clusters, held back until all are warm.
    held: Vec<pb::DeltaDiscoveryRequest>,
    wanted: BTreeMap<Type, BTreeSet<String>>,
    inbox: VecDeque<pb::DeltaDiscoveryResponse>,
    outbox: VecDeque<pb::DeltaDiscoveryRequest>,
}

impl Client {
    fn connect(&mut self) {
        self.inbox.clear();
        self.outbox.clear();
        self.held.clear();
        for kind in [Cluster, Endpoint, Listener, Route] {
            let names: Vec<&str> = self.wanted.entry(kind).or_default().iter().map(String::as_str).collect();
            let mut request = subscribe(kind, &names);
            let has = self.has.entry(kind).or_default().clone();
            request.initial_resource_versions = has.into_iter().collect();
            if matches!(kind, Cluster | Listener) || !names.is_empty() {
                self.outbox.push_back(request);
            }
        }
    }

    fn receive(&mut self) -> Result<(), TestCaseError> {
        let Some(response) = self.inbox.pop_front() else { return Ok(()) };
        let kind = ResourceType::of_type_url(&response.type_url).unwrap();
        if response.resources.iter().any(|resource| resource.version.ends_with("bad")) {
            self.outbox.push_back(nack(&response, "bad"));
            return Ok(());
        }
        for resource in &response.resources {
            if kind == Route {
                let clusters = &self.has[&Cluster];
                prop_assert!(clusters.contains_key(&resource.name), "route {} before its cluster", resource.name);
                prop_assert!(!self.warming.contains(&resource.name), "route {} before it warmed", resource.name);
            }
            self.has.entry(kind).or_default().insert(resource.name.clone(), resource.version.clone());
            match kind {
                Cluster => drop(self.warming.insert(resource.name.clone())),
                Endpoint => drop(self.warming.remove(&resource.name)),
                _ => {}
            }
        }
        for name in &response.removed_resources {
            if kind == Cluster {
                let routes = self.wanted.entry(Route).or_default();
                prop_assert!(!routes.contains(name), "cluster {name} went before its listener");
                self.warming.remove(name);
            }
            if matches!(kind, Cluster | Listener) {
                self.has.entry(kind).or_default().remove(name);
            }
            if kind == Endpoint {
                self.warming.remove(name);
            }
        }
        self.follow(Cluster, Endpoint);
        self.follow(Listener, Route);
        if kind == Cluster {
            self.held.push(ack(&response))
        } else {
            self.outbox.push_back(ack(&response))
        }
        if self.warming.is_empty() {
            self.outbox.extend(self.held.drain(..));
        }
        Ok(())
    }

    /// Wants of `named` exactly the names it has of `by`.
    fn follow(&mut self, by: Type, named: Type) {
        let now: BTreeSet<String> = self.has.entry(by).or_default().keys().cloned().collect();
        let old = self.wanted.insert(named, now.clone()).unwrap_or_default();
        if now == old {
            return;
        }
        let mut request = subscribe(named, &now.difference(&old).map(String::as_str).collect::<Vec<_>>());
        request.resource_names_unsubscribe = old.difference(&now).cloned().collect();
        for name in &request.resource_names_unsubscribe {
            self.has.entry(named).or_default().remove(name);
        }
        self.outbox.push_back(request);
    }
}

/// Somebody between client and session who writes down what the client has acknowledged.
struct Between {
    recorder: Recorder,
    /// As it would be read again.
    written: Option<ResourceSet>,
}

impl Between {
    fn new() -> Self {
        Self { recorder: Recorder::new([Cluster, Listener], None), written: None }
    }

    fn deliver(&mut self, client: &mut Client, responses: Vec<pb::DeltaDiscoveryResponse>) {
        responses.iter().for_each(|response| self.recorder.response(response));
        client.inbox.extend(responses);
    }

    fn request(&mut self, request: &pb::DeltaDiscoveryRequest) -> Result<(), TestCaseError> {
        match self.recorder.request(request) {
            Change::None => {}
            Change::Stale => self.written = None,
            Change::Whole(set) => self.written = Some(set.as_ref().clone()),
            Change::Step { kind, added, removed } => {
                let named = self.written.as_mut().unwrap().entry(kind).or_default();
                for name in removed {
                    prop_assert!(named.remove(&name).is_some(), "{} was not there", name);
                }
                added.into_iter().for_each(|one| drop(named.insert(one.name.clone(), one)));
            }
        }
        prop_assert_eq!(versions(self.written.as_ref()), versions(self.recorder.kept().map(AsRef::as_ref)));
        Ok(())
    }
}

type Versions = BTreeMap<Type, BTreeMap<String, String>>;

fn versions(set: Option<&ResourceSet>) -> Option<Versions> {
    let of = |named: &proto::resource::Named| named.values().map(|r| (r.name.clone(), r.version.clone())).collect();
    let all = set?.iter().map(|(kind, named)| (*kind, of(named)));
    Some(all.filter(|(_, named): &(_, BTreeMap<_, _>)| !named.is_empty()).collect())
}

proptest! {
    #[test]
    fn a_client_converges_and_never_has_a_route_without_its_cluster(steps in prop::collection::vec(step(), 1..80)) {
        let mut session = Session::new(Limits::default());
        let mut client = Client::default();
        let mut between = Between::new();
        client.connect();
        let mut target = resources(&[]);
        let mut generation = 1;
        let responses = session.on_resources(&target, generation);
        between.deliver(&mut client, responses);
        for step in steps {
            match step {
                Step::Set(services) => {
                    generation += 1;
                    target = resources(&services);
                    let responses = session.on_resources(&target, generation);
                    between.deliver(&mut client, responses);
                }
                Step::Deliver => client.receive()?,
                Step::Answer => {
                    if let Some(request) = client.outbox.pop_front() {
                        between.request(&request)?;
                        let responses = session.on_request(request).unwrap();
                        between.deliver(&mut client, responses);
                    }
                }
                Step::Reconnect => {
                    session = Session::new(Limits::default());
                    client.connect();
                    between.recorder.begin();
                    session.on_resources(&target, generation);
                }
            }
        }
        for _ in 0..10_000 {
            while let Some(request) = client.outbox.pop_front() {
                between.request(&request)?;
                let responses = session.on_request(request).unwrap();
                between.deliver(&mut client, responses);
            }
            if client.inbox.is_empty() {
                break;
            }
            client.receive()?;
        }
        prop_assert!(session.is_settled(), "{session:?}");
        let refused: BTreeSet<String> = session.state().nacks.into_iter().map(|nack| nack.name).collect();
        for (kind, wanted) in target.iter() {
            for resource in wanted.values() {
                if resource.version.ends_with("bad") {
                    prop_assert!(refused.contains(&resource.name));
                } else {
                    prop_assert_eq!(client.has[kind].get(&resource.name), Some(&resource.version));
                }
            }
        }
        let kept = versions(between.written.as_ref());
        for (kind, named) in kept.iter().flatten() {
            for (name, version) in named {
                prop_assert_eq!(client.has[kind].get(name), Some(version), "{:?} {}", kind, name);
            }
        }
        if refused.is_empty() {
            let kept = kept.unwrap_or_default();
            for (kind, wanted) in target.iter() {
                let wanted: BTreeMap<_, _> = wanted.values().map(|r| (r.name.clone(), r.version.clone())).collect();
                prop_assert_eq!(kept.get(kind).cloned().unwrap_or_default(), wanted, "{:?}", kind);
            }
            for kind in [Cluster, Listener] {
                let names: Vec<_> = target.get(&kind).into_iter().flatten().map(|(name, _)| name).collect();
                prop_assert_eq!(client.has[&kind].keys().collect::<Vec<_>>(), names);
            }
        }
    }
}
