//! Writes proxies again and again, and of each only what is made from something else than last time.
//!
//! A chain, a cluster and a listener are each made from a value of their own and nothing besides, so
//! what comes out is what would come out if all were written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ir::tokens::KeyServer;
use ir::{Action, Chain, Cluster, Destination, Endpoints, Name, Origins, PortRef, Proxy, Route, Settings};
use proto::schema::{pack_json, resource_json};
use proto::{Resource, ResourceType};

use crate::filters::Guards;
use crate::listener::{self, Frame, Others, Way};
use crate::names::Told;
use crate::quarantine::Key;
use crate::{GatewayOutput, clusters, filters, names, routes, scopes};

/// A resource, or why it cannot be written.
type Written = Result<Resource, String>;

/// See the module.
#[derive(Debug, Clone)]
pub struct Emitter {
    settings: Settings,
    proxies: BTreeMap<Name, Pieces>,
}

/// Something that is written by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    /// The clusters of the servers that Envoy asks.
    Servers,
    /// A destination of routes.
    Cluster(Destination),
    /// A server that says an issuer's keys.
    Keys(KeyServer),
    /// What comes to a Service port.
    Chain(PortRef),
    /// A socket, and what reads connections as they begin.
    Listener(&'static str),
}

/// What was written of one proxy.
#[derive(Debug, Clone, Default)]
struct Pieces {
    last: Option<Proxy>,
    output: GatewayOutput,
    /// The resources of each piece.
    written: BTreeMap<Piece, BTreeSet<Key>>,
    /// What could not be written of each piece.
    failures: BTreeMap<Piece, Vec<String>>,
    /// Where routes lead, and when Envoy is told of that, each with from how many chains.
    routed: BTreeMap<(Destination, Told), usize>,
    /// The servers outside of the mesh that are asked for keys, each with the ports for which they are.
    keys: BTreeMap<KeyServer, BTreeSet<PortRef>>,
    /// Where ports lead whose connections may be passed on unread.
    passed_on: BTreeMap<Destination, BTreeSet<PortRef>>,
    /// The ports of each address that are not simply read, with their chains.
    others: Others,
    /// Ports of which the listener says who may come, each with the objects it came from.
    guarded: BTreeMap<PortRef, Origins>,
    /// What each listener was made from, and the objects it came from.
    frames: BTreeMap<&'static str, (Frame, Origins)>,
    made: usize,
}

impl Emitter {
    /// Nothing is written yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, proxies: BTreeMap::new() }
    }

    /// Forgets what was written of all proxies but `these`.
    pub fn keep<'a>(&mut self, these: impl IntoIterator<Item = &'a Name>) {
        let these: BTreeSet<&Name> = these.into_iter().collect();
        self.proxies.retain(|name, _| these.contains(name));
    }

    /// What is remembered here in another way than in `other`: nothing, if both have written the same proxies last,
    /// whichever edits led there. Of what is gone nothing may be left.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        if !self.proxies.keys().eq(other.proxies.keys()) {
            return vec!["the proxies"];
        }
        let pairs = || self.proxies.values().zip(other.proxies.values());
        let same = [
            ("what is written", pairs().all(|(one, other)| one.written == other.written)),
            ("failures", pairs().all(|(one, other)| one.failures == other.failures)),
            ("where routes lead", pairs().all(|(one, other)| one.routed == other.routed)),
            ("servers that say keys", pairs().all(|(one, other)| one.keys == other.keys)),
            ("where ports lead", pairs().all(|(one, other)| one.passed_on == other.passed_on)),
            ("ports by address", pairs().all(|(one, other)| one.others == other.others)),
            ("guarded ports", pairs().all(|(one, other)| one.guarded == other.guarded)),
            ("listeners", pairs().all(|(one, other)| one.frames == other.frames)),
        ];
        same.into_iter().filter(|(_, same)| !same).map(|(what, _)| what).collect()
    }

    /// How many chains and clusters were written for the last proxy of this name.
    pub fn made(&self, proxy: &Name) -> usize {
        self.proxies.get(proxy).map_or(0, |pieces| pieces.made)
    }

    /// The resources of `proxy`, and what could not be written.
    ///
    /// Nothing that was decided should fail here; if it does, the other
    /// resources are served and a route table is replaced by one that refuses.
    pub fn emit(&mut self, proxy: &Proxy) -> (GatewayOutput, Vec<String>) {
        let pieces = self.proxies.entry(proxy.gateway.clone()).or_default();
        pieces.take(proxy, &self.settings);
        let failures = pieces.failures.values().flatten().cloned().collect();
        (pieces.output.clone(), failures)
    }
}

