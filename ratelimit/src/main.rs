//! `ratelimit`: the rate-limit service as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use provider::{FolderSettings, Provider, StatusBoard};
use ratelimit::config::{Configs, Scope, WeightScope};
use ratelimit::settings::{COUNTERS, DOMAINS, Settings, StoreSettings};
use ratelimit::store::redis::RedisArgs;
use runtime::telemetry::TelemetryArgs;
use runtime::{Addr, Admin, Listener, Readiness, Shutdown, Tasks};

/// How long calls under way may take to finish after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);

/// Answers Envoy's rate-limit requests from RateLimitConfigs.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks manifests and says what is wrong with them.
    Validate {
        /// Files, or folders of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Files with manifests, or folders of them; changes take effect at once.
    #[arg(env = "RATELIMIT_PATHS", value_delimiter = ':')]
    paths: Vec<PathBuf>,
    /// Where to serve gRPC: an address, or unix:PATH.
    #[arg(long, env = "RATELIMIT_GRPC", default_value = "127.0.0.1:8081", value_name = "ADDR")]
    grpc: Addr,
    /// Where to serve /livez, /readyz, /metrics, /logging and /rlconfig.
    #[arg(long, env = "RATELIMIT_ADMIN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    admin: Addr,
    #[command(flatten)]
    redis: RedisArgs,
    /// The most counters to keep in memory.
    #[arg(long, env = "RATELIMIT_COUNTERS", default_value_t = COUNTERS, value_name = "N")]
    counters: usize,
    /// A domain to answer for; may be repeated; * for any.
    #[arg(long = "domain", env = "RATELIMIT_DOMAINS", value_delimiter = ',', default_values_t = DOMAINS.map(str::to_owned), value_name = "NAME")]
    domains: Vec<String>,
    /// Among which rules a weight is compared.
    #[arg(long, env = "RATELIMIT_WEIGHT_SCOPE", value_enum, default_value_t = Weights::Config)]
    weight_scope: Weights,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Weights {
    /// Of the same RateLimitConfig.
    Config,
    /// All the request matches.
    Request,
}

impl Serve {
    fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings {
            domains: self.domains.clone(),
            weights: match self.weight_scope {
                Weights::Config => WeightScope::Config,
                Weights::Request => WeightScope::Request,
            },
            store: match self.redis.settings()? {
                None => StoreSettings::Memory { counters: self.counters },
                Some(settings) => StoreSettings::Redis(Box::new(settings)),
            },
        })
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Validate { paths }) => validate(&paths),
        None if cli.serve.paths.is_empty() => {
            complain("no manifests to read: name at least one file or folder; see --help");
            ExitCode::from(runtime::EXIT_USAGE)
        }
        None => match serve(cli.serve) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("{error:#}"));
                ExitCode::FAILURE
            }
        },
    }
}

#[tokio::main]
async fn serve(args: Serve) -> anyhow::Result<()> {
    let telemetry = runtime::telemetry::init("ratelimit", &args.telemetry)?;
    let shutdown = Shutdown::new();
    shutdown.on_signals().context("listening for signals")?;
    let readiness = Readiness::new();
    let grpc = Listener::bind(&args.grpc).await?;
    let admin = Listener::bind(&args.admin).await?;

    let board = StatusBoard::new();
    let settings = args.settings()?;
    let provider = Provider::folder(args.paths, FolderSettings::default(), board.clone(), shutdown.clone()).await?;
    let mut tasks = Tasks::new(shutdown.clone());
    let server = ratelimit::build(settings, provider.watch(), board, &readiness, &mut tasks)?;
    tracing::info!(grpc = %grpc.local_addr()?, admin = %admin.local_addr()?, "listening");
    let pages = Admin::new(readiness.clone(), telemetry.clone()).merge(server.admin.clone());
    tasks.spawn("admin", pages.serve(admin, shutdown.clone()));
    tasks.spawn("grpc", server.serve(grpc, readiness, shutdown));
    let outcome = tasks.join(DRAIN).await;
    telemetry.flush();
    outcome
}

/// Prints every mistake; the exit code says whether one of them is an error.
fn validate(paths: &[PathBuf]) -> ExitCode {
    let loaded = provider::load(paths);
    let mut good = true;
    for file in &loaded.files {
        for problem in &file.problems {
            good = false;
            let place = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
            complain(&format!("{}{place}: {}", file.path.display(), problem.message));
        }
    }
    let ours = Configs::new(Scope { domains: Arc::default(), weights: WeightScope::default() });
    for (object, statuses) in { ours }.update(&loaded.snapshot).report {
        for condition in statuses.iter().flat_map(|status| &status.conditions) {
            good &= condition.status != Some(false);
            condition.problems.iter().for_each(|problem| complain(&format!("{object}: {problem}")));
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[allow(clippy::print_stderr)]
fn complain(text: &str) {
    eprintln!("{text}");
}
