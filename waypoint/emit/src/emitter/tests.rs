//! Whatever was written before: what comes out is what would come out if all were written anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ir::access::{Access, Decision};
use ir::tokens::{Issuer, Keys};
use ir::{Backend, Forward, Front, Listener, Match, Mirror, ObjectRef, Policy, Table, Tokens, Traffic};
use proptest::prelude::*;

use super::*;

/// The ports there may be: two of one Service, and one of each of three others.
const PORTS: [(&str, u16); 5] = [("a", 80), ("a", 81), ("b", 80), ("c", 80), ("d", 80)];

/// What is declared for one port; places among `PORTS` say where it leads.
#[derive(Debug, Clone, Default)]
struct Declared {
    /// Places among the addresses.
    addresses: BTreeSet<u8>,
    /// 0 to 4: HTTP, TCP, guarded TCP, as it begins, refused.
    read: u8,
    /// Where requests or connections lead.
    to: Vec<usize>,
    /// Where copies of requests go.
    copies: Vec<usize>,
    /// Whether a limit is asked, for which a cluster is told ahead.
    limited: bool,
    /// Who says keys: nobody, a Service, one of two hosts, or several of these.
    keys: u8,
    /// Another object that it comes from, if any.
    origin: u8,
}

#[derive(Debug, Clone)]
struct World {
    ports: Vec<Option<Declared>>,
    /// Whether each destination exists, and speaks HTTP/2.
    clusters: Vec<Option<bool>>,
    gateway: u8,
    bound: u16,
}

fn port(place: usize) -> PortRef {
    let (service, port) = PORTS[place % PORTS.len()];
    PortRef { service: Name::new("t", service), port }
}

fn to(place: usize) -> Destination {
    Destination::Service(port(place))
}

fn origins(of: &str, number: u8) -> Origins {
    let object = |name: String| ObjectRef::new(api::Kind::Service, "t", name);
    Origins::from([object(of.to_owned()), object(format!("{of}-{number}"))])
}

fn issuers(keys: u8) -> Vec<Issuer> {
    let host = |number: u8| KeyServer::Host { host: format!("issuer-{number}.test"), port: 443, tls: true };
    let servers = match keys {
        0 => vec![],
        1 => vec![KeyServer::Service(to(3))],
        2 | 3 => vec![host(keys)],
        4 => vec![host(2), host(3)],
        _ => vec![host(3), KeyServer::Service(to(3)), KeyServer::Service(to(2))],
    };
    servers.into_iter().map(issuer).collect()
}

fn issuer(server: KeyServer) -> Issuer {
    let keys = Keys::Asked { url: "https://issuer.test/keys".to_owned(), server, timeout: Duration::from_secs(1) };
    Issuer::new("https://issuer.test", keys)
}

fn chain(place: usize, declared: &Declared) -> Chain {
    let backend = |place: &usize| Backend::new(Some(to(*place)), 1);
    let copy = |place: &usize| Mirror { target: to(*place), millionths: 1_000_000 };
    let mirrors = declared.copies.iter().map(copy).collect();
    let forward = Forward { mirrors, ..Forward::to(declared.to.iter().map(backend).collect()) };
    let limits = match declared.limited {
        true => {
            let entries = vec![ir::Entry::RemoteAddress];
            vec![ir::Descriptor { stage: ir::Stage::Regular, entries, limit_from: None }]
        }
        false => vec![],
    };
    let route = Route {
        name: format!("route of {place}"),
        matches: Match::everything(),
        action: Action::Forward(forward),
        policy: Policy { limits, ..Policy::default() },
        origins: origins("route", declared.origin),
    };
    let first = to(declared.to.first().copied().unwrap_or_default());
    let traffic = match declared.read {
        0 => Traffic::Http(vec![route]),
        1 | 2 => Traffic::Tcp(first),
        3 => Traffic::Sniffed(vec![route], first),
        _ => Traffic::Refuse("of a mistake".to_owned()),
    };
    let nobody = Decision { deny: vec![], allow: Some(vec![]) };
    let enforced = if declared.read == 2 { nobody } else { Decision::default() };
    Chain {
        addresses: declared.addresses.iter().map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, *last))).collect(),
        traffic,
        tokens: Tokens { issuers: issuers(declared.keys) },
        access: Access { enforced, tried: Decision::default() },
        origins: origins("chain", declared.origin),
    }
}

