//! `ratelimit`: the rate-limit service as a process of its own.

use api::Reader;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kubernetes::KubernetesArgs;
use provider::validate::ValidateArgs;
use provider::{FolderSettings, StatusBoard};
use ratelimit::dropin::{env, process};
use ratelimit::rules::config::{DOMAINS, WeightScope};
use ratelimit::server::explain::gauges::GaugeSettings;
use ratelimit::server::settings::{COUNTERS, REMOVED_GRACE, Settings, StoreSettings};
use ratelimit::store::WhenFull;
use ratelimit::store::redis::RedisArgs;
use runtime::process::exit_code;
use runtime::telemetry::TelemetryArgs;
use runtime::tls::ServerTls;
use runtime::{Addr, Listener, Process, Stage, Workers};

/// Many small pieces come and go with each request; this one finds them sooner than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    Validate(ValidateArgs),
    /// Asks a running server whether it is ready; exits 0 when it is.
    Health {
        /// Its admin address.
        #[arg(long, env = "RATELIMIT_ADMIN", default_value = ADMIN, value_name = "ADDR")]
        admin: Addr,
        /// Whether to wait for it.
        #[command(flatten)]
        wait: runtime::health::Wait,
    },
}

/// Where the admin port is unless told otherwise.
const ADMIN: &str = "127.0.0.1:8080";

