//! What others see of a running control plane.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Name;
use proto::ResourceSet;
use runtime::Addr;
use tokio::sync::watch;
use waypoint_translate::Translation;
use xds::Acks;

/// What others may see of a running control plane.
#[derive(Debug, Clone)]
pub struct Handle {
    /// The translation in force; empty until the first snapshot.
    pub translation: watch::Receiver<Arc<Translation>>,
    /// What each Gateway's Envoy was last given.
    pub served: watch::Receiver<Arc<BTreeMap<Name, Served>>>,
    /// What each node acknowledged.
    pub acks: watch::Receiver<Acks>,
    /// Where Envoys connect, as bound.
    pub address: Addr,
}

impl Handle {
    /// Gateways whose Envoys have not answered what they were last given, or of whose
    /// resources parts are held back until they have been tried.
    pub fn waiting_for(&self) -> Vec<Name> {
        self.served.borrow().iter().filter(|(_, served)| !served.settled).map(|(name, _)| name.clone()).collect()
    }
}

impl Served {
    /// All but the resources, which the generation tells apart.
    pub(crate) fn key<'a>((name, served): (&'a Name, &'a Served)) -> impl PartialEq + use<'a> {
        (name, served.generation, served.settled, served.listening, &served.refused, &served.missing)
    }
}

/// What one Gateway's Envoys were last given.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// The resources.
    pub resources: Arc<ResourceSet>,
    /// Counts up whenever the resources change.
    pub generation: u64,
    /// Whether they were answered, and nothing is held back.
    pub settled: bool,
    /// Whether the Envoys listen where they were told to.
    pub listening: bool,
    /// What was declared and is not in force, since Envoy refuses it.
    pub refused: Vec<String>,
    /// The pods that are ready and of whose Envoys nothing is known.
    pub missing: Vec<String>,
}
