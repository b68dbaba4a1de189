//! The command line of `waypoint`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::deploy_args::DeployArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kubernetes::KubernetesArgs;
use kubernetes::identity::Accounts;
use runtime::Addr;
use runtime::telemetry::TelemetryArgs;
use runtime::tls::{ServerTls, Shown};
use waypoint::Listen;
use waypoint::classes::ClassArgs;
use waypoint::envoy_args::EnvoyArgs;
use waypoint::listen::{AUDIENCE, Proof, TlsFiles};
use waypoint::proxy::ProxySettings;
use waypoint::target::{host_and_port, target};
use waypoint::tls::TlsDir;
use waypoint_translate::GrpcTarget;

/// Reads Kubernetes resources and tells the Envoys of their Gateways what to do.
#[derive(Debug, Parser)]
#[command(name = "waypoint", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: Serve,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check manifests, print what is wrong, and exit 1 if anything is
    Validate {
        /// What to check.
        #[command(flatten)]
        check: provider::validate::ValidateArgs,
        #[command(flatten)]
        translate: Box<Translate>,
    },
    /// Print the bootstrap with which to start a Gateway's Envoy
    Bootstrap(Box<BootstrapArgs>),
    /// Run a Gateway's Envoy, in a pod that --deploy made
    Proxy(Box<ProxyArgs>),
    /// Ask a running server whether it is ready: exit 0 when it is
    Health {
        /// Its admin address
        #[arg(long, env = "WAYPOINT_ADMIN", default_value = ADMIN, value_name = "ADDR")]
        admin: Addr,
        /// Whether to wait for it
        #[command(flatten)]
        wait: runtime::health::Wait,
    },
}

/// Where the admin port is unless told otherwise.
const ADMIN: &str = "127.0.0.1:9979";

/// Settings of a bootstrap.
#[derive(Debug, Args)]
pub struct BootstrapArgs {
    /// The Gateway, as NAMESPACE/NAME
    #[arg(long, env = "WAYPOINT_GATEWAY", value_parser = gateway, value_name = "NAMESPACE/NAME")]
    pub gateway: api::Name,
    /// Where the Envoy's own admin is to listen
    #[arg(long, env = "ENVOY_ADMIN", default_value = "127.0.0.1:19000", value_name = "ADDR")]
    pub envoy_admin: Addr,
    /// Where the Envoy is to connect for xDS [default: the address of --grpc]
    #[arg(long, env = "WAYPOINT_XDS", value_name = "HOST:PORT", value_parser = host_and_port)]
    pub xds: Option<(String, u16)>,
    /// A folder to write the bootstrap to, and copies of all the files it names but no other
    #[arg(long, env = "WAYPOINT_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub listen: ListenArgs,
}

/// Settings of a Gateway's Envoy in a pod.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// The Gateway, as NAMESPACE/NAME
    #[arg(long, env = "WAYPOINT_GATEWAY", value_parser = gateway, value_name = "NAMESPACE/NAME")]
    pub gateway: api::Name,
    /// Where the control plane is
    #[arg(long, env = "WAYPOINT_XDS", value_name = "HOST:PORT", value_parser = host_and_port)]
    pub xds: (String, u16),
    /// The name that the control plane's certificate is for [default: the host of --xds]
    #[arg(long, env = "WAYPOINT_XDS_NAME", value_name = "NAME")]
    pub xds_name: Option<String>,
    /// Who signs that certificate
    #[arg(long, env = "WAYPOINT_CA", value_name = "FILE")]
    pub ca: PathBuf,
    /// The token of the pod's ServiceAccount for the audience xds.waykeeper.dev
    #[arg(long, env = "WAYPOINT_TOKEN", value_name = "FILE")]
    pub token: PathBuf,
    /// The Envoy to run
    #[arg(long, env = "ENVOY", value_name = "PATH", default_value = "/usr/local/bin/envoy")]
    pub envoy: PathBuf,
    /// The folder that is written to; what Envoy has acknowledged is kept there, for while the control plane is away
    #[arg(long, env = "WAYPOINT_RUN_DIR", value_name = "DIR", default_value = "/run/waypoint")]
    pub run_dir: PathBuf,
    /// A folder in memory for the secrets of that; without it, nothing is kept where there are secrets
    #[arg(long, env = "WAYPOINT_SECRETS_DIR", value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// Envoy's worker threads
    #[arg(long, env = "ENVOY_CONCURRENCY", value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub concurrency: u32,
    /// How long connections may take to finish when the pod is to go, in seconds
    #[arg(long, env = "DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub drain: u64,
    /// How much memory the pod may take, in bytes: four fifths of it, and 3 GiB at most, are for Envoy's heap
    #[arg(long, env = "WAYPOINT_MEMORY", value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub memory: Option<u64>,
    /// Where to serve health and metrics; Envoy's own are at /stats/prometheus
    #[arg(long, env = "WAYPOINT_ADMIN", default_value = "0.0.0.0:15021", value_name = "ADDR")]
    pub admin: SocketAddr,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

