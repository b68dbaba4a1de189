//! `waykeeper tunnel`: listens at the addresses of Services and passes connections on to waypoints that run elsewhere.
//!
//! It reads the same manifests as the control plane and decides by itself which Services
//! exist and which of them are to be reached through a waypoint only: the two do not talk to one another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use api::{Name, Reader, Snapshot};
use kubernetes::KubernetesArgs;
use parking_lot::Mutex;
use provider::{FolderSettings, Snapshots, StatusBoard};
use runtime::follow::{Follower, follow};
use runtime::{Addr, Gate, Process, Shutdown, Stage};
use tokio::sync::watch;
use tunnel::{Endpoint, Limits, Plan, Target};
use waypoint_translate::{Enrolment, Translation};

use crate::args;
use crate::places::{Published, WaypointAt};
use crate::plan::Addresses;

/// How often it is tried whether the waypoints can be reached, before we are ready.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Carries connections until a signal.
///
/// # Errors
/// When a part cannot start, or failed while running.
pub async fn run(args: args::Tunnel) -> anyhow::Result<()> {
    let mut process = Process::start("tunnel", &args.telemetry)?;
    let drain = Duration::from_secs(args.drain);
    process.set_drain(Stage::Front, drain + Duration::from_secs(2));
    crate::up::open_many_files();
    tunnel::describe_metrics();
    process.bind_admin(&args.admin.admin).await?;
    let (paths, board) = (args.paths.clone(), StatusBoard::new());
    // What it makes of objects is the control plane's to say.
    let cluster = KubernetesArgs {
        kubernetes: args.kubernetes,
        kubeconfig: args.kubeconfig.clone(),
        statuses: false,
        ..KubernetesArgs::default()
    };
    let cluster = (&cluster, &[][..], Reader::ControlPlane);
    let folder = (paths, FolderSettings::default());
    let snapshots = kubernetes::follow_either(cluster, folder, board, &mut process).await?;
    build(args, snapshots, &mut process);
    process.run().await
}

/// Adds to `process` what carries connections to the services of `snapshots`.
fn build(args: args::Tunnel, snapshots: Snapshots, process: &mut Process) {
    let (publish, plans) = watch::channel(Arc::new(Plan::default()));
    let drain = Duration::from_secs(args.drain);
    let tunnel = tunnel::Tunnel::new(plans, Limits { drain, ..Limits::default() });
    let following = Arc::new(Following {
        settings: waypoint_translate::Settings {
            class_names: args.classes.names(),
            controller_name: args.classes.controller_name.clone(),
            ..crate::plan::translate_settings(&args.trust_domain)
        },
        publish,
        tunnel: tunnel.clone(),
        gate: Mutex::new(Some(process.readiness().gate("services to listen"))),
        args: args.clone(),
    });
    let shutdown = process.shutdown(Stage::Front);
    let gate = process.readiness().gate("waypoints to be reachable");
    process.spawn(Stage::Front, "reachability", reached(args.to, gate, shutdown.clone()));
    process.spawn(Stage::Front, "plans", follow(following, snapshots, shutdown.clone()));
    process.spawn(Stage::Front, "tunnel", async move {
        let drained = tunnel.run(shutdown.begun()).await.context("the tunnel")?;
        if drained.cut > 0 {
            tracing::warn!(connections = drained.cut, "cut at the drain deadline");
        }
        Ok(())
    });
}

/// Publishes a plan for every snapshot; opens the gate when the first one is in force.
struct Following {
    args: args::Tunnel,
    settings: waypoint_translate::Settings,
    publish: watch::Sender<Arc<Plan>>,
    tunnel: tunnel::Tunnel,
    gate: Mutex<Option<Gate>>,
}

impl Follower for Following {
    type Declared = Snapshot;
    type Made = Plan;

