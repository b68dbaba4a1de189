//! Keeps the tunnel's plan in step with what is declared and what the Envoys have taken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::{Name, Snapshot};
use runtime::{Gate, Shutdown};
use tokio::sync::watch;
use tunnel::{Endpoint, Plan, Target, Tunnel};
use waypoint::Handle;
use waypoint_translate::{Enrolment, PortRef, Translation};

use crate::plan::{Addresses, plan};
use crate::report::ServiceRow;

/// How long a new plan waits for the Envoys to acknowledge what goes with it.
/// After that it is applied all the same: an Envoy that refuses one thing must
/// not keep other services waiting.
const ACK_PATIENCE: Duration = Duration::from_millis(400);

/// The services of the folder and how to reach them.
#[derive(Clone)]
pub struct Services {
    /// What is declared.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What the control plane made of it.
    pub handle: Handle,
    /// What listens.
    pub tunnel: Tunnel,
    /// What it was told.
    pub plans: watch::Receiver<Arc<Plan>>,
    /// Where no Service may lead, besides where Envoys listen.
    pub reserved: BTreeSet<Endpoint>,
}

impl Services {
    /// Publishes a plan for every change until shutdown; opens `gate` when the first one is in force.
    ///
    /// # Errors
    /// When the control plane is gone.
    pub async fn follow(
        mut self,
        publish: watch::Sender<Arc<Plan>>,
        trust_domain: String,
        gate: Gate,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let mut gate = Some(gate);
        let mut heard = BTreeSet::new();
        let mut last: Option<(Arc<Snapshot>, Arc<Translation>)> = None;
        self.handle.translation.mark_changed();
        loop {
            tokio::select! {
                () = shutdown.begun() => return Ok(()),
                changed = self.handle.translation.changed() => changed.context("the control plane ended")?,
                changed = self.handle.served.changed() => {
                    changed.context("the control plane ended")?;
                    let listening = self.listening();
                    if gate.is_some() || listening == heard {
                        continue;
                    }
                }
            }
            let translation = self.handle.translation.borrow_and_update().clone();
            let snapshot = self.snapshots.borrow().clone();
            // A newer snapshot is out already: its translation follows, and with it the next plan.
            if translation.revision == 0 || translation.revision != snapshot.revision {
                continue;
            }
            // Most of what may change is in no plan, and to make one takes the longer the more Services there are.
            let known = last.as_ref().is_some_and(|(was, before)| {
                crate::plan::same((was, before), (&snapshot, &translation)) && self.listening() == heard
            });
            if known {
                last = Some((snapshot, translation));
                continue;
            }
            // Make before break: the Envoys first have what the plan sends them.
            let first = gate.is_some();
            let acknowledged = self.acknowledged();
            tokio::select! {
                () = shutdown.begun() => return Ok(()),
                () = acknowledged => {}
                () = tokio::time::sleep(ACK_PATIENCE), if !first => {}
            }
            heard = self.listening();
            publish.send_if_modified(|current| {
                let mut plan = plan(&snapshot, &translation, Addresses::Loopback, &trust_domain, &self.reserved);
                only_to_ours(&mut plan, &translation, &heard);
                let changed = **current != plan;
                if changed {
                    *current = Arc::new(plan);
                }
                changed
            });
            last = Some((snapshot, translation));
            if let Some(gate) = gate.take() {
                self.tunnel.caught_up().await;
                gate.open();
            }
        }
    }

    /// The Gateways whose Envoys are known to listen where they were told to.
    fn listening(&self) -> BTreeSet<Name> {
        let served = self.handle.served.borrow();
        served.iter().filter(|(_, served)| served.listening).map(|(name, _)| name.clone()).collect()
    }

    async fn acknowledged(&self) {
        let mut acks = self.handle.acks.clone();
        let mut served = self.handle.served.clone();
        while !self.handle.waiting_for().is_empty() {
            tokio::select! {
                changed = acks.changed() => if changed.is_err() { return },
                changed = served.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One row for each address and port, in the order of names.
    pub fn rows(&self) -> Vec<ServiceRow> {
        let snapshot = self.snapshots.borrow().clone();
        let translation = self.handle.translation.borrow().clone();
        let plan = self.plans.borrow().clone();
        let bound: BTreeMap<SocketAddr, _> =
            self.tunnel.status().into_iter().map(|bound| (bound.addr, bound)).collect();
        let mut rows = Vec::new();
        for (name, service) in &snapshot.services {
            for address in Addresses::Loopback.of(service) {
                for (at, target) in plan.bindings.range(crate::plan::ports(address)) {
                    let unbound = bound.get(at).and_then(|b| b.bound.as_ref().err());
                    rows.push(ServiceRow {
                        namespace: name.namespace.clone(),
                        name: name.name.clone(),
                        address: at.to_string(),
                        read: match translation.services.get(name).map(AsRef::as_ref) {
                            Some(Enrolment::Waypoint(gateway)) => {
                                let port = PortRef { service: name.clone(), port: at.port() };
                                translation.read_as(gateway, &port).unwrap_or("refused").to_owned()
                            }
                            Some(Enrolment::Refused(_)) | None => "refused".to_owned(),
                            Some(Enrolment::None) => "-".to_owned(),
                        },
                        via: match unbound {
                            Some(why) => format!("not listening: {why}"),
                            None => via(&translation, target),
                        },
                    });
                }
            }
        }
        rows
    }
}

/// Sends nothing to an address at which none of our Envoys listens: who knows who does.
fn only_to_ours(plan: &mut Plan, translation: &Translation, listening: &BTreeSet<Name>) {
    let known = translation.gateways.iter().filter_map(|(name, output)| Some((Endpoint::from(output.address?), name)));
    let strange: Vec<(Endpoint, &Name)> = known.filter(|(_, name)| !listening.contains(*name)).collect();
    for target in plan.bindings.values_mut() {
        if let Target::Waypoint(at) = target
            && let Some((_, gateway)) = strange.iter().find(|(address, _)| address == at)
        {
            *target = Target::Refuse(format!("the Envoy of its waypoint {gateway} does not listen"));
        }
    }
}

fn via(translation: &Translation, target: &Target) -> String {
    match target {
        Target::Direct(_) => "direct".to_owned(),
        Target::Refuse(why) => format!("refused: {why}"),
        Target::Waypoint(at) => {
            let gateway =
                translation.gateways.iter().find(|(_, output)| output.address.map(Endpoint::from).as_ref() == Some(at));
            gateway.map_or_else(|| format!("waypoint at {at}"), |(name, _)| format!("waypoint {name}"))
        }
    }
}
