//! `waykeeper up`: provider, servers, control plane, Envoys and tunnel in one process.
//!
//! What stands in front stops first: the tunnel and the Envoys finish their
//! requests while the servers that Envoy asks still answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::Snapshot;
use provider::{FolderSettings, Snapshots, StatusBoard};
use ratelimit::store::redis::RedisSettings;
use runtime::{Addr, Listener, Process, Shutdown, Stage};
use tokio::sync::watch;
use tunnel::{Limits, Plan, Tunnel};
use waypoint::{Fleet, FleetSettings, Handle, Listen};
use waypoint_translate::{AdsServer, BootstrapSettings, GrpcTarget};

use crate::args::Up;
use crate::services::Services;

/// What every part is given.
struct Parts {
    snapshots: Snapshots,
    board: StatusBoard,
    run_dir: PathBuf,
    /// Begins when the tunnel has passed on its last connection.
    tunnel_done: Shutdown,
}

impl Parts {
    fn socket(&self, name: &str) -> PathBuf {
        self.run_dir.join(format!("{name}.sock"))
    }
}

/// Runs until a signal, or until a part of it ends.
///
/// # Errors
/// When a part cannot start, or failed while running.
pub async fn run(args: Up) -> anyhow::Result<()> {
    let mut process = Process::start("waykeeper", &args.telemetry)?;
    process.set_drain(Stage::Front, args.drain() + Duration::from_secs(2));
    open_many_files();
    tunnel::describe_metrics();
    let run_dir = tempfile::Builder::new().prefix("waykeeper-").tempdir().context("making a run folder")?;
    process.bind_admin(&Addr::Tcp(args.admin)).await.map_err(|error| taken(error, args.admin))?;
    let envoy = waypoint::envoy::find_envoy(args.envoy.clone()).await?;
    waypoint::envoy::must_run(&envoy).await?;
    let board = StatusBoard::new();
    // What is wrong is shown in the terminal already, with what the servers say of it.
    let folder = FolderSettings { log_mistakes: false, ..FolderSettings::default() };
    let snapshots = provider::follow_folder(args.paths.clone(), folder, board.clone(), &mut process).await?;
    build(&args, envoy, run_dir.path(), snapshots, board, &mut process).await?;
    process.run().await
}

/// Adds everything to `process` but what is declared.
async fn build(
    args: &Up,
    envoy: PathBuf,
    run_dir: &Path,
    snapshots: Snapshots,
    board: StatusBoard,
    process: &mut Process,
) -> anyhow::Result<()> {
    let parts = Parts { snapshots, board, run_dir: run_dir.to_owned(), tunnel_done: Shutdown::new() };
    start_extauth(args, &parts, process).await?;
    start_ratelimit(args, &parts, process).await?;
    let handle = start_control_plane(args, &parts, process).await?;
    start_envoys(args, &parts, envoy, &handle, process)?;
    let services = start_tunnel(args, &parts, &handle, process);
    if args.sample {
        start_sample(&parts.snapshots.borrow().clone(), process).await?;
    }
    let readiness = process.readiness().clone();
    let listed = services.clone();
    let add = move |status: &mut serde_json::Value| status["services"] = serde_json::json!(listed.rows());
    process.add_pages(provider::page::status(parts.board.clone(), args.paths.clone(), readiness.clone(), add));
    let (front, behind) = (process.shutdown(Stage::Front), process.shutdown(Stage::Behind));
    process.spawn(Stage::Front, "banner", crate::banner::when_ready(services, readiness, args.clone(), front));
    let advice = Arc::new(crate::advice::Advice::new(parts.board.clone()));
    let advising = runtime::follow::follow(advice, parts.snapshots.clone(), behind.clone());
    process.spawn(Stage::Behind, "advice", advising);
    let format = args.telemetry.log_format;
    let telling = crate::terminal::follow(parts.board.clone(), args.paths.clone(), format, behind);
    process.spawn(Stage::Behind, "terminal", telling);
    Ok(())
}

/// Has as many files open as the system allows: each address of a Service is one, and so is each connection.
pub fn open_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Says what to do when somebody listens there already, and guesses nothing otherwise.
fn taken(error: anyhow::Error, admin: std::net::SocketAddr) -> anyhow::Error {
    let in_use = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    if in_use.into_iter().any(|cause| cause.kind() == std::io::ErrorKind::AddrInUse) {
        return error.context(format!(
            "somebody listens at {admin} already: stop it if it is another `waykeeper up`, or give this one another --admin address"
        ));
    }
    error
}

async fn start_extauth(args: &Up, parts: &Parts, process: &mut Process) -> anyhow::Result<()> {
    let listener = Listener::bind(&Addr::Unix(parts.socket("extauth"))).await?;
    let settings =
        extauth::Settings { user_id_header: args.envoys.user_id_header.clone(), ..extauth::Settings::default() };
    let front = extauth::Front { listener, tls: None, workers: None };
    extauth::build(front, &settings, parts.snapshots.clone(), parts.board.clone(), process)
}