/// The proxy of a world. An address and port is the first one's that wants it. What has not changed is the same value as
/// in `last`, as translation has it.
fn proxy(world: &World, last: Option<&Proxy>) -> Proxy {
    let mut chains: Table<Chain, PortRef> = last.map(|last| last.listeners[0].chains.clone()).unwrap_or_default();
    let mut clusters: Table<Cluster, Destination> = last.map(|last| last.clusters.clone()).unwrap_or_default();
    let mut taken = BTreeSet::new();
    for (place, declared) in world.ports.iter().enumerate() {
        let id = port(place);
        let Some(declared) = declared else {
            chains.remove(&id);
            continue;
        };
        let mut declared = declared.clone();
        declared.addresses.retain(|address| taken.insert((*address, id.port)));
        let chain = chain(place, &declared);
        if chains.get(&id).is_none_or(|known| **known != chain) {
            chains.insert(id, chain);
        }
    }
    for (place, declared) in world.clusters.iter().enumerate() {
        let Some(http2) = declared else {
            clusters.remove(&to(place));
            continue;
        };
        let endpoints = Endpoints::Addresses(BTreeSet::from([SocketAddr::from(([10, 1, 0, place as u8], 8080))]));
        let cluster = Cluster { http2: *http2, endpoints, origins: origins("cluster", place as u8) };
        if clusters.get(&to(place)).is_none_or(|known| **known != cluster) {
            clusters.insert(to(place), cluster);
        }
    }
    let origins = origins("gateway", world.gateway);
    let address = SocketAddr::from(([127, 0, 0, 1], world.bound));
    let listener = Listener { address, front: Front::Proxy, chains, origins: origins.clone() };
    Proxy { gateway: Name::new("t", "gateway"), listeners: vec![listener], clusters, origins }
}

fn declared() -> impl Strategy<Value = Declared> {
    let places = |most| prop::collection::vec(0..PORTS.len(), 1..=most);
    let copies = prop_oneof![3 => Just(vec![]), 1 => places(2)];
    (prop::collection::btree_set(0..4_u8, 0..3), 0..5_u8, places(2), copies, any::<bool>(), 0..6_u8, 0..2_u8).prop_map(
        |(addresses, read, to, copies, limited, keys, origin)| Declared {
            addresses,
            read,
            to,
            copies,
            limited,
            keys,
            origin,
        },
    )
}

fn world() -> impl Strategy<Value = World> {
    let ports = prop::collection::vec(prop::option::weighted(0.8, declared()), PORTS.len());
    let clusters = prop::collection::vec(prop::option::weighted(0.8, any::<bool>()), PORTS.len());
    (ports, clusters, 0..2_u8, 15_088..15_090_u16).prop_map(|(ports, clusters, gateway, bound)| World {
        ports,
        clusters,
        gateway,
        bound,
    })
}

/// Each edit changes some of what there is: as numbered bits say, from the next world.
fn edits() -> impl Strategy<Value = Vec<World>> {
    prop::collection::vec((world(), any::<u16>()), 1..6).prop_map(|steps| {
        let mut now: Option<World> = None;
        let mut all = Vec::new();
        for (next, bits) in steps {
            let edited = match now.take() {
                None => next,
                Some(mut world) => {
                    let changes = |bit: usize| bits >> bit & 1 == 1;
                    (0..PORTS.len()).filter(|n| changes(*n)).for_each(|n| world.ports[n].clone_from(&next.ports[n]));
                    (0..PORTS.len()).filter(|n| changes(8 + n)).for_each(|n| world.clusters[n] = next.clusters[n]);
                    if changes(14) {
                        world.gateway = next.gateway;
                    }
                    if changes(15) {
                        world.bound = next.bound;
                    }
                    world
                }
            };
            now = Some(edited.clone());
            all.push(edited);
        }
        all
    })
}

fn settings(on_demand: bool) -> Settings {
    Settings { clusters_on_demand: on_demand, ..Settings::default() }
}