/// What is written of one piece.
#[derive(Default)]
struct Sheet {
    resources: BTreeMap<Key, (Resource, Origins)>,
    rules: BTreeMap<Key, BTreeMap<String, Origins>>,
    ports: BTreeMap<Key, PortRef>,
    failures: Vec<String>,
}

impl Pieces {
    fn take(&mut self, proxy: &Proxy, settings: &Settings) {
        let fronts = |proxy: &Proxy| proxy.listeners.iter().map(|listener| listener.front).collect::<Vec<_>>();
        if self.last.as_ref().is_some_and(|last| fronts(last) != fronts(proxy)) {
            *self = Self::default();
        }
        let last = self.last.replace(proxy.clone());
        let mut sheets: BTreeMap<Piece, Sheet> = BTreeMap::new();
        if last.as_ref().map(|last| &last.origins) != Some(&proxy.origins) {
            let mut sheet = Sheet::default();
            for (name, cluster) in filters::clusters(settings) {
                let written = write(ResourceType::Cluster, name, cluster);
                sheet.put(ResourceType::Cluster, name, written, &proxy.origins);
            }
            sheets.insert(Piece::Servers, sheet);
        }
        let clusters = last.as_ref().map(|last| last.clusters.clone()).unwrap_or_default();
        let mut moved: BTreeSet<Destination> = proxy.clusters.changed(&clusters).cloned().collect();
        let mut chains: BTreeSet<PortRef> = BTreeSet::new();
        let mut was_routed = WasRouted::new();
        // First all that was, then all that is: an address may go from one Service to another.
        for (number, listener) in proxy.listeners.iter().enumerate() {
            let before = last.as_ref().and_then(|last| last.listeners.get(number));
            let before = before.map(|listener| listener.chains.clone()).unwrap_or_default();
            let changed: BTreeSet<PortRef> = listener.chains.changed(&before).cloned().collect();
            for (id, chain) in changed.iter().filter_map(|id| Some((id, before.get(id)?))) {
                self.uncount(id, chain, settings, &mut was_routed);
            }
            for (id, chain) in changed.iter().filter_map(|id| Some((id, listener.chains.get(id)?))) {
                self.count(id, chain, settings, &mut was_routed);
            }
            chains.extend(changed);
        }
        let routed = was_routed.into_iter().filter(|(key, was)| self.routed.contains_key(key) != *was);
        moved.extend(routed.map(|((to, _), _)| to));
        chains.extend(moved.iter().filter_map(|to| self.passed_on.get(to)).flatten().cloned());
        for to in moved {
            let mut sheet = Sheet::default();
            if let Some(cluster) = proxy.clusters.get(&to) {
                let told = [Told::Ahead, Told::OnDemand].into_iter();
                for told in told.filter(|told| self.routed.contains_key(&(to.clone(), *told))) {
                    sheet.routed(&to, told, cluster);
                }
            }
            sheets.insert(Piece::Cluster(to), sheet);
        }
        let asked = chains.iter().flat_map(|id| {
            let tokens = |listeners: &[ir::Listener]| {
                let chain = listeners.iter().find_map(|listener| listener.chains.get(id));
                chain.map(|chain| chain.tokens.servers().cloned().collect::<Vec<_>>()).unwrap_or_default()
            };
            let before = last.as_ref().map(|last| tokens(&last.listeners)).unwrap_or_default();
            before.into_iter().chain(tokens(&proxy.listeners))
        });
        for server in asked.collect::<BTreeSet<KeyServer>>() {
            let KeyServer::Host { host, port, tls } = &server else { continue };
            let mut sheet = Sheet::default();
            if let Some(ports) = self.keys.get(&server) {
                let of = ports.iter().filter_map(|id| proxy.listeners.iter().find_map(|of| of.chains.get(id)));
                let origins: Origins = of.flat_map(|chain| chain.origins.iter().cloned()).collect();
                let name = names::key_server(host, *port, *tls);
                let written = write(ResourceType::Cluster, &name, clusters::keys(&name, (host, *port, *tls), settings));
                sheet.put(ResourceType::Cluster, &name, written, &origins);
            }
            sheets.insert(Piece::Keys(server), sheet);
        }
        for id in chains {
            let chain = proxy.listeners.iter().find_map(|listener| listener.chains.get(&id));
            let sheet = chain.map(|chain| Sheet::of_chain(&id, chain, proxy, settings)).unwrap_or_default();
            sheets.insert(Piece::Chain(id), sheet);
        }
        for listener in &proxy.listeners {
            let name = names::listener(listener.front);
            let frame = Frame::new(listener.front, listener.address, &self.others);
            let guards = self.guarded.values().flatten().cloned();
            let origins: Origins = listener.origins.iter().cloned().chain(guards).collect();
            match frame.map(|frame| (frame, origins)) {
                Some(from) if self.frames.get(name) == Some(&from) => {}
                Some((frame, origins)) => {
                    let mut sheet = Sheet::default();
                    let written = write(ResourceType::Cluster, names::SNIFFED, listener::inside());
                    sheet.put(ResourceType::Cluster, names::SNIFFED, written, &origins);
                    let written = write(ResourceType::Listener, names::SNIFFED, listener::sniffed(settings));
                    sheet.put(ResourceType::Listener, names::SNIFFED, written, &origins);
                    let written = write(ResourceType::Listener, name, listener::listener(&frame, settings));
                    self.output.address = written.is_ok().then_some(listener.address);
                    sheet.put(ResourceType::Listener, name, written, &origins);
                    self.frames.insert(name, (frame, origins));
                    sheets.insert(Piece::Listener(name), sheet);
                }
                None => {
                    let failures = vec![format!("listener {name}: cannot be written yet")];
                    sheets.insert(Piece::Listener(name), Sheet { failures, ..Sheet::default() });
                }
            }
        }
        self.put(sheets);
    }

