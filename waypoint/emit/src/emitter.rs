//! Writes proxies again and again, and of each only what is made from something else than last time.
//!
//! A route table, a cluster and a listener are each made from a value of their own and nothing
//! besides, so what comes out is what would come out if all were written anew.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ir::{Action, Chain, Cluster, Destination, Endpoints, Name, Origins, PortRef, Proxy, Route, Settings};
use proto::schema::{pack_json, resource_json};
use proto::{Resource, ResourceType};

use crate::listener::{self, Frame};
use crate::memo::Memo;
use crate::{GatewayOutput, clusters, filters, names, routes, scopes};

/// A resource, or why it cannot be written.
type Written = Result<Arc<Resource>, String>;
/// A cluster and its endpoints, which it may hold itself.
type WrittenCluster = (Written, Option<Written>);
/// A route table's bytes, the objects from which each of its routes came, and what could not be written.
type WrittenTable = (Arc<Vec<u8>>, Arc<BTreeMap<String, Origins>>, Option<String>);

/// See the module.
#[derive(Debug, Clone)]
pub struct Emitter {
    settings: Settings,
    proxies: BTreeMap<Name, Pieces>,
}

/// What was written of one proxy.
#[derive(Debug, Clone, Default)]
struct Pieces {
    clusters: Memo<Destination, Cluster, WrittenCluster>,
    /// Those of ports that are passed on unread, by address.
    unread: Memo<SocketAddr, (PortRef, Cluster), WrittenCluster>,
    tables: Memo<PortRef, Vec<Route>, WrittenTable>,
    scopes: Memo<SocketAddr, Arc<Vec<u8>>, Arc<Resource>>,
    listeners: Memo<&'static str, Frame, Written>,
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

    /// How many route tables and clusters were written for the last proxy of this name.
    pub fn made(&self, proxy: &Name) -> usize {
        self.proxies.get(proxy).map_or(0, |pieces| pieces.tables.made + pieces.clusters.made + pieces.unread.made)
    }

    /// The resources of `proxy`, and what could not be written.
    ///
    /// Nothing that was decided should fail here; if it does, the other
    /// resources are served and a route table is replaced by one that refuses.
    pub fn emit(&mut self, proxy: &Proxy) -> (GatewayOutput, Vec<String>) {
        let pieces = self.proxies.entry(proxy.gateway.clone()).or_default();
        pieces.turn();
        let mut out = Out::default();
        for (name, cluster) in filters::clusters(&self.settings) {
            let written = write(ResourceType::Cluster, name, cluster);
            out.put(ResourceType::Cluster, name, written, proxy.origins.clone());
        }
        let unrouted = unrouted(proxy);
        for (id, cluster) in proxy.clusters.iter().filter(|(id, _)| !unrouted.contains(id)) {
            let name = id.to_string();
            let written = pieces.clusters.get(id.clone(), cluster, |cluster| write_cluster(&name, &name, cluster));
            out.cluster(&name, written, &cluster.origins);
        }
        for listener in &proxy.listeners {
            pieces.listener(listener, proxy, &self.settings, &mut out);
        }
        (out.output, out.failures)
    }
}

impl Pieces {
    fn turn(&mut self) {
        self.clusters.turn();
        self.unread.turn();
        self.tables.turn();
        self.scopes.turn();
        self.listeners.turn();
    }

    fn listener(&mut self, listener: &ir::Listener, proxy: &Proxy, settings: &Settings, out: &mut Out) {
        let name = names::listener(listener.front);
        let Some(frame) = listener::frame(listener) else {
            out.failures.push(format!("listener {name}: cannot be written yet"));
            return;
        };
        for (id, chain) in &listener.chains {
            if let Some(routes) = chain.traffic.routes() {
                self.table(id, chain, routes, out);
            }
            // Where connections are refused, no cluster bears the name of their address.
            if let Some(cluster) = chain.traffic.unread().and_then(|to| proxy.clusters.get(to)) {
                self.unread(id, chain, cluster, out);
            }
        }
        if frame.sniffs() {
            let written = write(ResourceType::Cluster, names::SNIFFED, listener::inside());
            out.put(ResourceType::Cluster, names::SNIFFED, written, listener.origins.clone());
            let written = write(ResourceType::Listener, names::SNIFFED, listener::sniffed(settings));
            out.put(ResourceType::Listener, names::SNIFFED, written, listener.origins.clone());
        }
        let written = self
            .listeners
            .get(name, &frame, |frame| write(ResourceType::Listener, name, listener::listener(frame, settings)));
        if written.is_ok() {
            out.output.address.get_or_insert(listener.address);
        }
        out.put(ResourceType::Listener, name, written, listener.origins.clone());
    }