/// All that is said, in a form that can be compared.
fn said(output: &GatewayOutput) -> impl PartialEq + std::fmt::Debug {
    let named = output.resources.iter().filter(|(_, named)| !named.is_empty());
    let resources: BTreeMap<Key, String> = named
        .flat_map(|(kind, named)| named.iter().map(|(name, of)| ((*kind, name.clone()), of.version.clone())))
        .collect();
    let of = |table: &Table<Origins, Key>| table.iter().map(|(k, v)| (k.clone(), (**v).clone())).collect::<Vec<_>>();
    let objects: Vec<_> = output.objects.iter().map(|(k, v)| (k.clone(), **v)).collect();
    let rules: Vec<_> = output.rules.iter().map(|(k, v)| (k.clone(), (**v).clone())).collect();
    let ports: Vec<_> = output.ports.iter().map(|(k, v)| (k.clone(), (**v).clone())).collect();
    (resources, of(&output.origins), objects, rules, ports, output.address)
}

/// What is another value than before and says the same: it would be compared again for every Envoy.
fn sent_again(before: &GatewayOutput, now: &GatewayOutput) -> Vec<String> {
    let mut again = Vec::new();
    for (kind, named) in &now.resources {
        for (name, resource) in named {
            let known = before.resources.get(kind).and_then(|named| named.get(name));
            if known.is_some_and(|known| known.version == resource.version && !Arc::ptr_eq(known, resource)) {
                again.push(format!("{kind:?} {name}"));
            }
        }
    }
    again
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn after_any_edits_it_is_as_if_all_were_written_anew(worlds in edits(), on_demand: bool) {
        let settings = settings(on_demand);
        let mut emitter = Emitter::new(settings.clone());
        let (mut last, mut before): (Option<Proxy>, _) = (None, GatewayOutput::default());
        for world in worlds {
            let now = proxy(&world, last.as_ref());
            let (output, failures) = emitter.emit(&now);
            let mut anew = Emitter::new(settings.clone());
            let (expected, expected_failures) = anew.emit(&now);
            prop_assert_eq!(said(&output), said(&expected));
            prop_assert_eq!(failures, expected_failures);
            prop_assert_eq!(emitter.differences(&anew), Vec::<&str>::new());
            prop_assert_eq!(sent_again(&before, &output), Vec::<String>::new());
            (last, before) = (Some(now), output);
        }
    }
}

fn plain() -> World {
    let one = Declared { addresses: BTreeSet::from([1]), to: vec![0], ..Declared::default() };
    let ports = vec![Some(one), None, None, None, None];
    World { ports, clusters: vec![Some(false); PORTS.len()], gateway: 0, bound: 15_088 }
}