#[derive(Debug, Args)]
struct Serve {
    /// Files with manifests, or folders of them, watched.
    #[arg(env = "RATELIMIT_PATHS", value_delimiter = ':')]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    kubernetes: KubernetesArgs,
    /// Where to serve gRPC: an address, or unix:PATH.
    #[arg(long, env = "RATELIMIT_GRPC", default_value = "127.0.0.1:8081", value_name = "ADDR")]
    grpc: Addr,
    /// Where to serve /readyz, /metrics, /explain and more.
    #[arg(long, env = "RATELIMIT_ADMIN", default_value = ADMIN, value_name = "ADDR")]
    admin: Addr,
    /// PEM files to serve TLS with, tls.crt and tls.key; may be replaced.
    #[arg(long, env = "RATELIMIT_GRPC_TLS", value_name = "FOLDER")]
    grpc_tls: Option<PathBuf>,
    /// Let in only clients with a certificate of these authorities, PEM.
    #[arg(long, env = "RATELIMIT_GRPC_CLIENT_CA", value_name = "FILE", requires = "grpc_tls")]
    grpc_client_ca: Option<PathBuf>,
    /// And of these only those whose certificate has this name; help is one page, and few need it.
    #[arg(long, env = "RATELIMIT_GRPC_CLIENT_NAME", value_name = "NAME", hide = true, requires = "grpc_client_ca")]
    grpc_client_name: Option<String>,
    /// Seconds after which a connection is asked to end [default: never].
    #[arg(long, env = "RATELIMIT_MAX_CONNECTION_AGE", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_connection_age: Option<u64>,
    /// Threads that answer; by itself up to 4.
    #[arg(long, env = "RATELIMIT_THREADS", value_parser = Workers::parse_count, value_name = "N")]
    threads: Option<usize>,
    /// The most counters to keep in memory.
    #[arg(long, env = "RATELIMIT_COUNTERS", default_value_t = COUNTERS, value_name = "N")]
    counters: usize,
    /// What becomes of values beyond those.
    #[arg(long, env = "RATELIMIT_WHEN_FULL", value_name = "HOW", value_enum, default_value_t = Full::Coarse)]
    when_full: Full,
    /// Seconds for which removed rules are still answered, while Envoys learn of it; help is one page, and few need it.
    #[arg(long, env = "RATELIMIT_REMOVED_GRACE", value_name = "N", hide = true, default_value_t = REMOVED_GRACE.as_secs(), value_parser = clap::value_parser!(u64).range(0..=3600))]
    removed_grace: u64,
    /// A domain to answer for; may be repeated; * for any.
    #[arg(long = "domain", env = "RATELIMIT_DOMAINS", value_delimiter = ',', default_values_t = DOMAINS.map(str::to_owned), value_name = "NAME")]
    domains: Vec<String>,
    /// Whose weights are compared.
    #[arg(long, env = "RATELIMIT_WEIGHT_SCOPE", value_name = "OF", value_enum, default_value_t = Weights::Config)]
    weight_scope: Weights,
    /// The most series of limits and what is left on /metrics, the fullest; 0 for none.
    #[arg(long, env = "RATELIMIT_GAUGES", default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=1000), value_name = "N")]
    gauges: u16,
    /// Show counters there by name, with values clients sent: secrets may be among them.
    #[arg(long, env = "RATELIMIT_GAUGE_VALUES")]
    gauge_values: bool,
    /// Servers that hand out quotas (RLQS): each its part of every limit.
    #[arg(long, env = "RATELIMIT_QUOTA_REPLICAS", default_value_t = NonZeroU32::MIN, value_name = "N")]
    quota_replicas: NonZeroU32,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    // Last: its heading holds for whatever comes after.
    #[command(flatten)]
    redis: RedisArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Full {
    /// Counted together with other values of their rule.
    Coarse,
    /// Over their limit.
    Deny,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Weights {
    /// Of the same RateLimitConfig.
    Config,
    /// All the request matches.
    Request,
}

impl Serve {
    fn settings(&self, workers: Arc<Workers>) -> anyhow::Result<Settings> {
        let tls = self.grpc_tls.as_ref().map(|folder| ServerTls::in_folder(folder, self.grpc_client_ca.clone()));
        Ok(Settings {
            tls: tls.map(|tls| tls.for_clients_named(self.grpc_client_name.clone())),
            max_connection_age: self.max_connection_age.map(Duration::from_secs),
            workers: Some(workers),
            domains: self.domains.clone(),
            weights: match self.weight_scope {
                Weights::Config => WeightScope::Config,
                Weights::Request => WeightScope::Request,
            },
            store: match self.redis.settings()? {
                None => StoreSettings::Memory {
                    counters: self.counters,
                    when_full: match self.when_full {
                        Full::Coarse => WhenFull::Coarse,
                        Full::Deny => WhenFull::Deny,
                    },
                },
                Some(settings) => StoreSettings::Redis(Box::new(settings)),
            },
            removed_grace: Duration::from_secs(self.removed_grace),
            gauges: GaugeSettings { most: self.gauges.into(), values: self.gauge_values },
            quota_replicas: self.quota_replicas,
        })
    }
}

fn main() -> ExitCode {
    // Before our own arguments are read: that server's variables mean other things under the same names.
    let vars = std::env::vars().collect();
    if std::env::args_os().len() == 1 && env::is_meant(&vars) {
        return in_place(&vars);
    }
    let cli: Cli = match runtime::command_line::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match cli.command {
        Some(Command::Validate(args)) => ratelimit::check::validate(&args, &mut std::io::stdout()),
        Some(Command::Health { admin, wait }) => runtime::health::ask(&admin, wait),
        None if cli.serve.paths.is_empty() && !cli.serve.kubernetes.kubernetes => {
            complain("no manifests to read: name at least one file or folder, or --kubernetes; see --help");
            complain(
                "(in place of envoyproxy/ratelimit: no arguments, and at least RUNTIME_ROOT and RUNTIME_SUBDIRECTORY)",
            );
            ExitCode::from(runtime::EXIT_USAGE)
        }
        None => exit_code("ratelimit", Workers::with(cli.serve.threads, |workers| serve(cli.serve, workers))),
    }
}

/// Runs in place of envoyproxy/ratelimit.
fn in_place(vars: &BTreeMap<String, String>) -> ExitCode {
    match env::read(vars) {
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| complain(mistake));
            ExitCode::from(runtime::EXIT_USAGE)
        }
        Ok(settings) => {
            let count = vars.get("RATELIMIT_THREADS").and_then(|text| Workers::parse_count(text).ok());
            exit_code("ratelimit", Workers::with(count, |workers| process::run(settings, workers)))
        }
    }
}

async fn serve(args: Serve, workers: Arc<Workers>) -> anyhow::Result<()> {
    let mut process = Process::start("ratelimit", &args.telemetry)?;
    process.set_drain(Stage::Server, DRAIN);
    let grpc = Listener::bind(&args.grpc).await?;
    let admin = process.bind_admin(&args.admin).await?;
    tracing::info!(grpc = %grpc.local_addr()?, %admin, "listening");
    let (settings, board) = (args.settings(workers)?, StatusBoard::new());
    let readiness = process.readiness().clone();
    process.add_pages(provider::page::status(board.clone(), args.paths.clone(), readiness, |_| {}));
    let cluster = (&args.kubernetes, &[][..], Reader::RateLimits);
    let snapshots =
        kubernetes::follow_either(cluster, (args.paths, FolderSettings::default()), board.clone(), &mut process)
            .await?;
    ratelimit::server::build(settings, grpc, snapshots, board, &mut process)?;
    process.run().await
}

#[allow(clippy::print_stderr)]
fn complain(text: &str) {
    eprintln!("{text}");
}
