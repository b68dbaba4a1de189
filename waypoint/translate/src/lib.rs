//! From what people declare to what Envoy is told: `Snapshot` → (xDS resources, report).
//!
//! Pure: the same snapshot and settings give the same bytes. [`resolve`] decides
//! what each proxy serves and what is wrong with which object; [`emit`] writes
//! that decision in Envoy's words and decides nothing; [`ir`] is what passes between them.

use std::collections::BTreeMap;

use api::{Name, Snapshot};
use status::Report;

pub use emit::bootstrap;
pub use emit::{Admin, AdsServer, BootstrapSettings, GatewayOutput};
pub use ir::{Bind, Enrolment, GrpcTarget, LimitSettings, Settings, UpstreamTls};

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

/// Translates `snapshot`.
pub fn translate(snapshot: &Snapshot, settings: &Settings) -> Translation {
    let resolved = resolve::resolve(snapshot, settings);
    let mut report = resolved.report;
    let mut gateways = BTreeMap::new();
    for (name, proxy) in &resolved.proxies {
        let (output, failures) = emit::emit(proxy, settings);
        if !failures.is_empty() {
            resolve::status::not_emitted(&mut report, name, failures);
        }
        gateways.insert(name.clone(), output);
    }
    Translation { revision: snapshot.revision, gateways, report, services: resolved.services }
}
