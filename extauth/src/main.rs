//! `extauth PATH…`, `extauth --kubernetes`: the ext_authz service by itself.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use extauth::Front;
use extauth::settings::{Cli, Command};
use provider::{FolderSettings, Provider, StatusBoard};
use runtime::{Admin, Listener, Readiness, Shutdown, Tasks, Workers};

/// Of very many objects there are very many small pieces; this one gives each no more room than it needs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long calls under way may take to end after a signal.
const DRAIN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    runtime::memory::in_small_pages(true);
    let cli: Cli = match runtime::command_line::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match &cli.command {
        Some(Command::Validate(args)) => return extauth::validate::validate(args, &mut std::io::stdout()),
        Some(Command::Health { admin, wait }) => return runtime::health::ask(admin, *wait),
        None => {}
    }
    let done = Workers::with(cli.threads, |workers| run(cli, workers));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli, workers: Arc<Workers>) -> anyhow::Result<()> {
    let telemetry = runtime::telemetry::init("extauth", &cli.telemetry)?;
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    shutdown.on_signals().context("handling signals")?;
    let grpc = Listener::bind(&cli.grpc).await?;
    let admin = Listener::bind(&cli.admin).await?;
    tracing::info!(grpc = %grpc.local_addr()?, admin = %admin.local_addr()?, "listening");

    let (board, tls) = (StatusBoard::new(), cli.tls());
    let provider = if cli.kubernetes.kubernetes {
        let (args, namespaces) = (&cli.kubernetes, &cli.secrets.secret_namespaces);
        kubernetes::follow(args, namespaces, extauth::KINDS, board.clone(), &readiness, shutdown.clone()).await?
    } else {
        let folder = FolderSettings { allocate_vips: false, ..FolderSettings::default() };
        Provider::folder(cli.paths, folder, board.clone(), &readiness, shutdown.clone()).await?
    };

    let mut tasks = Tasks::new(shutdown.clone());
    let admin_server = Admin::new(readiness.clone(), telemetry.clone());
    tasks.spawn("admin", admin_server.serve(admin, shutdown.clone()));
    let acceptor = tls.map(|at| runtime::tls::acceptor(at, &mut tasks)).transpose()?;
    let front = Front { listener: grpc, acceptor, workers: Some(workers) };
    let (settings, snapshots) = (cli.settings, provider.watch());
    tasks.spawn("grpc", async move { extauth::serve(front, &settings, snapshots, board, readiness, shutdown).await });
    let ended = tasks.join(DRAIN).await;
    telemetry.flush();
    ended
}
