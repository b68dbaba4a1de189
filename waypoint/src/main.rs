//! The `waypoint` server: the control plane alone, on a folder of manifests or on Kubernetes.
#![allow(clippy::print_stdout, reason = "bootstrap prints")]

mod args;
mod deploy_args;

use api::Reader;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kubernetes::Leading;
use kubernetes::authority::Store;
use kubernetes::managing::Manager;
use provider::validate::{Author, ValidateArgs};
use provider::{FolderSettings, StatusBoard};
use runtime::process::exit_code;
use runtime::{Addr, Process, Shutdown, Stage};
use tokio::sync::watch;
use waypoint::authority::{AskedServer, Authority};
use waypoint::listen::Proof;
use waypoint::{Follows, Listen};
use waypoint_translate::{AdsServer, BootstrapSettings, UpstreamTls};

use crate::args::{BootstrapArgs, Cli, Command, ProxyArgs, Serve, Translate};

/// Thousands of objects are kept in very many small allocations. mimalloc takes less memory for each than the system's
/// allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long tasks may take to finish once asked to.
const STOPPING: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    runtime::memory::in_small_pages(true);
    let cli: Cli = match runtime::command_line::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let result = match cli.command {
        Some(Command::Validate { check, translate }) => Ok(validate(&check, &translate)),
        Some(Command::Bootstrap(settings)) => bootstrap(&settings),
        Some(Command::Proxy(args)) => run(proxy(&args)),
        Some(Command::Health { admin, wait }) => Ok(runtime::health::ask(&admin, wait)),
        None if cli.serve.paths.is_empty() && !cli.serve.kubernetes.kubernetes => {
            eprintln!("waypoint: name at least one file or folder of manifests, or --kubernetes; see waypoint --help");
            return ExitCode::from(runtime::EXIT_USAGE);
        }
        None => run(serve(cli.serve)),
    };
    result.unwrap_or_else(|error| exit_code("waypoint", Err(error)))
}

fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting")?;
    runtime.block_on(work).map(|()| ExitCode::SUCCESS)
}

async fn proxy(args: &ProxyArgs) -> anyhow::Result<()> {
    let mut process = Process::start("waypoint", &args.telemetry)?;
    waypoint::proxy::build(args.settings(), &mut process).await?;
    process.run().await
}

async fn serve(mut args: Serve) -> anyhow::Result<()> {
    args.kubernetes.controller = Some(args.translate.classes.controller_name.clone());
    let mut process = Process::start("waypoint", &args.telemetry)?;
    process.set_drain(Stage::Server, STOPPING);
    let tls = args.listen.open_tls_dir()?;
    let listen = args.listen.listen(tls.as_ref(), &args.kubernetes).await?;
    let admin = process.bind_admin(&args.admin).await?;
    let board = StatusBoard::new();
    let readiness = process.readiness().clone();
    process.add_pages(provider::page::status(board.clone(), args.paths.clone(), readiness, |_| {}));
    let cluster = (&args.kubernetes, &[][..], Reader::ControlPlane);
    let (trust, trusted) = watch::channel(None);
    let shown = match &listen {
        Listen::Tokens(_, Proof::Shown(shown), _) => Some(shown.clone()),
        _ => None,
    };
    let deploy = args.deploy.settings(&args.translate.classes, shown.as_ref().map(|_| trusted.clone()))?;
    let mut translate = args.translate.settings();
    translate.ztunnel = args.kubernetes.kubernetes;
    let servers = AskedServer::all(&translate);
    let (snapshots, leading) =
        kubernetes::follow_and_lead(cluster, (args.paths, FolderSettings::default()), board.clone(), &mut process)
            .await?;
    let trusted = (!servers.is_empty()).then_some(trusted);
    if shown.is_some() || trusted.is_some() {
        let leading = leading.clone().context(
            "without --tls-cert, and for mtls://, the replica that writes --statuses of --kubernetes keeps an authority: \
             give a certificate, or --tls-dir, and tls:// with files",
        )?;
        let names = args.listen.tls_host.iter().cloned().chain(args.deploy.names()).chain(["localhost".to_owned()]);
        let store = Store::new(&args.kubernetes).await?;
        let authority = Authority { store, shows: shown.map(|shown| (shown, names.collect())), servers, leading };
        let (readiness, shutdown) = (process.readiness().clone(), process.shutdown(Stage::Behind));
        process.spawn(Stage::Behind, "authority", waypoint::authority::keep(authority, trust, readiness, shutdown));
    }
    translate.reserved.extend([&args.admin, &args.listen.grpc].into_iter().filter_map(|address| match address {
        Addr::Tcp(address) => Some(*address),
        Addr::Unix(_) => None,
    }));
    let reached_where_it_listens = !args.kubernetes.kubernetes;
    let turn = leading.as_ref().map(Leading::alone);
    let settings =
        waypoint::Settings { translate, listen, wait_for_envoy: false, reached_where_it_listens, turn, trusted };
    let handle = waypoint::build(settings, snapshots.clone(), board.clone(), &mut process).await?;
    if let Some(deploy) = deploy {
        let leading = leading.context("--deploy needs --kubernetes, and one replica that writes --statuses")?;
        let manager = Manager::new(&args.kubernetes).await?;
        let follows = Follows { snapshots, translation: handle.translation.clone(), leading };
        let (readiness, shutdown) = (process.readiness().clone(), process.shutdown(Stage::Behind));
        let deploying = waypoint::deploy(deploy, manager, follows, board, readiness, shutdown);
        process.spawn(Stage::Behind, "deployer", deploying);
    }
    if let Some(tls) = tls {
        let shutdown = process.shutdown(Stage::Behind);
        process.spawn(Stage::Behind, "client certificates", issue(tls, handle.clone(), shutdown));
    }
    tracing::info!(xds = %handle.address, %admin, "serving");
    process.run().await
}

