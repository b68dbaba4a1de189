//! The control loop: each snapshot is translated, handed to the Envoys it
//! concerns, and reported on as they answer.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use api::{Name, Snapshot};
use metrics::{counter, gauge, histogram};
use provider::StatusBoard;
use runtime::{Addr, Gate, Readiness, Shutdown, Tasks};
use tokio::sync::watch;
use waypoint_translate::Translation;
use xds::{Acks, Hub};

use crate::listen::Listen;
use crate::programmed::{self, Served};

/// Settings of the control plane.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Settings of the translation.
    pub translate: waypoint_translate::Settings,
    /// Where Envoys connect, and how they prove who they are.
    pub listen: Listen,
    /// Whether this process is ready only once every Gateway's Envoy has
    /// acknowledged its first resources.
    pub wait_for_envoy: bool,
}

/// Starts control planes.
#[derive(Debug)]
pub struct ControlPlane;

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
    /// Gateways whose Envoys have not acknowledged what they were last given.
    pub fn waiting_for(&self) -> Vec<Name> {
        let acks = self.acks.borrow().clone();
        unacked(&self.served.borrow(), &acks)
    }
}

impl ControlPlane {
    /// Binds the xDS address and starts the loop and the server as tasks.
    ///
    /// # Errors
    /// When the address cannot be bound, or may not be without mutual TLS.
    pub async fn start(
        settings: Settings,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        board: StatusBoard,
        tasks: &mut Tasks,
        readiness: &Readiness,
    ) -> anyhow::Result<Handle> {
        let hub = Hub::new();
        let shutdown = tasks.shutdown().clone();
        let (address, serving) = settings.listen.serve(hub.clone(), readiness.clone(), shutdown.clone()).await?;
        tasks.spawn("xds", serving);

        let translation = watch::Sender::new(Arc::new(Translation::default()));
        let served = watch::Sender::new(Arc::default());
        let handle = Handle {
            translation: translation.subscribe(),
            served: served.subscribe(),
            acks: hub.watch_acks(),
            address,
        };
        let control = Control {
            settings: settings.translate,
            hub,
            board,
            translation,
            served,
            generation: 0,
            translated: Some(readiness.gate("first translation")),
            acknowledged: settings.wait_for_envoy.then(|| readiness.gate("envoy to acknowledge")),
        };
        tasks.spawn("control", control.run(snapshots, shutdown));
        Ok(handle)
    }
}

struct Control {
    settings: waypoint_translate::Settings,
    hub: Hub,
    board: StatusBoard,
    translation: watch::Sender<Arc<Translation>>,
    served: watch::Sender<Arc<BTreeMap<Name, Served>>>,
    generation: u64,
    translated: Option<Gate>,
    acknowledged: Option<Gate>,
}

impl Control {
    async fn run(mut self, mut snapshots: watch::Receiver<Arc<Snapshot>>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut acks = self.hub.watch_acks();
        snapshots.mark_changed();
        loop {
            tokio::select! {
                () = shutdown.begun() => return Ok(()),
                changed = snapshots.changed() => {
                    changed.context("the provider of snapshots ended")?;
                    let snapshot = snapshots.borrow_and_update().clone();
                    if snapshot.revision == 0 {
                        continue;
                    }
                    self.take(snapshot).await;
                },
                changed = acks.changed() => changed.context("the xDS hub ended")?,
            }
            let acks = acks.borrow_and_update().clone();
            self.publish(&acks);
        }
    }

    /// Puts a snapshot in force. If its translation panics, the last one stays.
    async fn take(&mut self, snapshot: Arc<Snapshot>) {
        let started = Instant::now();
        let settings = self.settings.clone();
        let revision = snapshot.revision;
        let translate = move || catch_unwind(AssertUnwindSafe(|| waypoint_translate::translate(&snapshot, &settings)));
        let Ok(Ok(translation)) = tokio::task::spawn_blocking(translate).await else {
            counter!("waypoint_translate_panics_total").increment(1);
            tracing::error!(revision, "translation panicked; what was served before stays in force");
            return;
        };
        histogram!("waypoint_translate_seconds").record(started.elapsed().as_secs_f64());
        gauge!("waypoint_gateways").set(translation.gateways.len() as f64);
        self.serve(&translation);
        self.translation.send_replace(Arc::new(translation));
        if let Some(gate) = self.translated.take() {
            gate.open();
        }
    }

    fn serve(&mut self, translation: &Translation) {
        let old = self.served.borrow().clone();
        let mut new = BTreeMap::new();
        for (name, output) in &translation.gateways {
            let origins = Arc::new(output.origins.clone());
            let served = match old.get(name).filter(|old| same(&old.resources, &output.resources)) {
                Some(old) => Served { origins, ..old.clone() },
                None => {
                    self.generation += 1;
                    let resources = Arc::new(output.resources.clone());
                    self.hub.set(&crate::node_id(name), resources.clone(), self.generation);
                    tracing::debug!(gateway = %name, generation = self.generation, "new resources");
                    Served { resources, origins, generation: self.generation }
                }
            };
            new.insert(name.clone(), served);
        }
        for gone in old.keys().filter(|name| !new.contains_key(*name)) {
            self.hub.remove(&crate::node_id(gone));
        }
        self.served.send_replace(Arc::new(new));
    }

    fn publish(&mut self, acks: &Acks) {
        let served = self.served.borrow().clone();
        let report = programmed::complete(&self.translation.borrow().report, &served, acks);
        self.board.publish(crate::AUTHOR, report);
        if self.translated.is_none()
            && unacked(&served, acks).is_empty()
            && let Some(gate) = self.acknowledged.take()
        {
            gate.open();
        }
    }
}

fn unacked(served: &BTreeMap<Name, Served>, acks: &Acks) -> Vec<Name> {
    let behind = |(name, served): &(&Name, &Served)| !served.is_acked(acks.get(&crate::node_id(name)));
    served.iter().filter(behind).map(|(name, _)| name.clone()).collect()
}

/// Two sets are the same when their names and versions are.
fn same(old: &proto::ResourceSet, new: &proto::ResourceSet) -> bool {
    let versions = |set: &proto::ResourceSet| -> Vec<(proto::ResourceType, String, String)> {
        set.iter().flat_map(|(t, named)| named.values().map(|r| (*t, r.name.clone(), r.version.clone()))).collect()
    };
    versions(old) == versions(new)
}
