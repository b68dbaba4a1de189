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
pub use emit::{Admin, AdsServer, BootstrapSettings, Emitter, GatewayOutput};
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
    Translator::new(settings.clone()).translate(snapshot, Quarantines::new()).0
}

/// Translates snapshot after snapshot. What comes out is what [`translate`] makes of each by
/// itself; only what is not as it was the last time is written anew.
#[derive(Debug, Clone)]
pub struct Translator {
    settings: Settings,
    emitter: Emitter,
}

impl Translator {
    /// Nothing is translated yet.
    pub fn new(settings: Settings) -> Self {
        Self { emitter: Emitter::new(settings.clone()), settings }
    }

    /// Translates `snapshot` without what is in quarantine. What comes back beside the
    /// translation is what of the quarantine the snapshot still holds.
    pub fn translate(&mut self, snapshot: &Snapshot, mut quarantines: Quarantines) -> (Translation, Quarantines) {
        let resolved = resolve::resolve(snapshot, &self.settings);
        let mut report = resolved.report;
        let mut gateways = BTreeMap::new();
        quarantines.retain(|name, _| resolved.proxies.contains_key(name));
        self.emitter.keep(resolved.proxies.keys());
        for (name, proxy) in &resolved.proxies {
            let (mut output, failures) = self.emitter.emit(proxy);
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

    /// How many route tables, clusters and filter chains of `gateway` were written the last time.
    pub fn made(&self, gateway: &Name) -> usize {
        self.emitter.made(gateway)
    }
}
