//! `extauth PATH…`, `extauth --kubernetes`: the ext_authz service by itself.

use api::Reader;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use extauth::Front;
use extauth::settings::{Cli, Command};
use provider::{FolderSettings, StatusBoard};
use runtime::{Listener, Process, Stage, Workers};

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
    runtime::process::exit_code("extauth", Workers::with(cli.threads, |workers| run(cli, workers)))
}

async fn run(cli: Cli, workers: Arc<Workers>) -> anyhow::Result<()> {
    let mut process = Process::start("extauth", &cli.telemetry)?;
    process.set_drain(Stage::Server, DRAIN);
    let listener = Listener::bind(&cli.grpc).await?;
    let admin = process.bind_admin(&cli.admin).await?;
    tracing::info!(grpc = %listener.local_addr()?, %admin, "listening");
    let (front, board) = (Front { listener, tls: cli.tls(), workers: Some(workers) }, StatusBoard::new());
    let readiness = process.readiness().clone();
    process.add_pages(provider::page::status(board.clone(), cli.paths.clone(), readiness, |_| {}));
    let cluster = (&cli.kubernetes, &*cli.secrets.secret_namespaces, Reader::Authorization);
    let folder = (cli.paths, FolderSettings { allocate_vips: false, ..FolderSettings::default() });
    let snapshots = kubernetes::follow_either(cluster, folder, board.clone(), &mut process).await?;
    extauth::build(front, &cli.settings, snapshots, board, &mut process)?;
    process.run().await
}
