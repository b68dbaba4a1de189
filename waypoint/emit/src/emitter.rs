//! Writes proxies again and again, and of each only what is made from something else than last time.
//!
//! A route table, a cluster, a filter chain and a listener's frame are each made from a value of
//! their own and nothing besides, so what comes out is what would come out if all were written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ir::{Cluster, Destination, Endpoints, Name, Origins, PortRef, Proxy, Route, Settings, Traffic};
use proto::schema::{pack_json, resource_json};
use proto::{Resource, ResourceType};

use crate::listener::{self, Bytes, Frame};
use crate::memo::Memo;
use crate::{GatewayOutput, clusters, filters, names, routes};

/// A resource, or why it cannot be written.
type Written = Result<Arc<Resource>, String>;
/// A message, or why it cannot be written.
type Message = Result<Arc<Vec<u8>>, String>;

/// A listener's frame and its filter chains.
type Whole = (Arc<Vec<u8>>, Vec<Arc<Vec<u8>>>);

/// See the module.
#[derive(Debug, Clone)]
pub struct Emitter {
    settings: Settings,
    proxies: BTreeMap<Name, Pieces>,
}

/// What was written of one proxy.
#[derive(Debug, Clone, Default)]
struct Pieces {
    clusters: Memo<Destination, Cluster, (Written, Option<Written>)>,
    tables: Memo<PortRef, Vec<Route>, (Written, Option<Written>)>,
    chains: Memo<PortRef, Bytes, Message>,
    frames: Memo<&'static str, Frame, Message>,
    listeners: Memo<&'static str, Whole, Arc<Resource>>,
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

    /// How many route tables, clusters and filter chains were written for the last proxy of this name.
    pub fn made(&self, proxy: &Name) -> usize {
        self.proxies.get(proxy).map_or(0, |pieces| pieces.tables.made + pieces.clusters.made + pieces.chains.made)
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
        for (id, cluster) in &proxy.clusters {
            let name = id.to_string();
            let (written, endpoints) = pieces.clusters.get(id.clone(), cluster, |cluster| {
                let endpoints = match &cluster.endpoints {
                    Endpoints::Addresses(addresses) => Some(clusters::addresses(&name, addresses)),
                    Endpoints::Hosts(_) => None,
                };
                let written = write(ResourceType::Cluster, &name, clusters::cluster(&name, cluster));
                (written, endpoints.map(|endpoints| write(ResourceType::Endpoint, &name, endpoints)))
            });
            out.put(ResourceType::Cluster, &name, written, cluster.origins.clone());
            if let Some(endpoints) = endpoints {
                out.put(ResourceType::Endpoint, &name, endpoints, cluster.origins.clone());
            }
        }
        for listener in &proxy.listeners {
            pieces.listener(listener, &self.settings, &mut out);
        }
        (out.output, out.failures)
    }
}

impl Pieces {
    fn turn(&mut self) {
        self.clusters.turn();
        self.tables.turn();
        self.chains.turn();
        self.frames.turn();
        self.listeners.turn();
    }

    fn listener(&mut self, listener: &ir::Listener, settings: &Settings, out: &mut Out) {
        let name = names::listener(listener.front);
        let Some(frame) = listener::frame(listener) else {
            out.failures.push(format!("listener {name}: cannot be written yet"));
            return;
        };
        let mut chains = Vec::new();
        let mut origins = BTreeMap::new();
        for (id, chain) in &listener.chains {
            origins.insert(id.to_string(), chain.origins.clone());
            if let Traffic::Http(routes) = &chain.traffic {
                self.table(id, routes, &chain.origins, out);
            }
            let message = self.chains.get(id.clone(), &listener::bytes(chain), |bytes| {
                message("envoy.config.listener.v3.FilterChain", listener::filter_chain(id, bytes, settings))
            });
            match message {
                Ok(message) => chains.push(message),
                Err(why) => out.failures.push(format!("filter chain {id}: {why}")),
            }
        }
        out.output.rules.insert((ResourceType::Listener, name.to_owned()), origins);
        let frame = self.frames.get(name, &frame, |frame| {
            message("envoy.config.listener.v3.Listener", listener::listener(frame, settings))
        });
        match frame {
            Ok(frame) => {
                let whole = self.listeners.get(name, &(frame, chains), |(frame, chains)| {
                    let mut bytes = frame.as_ref().clone();
                    for chain in chains {
                        proto::fields::put(listener::FILTER_CHAINS, chain, &mut bytes);
                    }
                    Arc::new(proto::canonical::of_bytes(ResourceType::Listener, name, bytes))
                });
                out.put(ResourceType::Listener, name, Ok(whole), listener.origins.clone());
                out.output.address.get_or_insert(listener.address);
            }
            Err(why) => out.failures.push(format!("Listener {name}: {why}")),
        }
    }

    fn table(&mut self, id: &PortRef, routes: &Vec<Route>, origins: &Origins, out: &mut Out) {
        let name = id.to_string();
        let (written, instead) = self.tables.get(id.clone(), routes, |routes| {
            let written = write(ResourceType::Route, &name, routes::table(&name, routes));
            let instead = written.is_err().then(|| write(ResourceType::Route, &name, routes::refusing(&name)));
            (written, instead)
        });
        let rules = routes.iter().map(|route| (route.name.clone(), route.origins.clone())).collect();
        out.output.rules.insert((ResourceType::Route, name.clone()), rules);
        for written in [Some(written), instead].into_iter().flatten() {
            out.put(ResourceType::Route, &name, written, origins.clone());
        }
    }
}

fn write(kind: ResourceType, name: &str, value: serde_json::Value) -> Written {
    resource_json(kind, name, value).map(Arc::new).map_err(|error| error.to_string())
}

fn message(name: &str, value: serde_json::Value) -> Message {
    pack_json(name, value).map(|packed| Arc::new(packed.value)).map_err(|error| error.to_string())
}

#[derive(Default)]
struct Out {
    output: GatewayOutput,
    failures: Vec<String>,
}

impl Out {
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
