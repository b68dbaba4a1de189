//! Clusters and endpoints.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ir::{Cluster, Endpoints, GrpcTarget, Settings};
use serde_json::{Value, json};

use crate::{ads, packed, tls};

/// The cluster `name`; in statistics and logs it is `shown`.
pub fn cluster(name: &str, shown: &str, cluster: &Cluster) -> Value {
    let mut fields = base(name, "5s", cluster.http2);
    fields["alt_stat_name"] = json!(shown);
    match &cluster.endpoints {
        Endpoints::Addresses(_) => {
            fields["type"] = json!("EDS");
            fields["eds_cluster_config"] = json!({"eds_config": ads(), "service_name": name});
        }
        Endpoints::Hosts(hosts) => {
            fields["type"] = json!("STRICT_DNS");
            // Many names have addresses of both families while their server listens on IPv4 only.
            fields["dns_lookup_family"] = json!("V4_PREFERRED");
            let addresses = hosts.iter().map(|(host, port)| socket(host, *port));
            fields["load_assignment"] = assignment(name, addresses.collect());
        }
    }
    fields
}

/// The endpoints of the cluster `name`.
pub fn addresses(name: &str, addresses: &BTreeSet<SocketAddr>) -> Value {
    assignment(name, addresses.iter().map(|address| socket(&address.ip().to_string(), address.port())).collect())
}

/// The cluster of a gRPC service of ours.
pub fn service(name: &str, target: &GrpcTarget) -> Value {
    let mut fields = base(name, "1s", true);
    let address = match target {
        GrpcTarget::Unix(path) => {
            fields["type"] = json!("STATIC");
            json!({"pipe": {"path": path}})
        }
        GrpcTarget::Tcp { host, port } | GrpcTarget::Tls { host, port, .. } | GrpcTarget::Mutual { host, port, .. } => {
            fields["type"] = json!("STRICT_DNS");
            // Many names have addresses of both families while their server listens on IPv4 only.
            fields["dns_lookup_family"] = json!("V4_PREFERRED");
            socket(host, *port)
        }
    };
    fields["load_assignment"] = assignment(name, vec![address]);
    match target {
        GrpcTarget::Unix(_) | GrpcTarget::Tcp { .. } => {}
        GrpcTarget::Tls { tls, .. } => fields["transport_socket"] = tls::upstream(tls),
        GrpcTarget::Mutual { server_name, .. } => fields["transport_socket"] = tls::mutual(server_name),
    }
    fields
}

/// The cluster of a server outside of the mesh that says an issuer's keys.
pub fn keys(name: &str, (host, port, encrypted): (&str, u16, bool), settings: &Settings) -> Value {
    let mut fields = base(name, "5s", false);
    fields["type"] = json!("STRICT_DNS");
    fields["dns_lookup_family"] = json!("V4_PREFERRED");
    fields["load_assignment"] = assignment(name, vec![socket(host, port)]);
    if encrypted {
        fields["transport_socket"] = tls::public(host, &settings.public_authorities);
    }
    fields
}

fn base(name: &str, connect_timeout: &str, http2: bool) -> Value {
    // Envoy's own bounds of 1024 would refuse thousands of connections with 503; a limit is policy, not a default.
    let most = u32::MAX;
    let unlimited =
        json!({"max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": most});
    let mut fields = json!({
        "name": name,
        "connect_timeout": connect_timeout,
        "circuit_breakers": {"thresholds": [unlimited]},
    });
    if http2 {
        let options = packed(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            json!({"explicit_http_config": {"http2_protocol_options": {}}}),
        );
        fields["typed_extension_protocol_options"] =
            json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options});
    }
    fields
}

fn socket(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

fn assignment(name: &str, addresses: Vec<Value>) -> Value {
    let endpoints: Vec<Value> =
        addresses.into_iter().map(|address| json!({"endpoint": {"address": address}})).collect();
    let localities = if endpoints.is_empty() { vec![] } else { vec![json!({"lb_endpoints": endpoints})] };
    json!({"cluster_name": name, "endpoints": localities})
}