/// Every Gateway's Envoy finds its certificate in the folder before it is started.
async fn issue(tls: waypoint::tls::TlsDir, mut handle: waypoint::Handle, shutdown: Shutdown) -> anyhow::Result<()> {
    loop {
        let gateways: Vec<_> = handle.served.borrow_and_update().keys().cloned().collect();
        for gateway in gateways {
            if let Err(error) = tls.client(&gateway) {
                tracing::error!(%gateway, error = format!("{error:#}"), "no certificate for this Gateway's Envoy");
            }
        }
        tokio::select! {
            () = shutdown.begun() => return Ok(()),
            changed = handle.served.changed() => if changed.is_err() {
                // The control plane stops when everything does, and may be the first to do so.
                anyhow::ensure!(shutdown.is_begun(), "the control plane ended");
                return Ok(());
            },
        }
    }
}

fn validate(check: &ValidateArgs, translate: &Translate) -> ExitCode {
    let settings = translate.settings();
    let author =
        Author::new(waypoint::AUTHOR, |snapshot| waypoint_translate::translate(snapshot, &settings).into_report());
    provider::validate::run(check, None, &[author], &mut std::io::stdout())
}

fn bootstrap(settings: &BootstrapArgs) -> anyhow::Result<ExitCode> {
    let (gateway, listen) = (&settings.gateway, &settings.listen);
    let ads = match (&listen.grpc, listen.open_tls_dir()?) {
        (Addr::Unix(path), _) => AdsServer::Unix(path.display().to_string()),
        (Addr::Tcp(addr), Some(tls)) => {
            let mut files = tls.client(gateway)?;
            if let Some(out) = &settings.out {
                files = files.copy_to(out)?;
            }
            let (host, port) = settings.xds.clone().unwrap_or_else(|| (addr.ip().to_string(), addr.port()));
            // A name is checked against the certificate as it is; for an address there is a name to go by.
            let named = settings.xds.is_some() && host.parse::<std::net::IpAddr>().is_err();
            let other = listen.tls_host.first().cloned().unwrap_or_else(|| "localhost".to_owned());
            let tls = UpstreamTls {
                server_name: if named { host.clone() } else { other },
                ca: files.ca.display().to_string(),
                client: Some((files.cert.display().to_string(), files.key.display().to_string())),
            };
            AdsServer::Tls { host, port, tls }
        }
        (Addr::Tcp(_), None) => {
            bail!("give --tls-dir DIR, the folder with this Gateway's certificate, or --grpc unix:PATH")
        }
    };
    let admin = match &settings.envoy_admin {
        Addr::Unix(path) => waypoint_translate::Admin::Unix(path.display().to_string()),
        Addr::Tcp(addr) => waypoint_translate::Admin::Tcp(*addr),
    };
    let text =
        format!("{:#}\n", waypoint_translate::bootstrap(gateway, &BootstrapSettings { admin, ads, memory: None }));
    match &settings.out {
        Some(out) => waypoint::tls::write_private(&out.join("bootstrap.json"), &text)?,
        None => print!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}