impl ProxyArgs {
    /// These flags as settings of the proxy.
    pub fn settings(&self) -> ProxySettings {
        ProxySettings {
            gateway: self.gateway.clone(),
            xds: self.xds.clone(),
            server_name: self.xds_name.clone().unwrap_or_else(|| self.xds.0.clone()),
            ca: self.ca.clone(),
            token: self.token.clone(),
            envoy: self.envoy.clone(),
            run_dir: self.run_dir.clone(),
            secrets_dir: self.secrets_dir.clone(),
            concurrency: self.concurrency,
            drain: Duration::from_secs(self.drain),
            admin: self.admin,
            memory: self.memory,
        }
    }
}

/// Settings of the server.
#[derive(Debug, Args)]
pub struct Serve {
    /// Files or folders of manifests, followed as they change
    #[arg(env = "WAYPOINT_PATHS", value_delimiter = ':', value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Where to serve health, metrics and /config
    #[arg(long, env = "WAYPOINT_ADMIN", default_value = ADMIN, value_name = "ADDR")]
    pub admin: Addr,
    #[command(flatten)]
    pub translate: Translate,
    #[command(flatten)]
    pub deploy: DeployArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// Where Envoys connect.
#[derive(Debug, Clone, Args)]
pub struct ListenArgs {
    /// Where to serve xDS: host:port, which needs TLS, or unix:PATH
    #[arg(long, env = "WAYPOINT_GRPC", default_value = "127.0.0.1:9977", value_name = "ADDR")]
    pub grpc: Addr,
    /// A folder for certificates, which are created where they are missing
    #[arg(long, env = "WAYPOINT_TLS_DIR", value_name = "DIR", conflicts_with_all = ["tls_cert", "tls_key", "client_ca"])]
    pub tls_dir: Option<PathBuf>,
    /// A name or address the created certificate is to be good for, besides localhost and that of --grpc
    #[arg(long, env = "WAYPOINT_TLS_HOST", value_name = "HOST", value_delimiter = ',')]
    pub tls_host: Vec<String>,
    /// The server's certificate
    #[arg(long, env = "WAYPOINT_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The server's key
    #[arg(long, env = "WAYPOINT_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Who signs Envoys' certificates; without it and with --kubernetes they show tokens
    #[arg(long, env = "WAYPOINT_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,
}

/// Settings of the translation.
#[derive(Debug, Clone, Args)]
pub struct Translate {
    /// Which Gateways are waypoints of ours.
    #[command(flatten)]
    pub classes: ClassArgs,
    /// The authorization service, as HOST:PORT, unix:PATH or tls://HOST:PORT?ca=FILE&cert=FILE&key=FILE;
    /// without it, routes that need it are refused
    #[arg(long, env = "WAYPOINT_EXTAUTH", value_name = "ADDR", value_parser = target)]
    pub extauth: Option<GrpcTarget>,
    /// The rate-limit service, in the same forms
    #[arg(long, env = "WAYPOINT_RATELIMIT", value_name = "ADDR", value_parser = target)]
    pub ratelimit: Option<GrpcTarget>,
    /// Where the Envoys' PROXY listeners bind. Whoever reaches one may claim any identity
    #[arg(long, env = "WAYPOINT_BIND", value_enum, default_value_t = Bind::Loopback)]
    pub bind: Bind,
    /// The mesh's trust domain
    #[arg(long, env = "WAYPOINT_TRUST_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// The namespace whose mesh policies are for the whole mesh; help is one page, and few need it
    #[arg(
        long,
        env = "WAYPOINT_ROOT_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "istio-system",
        hide = true
    )]
    pub root_namespace: String,
    /// Where Envoys find who signs for servers outside of the mesh that say issuers' keys
    #[arg(
        long,
        env = "WAYPOINT_PUBLIC_AUTHORITIES",
        value_name = "FILE",
        default_value = "/etc/ssl/certs/ca-certificates.crt",
        hide = true
    )]
    pub public_authorities: String,
    #[command(flatten)]
    pub envoys: EnvoyArgs,
}

