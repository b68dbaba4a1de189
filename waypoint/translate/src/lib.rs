//! From what people declare to what Envoy is told: `Snapshot` → (xDS resources, report).
//!
//! Pure: the same snapshot and settings give the same bytes. [`resolve`] decides
//! what each waypoint serves and what is wrong with which object; [`emit`] writes
//! that decision in Envoy's words and decides nothing.

pub mod bootstrap;
pub mod emit;
pub mod ir;
pub mod resolve;
pub mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use api::status::Report;
use api::{Name, ObjectRef, Snapshot};
use proto::{ResourceSet, ResourceType};

pub use bootstrap::{Admin, AdsServer, BootstrapSettings, bootstrap};
pub use settings::{Bind, GrpcTarget, LimitSettings, Settings, UpstreamTls};

/// Everything that follows from one snapshot.
#[derive(Debug, Clone, Default)]
pub struct Translation {
    /// The revision of the snapshot it was made from.
    pub revision: u64,
    /// What the Envoy of each accepted Gateway is told.
    pub gateways: BTreeMap<Name, GatewayOutput>,
    /// What became of each object.
    pub report: Report,
    /// Which waypoint serves each Service.
    pub services: BTreeMap<Name, Enrolment>,
}

/// What the Envoy of one Gateway is told.
#[derive(Debug, Clone, Default)]
pub struct GatewayOutput {
    /// The resources.
    pub resources: ResourceSet,
    /// The objects from which each resource came: whom to tell when Envoy refuses it.
    pub origins: BTreeMap<(ResourceType, String), BTreeSet<ObjectRef>>,
    /// Where its PROXY listener binds.
    pub address: Option<SocketAddr>,
}

/// Whether a Service is served by a waypoint of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolment {
    /// It is not: connections go straight to its endpoints.
    None,
    /// By the one of this Gateway. When the Gateway is ours but broken it has no
    /// output, and connections must be refused rather than sent around it.
    Waypoint(Name),
}

/// Translates `snapshot`.
pub fn translate(snapshot: &Snapshot, settings: &Settings) -> Translation {
    let resolved = resolve::resolve(snapshot, settings);
    let mut report = resolved.report;
    let mut gateways = BTreeMap::new();
    for (name, waypoint) in &resolved.waypoints {
        let (output, failures) = emit::emit(waypoint, settings);
        if !failures.is_empty() {
            resolve::status::not_emitted(&mut report, name, failures);
        }
        gateways.insert(name.clone(), output);
    }
    Translation { revision: snapshot.revision, gateways, report, services: resolved.services }
}
