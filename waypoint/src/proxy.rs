//! One Gateway's Envoy as the process of a pod: started with a bootstrap of ours, watched, drained when the pod is to go.
//!
//! It writes to its own folders only, and all that it is told comes by flags and files. Whether the pod is ready is what its
//! Envoy says; an Envoy that has not been told what to do yet is not. What Envoy is told comes through [`relay`], so that a
//! control plane that is away stops nobody.

mod kept;
mod relay;
mod upstream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use api::Name;
use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::get;
use runtime::grpc::{self, GrpcOptions};
use runtime::{Listener, Process, Readiness, Shutdown, Stage};
use tokio::sync::watch;
use tonic::service::Routes;
use waypoint_translate::{Admin, AdsServer, BootstrapSettings, bootstrap};

use crate::envoy::{Bootstrap, Fleet, FleetSettings, States, admin_request};
use crate::tls::private_dir;
use kept::Kept;
use relay::Relay;
use upstream::Upstream;

/// For so long new connections still come once the pod is to go: whoever sends them has to hear of it first.
const LATE_CALLERS: Duration = Duration::from_secs(3);
/// Where Envoy is told what to do, in the folder that is written to.
const SOCKET: &str = "xds.sock";
/// How much longer than its drain an Envoy may take to end.
const EXIT: Duration = Duration::from_secs(6);

/// What a proxy is told.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// Its Gateway.
    pub gateway: Name,
    /// Where the control plane is.
    pub xds: (String, u16),
    /// The name or address that the control plane's certificate is for.
    pub server_name: String,
    /// Who signs that certificate.
    pub ca: PathBuf,
    /// The token of its ServiceAccount, for the control plane alone.
    pub token: PathBuf,
    /// The Envoy binary.
    pub envoy: PathBuf,
    /// The folder that is written to.
    pub run_dir: PathBuf,
    /// Where secrets are kept that Envoy was told, in memory if it is as it should be; without it, nothing is kept where
    /// there are secrets.
    pub secrets_dir: Option<PathBuf>,
    /// Worker threads.
    pub concurrency: u32,
    /// How long connections may take to finish.
    pub drain: Duration,
    /// Where health and metrics are served.
    pub admin: SocketAddr,
    /// How much memory the pod may take, in bytes, if that is known.
    pub memory: Option<u64>,
}

/// Adds to `process` the Envoy that `settings` say, and what tells how it is.
///
/// # Errors
/// When a file cannot be written, the address is taken or the binary is no Envoy.
pub async fn build(settings: ProxySettings, process: &mut Process) -> anyhow::Result<()> {
    let ProxySettings { gateway, run_dir, drain, .. } = settings.clone();
    crate::envoy::must_run(&settings.envoy).await?;
    private_dir(&run_dir)?;
    let ProxySettings { xds, server_name, ca, token, .. } = settings.clone();
    let upstream = Upstream::new(xds, server_name, ca, token)?;
    let kept = Kept::open(crate::node_id(&gateway), &run_dir, settings.secrets_dir.as_deref());
    let socket = run_dir.join(SOCKET);
    let told = Listener::bind(&runtime::Addr::Unix(socket.clone())).await.context("where Envoy is told what to do")?;
    let callers_gone = Shutdown::new();
    let fleet = FleetSettings {
        envoy: settings.envoy.clone(),
        guard: Vec::new(),
        run_dir: run_dir.clone(),
        bootstrap: bootstrap_by(&socket, settings.memory),
        concurrency: settings.concurrency,
        drain,
        callers_gone: callers_gone.clone(),
    };
    let listener = Listener::bind(&runtime::Addr::Tcp(settings.admin)).await.context("the admin address")?;
    process.serve_admin_without_log_level(listener)?;
    process.set_drain(Stage::Front, drain + EXIT);
    let fleet = Fleet::of_one(fleet, gateway.clone(), process.tasks(Stage::Front))?;
    process.add_pages(pages(fleet.states.clone(), gateway.clone()));
    let shutdown = process.shutdown(Stage::Server);
    let relay = Relay::new(gateway.clone(), upstream, kept, fleet.states.clone(), shutdown.clone());
    let routes = Routes::new(relay.clone().into_server());
    let serving = grpc::serve(told, routes, GrpcOptions::default(), process.readiness().clone(), shutdown);
    process.spawn(Stage::Server, "relay", serving);
    let (readiness, shutdown) = (process.readiness().clone(), process.shutdown(Stage::Behind));
    process.spawn(Stage::Behind, "control plane", relay.look(readiness, shutdown));
    let shutdown = process.shutdown(Stage::Front);
    process.spawn(Stage::Front, "late callers", async move {
        shutdown.begun().await;
        tokio::time::sleep(LATE_CALLERS).await;
        callers_gone.begin();
        Ok(())
    });
    let (readiness, shutdown) = (process.readiness().clone(), process.shutdown(Stage::Behind));
    process.spawn(Stage::Behind, "readiness", follow(fleet.states, gateway, readiness, shutdown));
    Ok(())
}

/// The bootstrap of an Envoy that is told what to do at `socket`.
fn bootstrap_by(socket: &Path, memory: Option<u64>) -> Bootstrap {
    let ads = AdsServer::Unix(socket.display().to_string());
    Bootstrap::new(move |gateway, admin: &Path| {
        let admin = Admin::Unix(admin.display().to_string());
        bootstrap(gateway, &BootstrapSettings { admin, ads: ads.clone(), memory })
    })
}

/// What Envoy counts, in Prometheus' words.
fn pages(states: watch::Receiver<States>, gateway: Name) -> Router {
    let stats = move || {
        let socket = states.borrow().get(&gateway).map(|state| state.admin.clone());
        async move {
            let asked = admin_request(&socket.unwrap_or_default(), Method::GET, "/stats/prometheus").await;
            asked.map_err(|error| (StatusCode::BAD_GATEWAY, format!("{error:#}\n")))
        }
    };
    Router::new().route("/stats/prometheus", get(stats))
}

/// Ready as long as Envoy is.
async fn follow(
    mut states: watch::Receiver<States>,
    gateway: Name,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut closed = None;
    loop {
        let ready = states.borrow_and_update().get(&gateway).is_some_and(|state| state.ready);
        closed = match closed {
            Some(gate) if ready => {
                runtime::Gate::open(gate);
                None
            }
            None if !ready => Some(readiness.gate("envoy")),
            as_before => as_before,
        };
        tokio::select! {
            () = shutdown.begun() => return Ok(()),
            changed = states.changed() => if changed.is_err() {
                // It has drained; what is behind it stops next.
                shutdown.begun().await;
                return Ok(());
            },
        }
    }
}