/// Where PROXY listeners bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bind {
    /// 127.0.0.1: what feeds the Envoy is in its pod
    Loopback,
    /// All addresses: what feeds the Envoy comes over a network
    Any,
}

impl ListenArgs {
    /// The folder of certificates, opened, if one was given.
    pub fn open_tls_dir(&self) -> anyhow::Result<Option<TlsDir>> {
        let mut hosts = vec!["localhost".to_owned()];
        if let Addr::Tcp(addr) = self.grpc {
            hosts.push(addr.ip().to_string());
        }
        hosts.extend(self.tls_host.iter().cloned());
        self.tls_dir.as_deref().map(|dir| TlsDir::open(dir, &hosts)).transpose()
    }

    /// What to listen on, for Envoys of the cluster that is followed if there is one.
    pub async fn listen(&self, dir: Option<&TlsDir>, cluster: &KubernetesArgs) -> anyhow::Result<Listen> {
        if let (Addr::Tcp(addr), true, None, None) = (&self.grpc, cluster.kubernetes, &self.client_ca, dir) {
            let proof = match (&self.tls_cert, &self.tls_key) {
                (Some(cert), Some(key)) => {
                    Proof::Files(ServerTls { cert: cert.clone(), key: key.clone(), client_ca: None, client_san: None })
                }
                _ => Proof::Shown(Shown::default()),
            };
            return Ok(Listen::Tokens(*addr, proof, Accounts::new(cluster, AUDIENCE).await?));
        }
        let given = match (&self.tls_cert, &self.tls_key, &self.client_ca) {
            (Some(cert), Some(key), Some(ca)) => {
                Some(TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: ca.clone() })
            }
            _ => None,
        };
        Listen::new(&self.grpc, given.or(dir.map(TlsDir::server))).map_err(anyhow::Error::msg)
    }
}

impl Translate {
    /// These flags as settings of the translation.
    pub fn settings(&self) -> waypoint_translate::Settings {
        waypoint_translate::Settings {
            class_names: self.classes.names(),
            controller_name: self.classes.controller_name.clone(),
            extauth: self.extauth.clone(),
            ratelimit: self.ratelimit.clone(),
            trust_domain: self.trust_domain.clone(),
            root_namespace: self.root_namespace.clone(),
            public_authorities: self.public_authorities.clone(),
            limits: self.envoys.limits(),
            user_header: self.envoys.user_id_header.clone(),
            trusted_proxies: self.envoys.trusted_proxies.clone(),
            access_log: self.envoys.access_log(),
            clusters_on_demand: self.envoys.clusters_on_demand,
            bind: match self.bind {
                Bind::Loopback => waypoint_translate::Bind::Loopback,
                Bind::Any => waypoint_translate::Bind::Any,
            },
            ..waypoint_translate::Settings::default()
        }
    }
}

fn gateway(text: &str) -> Result<api::Name, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(api::Name::new(namespace, name)),
        _ => Err("write NAMESPACE/NAME".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        assert!(gateway("shop/gateway").is_ok() && gateway("gateway").is_err());
    }
}
