//! From what people declare to what Envoy is told: `Snapshot` → (xDS resources, report).
//!
//! Pure: the same snapshot and settings give the same bytes. [`resolve`] decides
//! what each proxy serves and what is wrong with which object; [`emit`] writes
//! that decision in Envoy's words and decides nothing; [`ir`] is what passes between them.

use std::collections::BTreeMap;

use api::{Kind, Name, ObjectRef, Snapshot, Table};
use resolve::Resolver;
use status::{ObjectStatus, Report};

pub use emit::bootstrap;
pub use emit::quarantine::{self, Quarantine};
pub use emit::{Admin, AdsServer, BootstrapSettings, Emitter, GatewayOutput, Identity, SNIFFED, on_demand, secrets};
pub use ir::{AccessLog, Bind, Enrolment, GrpcTarget, LimitSettings, PortRef, Proxy, Settings, UpstreamTls};

/// Everything that follows from one snapshot.
#[derive(Debug, Clone, Default)]
pub struct Translation {
    /// The revision of the snapshot it was made from.
    pub revision: u64,
    /// What the Envoy of each accepted Gateway is told.
    pub gateways: BTreeMap<Name, GatewayOutput>,
    /// What became of each object.
    pub report: Table<Vec<ObjectStatus>, ObjectRef>,
    /// Which waypoint serves each Service.
    pub services: Table<Enrolment>,
    /// What was decided of each accepted Gateway.
    pub proxies: BTreeMap<Name, Proxy>,
}

impl Translation {
    /// How the waypoint `gateway` reads what comes to the Service port `port`: `http`, `tcp`, `as it begins` or `refused`.
    pub fn read_as(&self, gateway: &Name, port: &PortRef) -> Option<&'static str> {
        let listeners = &self.proxies.get(gateway)?.listeners;
        listeners.iter().find_map(|listener| listener.chains.get(port)).map(|chain| chain.traffic.read_as())
    }

    /// What became of each object, as reports of all authors are put together.
    pub fn into_report(self) -> Report {
        self.report.iter().map(|(object, said)| (object.clone(), said.as_ref().clone())).collect()
    }
}

/// What not to send the Envoys of each Gateway, because they refused it.
pub type Quarantines = BTreeMap<Name, Quarantine>;

/// Translates `snapshot`.
pub fn translate(snapshot: &Snapshot, settings: &Settings) -> Translation {
    Translator::new(settings.clone()).translate(snapshot, Quarantines::new()).0
}

/// Translates snapshot after snapshot. What comes out is what [`translate`] makes of each by
/// itself; only what rests on something else than the last time is decided and written anew.
#[derive(Debug, Clone)]
pub struct Translator {
    resolver: Resolver,
    emitter: Emitter,
}

impl Translator {
    /// Nothing is translated yet.
    pub fn new(settings: Settings) -> Self {
        Self { emitter: Emitter::new(settings.clone()), resolver: Resolver::new(settings) }
    }

    /// What is remembered here in another way than in `other`: nothing, if both have translated the same last,
    /// whichever edits led there.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        [self.resolver.differences(&other.resolver), self.emitter.differences(&other.emitter)].concat()
    }

    /// Translates `snapshot` without what is in quarantine. What comes back beside the
    /// translation is what of the quarantine the snapshot still holds.
    pub fn translate(&mut self, snapshot: &Snapshot, mut quarantines: Quarantines) -> (Translation, Quarantines) {
        let resolved = self.resolver.resolve(snapshot);
        let mut report = resolved.report;
        let mut gateways = BTreeMap::new();
        quarantines.retain(|name, _| resolved.proxies.contains_key(name));
        self.emitter.keep(resolved.proxies.keys());
        for (name, proxy) in &resolved.proxies {
            let (mut output, failures) = self.emitter.emit(proxy);
            if !failures.is_empty() {
                let gateway = ObjectRef { kind: Kind::Gateway, name: name.clone() };
                let said = resolve::status::not_emitted(report.get(&gateway).map(AsRef::as_ref), &failures);
                report.insert(gateway, said);
            }
            if let Some(quarantine) = quarantines.get_mut(name) {
                output.keep_apart(quarantine);
            }
            gateways.insert(name.clone(), output);
        }
        let (services, proxies) = (resolved.services, resolved.proxies);
        let translation = Translation { revision: snapshot.revision, gateways, report, services, proxies };
        (translation, quarantines)
    }

    /// The first half of [`Translator::translate`]: the decisions, not yet written as Envoy's resources.
    pub fn resolve(&mut self, snapshot: &Snapshot) -> resolve::Resolved {
        self.resolver.resolve(snapshot)
    }

    /// How many Services' parts were decided anew the last time.
    pub fn remade(&self) -> usize {
        self.resolver.remade()
    }

    /// How many route tables and clusters of `gateway` were written the last time.
    pub fn made(&self, gateway: &Name) -> usize {
        self.emitter.made(gateway)
    }
}