    /// Forgets where the chain of `id` leads. `was_routed` gets whether routes led to a destination before.
    fn uncount(&mut self, id: &PortRef, chain: &Chain, settings: &Settings, was_routed: &mut WasRouted) {
        for to in routed(chain, settings) {
            was_routed.entry(to.clone()).or_insert(true);
            let left = self.routed.get_mut(&to).map_or(0, |count| {
                *count -= 1;
                *count
            });
            if left == 0 {
                self.routed.remove(&to);
            }
        }
        if let Some(to) = chain.traffic.unread()
            && let Some(from) = self.passed_on.get_mut(to)
        {
            from.remove(id);
            if from.is_empty() {
                self.passed_on.remove(to);
            }
        }
        self.guarded.remove(id);
        for server in chain.tokens.servers() {
            let empty = self.keys.get_mut(server).is_some_and(|ports| {
                ports.remove(id);
                ports.is_empty()
            });
            if empty {
                self.keys.remove(server);
            }
        }
        for address in &chain.addresses {
            let empty = self.others.get_mut(address).is_some_and(|ports| {
                ports.remove(&id.port);
                ports.is_empty()
            });
            if empty {
                self.others.remove(address);
            }
        }
    }

    /// Notes where the chain of `id` leads, and whether it is read.
    fn count(&mut self, id: &PortRef, chain: &Chain, settings: &Settings, was_routed: &mut WasRouted) {
        for to in routed(chain, settings) {
            let count = self.routed.entry(to.clone()).or_default();
            was_routed.entry(to).or_insert(*count > 0);
            *count += 1;
        }
        if let Some(to) = chain.traffic.unread() {
            self.passed_on.entry(to.clone()).or_default().insert(id.clone());
        }
        for server in chain.tokens.servers().filter(|server| matches!(server, KeyServer::Host { .. })) {
            self.keys.entry(server.clone()).or_default().insert(id.clone());
        }
        if let Some(way) = listener::way(chain) {
            if matches!(way, Way::Guarded(_)) {
                self.guarded.insert(id.clone(), chain.origins.clone());
            }
            for address in &chain.addresses {
                self.others.entry(*address).or_default().insert(id.port, way.clone());
            }
        }
    }