/// An address goes from one Service to another in one edit, beside other edits: its scope is the new one's, and there.
#[test]
fn what_moves_from_one_to_another_is_there() {
    let mut emitter = Emitter::new(settings(false));
    let before = proxy(&plain(), None);
    emitter.emit(&before);
    let mut world = plain();
    world.ports.swap(0, 2);
    world.ports[3] = Some(Declared { addresses: BTreeSet::from([2]), to: vec![3], ..Declared::default() });
    let (output, failures) = emitter.emit(&proxy(&world, Some(&before)));
    let scopes: Vec<&String> = output.resources[&ResourceType::Scope].keys().collect();
    assert_eq!(scopes, ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(output.shown(&(ResourceType::Scope, "10.0.0.1:80".to_owned())), "t/b/80");
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn a_listener_that_cannot_be_written_yet_is_said_and_nothing_listens() {
    let mut of = proxy(&plain(), None);
    of.listeners[0].front = Front::Hbone;
    let (output, failures) = Emitter::new(settings(false)).emit(&of);
    assert_eq!(failures, ["listener hbone: cannot be written yet"]);
    assert_eq!((output.resources.get(&ResourceType::Listener).map(|l| l.len()), output.address), (None, None));
    // Once it has another front, nothing of that is left.
    let mut emitter = Emitter::new(settings(false));
    emitter.emit(&of);
    let (output, failures) = emitter.emit(&proxy(&plain(), None));
    assert_eq!((failures.len(), output.address), (0, Some(SocketAddr::from(([127, 0, 0, 1], 15_088)))));
}

/// Who is told when Envoy refuses a listener: its Gateway, and whose policies say who may come to unread ports.
#[test]
fn a_listener_comes_from_its_gateway_and_from_what_guards_ports_in_it() {
    let of = |read: u8| {
        let mut world = plain();
        world.ports[0].as_mut().unwrap().read = read;
        let (output, _) = Emitter::new(settings(false)).emit(&proxy(&world, None));
        (**output.origins.get(&(ResourceType::Listener, "proxy".to_owned())).unwrap()).clone()
    };
    assert_eq!(of(1), origins("gateway", 0));
    assert_eq!(of(2), origins("gateway", 0).union(&origins("chain", 0)).cloned().collect());
}

#[test]
fn gateways_that_are_gone_are_forgotten() {
    let mut emitter = Emitter::new(settings(false));
    let (one, mut other) = (proxy(&plain(), None), proxy(&plain(), None));
    other.gateway = Name::new("t", "other");
    emitter.emit(&one);
    emitter.emit(&other);
    emitter.keep([&other.gateway]);
    assert_eq!((emitter.made(&one.gateway), emitter.made(&other.gateway)), (0, 2));
    let mut alone = Emitter::new(settings(false));
    assert_eq!(emitter.differences(&alone), ["the proxies"]);
    alone.emit(&other);
    assert_eq!(emitter.differences(&alone), Vec::<&str>::new());
}

/// The law above rests on it: whatever is remembered in another way is told, of whichever proxy.
#[test]
fn each_thing_that_is_remembered_differs_by_itself() {
    let read = |read: u8, to: usize, keys: u8| {
        let mut world = plain();
        let other = Declared { addresses: BTreeSet::from([1]), read, to: vec![to], keys, ..Declared::default() };
        world.ports[0] = Some(other);
        world
    };
    let emitted = |world: &World| {
        let mut emitter = Emitter::new(settings(false));
        // The first proxy is the same for all.
        emitter.emit(&proxy(&plain(), None));
        emitter.emit(&Proxy { gateway: Name::new("t", "second"), ..proxy(world, None) });
        emitter
    };
    let hbone = |front| {
        let mut emitter = emitted(&plain());
        let mut of = Proxy { gateway: Name::new("t", "second"), ..proxy(&plain(), None) };
        of.listeners[0].front = front;
        emitter.emit(&of);
        emitter
    };
    let bound = World { bound: 15_089, ..plain() };
    for (other, told) in [
        (emitted(&World { clusters: vec![None; PORTS.len()], ..plain() }), vec!["what is written"]),
        (hbone(Front::Tls), vec!["what is written", "failures", "listeners"]),
        (emitted(&read(0, 2, 0)), vec!["what is written", "where routes lead"]),
        (emitted(&read(0, 0, 2)), vec!["what is written", "servers that say keys"]),
        (emitted(&bound), vec!["listeners"]),
        (
            emitted(&read(1, 0, 0)),
            vec!["what is written", "where routes lead", "where ports lead", "ports by address", "listeners"],
        ),
        (
            emitted(&read(2, 0, 0)),
            vec![
                "what is written",
                "where routes lead",
                "where ports lead",
                "ports by address",
                "guarded ports",
                "listeners",
            ],
        ),
    ] {
        assert_eq!(emitted(&plain()).differences(&other), told);
        assert_eq!(other.differences(&emitted(&plain())), told);
        assert_eq!(other.differences(&other.clone()), Vec::<&str>::new());
    }
}

/// Who is told when Envoy refuses the cluster of a server of keys: everybody who rests on it.
#[test]
fn a_server_of_keys_comes_from_all_ports_for_which_it_is_asked() {
    let mut world = plain();
    let asking = |origin| Declared { to: vec![0], keys: 2, origin, ..Declared::default() };
    (world.ports[0], world.ports[2], world.ports[3]) = (Some(asking(0)), Some(asking(1)), Some(asking(2)));
    let (output, _) = Emitter::new(settings(false)).emit(&proxy(&world, None));
    let name = names::key_server("issuer-2.test", 443, true);
    let expected: Origins = (0..3).flat_map(|number| origins("chain", number)).collect();
    assert_eq!(output.origins.get(&(ResourceType::Cluster, name)).map(|origins| (**origins).clone()), Some(expected));
}
