//! Each Gateway's proxy, put together from what is decided about Services: chains where their Service is served, and
//! the clusters that chains forward to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api::{Kind, Name, ObjectRef, Table};
use ir::{Chain, Cluster, Destination, Front, Listener, Origins, PortRef, Proxy};

use crate::counts;
use crate::decided::{Gateways, Unit};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proxies {
    pieces: BTreeMap<Name, Pieces>,
    /// At which Gateway the chains of each Service are, and for which ports.
    placed: HashMap<Name, (Name, Box<[PortRef]>)>,
    /// How each destination is reached; those that do not exist, not at all.
    clusters: BTreeMap<Destination, Option<Arc<Cluster>>>,
}

/// What one Gateway's proxy is put together from.
#[derive(Debug, Clone, Default, PartialEq)]
struct Pieces {
    chains: Table<Chain, PortRef>,
    clusters: Table<Cluster, Destination>,
    /// The destinations of its chains, each with of how many units.
    destinations: BTreeMap<Destination, usize>,
}

impl Proxies {
    /// Notes that a unit takes the place of another. To `moved` come the destinations that the chains of a Gateway
    /// forward to since now, or no longer.
    pub fn forward(&mut self, before: Option<&Unit>, now: Option<&Unit>, moved: &mut BTreeSet<Destination>) {
        for (unit, change) in [(before, counts::down as fn(&mut _, &_) -> bool), (now, counts::up)] {
            let Some(unit) = unit else { continue };
            let pieces = self.pieces.entry(unit.gateway.clone()).or_default();
            let destinations = unit.destinations().into_iter();
            moved.extend(destinations.filter(|to| change(&mut pieces.destinations, to)).cloned());
        }
    }

    /// Puts the `chains` of a Service where it is served now, if anywhere, in place of those it had.
    pub fn place(&mut self, service: Name, gateway: Option<Name>, chains: BTreeMap<PortRef, Arc<Chain>>) {
        if let Some((at, ports)) = self.placed.remove(&service)
            && let Some(pieces) = self.pieces.get_mut(&at)
        {
            for id in ports.iter().filter(|id| gateway.as_ref() != Some(&at) || !chains.contains_key(id)) {
                pieces.chains.remove(id);
            }
        }
        let Some(gateway) = gateway else { return };
        let pieces = self.pieces.entry(gateway.clone()).or_default();
        let ports = chains.keys().cloned().collect();
        for (id, chain) in chains {
            if pieces.chains.get(&id) != Some(&chain) {
                pieces.chains.insert(id, chain);
            }
        }
        self.placed.insert(service, (gateway, ports));
    }

    /// Of the destinations that `moved`, those of which it is to be found out how they are reached, and those that
    /// nothing forwards to any more; they are forgotten.
    pub fn wanted(&mut self, moved: &BTreeSet<Destination>) -> (Vec<Destination>, Vec<Destination>) {
        let is_wanted = |to: &Destination| self.pieces.values().any(|pieces| pieces.destinations.contains_key(to));
        let (wanted, gone): (Vec<Destination>, Vec<Destination>) = moved.iter().cloned().partition(is_wanted);
        gone.iter().for_each(|to| drop(self.clusters.remove(to)));
        (wanted.into_iter().filter(|to| !self.clusters.contains_key(to)).collect(), gone)
    }

    /// Notes how a destination is reached, if it exists. Whether that is news.
    pub fn reach(&mut self, to: &Destination, cluster: Option<Cluster>) -> bool {
        let news = self.clusters.get(to).is_none_or(|known| known.as_deref() != cluster.as_ref());
        if news {
            self.clusters.insert(to.clone(), cluster.map(Arc::new));
        }
        news
    }

    /// Gives each proxy the clusters of the destinations that `moved`, or takes them away.
    pub fn fill(&mut self, moved: &BTreeSet<Destination>) {
        for pieces in self.pieces.values_mut() {
            for to in moved {
                match self.clusters.get(to).and_then(Option::as_ref).filter(|_| pieces.destinations.contains_key(to)) {
                    Some(cluster) if pieces.clusters.get(to).is_some_and(|known| Arc::ptr_eq(known, cluster)) => {}
                    Some(cluster) => drop(pieces.clusters.insert(to.clone(), cluster.clone())),
                    None => drop(pieces.clusters.remove(to)),
                }
            }
        }
    }

    /// The proxies of those `gateways` that listen somewhere. The others are forgotten.
    pub fn put_together(&mut self, gateways: &Gateways) -> BTreeMap<Name, Proxy> {
        let mut known = std::mem::take(&mut self.pieces);
        let mut proxies = BTreeMap::new();
        for (name, gateway) in gateways {
            let Some(address) = gateway.address else { continue };
            let pieces = known.remove(name).unwrap_or_default();
            let origins = Origins::from([ObjectRef { kind: Kind::Gateway, name: name.clone() }]);
            let (front, chains, of_listener) = (Front::Proxy, pieces.chains.clone(), origins.clone());
            let listener = Listener { address, front, chains, origins: of_listener };
            let clusters = pieces.clusters.clone();
            proxies.insert(name.clone(), Proxy { gateway: name.clone(), listeners: vec![listener], clusters, origins });
            self.pieces.insert(name.clone(), pieces);
        }
        proxies
    }
}