    fn make(&self, snapshot: &Arc<Snapshot>, _: Instant) -> Option<Plan> {
        let translation = waypoint_translate::translate(snapshot, &self.settings);
        let addresses = if self.args.kubernetes { Addresses::All } else { Addresses::Loopback };
        let reserved = reserved(&self.args);
        let plan = crate::plan::plan(snapshot, &translation, addresses, &self.args.trust_domain, &reserved);
        Some(elsewhere(plan, (snapshot, addresses), &translation, &self.args.to, &self.args.publish))
    }

    async fn install(&self, plan: Plan) {
        self.publish.send_if_modified(|current| {
            let changed = **current != plan;
            if changed {
                *current = Arc::new(plan);
            }
            changed
        });
        let first = self.gate.lock().take();
        if let Some(gate) = first {
            self.tunnel.caught_up().await;
            tracing::info!(services = self.tunnel.status().len(), "passing connections on");
            gate.open();
        }
    }
}

/// Where nobody is to be passed on to: our admin port, and the waypoints, which believe what we say of callers.
fn reserved(args: &args::Tunnel) -> BTreeSet<Endpoint> {
    let admin = match &args.admin.admin {
        Addr::Tcp(address) => Some(Endpoint::from(*address)),
        Addr::Unix(_) => None,
    };
    args.to.iter().map(|to| to.endpoint.clone()).chain(admin).collect()
}

/// The plan for one machine, with the waypoints where they really are, and what is to be published. Pure.
fn elsewhere(
    mut plan: Plan,
    (snapshot, addresses): (&Snapshot, Addresses),
    translation: &Translation,
    to: &[WaypointAt],
    publish: &[Published],
) -> Plan {
    let mut by_service: BTreeMap<(&Name, u16), SocketAddr> = BTreeMap::new();
    for (name, service) in &snapshot.services {
        for address in addresses.of(service) {
            for (at, target) in plan.bindings.range_mut(crate::plan::ports(address)) {
                by_service.entry((name, at.port())).or_insert(*at);
                if let (Target::Waypoint(waypoint), Some(Enrolment::Waypoint(gateway))) =
                    (&mut *target, translation.services.get(name).map(AsRef::as_ref))
                {
                    match whereabouts(to, gateway) {
                        Some(endpoint) => *waypoint = endpoint.clone(),
                        None => *target = Target::Refuse(format!("no --to says where its waypoint {gateway} is")),
                    }
                }
            }
        }
    }
    for wanted in publish {
        let service = by_service.get(&(&wanted.service, wanted.port));
        // A Service that is not there yet has its address all the same: connections are reset until it is.
        let service = service.copied().unwrap_or(SocketAddr::new([0, 0, 0, 0].into(), 0));
        plan.published.insert(wanted.at, service);
    }
    plan
}

/// The first that names this Gateway, else the first that names none.
fn whereabouts<'a>(to: &'a [WaypointAt], gateway: &Name) -> Option<&'a Endpoint> {
    let own = to.iter().find(|to| to.gateway.as_ref() == Some(gateway));
    own.or_else(|| to.iter().find(|to| to.gateway.is_none())).map(|to| &to.endpoint)
}

