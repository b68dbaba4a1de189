//! A listener. Behind a PROXY front, who calls and whom comes from the header that ztunnel
//! writes, and the chain is found by that address and port, never by Host.
//!
//! Everything but the chains and the matcher is the same from version to
//! version, so that Envoy updates it in place and leaves other chains' connections alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ir::{Chain, Front, Listener, PortRef, Refusal, Settings, Traffic};
use serde_json::{Map, Value, json};

use crate::filters::{self, forwarded_for};
use crate::{ads, names, packed, routes};

/// The TLV in which ztunnel puts the caller's SPIFFE id.
const PRINCIPAL_TLV: u32 = 0xD0;
const PROXY_PROTOCOL: &str = "envoy.filters.listener.proxy_protocol";
const HCM: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// The field of a Listener in which its filter chains stand.
pub const FILTER_CHAINS: u32 = 3;

/// All that a listener's own fields are made from, its filter chains left aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    front: Front,
    address: SocketAddr,
    chains: BTreeMap<PortRef, BTreeSet<IpAddr>>,
}

/// All that a filter chain is made from, besides its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bytes {
    /// They are read as HTTP.
    Http,
    /// They are sent to this cluster, unread.
    Tcp(String),
}

/// The frame of `listener`; none for a front that is not written yet.
pub fn frame(listener: &Listener) -> Option<Frame> {
    let chains = listener.chains.iter().map(|(id, chain)| (id.clone(), chain.addresses.clone())).collect();
    match listener.front {
        Front::Proxy => Some(Frame { front: listener.front, address: listener.address, chains }),
        Front::Hbone | Front::Tls | Front::Plain => None,
    }
}

/// What `chain` does with bytes.
pub fn bytes(chain: &Chain) -> Bytes {
    match &chain.traffic {
        Traffic::Http(_) => Bytes::Http,
        Traffic::Tcp(to) => Bytes::Tcp(to.to_string()),
        // Where no cluster is, Envoy closes the connection.
        Traffic::Refuse(_) => Bytes::Tcp(names::NO_BACKEND.to_owned()),
    }
}

/// A listener without its filter chains.
pub fn listener(frame: &Frame, settings: &Settings) -> Value {
    let address = frame.address;
    let name = names::listener(frame.front);
    let mut socket = json!({"address": address.ip().to_string(), "port_value": address.port()});
    if address.ip().is_ipv6() {
        socket["ipv4_compat"] = json!(true);
    }
    let mut fields = json!({
        "name": name,
        "stat_prefix": name,
        "address": {"socket_address": socket},
        // Two Envoys sharing a port would let one with old policies answer some of the connections.
        "enable_reuse_port": false,
        "listener_filters": [{
            "name": PROXY_PROTOCOL,
            "typed_config": packed(
                "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
                json!({"rules": [{
                    "tlv_type": PRINCIPAL_TLV,
                    "on_tlv_present": {"metadata_namespace": PROXY_PROTOCOL, "key": "peer_principal"},
                }]}),
            ),
        }],
        "default_filter_chain": unknown_address(settings),
    });
    if !frame.chains.is_empty() {
        fields["filter_chain_matcher"] = matcher(frame);
    }
    fields
}

/// Destination address, then port, to the name of a chain.
fn matcher(frame: &Frame) -> Value {
    let mut by_address: BTreeMap<IpAddr, Map<String, Value>> = BTreeMap::new();
    for (id, addresses) in &frame.chains {
        let name = packed("google.protobuf.StringValue", json!({"value": id.to_string()}));
        let action = json!({"action": {"name": "chain", "typed_config": name}});
        for address in addresses {
            by_address.entry(*address).or_default().insert(id.port.to_string(), action.clone());
        }
    }
    let input = |name: &str, message: &str| {
        let message = format!("envoy.extensions.matching.common_inputs.network.v3.{message}");
        json!({"name": name, "typed_config": packed(&message, json!({}))})
    };
    let ports = |ports: Map<String, Value>| {
        json!({"matcher": {"matcher_tree": {
            "input": input("destination_port", "DestinationPortInput"),
            "exact_match_map": {"map": ports},
        }}})
    };
    let addresses: Map<String, Value> =
        by_address.into_iter().map(|(address, by_port)| (address.to_string(), ports(by_port))).collect();
    json!({"matcher_tree": {
        "input": input("destination_address", "DestinationIPInput"),
        "exact_match_map": {"map": addresses},
    }})
}

