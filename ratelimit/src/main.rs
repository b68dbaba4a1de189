//! `ratelimit`: the rate-limit service as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use provider::{FolderSettings, Provider, StatusBoard};
use ratelimit::config::WeightScope;
use ratelimit::settings::{COUNTERS, DOMAINS, Settings, StoreSettings};
use ratelimit::store::redis::{RedisSettings, RedisUrl};
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
    /// Where to serve /livez, /readyz, /metrics, /logging, /rlconfig, /explain and /counters.
    #[arg(long, env = "RATELIMIT_ADMIN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    admin: Addr,
    /// Redis to count in: redis://, rediss:// or unix:PATH; else counters are in memory.
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis: Option<RedisUrl>,
    /// What all keys in Redis begin with.
    #[arg(long, env = "REDIS_PREFIX", default_value = "waykeeper:", value_name = "TEXT")]
    redis_prefix: String,
    /// How long a request may wait for Redis, in milliseconds.
    #[arg(long, env = "REDIS_BUDGET_MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000), value_name = "MS")]
    redis_budget_ms: u64,
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
    fn settings(&self) -> Settings {
        Settings {
            domains: self.domains.clone(),
            weights: match self.weight_scope {
                Weights::Config => WeightScope::Config,
                Weights::Request => WeightScope::Request,
            },
            store: match self.redis.clone() {
                None => StoreSettings::Memory { counters: self.counters },
                Some(url) => StoreSettings::Redis(Box::new(RedisSettings {
                    url,
                    prefix: self.redis_prefix.clone(),
                    budget: Duration::from_millis(self.redis_budget_ms),
                })),
            },
        }
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
    let settings = args.settings();
    let provider = Provider::folder(args.paths, FolderSettings::default(), board.clone(), shutdown.clone()).await?;
    let mut tasks = Tasks::new(shutdown.clone());
    let server = ratelimit::build(settings, provider.watch(), board, &readiness, &mut tasks)?;
    tracing::info!(grpc = %grpc.local_addr()?, admin = %admin.local_addr()?, "listening");
    let pages = Admin::new(readiness.clone(), telemetry.clone()).merge(server.pages(&admin.local_addr()?));
    tasks.spawn("admin", pages.serve(admin, shutdown.clone()));
    tasks.spawn("grpc", server.serve(grpc, readiness, shutdown));
    let outcome = tasks.join(DRAIN).await;
    telemetry.flush();
    outcome
}

/// Prints every mistake; the exit code says whether one of them is an error.
fn validate(paths: &[PathBuf]) -> ExitCode {
    let checked = ratelimit::check::check(paths, WeightScope::default());
    checked.errors.iter().chain(&checked.warnings).for_each(|complaint| complain(complaint));
    if checked.good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[allow(clippy::print_stderr)]
fn complain(text: &str) {
    eprintln!("{text}");
}