/// Opens `gate` once every waypoint was reached; later it is for each connection to find out.
async fn reached(to: Vec<WaypointAt>, gate: Gate, shutdown: Shutdown) -> anyhow::Result<()> {
    for WaypointAt { endpoint, .. } in &to {
        while !shutdown.is_begun() {
            let address = (endpoint.host.as_str(), endpoint.port);
            if let Ok(Ok(_)) =
                tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(address)).await
            {
                break;
            }
            tokio::select! {
                () = shutdown.begun() => {}
                () = tokio::time::sleep(TRY_AGAIN) => {}
            }
        }
    }
    if !shutdown.is_begun() {
        gate.open();
    }
    shutdown.begun().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(class: &str) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for document in [
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"name": "w", "namespace": "x"}, "spec": {"gatewayClassName": class,
                "listeners": [{"name": "proxy", "port": 15088, "protocol": "istio.io/PROXY"}]}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "x",
                "labels": {"istio.io/use-waypoint": "w"}},
                "spec": {"clusterIP": "127.0.20.2", "ports": [{"port": 80, "name": "http"}]}}),
        ] {
            snapshot.insert(api::admit(&document).object.unwrap());
        }
        snapshot
    }

    fn planned(class: &str, to: &[&str], publish: &[&str]) -> Plan {
        planned_of(&snapshot(class), Addresses::Loopback, to, publish)
    }

    fn planned_of(snapshot: &Snapshot, addresses: Addresses, to: &[&str], publish: &[&str]) -> Plan {
        let translation = waypoint_translate::translate(snapshot, &crate::plan::translate_settings("td"));
        let to: Vec<WaypointAt> = to.iter().map(|text| text.parse().unwrap()).collect();
        let publish: Vec<Published> = publish.iter().map(|text| text.parse().unwrap()).collect();
        elsewhere(
            crate::plan::plan(snapshot, &translation, addresses, "td", &BTreeSet::new()),
            (snapshot, addresses),
            &translation,
            &to,
            &publish,
        )
    }

    #[test]
    fn a_service_is_carried_to_its_own_waypoint_from_every_address_it_has() {
        let plan = planned("gloo-waypoint", &["other:1", "x/w=envoy:15088"], &["0.0.0.0:8002=x/a:80"]);
        let vip = "127.0.20.2:80".parse().unwrap();
        assert_eq!(plan.bindings[&vip], Target::Waypoint(Endpoint { host: "envoy".into(), port: 15088 }));
        assert_eq!(plan.service("0.0.0.0:8002".parse().unwrap()), vip);
    }

    #[test]
    fn a_service_of_a_cluster_is_carried_from_the_address_that_it_has_there() {
        let mut snapshot = snapshot("gloo-waypoint");
        let document = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b", "namespace": "x",
            "labels": {"istio.io/use-waypoint": "w"}},
            "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80, "name": "http"}]}});
        snapshot.insert(api::admit(&document).object.unwrap());
        let at = "10.96.0.7:80".parse().unwrap();
        let plan = planned_of(&snapshot, Addresses::All, &["10.96.0.9:15088"], &[]);
        assert_eq!(plan.bindings[&at], Target::Waypoint(Endpoint { host: "10.96.0.9".into(), port: 15088 }));
        let plan = planned_of(&snapshot, Addresses::Loopback, &["10.96.0.9:15088"], &[]);
        assert!(!plan.bindings.contains_key(&at), "{plan:?}");
    }

    #[test]
    fn nothing_goes_around_a_waypoint_that_is_missing_or_nowhere() {
        for plan in [planned("gloo-waypoint", &["x/other=envoy:1"], &[]), planned("nobodys", &["envoy:1"], &[])] {
            assert!(matches!(plan.bindings.values().next(), Some(Target::Refuse(_))), "{plan:?}");
        }
    }

    #[test]
    fn what_is_published_before_it_exists_is_listened_for_and_reset() {
        let plan = planned("gloo-waypoint", &["envoy:15088"], &["127.0.0.1:8002=x/later:80"]);
        let at = "127.0.0.1:8002".parse().unwrap();
        assert!(plan.addresses().any(|address| address == at) && !plan.bindings.contains_key(&plan.service(at)));
    }

    #[tokio::test]
    async fn nobody_declaring_anything_any_more_is_the_reason_to_exit() {
        use clap::Parser as _;
        let line = ["waykeeper", "tunnel", "folder", "--to", "127.0.0.1:9"];
        let args::Command::Tunnel(args) = args::Cli::try_parse_from(line).unwrap().command else { panic!("tunnel") };
        let (publish, snapshots) = watch::channel(Arc::default());
        let mut process = Process::detached().unwrap();
        build(*args, snapshots, &mut process);
        drop(publish);
        let why = process.run().await.unwrap_err();
        assert_eq!(format!("{why:#}"), "plans failed: nobody reads what is declared any more");
    }
}