/// The filter chain of `id`.
pub fn filter_chain(id: &PortRef, bytes: &Bytes, settings: &Settings) -> Value {
    let name = id.to_string();
    let last = match bytes {
        Bytes::Http => {
            let rds = json!({"rds": {"config_source": ads(), "route_config_name": name}});
            connection_manager(&name, rds, filters::chain(settings), settings)
        }
        Bytes::Tcp(cluster) => tcp_proxy(&name, cluster),
    };
    json!({"name": name, "filters": [peer_principal(), last]})
}

fn tcp_proxy(name: &str, cluster: &str) -> Value {
    json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": packed(
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            json!({"stat_prefix": name, "cluster": cluster}),
        ),
    })
}

/// The caller's SPIFFE id as Istio's policies read it. Without a TLV there is no such
/// object: a `-` would satisfy `principals: ["*"]`.
fn peer_principal() -> Value {
    let format = format!("%DYNAMIC_METADATA({PROXY_PROTOCOL}:peer_principal)%");
    json!({
        "name": "envoy.filters.network.set_filter_state",
        "typed_config": packed(
            "envoy.extensions.filters.network.set_filter_state.v3.Config",
            json!({"on_new_connection": [{
                "object_key": names::PEER_PRINCIPAL,
                "factory_key": "envoy.string",
                "format_string": {
                    "omit_empty_values": true,
                    "text_format_source": {"inline_string": format},
                },
                "skip_if_empty": true,
                "shared_with_upstream": "ONCE",
            }]}),
        ),
    })
}

fn connection_manager(name: &str, routes: Value, http_filters: Vec<Value>, settings: &Settings) -> Value {
    // Not being an edge, Envoy would obey these from anyone: retries, timeouts, alternate statistics.
    let mut mutations = vec![json!({"remove_on_match": {"key_matcher": {"prefix": "x-envoy-", "ignore_case": true}}})];
    mutations.extend(forwarded_for::set_aside(settings));
    let mut fields = json!({
        "stat_prefix": name,
        // The true source comes in the PROXY header. `true` would add X-Forwarded-For.
        "use_remote_address": false,
        "normalize_path": true,
        "merge_slashes": true,
        // Many applications mean something by `%2F`; where it is in doubt what it means, route tables refuse it.
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        // Headers that never end hold a connection, and what is read of them, for nothing.
        "request_headers_timeout": "10s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "early_header_mutation_extensions": [{
            "name": "envoy.http.early_header_mutation.header_mutation",
            "typed_config": packed(
                "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                json!({"mutations": mutations}),
            ),
        }],
        "http_filters": http_filters,
    });
    if !settings.trusted_proxies.is_empty() {
        fields["original_ip_detection_extensions"] = json!([forwarded_for::believed_from(&settings.trusted_proxies)]);
    }
    if let (Value::Object(fields), Value::Object(routes)) = (&mut fields, routes) {
        fields.extend(routes);
    }
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": packed(HCM, fields)})
}

/// Where no Service is: an answer rather than a reset.
fn unknown_address(settings: &Settings) -> Value {
    let why = "no service at this address and port is served by this waypoint".to_owned();
    let answer = routes::direct(&Refusal { status: 404, why });
    let table = json!({"route_config": {
        "name": "unknown-address",
        "virtual_hosts": [{"name": "unknown-address", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "direct_response": answer},
        ]}],
    }});
    let manager = connection_manager("unknown-address", table, filters::router_only(), settings);
    json!({"name": "unknown-address", "filters": [manager]})
}