    /// Puts what is written into the output, in place of what was written of the same pieces.
    fn put(&mut self, sheets: BTreeMap<Piece, Sheet>) {
        let made = |piece: &&Piece| matches!(piece, Piece::Cluster(_) | Piece::Chain(_));
        self.made = sheets.iter().filter(|(piece, sheet)| made(piece) && !sheet.resources.is_empty()).count();
        let mut gone: BTreeSet<Key> = BTreeSet::new();
        for piece in sheets.keys() {
            gone.extend(self.written.remove(piece).into_iter().flatten());
        }
        for key in sheets.values().flat_map(|sheet| sheet.resources.keys()) {
            gone.remove(key);
        }
        for key in &gone {
            let empty = self.output.resources.get_mut(&key.0).is_some_and(|named| {
                named.remove(&key.1);
                named.is_empty()
            });
            if empty {
                self.output.resources.remove(&key.0);
            }
            self.output.rules.remove(key);
            self.output.ports.remove(key);
            self.output.came_from(key.clone(), None);
        }
        for (piece, sheet) in sheets {
            let keys: BTreeSet<Key> = sheet.keys().cloned().collect();
            if !keys.is_empty() {
                self.written.insert(piece.clone(), keys);
            }
            for (key, (resource, origins)) in sheet.resources {
                let named = self.output.resources.entry(key.0).or_default();
                if named.get(&key.1).is_none_or(|known| known.version != resource.version) {
                    named.insert(key.1.clone(), resource);
                }
                self.output.came_from(key, Some(origins));
            }
            for (key, rules) in sheet.rules {
                if self.output.rules.get(&key).is_none_or(|known| **known != rules) {
                    self.output.rules.insert(key, rules);
                }
            }
            for (key, port) in sheet.ports {
                if self.output.ports.get(&key).is_none_or(|known| **known != port) {
                    self.output.ports.insert(key, port);
                }
            }
            match sheet.failures.is_empty() {
                true => drop(self.failures.remove(&piece)),
                false => drop(self.failures.insert(piece, sheet.failures)),
            }
        }
    }
}

/// Whether routes led to a destination before, of which Envoy was told at that time.
type WasRouted = BTreeMap<(Destination, Told), bool>;

/// Where the routes of `chain` lead, and when Envoy is told of that, each once.
fn routed(chain: &Chain, settings: &Settings) -> BTreeSet<(Destination, Told)> {
    let forwards = chain.traffic.routes().into_iter().flatten().filter_map(|route| match &route.action {
        Action::Forward(forward) => Some((forward, Told::of(&route.policy, settings))),
        Action::Redirect(_) | Action::Refuse(_) => None,
    });
    let targets = forwards.flat_map(|(forward, told)| {
        let targets = forward.backends.iter().filter_map(|backend| backend.target.clone());
        let copies = forward.copies().map(|mirror| (mirror.target.clone(), Told::Ahead));
        targets.map(move |to| (to, told)).chain(copies)
    });
    targets.chain(chain.tokens.destinations().map(|to| (to.clone(), Told::Ahead))).collect()
}

