//! `waykeeper tunnel`: the mesh's part by itself, where waypoints run elsewhere.
//!
//! It reads the same manifests as the control plane and comes to the same
//! conclusions, so that the two need not talk to one another: which Services
//! exist, and which of them are to be reached through a waypoint only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use api::{Name, Snapshot};
use parking_lot::Mutex;
use provider::{FolderSettings, Provider, StatusBoard};
use runtime::follow::{Follower, follow};
use runtime::{Addr, Gate, Listener, Readiness, Shutdown, Tasks};
use tokio::sync::watch;
use tunnel::{Endpoint, Limits, Plan, Target};
use waypoint_translate::{Enrolment, Translation};

use crate::args;

/// How often it is tried whether the waypoints can be reached, before we are ready.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Where the Envoy of a Gateway, or of any Gateway, can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct To {
    gateway: Option<Name>,
    endpoint: Endpoint,
}

/// A Service's port, to be reached on another address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    at: SocketAddr,
    service: Name,
    port: u16,
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (gateway, endpoint) = match text.split_once('=') {
            Some((gateway, endpoint)) => (Some(name(gateway)?), endpoint),
            None => (None, text),
        };
        let (host, port) = host_and_port(endpoint).ok_or_else(|| format!("{endpoint:?} is not HOST:PORT"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(To { gateway, endpoint: Endpoint { host, port } })
    }
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} does not read ADDR=NAMESPACE/NAME:PORT, e.g. 0.0.0.0:8002=shop/cart:8000");
        let (at, service) = text.split_once('=').ok_or_else(wrong)?;
        let (service, port) = host_and_port(service).ok_or_else(wrong)?;
        Ok(Publish { at: at.parse().map_err(|_| wrong())?, service: name(service)?, port })
    }
}

fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then_some((host, port))
}

fn name(text: &str) -> Result<Name, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(Name::new(namespace, name)),
        _ => Err(format!("{text:?} is not NAMESPACE/NAME")),
    }
}

/// Carries connections until a signal.
///
/// # Errors
/// When a part cannot start, or failed while running.
pub async fn run(args: args::Tunnel) -> anyhow::Result<()> {
    let telemetry = runtime::telemetry::init("tunnel", &args.telemetry)?;
    crate::up::open_many_files();
    tunnel::describe_metrics();
    let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
    shutdown.on_signals().context("handling signals")?;
    let admin = Listener::bind(&args.admin.admin).await?;
    let board = StatusBoard::new();
    let provider =
        Provider::folder(args.paths.clone(), FolderSettings::default(), board, &readiness, shutdown.clone()).await?;

    let mut tasks = Tasks::new(shutdown.clone());
    let (publish, plans) = watch::channel(Arc::new(Plan::default()));
    let drain = Duration::from_secs(args.drain);
    let tunnel = tunnel::Tunnel::new(plans, Limits { drain, ..Limits::default() });
    let following = Arc::new(Following {
        settings: waypoint_translate::Settings {
            class_names: args.classes.names(),
            ..crate::up::translate_settings(&args.trust_domain)
        },
        publish,
        tunnel: tunnel.clone(),
        gate: Mutex::new(Some(readiness.gate("services to listen"))),
        args: args.clone(),
    });
    tasks
        .spawn("reachability", reached(args.to.clone(), readiness.gate("waypoints to be reachable"), shutdown.clone()));
    tasks.spawn("plans", follow(following, provider.watch(), shutdown.clone()));
    tasks.spawn("tunnel", {
        let shutdown = shutdown.clone();
        async move {
            let drained = tunnel.run(shutdown.begun()).await.context("the tunnel")?;
            if drained.cut > 0 {
                tracing::warn!(connections = drained.cut, "cut at the drain deadline");
            }
            Ok(())
        }
    });
    let pages = runtime::Admin::new(readiness, telemetry.clone());
    tasks.spawn("admin", pages.serve(admin, shutdown));
    let outcome = tasks.join(drain + Duration::from_secs(2)).await;
    telemetry.flush();
    outcome
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
        let plan = crate::plan::plan(snapshot, &translation, &self.args.trust_domain, &reserved(&self.args));
        Some(elsewhere(plan, snapshot, &translation, &self.args.to, &self.args.publish))
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
            tracing::info!(services = self.tunnel.status().len(), "carrying connections");
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
fn elsewhere(mut plan: Plan, snapshot: &Snapshot, translation: &Translation, to: &[To], publish: &[Publish]) -> Plan {
    let mut by_service: BTreeMap<(&Name, u16), SocketAddr> = BTreeMap::new();
    for (name, service) in &snapshot.services {
        for address in crate::plan::addresses(service) {
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
fn whereabouts<'a>(to: &'a [To], gateway: &Name) -> Option<&'a Endpoint> {
    let own = to.iter().find(|to| to.gateway.as_ref() == Some(gateway));
    own.or_else(|| to.iter().find(|to| to.gateway.is_none())).map(|to| &to.endpoint)
}

/// Opens `gate` once every waypoint was reached; later it is for each connection to find out.
async fn reached(to: Vec<To>, gate: Gate, shutdown: Shutdown) -> anyhow::Result<()> {
    for To { endpoint, .. } in &to {
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
        let snapshot = snapshot(class);
        let translation = waypoint_translate::translate(&snapshot, &crate::up::translate_settings("td"));
        let to: Vec<To> = to.iter().map(|text| text.parse().unwrap()).collect();
        let publish: Vec<Publish> = publish.iter().map(|text| text.parse().unwrap()).collect();
        elsewhere(
            crate::plan::plan(&snapshot, &translation, "td", &BTreeSet::new()),
            &snapshot,
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

    #[test]
    fn mistakes_on_the_command_line_say_what_to_write() {
        for wrong in ["envoy", "envoy:0", "x=envoy:1", ":1"] {
            assert!(wrong.parse::<To>().is_err(), "{wrong}");
        }
        for wrong in ["8002=x/a:80", "0.0.0.0:8002=a:80", "0.0.0.0:8002=x/a", "0.0.0.0:8002"] {
            assert!(wrong.parse::<Publish>().is_err(), "{wrong}");
        }
        assert_eq!("[::1]:15088".parse::<To>().unwrap().endpoint, Endpoint { host: "::1".into(), port: 15088 });
    }
}
