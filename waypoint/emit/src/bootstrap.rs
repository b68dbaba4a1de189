//! What an Envoy is started with: who it is, and where its configuration comes from.

use ir::{Name, UpstreamTls};
use serde_json::{Value, json};

use crate::{ads, names, packed, tls};

/// The most connections from callers.
const MOST_CONNECTIONS: u32 = 100_000;

/// The most memory in use, in bytes: enough for ten thousand Services, and for as many connections beside them.
const MOST_HEAP: u64 = 3 << 30;
/// Of the memory that there is, so much is Envoy's heap at most, in percent: what is beside it has to fit, too.
const HEAP_SHARE: u64 = 80;

/// The most memory in use where there is so much of it.
fn most_heap(memory: Option<u64>) -> u64 {
    memory.map_or(MOST_HEAP, |memory| (memory / 100 * HEAP_SHARE).clamp(1, MOST_HEAP))
}

/// What [`bootstrap`] needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapSettings {
    /// Where Envoy's own admin interface listens.
    pub admin: Admin,
    /// Where the control plane serves ADS.
    pub ads: AdsServer,
    /// How much memory there is for Envoy and whoever runs it, in bytes, if that is known.
    pub memory: Option<u64>,
}

/// An admin address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// A Unix socket.
    Unix(String),
    /// Address and port.
    Tcp(std::net::SocketAddr),
}

/// The control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdsServer {
    /// On a Unix socket, which guards itself.
    Unix(String),
    /// Over TCP, by mutual TLS with these files, which may be renewed in place.
    Tls {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
        /// Whom to trust there, and who Envoy is.
        tls: UpstreamTls,
    },
}

/// The name by which an Envoy of `gateway` asks for its configuration.
pub fn node_id(gateway: &Name) -> String {
    format!("{}~{}", gateway.namespace, gateway.name)
}

/// The bootstrap of an Envoy of `gateway`.
pub fn bootstrap(gateway: &Name, settings: &BootstrapSettings) -> Value {
    let admin = match &settings.admin {
        Admin::Unix(path) => json!({"pipe": {"path": path}}),
        Admin::Tcp(address) => {
            json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
        }
    };
    let xds = json!({"envoy_grpc": {
        "cluster_name": "xds",
        // Envoy would wait longer and longer for a control plane that is away.
        "retry_policy": {"retry_back_off": {"base_interval": "0.500s", "max_interval": "5s"}},
    }});
    json!({
        "node": {"id": node_id(gateway), "cluster": node_id(gateway)},
        "admin": {"address": admin},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [xds],
            },
            "lds_config": ads(),
            "cds_config": ads(),
        },
        "static_resources": {"clusters": [xds_cluster(&settings.ads)]},
        "layered_runtime": {"layers": [{
            "name": "static",
            "static_layer": {
                // Envoy warns at every start where these bounds are not set.
                "re2": {"max_program_size": {"error_level": 1000}},
                // An answer that is the last on a connection inside Envoy would be lost to a reset behind it.
                "envoy.reloadable_features.enable_send_rst_on_user_space_socket": false,
                // A request that has waited for its cluster goes on where it waited. Begun anew, it would find no
                // scope: the header that names it is gone by then.
                "envoy.reloadable_features.on_demand_cluster_no_recreate_stream": true,
            },
        }]},
        "overload_manager": overload_manager(most_heap(settings.memory)),
        // For the listener at which connections are read as they begin.
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": packed("envoy.extensions.bootstrap.internal_listener.v3.InternalListener", json!({})),
        }],
        "stats_config": stats(),
        // Most of ten thousand clusters are never asked for anything.
        "deferred_stat_options": {"enable_deferred_creation_stats": true},
    })
}

/// How names of statistics are taken apart into labels: as Envoy does by itself, but for the names of clusters, which
/// have dots in them.
fn stats() -> Value {
    let usual = [
        "fault_downstream_cluster",
        "http_conn_manager_prefix",
        "http_user_agent",
        "listener_address",
        "proxy_protocol_version",
        "ratelimit_prefix",
        "rds_route_config",
        "response_code",
        "response_code_class",
        "route",
        "scoped_rds_config",
        "ssl_cipher",
        "tcp_prefix",
        "virtual_cluster",
        "virtual_host",
        "worker_id",
    ];
    let domain = regex::escape(names::CLUSTER_DOMAIN);
    let cluster = format!(r"^cluster\.((inbound-vip\|\d+\|\w+\|[^|]+?\.svc\.{domain}|[^.|]+)\.)");
    let mut tags = vec![json!({"tag_name": "envoy.cluster_name", "regex": cluster})];
    tags.extend(usual.map(|name| json!({"tag_name": format!("envoy.{name}")})));
    json!({"use_all_default_tags": false, "stats_tags": tags})
}