impl Sheet {
    /// All of which something is said.
    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.resources.keys().chain(self.rules.keys()).chain(self.ports.keys())
    }

    fn of_chain(id: &PortRef, chain: &Chain, proxy: &Proxy, settings: &Settings) -> Self {
        let mut sheet = Self::default();
        if let Some(routes) = chain.traffic.routes() {
            sheet.table(id, chain, routes, settings);
        }
        // Where connections are refused, no cluster bears the name of their address.
        if let Some(cluster) = chain.traffic.unread().and_then(|to| proxy.clusters.get(to)) {
            sheet.unread(id, chain, cluster);
        }
        sheet
    }

    /// The cluster to which routes lead.
    fn routed(&mut self, to: &Destination, told: Told, cluster: &Cluster) {
        let port = to.port();
        let name = told.cluster(to);
        if told == Told::OnDemand {
            for kind in [ResourceType::Cluster, ResourceType::Endpoint] {
                self.ports.insert((kind, name.clone()), port.clone());
            }
        }
        self.cluster(&name, &names::shown(port, names::HTTP), cluster, &cluster.origins);
    }

    /// Connections to each address of `id` go to the cluster of that name.
    fn unread(&mut self, id: &PortRef, chain: &Chain, cluster: &Cluster) {
        let origins = chain.origins.union(&cluster.origins).cloned().collect();
        for address in addresses(id, chain) {
            let name = scopes::key(address);
            for kind in [ResourceType::Cluster, ResourceType::Endpoint] {
                self.ports.insert((kind, name.clone()), id.clone());
            }
            self.cluster(&name, &names::shown(id, names::TCP), cluster, &origins);
        }
    }

    /// One scope for each address of `id`, with these routes.
    fn table(&mut self, id: &PortRef, chain: &Chain, routes: &[Route], settings: &Settings) {
        let rules: BTreeMap<String, Origins> =
            routes.iter().map(|route| (route.name.clone(), route.origins.clone())).collect();
        let table = match message(ROUTES, routes::table(id, routes, Guards::of(chain), settings)) {
            Ok(table) => table,
            Err(why) => {
                self.failures.push(format!("routes of {id}: {why}"));
                message(ROUTES, routes::refusing(&id.to_string())).unwrap_or_default()
            }
        };
        for address in addresses(id, chain) {
            let key = scopes::key(address);
            let bytes = scopes::scope(&key, &table);
            let scope = proto::canonical::of_bytes(ResourceType::Scope, key.clone(), bytes);
            let at = (ResourceType::Scope, key.clone());
            self.rules.insert(at.clone(), rules.clone());
            self.ports.insert(at, id.clone());
            self.put(ResourceType::Scope, &key, Ok(scope), &chain.origins);
        }
    }

    /// A cluster and its endpoints, which it may hold itself.
    fn cluster(&mut self, name: &str, shown: &str, cluster: &Cluster, origins: &Origins) {
        self.put(
            ResourceType::Cluster,
            name,
            write(ResourceType::Cluster, name, clusters::cluster(name, shown, cluster)),
            origins,
        );
        if let Endpoints::Addresses(addresses) = &cluster.endpoints {
            let written = write(ResourceType::Endpoint, name, clusters::addresses(name, addresses));
            self.put(ResourceType::Endpoint, name, written, origins);
        }
    }

    fn put(&mut self, kind: ResourceType, name: &str, written: Written, origins: &Origins) {
        match written {
            Ok(resource) => drop(self.resources.insert((kind, name.to_owned()), (resource, origins.clone()))),
            Err(why) => self.failures.push(format!("{kind:?} {name}: {why}")),
        }
    }
}

const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

fn addresses(id: &PortRef, chain: &Chain) -> impl Iterator<Item = SocketAddr> {
    let port = id.port;
    chain.addresses.iter().map(move |address| SocketAddr::new(*address, port))
}

fn write(kind: ResourceType, name: &str, value: serde_json::Value) -> Written {
    resource_json(kind, name, value).map_err(|error| error.to_string())
}

fn message(name: &str, value: serde_json::Value) -> Result<Vec<u8>, String> {
    pack_json(name, value).map(|packed| packed.value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