    /// Connections to each address of `id` go to the cluster of that name.
    fn unread(&mut self, id: &PortRef, chain: &Chain, cluster: &Cluster, out: &mut Out) {
        let from = (id.clone(), cluster.clone());
        for address in addresses(id, chain) {
            let name = scopes::key(address);
            let written =
                self.unread.get(address, &from, |(id, cluster)| write_cluster(&name, &id.to_string(), cluster));
            for kind in [ResourceType::Cluster, ResourceType::Endpoint] {
                out.output.ports.insert((kind, name.clone()), id.clone());
            }
            out.cluster(&name, written, &chain.origins.union(&cluster.origins).cloned().collect());
        }
    }

    /// One scope for each address of `id`, with these routes.
    fn table(&mut self, id: &PortRef, chain: &Chain, routes: &Vec<Route>, out: &mut Out) {
        let (table, rules, failure) = self.tables.get(id.clone(), routes, |routes| {
            let rules = routes.iter().map(|route| (route.name.clone(), route.origins.clone())).collect();
            let (table, failure) = match message(ROUTES, routes::table(id, routes)) {
                Ok(table) => (table, None),
                Err(why) => (message(ROUTES, routes::refusing(&id.to_string())).unwrap_or_default(), Some(why)),
            };
            (Arc::new(table), Arc::new(rules), failure)
        });
        out.failures.extend(failure.map(|why| format!("routes of {id}: {why}")));
        for address in addresses(id, chain) {
            let scope = self.scopes.get(address, &table, |table| {
                let key = scopes::key(address);
                let bytes = scopes::scope(&key, table);
                Arc::new(proto::canonical::of_bytes(ResourceType::Scope, key, bytes))
            });
            let key = (ResourceType::Scope, scope.name.clone());
            out.output.rules.insert(key.clone(), rules.clone());
            out.output.ports.insert(key.clone(), id.clone());
            out.put(key.0, &key.1, Ok(scope), chain.origins.clone());
        }
    }
}

const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

fn addresses(id: &PortRef, chain: &Chain) -> impl Iterator<Item = SocketAddr> {
    let port = id.port;
    chain.addresses.iter().map(move |address| SocketAddr::new(*address, port))
}

/// Where ports that are passed on unread lead and no route does: their clusters are named by address only.
fn unrouted(proxy: &Proxy) -> HashSet<&Destination> {
    let chains = || proxy.listeners.iter().flat_map(|listener| listener.chains.values());
    let mut unrouted: HashSet<&Destination> = chains().filter_map(|chain| chain.traffic.unread()).collect();
    if unrouted.is_empty() {
        return unrouted;
    }
    for chain in chains() {
        for route in chain.traffic.routes().into_iter().flatten() {
            if let Action::Forward(forward) = &route.action {
                for to in forward.backends.iter().filter_map(|backend| backend.target.as_ref()) {
                    unrouted.remove(to);
                }
            }
        }
    }
    unrouted
}

fn write_cluster(name: &str, shown: &str, cluster: &Cluster) -> WrittenCluster {
    let endpoints = match &cluster.endpoints {
        Endpoints::Addresses(addresses) => Some(clusters::addresses(name, addresses)),
        Endpoints::Hosts(_) => None,
    };
    let written = write(ResourceType::Cluster, name, clusters::cluster(name, shown, cluster));
    (written, endpoints.map(|endpoints| write(ResourceType::Endpoint, name, endpoints)))
}

fn write(kind: ResourceType, name: &str, value: serde_json::Value) -> Written {
    resource_json(kind, name, value).map(Arc::new).map_err(|error| error.to_string())
}

fn message(name: &str, value: serde_json::Value) -> Result<Vec<u8>, String> {
    pack_json(name, value).map(|packed| packed.value).map_err(|error| error.to_string())
}

#[derive(Default)]
struct Out {
    output: GatewayOutput,
    failures: Vec<String>,
}

impl Out {
    fn cluster(&mut self, name: &str, (cluster, endpoints): WrittenCluster, origins: &Origins) {
        self.put(ResourceType::Cluster, name, cluster, origins.clone());
        if let Some(endpoints) = endpoints {
            self.put(ResourceType::Endpoint, name, endpoints, origins.clone());
        }
    }

    fn put(&mut self, kind: ResourceType, name: &str, written: Written, origins: Origins) {
        match written {
            Ok(resource) => {
                self.output.resources.entry(kind).or_default().insert(name.to_owned(), resource);
                self.output.origins.insert((kind, name.to_owned()), origins);
            }
            Err(why) => self.failures.push(format!("{kind:?} {name}: {why}")),
        }
    }
}
