//! `waykeeper up`: provider, servers, control plane, Envoys and tunnel in one process.
//!
//! What stands in front stops first: the tunnel and the Envoys finish their
//! requests while the servers that Envoy asks still answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::Snapshot;
use provider::{FolderSettings, Provider, StatusBoard};
use ratelimit::server::explain::gauges::Gauges;
use ratelimit::store::redis::RedisSettings;
use runtime::{Addr, Admin, Listener, Readiness, Shutdown, Tasks};
use tokio::sync::watch;
use tunnel::{Limits, Plan, Tunnel};
use waypoint::{ControlPlane, Fleet, FleetSettings, Handle, Listen};
use waypoint_translate::{AdsServer, Bind, BootstrapSettings, GrpcTarget};

use crate::args::Up;
use crate::services::Services;

/// How long the servers at the back may take once nothing asks them any more.
const BACK_DRAIN: Duration = Duration::from_secs(3);

/// What every part is given.
struct Parts {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    board: StatusBoard,
    readiness: Readiness,
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
    let telemetry = runtime::telemetry::init("waykeeper", &args.telemetry)?;
    open_many_files();
    tunnel::describe_metrics();
    let run_dir = tempfile::Builder::new().prefix("waykeeper-").tempdir().context("making a run folder")?;
    let (front, back) = (Shutdown::new(), Shutdown::new());
    front.on_signals().context("handling signals")?;
    let (mut in_front, mut behind) = (Tasks::new(front.clone()), Tasks::new(back.clone()));

    let admin = Listener::bind(&Addr::Tcp(args.admin)).await.map_err(|error| taken(error, args.admin))?;
    let envoy = waypoint::envoy::find_envoy(args.envoy.clone()).await?;
    waypoint::envoy::must_run(&envoy).await?;
    let board = StatusBoard::new();
    let readiness = Readiness::new();
    // What is wrong is shown in the terminal already, with what the servers say of it.
    let folder = FolderSettings { log_mistakes: false, ..FolderSettings::default() };
    let provider = Provider::folder(args.paths.clone(), folder, board.clone(), &readiness, back.clone()).await?;
    let parts = Parts {
        snapshots: provider.watch(),
        board,
        readiness,
        run_dir: run_dir.path().to_owned(),
        tunnel_done: Shutdown::new(),
    };

    start_extauth(&args, &parts, &mut behind).await?;
    let (ratelimit_pages, gauges) = start_ratelimit(&args, &parts, &mut behind).await?;
    let handle = start_control_plane(&args, &parts, &mut behind).await?;
    start_envoys(&args, &parts, envoy, &handle, &mut in_front)?;
    let services = start_tunnel(&args, &parts, &handle, &mut in_front);
    if args.sample {
        start_sample(&parts.snapshots.borrow().clone(), &mut behind).await?;
    }
    let pages = waypoint::page::router(handle).merge(ratelimit_pages).merge(crate::status::router(
        parts.board.clone(),
        args.paths.clone(),
        services.clone(),
        parts.readiness.clone(),
    ));
    let pages = Admin::new(parts.readiness.clone(), telemetry.clone()).merge(pages);
    let pages = pages.metrics(move || gauges.clone().into_text());
    behind.spawn("admin", pages.serve(admin, back.clone()));
    in_front.spawn("banner", crate::banner::when_ready(services, parts.readiness.clone(), args.clone(), front.clone()));

    let advice = Arc::new(crate::advice::Advice::new(parts.board.clone()));
    behind.spawn("advice", runtime::follow::follow(advice, parts.snapshots.clone(), back.clone()));
    let format = args.telemetry.log_format;
    behind.spawn("terminal", crate::terminal::follow(parts.board.clone(), args.paths.clone(), format, back.clone()));

