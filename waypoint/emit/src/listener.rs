//! A listener. Behind a PROXY front, who calls and whom comes from the header that ztunnel
//! writes: the routes are found by that address and port, never by Host.
//!
//! It is the same for all Services but for the list of ports that are not read as HTTP, so that
//! Envoy updates it in place and leaves connections alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ir::{Front, Listener, Settings, Traffic};
use serde_json::{Map, Value, json};

use crate::filters::{self, forwarded_for};
use crate::{names, packed, scopes};

/// The TLV in which ztunnel puts the caller's SPIFFE id.
const PRINCIPAL_TLV: u32 = 0xD0;
const PROXY_PROTOCOL: &str = "envoy.filters.listener.proxy_protocol";
const HCM: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// All that a listener is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    front: Front,
    address: SocketAddr,
    /// The ports of each address that are passed on unread or refused.
    unread: BTreeMap<IpAddr, BTreeSet<u16>>,
}

/// The frame of `listener`; none for a front that is not written yet.
pub fn frame(listener: &Listener) -> Option<Frame> {
    let mut unread: BTreeMap<IpAddr, BTreeSet<u16>> = BTreeMap::new();
    for (id, chain) in &listener.chains {
        if !matches!(chain.traffic, Traffic::Http(_)) {
            for address in &chain.addresses {
                unread.entry(*address).or_default().insert(id.port);
            }
        }
    }
    match listener.front {
        Front::Proxy => Some(Frame { front: listener.front, address: listener.address, unread }),
        Front::Hbone | Front::Tls | Front::Plain => None,
    }
}

/// The listener of `frame`.
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
        "default_filter_chain": read(settings),
    });
    if !frame.unread.is_empty() {
        fields["filter_chains"] = json!([unread()]);
        fields["filter_chain_matcher"] = matcher(frame);
    }
    fields
}

/// Destination address, then port, to the chain that reads nothing; all others are read.
fn matcher(frame: &Frame) -> Value {
    let name = packed("google.protobuf.StringValue", json!({"value": names::TCP}));
    let action = json!({"action": {"name": "chain", "typed_config": name}});
    let input = |name: &str, message: &str| {
        let message = format!("envoy.extensions.matching.common_inputs.network.v3.{message}");
        json!({"name": name, "typed_config": packed(&message, json!({}))})
    };
    let ports = |ports: &BTreeSet<u16>| {
        let ports: Map<String, Value> = ports.iter().map(|port| (port.to_string(), action.clone())).collect();
        json!({"matcher": {"matcher_tree": {
            "input": input("destination_port", "DestinationPortInput"),
            "exact_match_map": {"map": ports},
        }}})
    };
    let addresses: Map<String, Value> =
        frame.unread.iter().map(|(address, by_port)| (address.to_string(), ports(by_port))).collect();
    json!({"matcher_tree": {
        "input": input("destination_address", "DestinationIPInput"),
        "exact_match_map": {"map": addresses},
    }})
}

/// Connections of which every request is routed by the scope of its address.
fn read(settings: &Settings) -> Value {
    json!({"name": names::HTTP, "filters": [peer_principal(), connection_manager(settings)]})
}

/// Connections that are passed on as they are, to the cluster that is named by the address and
/// port they were made to. Where none is, Envoy closes them: that is how a port is refused.
fn unread() -> Value {
    let cluster = json!({
        "object_key": "envoy.tcp_proxy.cluster",
        "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_LOCAL_ADDRESS%"}},
    });
    let proxy = json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": packed(
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            json!({"stat_prefix": names::TCP, "cluster": names::NO_BACKEND}),
        ),
    });
    json!({"name": names::TCP, "filters": [peer_principal(), filter_state(cluster), proxy]})
}

/// The caller's SPIFFE id as Istio's policies read it. Without a TLV there is no such
/// object: a `-` would satisfy `principals: ["*"]`.
fn peer_principal() -> Value {
    let format = format!("%DYNAMIC_METADATA({PROXY_PROTOCOL}:peer_principal)%");
    filter_state(json!({
        "object_key": names::PEER_PRINCIPAL,
        "factory_key": "envoy.string",
        "format_string": {
            "omit_empty_values": true,
            "text_format_source": {"inline_string": format},
        },
        "skip_if_empty": true,
        "shared_with_upstream": "ONCE",
    }))
}

/// A filter that remembers something of a connection.
fn filter_state(value: Value) -> Value {
    json!({
        "name": "envoy.filters.network.set_filter_state",
        "typed_config": packed(
            "envoy.extensions.filters.network.set_filter_state.v3.Config",
            json!({"on_new_connection": [value]}),
        ),
    })
}

fn connection_manager(settings: &Settings) -> Value {
    // Not being an edge, Envoy would obey these from anyone: retries, timeouts, alternate statistics.
    let mut mutations = vec![json!({"remove_on_match": {"key_matcher": {"prefix": "x-envoy-", "ignore_case": true}}})];
    mutations.push(scopes::removed());
    mutations.extend(forwarded_for::set_aside(settings));
    mutations.push(scopes::said_last());
    let mut fields = json!({
        "stat_prefix": names::HTTP,
        "scoped_routes": scopes::by_address(),
        "local_reply_config": scopes::unknown_address(),
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
        "http_filters": filters::chain(settings),
    });
    if !settings.trusted_proxies.is_empty() {
        fields["original_ip_detection_extensions"] = json!([forwarded_for::believed_from(&settings.trusted_proxies)]);
    }
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": packed(HCM, fields)})
}
