//! What the operator decides; everything else is declared in objects.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use api::contract;
use ipnet::IpNet;

/// Settings of the translation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `gatewayClassName`s we serve.
    pub class_names: BTreeSet<String>,
    /// Our name in `GatewayClass.spec.controllerName`.
    pub controller_name: String,
    /// Where PROXY listeners bind.
    pub bind: Bind,
    /// The authorization service; without it, routes that need it answer 403.
    pub extauth: Option<GrpcTarget>,
    /// The rate-limit service; without it, nothing is limited.
    pub ratelimit: Option<GrpcTarget>,
    /// How the rate-limit service is asked.
    pub limits: LimitSettings,
    /// Networks whose X-Forwarded-For is believed. From anywhere else
    /// the address of the connection counts: whoever could write his own would escape limits by address.
    pub trusted_proxies: Vec<IpNet>,
    /// The header by which applications and limits for each user learn who calls, in lower case.
    /// Every check says it, so that the authorization service sets the same one.
    pub user_header: String,
    /// Addresses of ours, besides those of listeners and servers: no Service may point at them.
    pub reserved: BTreeSet<SocketAddr>,
    /// The mesh's trust domain.
    pub trust_domain: String,
    /// The namespace whose mesh policies are for the whole mesh.
    pub root_namespace: String,
    /// Whether there is a ztunnel, which guards workloads. Where there is none, connections to workloads that are to
    /// be guarded are refused.
    pub ztunnel: bool,
    /// In which form Envoys write a line for each request and each connection that is not read; none for no lines.
    pub access_log: Option<AccessLog>,
    /// Where Envoys find, as PEM, who signs for servers outside of the mesh that they ask for the keys of issuers.
    pub public_authorities: String,
    /// Whether Envoys are told of the clusters of Services once they need them, not before.
    pub clusters_on_demand: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            class_names: BTreeSet::from(["gloo-waypoint".to_owned()]),
            controller_name: contract::CONTROLLER_NAME.to_owned(),
            bind: Bind::Loopback,
            extauth: None,
            ratelimit: None,
            limits: LimitSettings::default(),
            trusted_proxies: Vec::new(),
            user_header: contract::USER_HEADER.to_owned(),
            reserved: BTreeSet::new(),
            trust_domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            ztunnel: true,
            access_log: None,
            public_authorities: "/etc/ssl/certs/ca-certificates.crt".to_owned(),
            clusters_on_demand: false,
        }
    }
}

/// The form of an access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// The line of Istio's waypoints.
    Text,
    /// An object with Istio's fields, and the Service.
    Json,
}

/// How the rate-limit service is asked: what Gloo's `Settings.ratelimitServer` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// How long an answer may take (`requestTimeout`).
    pub timeout: Duration,
    /// Whether no answer is a refusal (`denyOnFail`).
    pub deny_on_fail: bool,
    /// Whether `rateLimitConfigs` are asked before authorization (`rateLimitBeforeAuth`).
    pub before_auth: bool,
    /// Whether responses carry `x-ratelimit-*` headers (`enableXRatelimitHeaders`).
    pub headers: bool,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(100), deny_on_fail: false, before_auth: false, headers: false }
    }
}

/// Where PROXY listeners bind. Whoever reaches one may claim any identity, so the fewer the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bind {
    /// 127.0.0.1: in a pod, where only the node's ztunnel enters.
    #[default]
    Loopback,
    /// A loopback address of each Gateway's own: several of them on one machine.
    PerGateway,
    /// All addresses: for a ztunnel that dials the pod's.
    Any,
}

/// A gRPC service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrpcTarget {
    /// A Unix socket.
    Unix(String),
    /// A host, by name or address, and port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A host and port, over TLS.
    Tls {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Whom to trust there, and who Envoy is.
        tls: UpstreamTls,
    },
    /// A host and port, over TLS in which both sides prove who they are. Whom Envoy trusts there, and what it shows, it is
    /// told beside its configuration.
    Mutual {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// The name or address its certificate must be for.
        server_name: String,
    },
}

/// TLS towards a server of ours. Files are PEM, and where Envoy sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name or address its certificate must be for.
    pub server_name: String,
    /// Who signs its certificate.
    pub ca: String,
    /// Envoy's own certificate and key, if it is to show one.
    pub client: Option<(String, String)>,
}