    let outcome = stop_in_order(&args, in_front, behind, &parts.readiness).await;
    drop(provider);
    telemetry.flush();
    outcome
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

/// Waits for the end of either group, then stops the front before the back.
async fn stop_in_order(args: &Up, mut in_front: Tasks, behind: Tasks, readiness: &Readiness) -> anyhow::Result<()> {
    let (front, back) = (in_front.shutdown().clone(), behind.shutdown().clone());
    in_front.spawn("servers behind", {
        let (front, back) = (front.clone(), back.clone());
        async move {
            tokio::select! {
                () = front.begun() => {}
                // One of them ended; its own outcome says why.
                () = back.begun() => front.begin(),
            }
            Ok(())
        }
    });
    let behind = tokio::spawn(behind.join(BACK_DRAIN));
    let stopping = {
        let (front, readiness) = (front.clone(), readiness.clone());
        async move {
            front.begun().await;
            readiness.stopping();
        }
    };
    let deadline = args.drain() + Duration::from_secs(2);
    let (in_front, ()) = tokio::join!(in_front.join(deadline), stopping);
    back.begin();
    let behind = behind.await.context("stopping the servers")?;
    in_front.and(behind)
}

async fn start_extauth(args: &Up, parts: &Parts, tasks: &mut Tasks) -> anyhow::Result<()> {
    let listener = Listener::bind(&Addr::Unix(parts.socket("extauth"))).await?;
    let (snapshots, board, readiness) = (parts.snapshots.clone(), parts.board.clone(), parts.readiness.clone());
    let shutdown = tasks.shutdown().clone();
    let settings =
        extauth::Settings { user_id_header: args.asking.user_id_header.clone(), ..extauth::Settings::default() };
    tasks.spawn("extauth", async move {
        let front = extauth::Front { listener, acceptor: None, workers: None };
        extauth::serve(front, &settings, snapshots, board, readiness, shutdown).await
    });
    Ok(())
}

async fn start_ratelimit(args: &Up, parts: &Parts, tasks: &mut Tasks) -> anyhow::Result<(axum::Router, Gauges)> {
    let mut settings = ratelimit::server::Settings::default();
    if let Some(url) = &args.redis {
        settings.store = ratelimit::server::StoreSettings::Redis(Box::new(RedisSettings::new(url.clone())));
    }
    let listener = Listener::bind(&Addr::Unix(parts.socket("ratelimit"))).await?;
    let server =
        ratelimit::server::build(settings, parts.snapshots.clone(), parts.board.clone(), &parts.readiness, tasks)?;
    let (pages, gauges) = (server.pages(&Addr::Tcp(args.admin)), server.gauges());
    tasks.spawn("ratelimit", server.serve(listener, parts.readiness.clone(), tasks.shutdown().clone()));
    Ok((pages, gauges))
}

/// The settings of the translation for one machine.
pub fn translate_settings(trust_domain: &str) -> waypoint_translate::Settings {
    waypoint_translate::Settings {
        bind: Bind::PerGateway,
        trust_domain: trust_domain.to_owned(),
        extauth: Some(GrpcTarget::Unix("extauth.sock".to_owned())),
        ratelimit: Some(GrpcTarget::Unix("ratelimit.sock".to_owned())),
        ..waypoint_translate::Settings::default()
    }
}

async fn start_control_plane(args: &Up, parts: &Parts, tasks: &mut Tasks) -> anyhow::Result<Handle> {
    let target = |name: &str| Some(GrpcTarget::Unix(parts.socket(name).display().to_string()));
    let settings = waypoint::Settings {
        translate: waypoint_translate::Settings {
            extauth: target("extauth"),
            ratelimit: target("ratelimit"),
            limits: args.asking.limits(),
            user_header: args.asking.user_id_header.clone(),
            reserved: [args.admin].into(),
            trusted_proxies: args.asking.trusted_proxies.clone(),
            clusters_on_demand: args.asking.clusters_on_demand,
            ..translate_settings(&args.trust_domain)
        },
        listen: Listen::Unix(parts.socket("xds")),
        wait_for_envoy: true,
    };
    ControlPlane::start(settings, parts.snapshots.clone(), parts.board.clone(), tasks, &parts.readiness).await
}

fn start_envoys(args: &Up, parts: &Parts, envoy: PathBuf, handle: &Handle, tasks: &mut Tasks) -> anyhow::Result<Fleet> {
    let xds = parts.socket("xds").display().to_string();
    let bootstrap = move |gateway: &api::Name, admin: &Path| {
        let settings = BootstrapSettings {
            admin: waypoint_translate::Admin::Unix(admin.display().to_string()),
            ads: AdsServer::Unix(xds.clone()),
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
    Fleet::start(settings, handle.translation.clone(), tasks)
}

fn start_tunnel(args: &Up, parts: &Parts, handle: &Handle, tasks: &mut Tasks) -> Services {
    let (publish, plans) = watch::channel(Arc::new(Plan::default()));
    let tunnel = Tunnel::new(plans.clone(), Limits { drain: args.drain(), ..Limits::default() });
    let services = Services {
        snapshots: parts.snapshots.clone(),
        handle: handle.clone(),
        tunnel: tunnel.clone(),
        plans,
        reserved: [args.admin.into()].into(),
    };
    let shutdown = tasks.shutdown().clone();
    let gate = parts.readiness.gate("services to listen");
    let following = services.clone().follow(publish, args.trust_domain.clone(), gate, shutdown.clone());
    tasks.spawn("plans", following);
    let done = parts.tunnel_done.clone();
    tasks.spawn("tunnel", async move {
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
async fn start_sample(snapshot: &Snapshot, tasks: &mut Tasks) -> anyhow::Result<()> {
    let addresses = crate::plan::loopback_endpoints(snapshot);
    anyhow::ensure!(!addresses.is_empty(), "--sample: no EndpointSlice of the manifests has a loopback address");
    let list: Vec<_> = addresses.into_iter().collect();
    let app = sample_app::App::bind(&list).await.context("starting the sample application")?;
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("sample application", async move { app.serve(async move { shutdown.begun().await }).await });
    Ok(())
}