async fn start_ratelimit(args: &Up, parts: &Parts, process: &mut Process) -> anyhow::Result<()> {
    let mut settings = ratelimit::server::Settings::default();
    if let Some(url) = &args.redis {
        settings.store = ratelimit::server::StoreSettings::Redis(Box::new(RedisSettings::new(url.clone())));
    }
    let listener = Listener::bind(&Addr::Unix(parts.socket("ratelimit"))).await?;
    ratelimit::server::build(settings, listener, parts.snapshots.clone(), parts.board.clone(), process)
}

async fn start_control_plane(args: &Up, parts: &Parts, process: &mut Process) -> anyhow::Result<Handle> {
    let target = |name: &str| Some(GrpcTarget::Unix(parts.socket(name).display().to_string()));
    let settings = waypoint::Settings {
        translate: waypoint_translate::Settings {
            extauth: target("extauth"),
            ratelimit: target("ratelimit"),
            limits: args.envoys.limits(),
            user_header: args.envoys.user_id_header.clone(),
            reserved: [args.admin].into(),
            trusted_proxies: args.envoys.trusted_proxies.clone(),
            access_log: args.envoys.access_log(),
            clusters_on_demand: args.envoys.clusters_on_demand,
            ..crate::plan::translate_settings(&args.trust_domain)
        },
        listen: Listen::Unix(parts.socket("xds")),
        wait_for_envoy: true,
        reached_where_it_listens: true,
        turn: None,
        trusted: None,
    };
    waypoint::build(settings, parts.snapshots.clone(), parts.board.clone(), process).await
}

fn start_envoys(
    args: &Up,
    parts: &Parts,
    envoy: PathBuf,
    handle: &Handle,
    process: &mut Process,
) -> anyhow::Result<Fleet> {
    let xds = parts.socket("xds").display().to_string();
    let bootstrap = move |gateway: &api::Name, admin: &Path| {
        let settings = BootstrapSettings {
            admin: waypoint_translate::Admin::Unix(admin.display().to_string()),
            ads: AdsServer::Unix(xds.clone()),
            memory: None,
        };
        waypoint_translate::bootstrap(gateway, &settings)
    };
    let ourselves = std::env::current_exe().context("finding the waykeeper binary")?;
    let settings = FleetSettings {
        envoy,
        guard: vec![ourselves.into(), "become".into(), "--parent".into(), std::process::id().to_string().into()],
        run_dir: parts.run_dir.join("envoy"),
        bootstrap: waypoint::envoy::Bootstrap::new(bootstrap),
        concurrency: args.envoy_concurrency,
        drain: args.drain(),
        callers_gone: parts.tunnel_done.clone(),
    };
    Fleet::start(settings, handle.translation.clone(), process.tasks(Stage::Front))
}

fn start_tunnel(args: &Up, parts: &Parts, handle: &Handle, process: &mut Process) -> Services {
    let (publish, plans) = watch::channel(Arc::new(Plan::default()));
    let tunnel = Tunnel::new(plans.clone(), Limits { drain: args.drain(), ..Limits::default() });
    let services = Services {
        snapshots: parts.snapshots.clone(),
        handle: handle.clone(),
        tunnel: tunnel.clone(),
        plans,
        reserved: [args.admin.into()].into(),
    };
    let shutdown = process.shutdown(Stage::Front);
    let gate = process.readiness().gate("services to listen");
    let following = services.clone().follow(publish, args.trust_domain.clone(), gate, shutdown.clone());
    process.spawn(Stage::Front, "plans", following);
    let done = parts.tunnel_done.clone();
    process.spawn(Stage::Front, "tunnel", async move {
        let drained = tunnel.run(shutdown.begun()).await;
        done.begin();
        let drained = drained.context("the tunnel")?;
        if drained.cut > 0 {
            tracing::warn!(connections = drained.cut, "cut at the drain deadline");
        }
        Ok(())
    });
    services
}

/// The sample application at every loopback endpoint that the manifests name.
async fn start_sample(snapshot: &Snapshot, process: &mut Process) -> anyhow::Result<()> {
    let addresses = crate::plan::loopback_endpoints(snapshot);
    anyhow::ensure!(!addresses.is_empty(), "--sample: no EndpointSlice of the manifests has a loopback address");
    let list: Vec<_> = addresses.into_iter().collect();
    let app = sample_app::App::bind(&list).await.context("starting the sample application")?;
    let shutdown = process.shutdown(Stage::Behind);
    let serving = app.serve(async move { shutdown.begun().await });
    process.spawn(Stage::Behind, "sample application", serving);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[tokio::test]
    async fn nobody_declaring_anything_any_more_is_the_reason_to_exit() {
        let line = ["waykeeper", "up", "folder"];
        let crate::args::Command::Up(args) = crate::args::Cli::try_parse_from(line).unwrap().command else {
            panic!("up")
        };
        let run_dir = tempfile::tempdir().unwrap();
        let (publish, snapshots) = watch::channel(Arc::default());
        let mut process = Process::detached().unwrap();
        let envoy = "/nowhere/envoy".into();
        build(&args, envoy, run_dir.path(), snapshots, StatusBoard::new(), &mut process).await.unwrap();
        drop(publish);
        let why = format!("{:#}", process.run().await.unwrap_err());
        assert!(why.ends_with("failed: nobody reads what is declared any more"), "{why}");
    }
}