/// Bounds on what Envoy takes of its machine: before memory runs out it keeps idle
/// connections for a shorter time, then turns away requests, then connections.
fn overload_manager(most_heap: u64) -> Value {
    let heap = "envoy.resource_monitors.fixed_heap";
    let monitor = |name: &str, message: &str, fields: Value| json!({"name": name, "typed_config": packed(&format!("envoy.extensions.resource_monitors.{message}"), fields)});
    let above = |share: f64| json!([{"name": heap, "threshold": {"value": share}}]);
    let idle = packed(
        "envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
        json!({"timer_scale_factors": [{"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "2s"}]}),
    );
    json!({
        "refresh_interval": "0.250s",
        "resource_monitors": [
            monitor(
                "envoy.resource_monitors.global_downstream_max_connections",
                "downstream_connections.v3.DownstreamConnectionsConfig",
                json!({"max_active_downstream_connections": MOST_CONNECTIONS}),
            ),
            monitor(heap, "fixed_heap.v3.FixedHeapConfig", json!({"max_heap_size_bytes": most_heap.to_string()})),
        ],
        "actions": [
            {
                "name": "envoy.overload_actions.reduce_timeouts",
                "triggers": [{"name": heap, "scaled": {"scaling_threshold": 0.75, "saturation_threshold": 0.95}}],
                "typed_config": idle,
            },
            {"name": "envoy.overload_actions.shrink_heap", "triggers": above(0.9)},
            {"name": "envoy.overload_actions.stop_accepting_requests", "triggers": above(0.95)},
            {"name": "envoy.overload_actions.reject_incoming_connections", "triggers": above(0.97)},
        ],
    })
}

fn xds_cluster(ads: &AdsServer) -> Value {
    let (kind, address) = match ads {
        AdsServer::Unix(path) => ("STATIC", json!({"pipe": {"path": path}})),
        // All addresses of the name in turn, one with each try: one replica of several serves, and the others turn
        // away. LOGICAL_DNS would try the first one again and again.
        AdsServer::Tls { host, port, .. } => {
            ("STRICT_DNS", json!({"socket_address": {"address": host, "port_value": port}}))
        }
    };
    let keepalive = json!({"interval": "30s", "timeout": "5s"});
    let http = json!({
        "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive}},
        // A replica that turns a stream away would do so again on the same connection.
        "common_http_protocol_options": {"max_requests_per_connection": 1},
    });
    let mut cluster = json!({
        "name": "xds",
        "type": kind,
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
            packed("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", http)},
    });
    if let AdsServer::Tls { tls, .. } = ads {
        cluster["transport_socket"] = tls::upstream(tls);
    }
    cluster
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_the_control_planes_name_is_tried() {
        let (host, port) = ("waypoint.waykeeper.svc".to_owned(), 9977);
        let tls = UpstreamTls { server_name: host.clone(), ca: "ca.pem".to_owned(), client: None };
        let ads = AdsServer::Tls { host, port, tls };
        let settings = BootstrapSettings { admin: Admin::Unix("admin.sock".to_owned()), ads, memory: None };
        let bootstrap = bootstrap(&Name::new("shop", "gateway"), &settings);
        let cluster = &bootstrap["static_resources"]["clusters"][0];
        // In turn, each over a connection of its own.
        assert_eq!((&cluster["type"], &cluster["lb_policy"]), (&json!("STRICT_DNS"), &json!(null)), "{cluster}");
        let options = &cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
            ["common_http_protocol_options"];
        assert_eq!(options["max_requests_per_connection"], 1, "{cluster}");
    }

    #[test]
    fn the_heap_is_bounded_by_the_memory_that_there_is() {
        let bound = |memory| {
            let ads = AdsServer::Unix("/run/xds.sock".to_owned());
            let settings = BootstrapSettings { admin: Admin::Unix("/run/admin.sock".to_owned()), ads, memory };
            let monitors = bootstrap(&Name::new("t", "a"), &settings)["overload_manager"]["resource_monitors"].take();
            monitors[1]["typed_config"]["max_heap_size_bytes"].as_str().map(str::to_owned)
        };
        for (memory, most) in
            [(None, 3_u64 << 30), (Some(1_000_000_000), 800_000_000), (Some(1 << 40), 3 << 30), (Some(0), 1)]
        {
            assert_eq!(bound(memory), Some(most.to_string()), "{memory:?}");
        }
    }
}
