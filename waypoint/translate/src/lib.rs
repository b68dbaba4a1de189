//! From what people declare to what Envoy is told: `Snapshot` → (xDS resources, report).
//!
//! Pure: the same snapshot and settings give the same bytes. [`resolve`] decides
//! what each proxy serves and what is wrong with which object; [`emit`] writes
//! that decision in Envoy's words and decides nothing; [`ir`] is what passes between them.

use std::collections::BTreeMap;

use api::{Name, Snapshot};
use status::Report;

pub use emit::bootstrap;
pub use emit::quarantine::{self, Quarantine};
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

/// What not to send the Envoys of each Gateway, because they refused it.
pub type Quarantines = BTreeMap<Name, Quarantine>;

/// Translates `snapshot`.
pub fn translate(snapshot: &Snapshot, settings: &Settings) -> Translation {
    translate_around(snapshot, settings, Quarantines::new()).0
}

/// Translates `snapshot` without what is in quarantine. What comes back beside the
/// translation is what of the quarantine the snapshot still holds.
pub fn translate_around(
    snapshot: &Snapshot,
    settings: &Settings,
    mut quarantines: Quarantines,
) -> (Translation, Quarantines) {
    let resolved = resolve::resolve(snapshot, settings);
    let mut report = resolved.report;
    let mut gateways = BTreeMap::new();
    quarantines.retain(|name, _| resolved.proxies.contains_key(name));
    for (name, proxy) in &resolved.proxies {
        let (mut output, failures) = emit::emit(proxy, settings);
        if !failures.is_empty() {
            resolve::status::not_emitted(&mut report, name, failures);
        }
        if let Some(quarantine) = quarantines.get_mut(name) {
            output.keep_apart(quarantine);
        }
        gateways.insert(name.clone(), output);
    }
    let translation = Translation { revision: snapshot.revision, gateways, report, services: resolved.services };
    (translation, quarantines)
}
