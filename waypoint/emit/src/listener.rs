//! A listener. Behind a PROXY front, who calls and whom comes from the header that ztunnel
//! writes: the routes are found by that address and port, never by Host.
//!
//! It is the same for all Services but for the list of ports that are not simply read as HTTP, so
//! that Envoy updates it in place and leaves connections alone. What reads connections in other ways is
//! there whether a port needs it or not: were it taken away with the last one, open connections would end. What a port that says nothing of
//! itself speaks is found out behind a second listener inside Envoy: there a connection's first
//! bytes are waited for, which must not keep a connection waiting whose server speaks first.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ir::access::Decision;
use ir::{Chain, Front, Settings, Traffic};
use serde_json::{Map, Value, json};

use crate::filters::{self, forwarded_for};
use crate::{access, access_log, names, packed, scopes};

/// The TLV in which ztunnel puts the caller's SPIFFE id.
const PRINCIPAL_TLV: u32 = 0xD0;
/// How long Envoy waits for the first bytes of a connection on a port that does not say its protocol.
const SPEAK_BY: &str = "0.500s";
const PROXY_PROTOCOL: &str = "envoy.filters.listener.proxy_protocol";
const HCM: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// How connections to a port are taken that are not simply read as HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// As they begin.
    Sniffed,
    /// Not read.
    Unread,
    /// Not read, and only those of whom this says that they may come.
    Guarded(Arc<Decision>),
}

/// Ports by address that are not simply read, each with how connections are taken there.
pub type Others = BTreeMap<IpAddr, BTreeMap<u16, Way>>;

/// All that a listener is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    front: Front,
    address: SocketAddr,
    others: Others,
}

impl Frame {
    /// The frame of a listener with these `others`; none for a front that is not written yet.
    pub fn new(front: Front, address: SocketAddr, others: &Others) -> Option<Self> {
        match front {
            Front::Proxy => Some(Frame { front, address, others: others.clone() }),
            Front::Hbone | Front::Tls | Front::Plain => None,
        }
    }
}

/// How connections to `chain` are taken, where they are not simply read.
pub fn way(chain: &Chain) -> Option<Way> {
    let enforced = &chain.access.enforced;
    match &chain.traffic {
        Traffic::Http(_) => None,
        Traffic::Sniffed(..) => Some(Way::Sniffed),
        Traffic::Tcp(_) if *enforced != Decision::default() => Some(Way::Guarded(Arc::new(enforced.clone()))),
        Traffic::Tcp(_) | Traffic::Refuse(_) => Some(Way::Unread),
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
    json!({
        "name": name,
        "stat_prefix": name,
        "address": {"socket_address": socket},
        // Two Envoys sharing a port would let one with old policies answer some of the connections.
        "enable_reuse_port": false,
        "listener_filters": [proxy_protocol(), callers()],
        "default_filter_chain": read(settings),
        "filter_chains": [passed_inside(), unread(settings), refused(settings)],
        "filter_chain_matcher": matcher(frame),
    })
}

/// The listener inside Envoy at which connections are read as they begin.
pub fn sniffed(settings: &Settings) -> Value {
    let http = chain_named(names::HTTP);
    let kinds: Map<String, Value> =
        ["'http/1.0'", "'http/1.1'", "'h2c'"].iter().map(|kind| ((*kind).to_owned(), http.clone())).collect();
    json!({
        "name": names::SNIFFED,
        "stat_prefix": names::SNIFFED,
        "internal_listener": {},
        "listener_filters": [
            proxy_protocol(),
            callers(),
            {
                "name": "envoy.filters.listener.http_inspector",
                "typed_config": packed("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector", json!({})),
            },
        ],
        // Then the server is to speak first, which no server of HTTP does.
        "listener_filters_timeout": SPEAK_BY,
        "continue_on_listener_filters_timeout": true,
        "filter_chains": [read(settings)],
        "filter_chain_matcher": {"matcher_tree": {
            "input": input("application_protocol", "ApplicationProtocolInput"),
            "exact_match_map": {"map": kinds},
        }},
        "default_filter_chain": unread(settings),
    })
}

/// The cluster that leads to [`sniffed`], with what the first listener knows of a connection.
pub fn inside() -> Value {
    let address = json!({"envoy_internal_address": {"server_listener_name": names::SNIFFED}});
    let raw = packed("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", json!({}));
    json!({
        "name": names::SNIFFED,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{"max_connections": u32::MAX, "max_pending_requests": u32::MAX}]},
        "load_assignment": {
            "cluster_name": names::SNIFFED,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.upstream_proxy_protocol",
            "typed_config": packed(
                "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
                json!({
                    "config": {"version": "V2", "pass_through_tlvs": principal()},
                    "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": raw},
                }),
            ),
        },
    })
}

/// Reads who calls and whom, and keeps it for whoever the connection is passed on to.
fn proxy_protocol() -> Value {
    json!({
        "name": PROXY_PROTOCOL,
        "typed_config": packed(
            "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
            json!({
                "rules": [{
                    "tlv_type": PRINCIPAL_TLV,
                    "on_tlv_present": {"metadata_namespace": PROXY_PROTOCOL, "key": "peer_principal"},
                }],
                "pass_through_tlvs": principal(),
            }),
        ),
    })
}

fn principal() -> Value {
    json!({"match_type": "INCLUDE", "tlv_type": [PRINCIPAL_TLV]})
}

fn chain_named(name: &str) -> Value {
    let name = packed("google.protobuf.StringValue", json!({"value": name}));
    json!({"action": {"name": "chain", "typed_config": name}})
}

fn input(name: &str, message: &str) -> Value {
    let message = format!("envoy.extensions.matching.common_inputs.network.v3.{message}");
    json!({"name": name, "typed_config": packed(&message, json!({}))})
}

/// Destination address, then port, to the chain; all others are read.
fn matcher(frame: &Frame) -> Value {
    // Envoy takes no empty list: this is nobody's address.
    let nobody = BTreeMap::from([(IpAddr::V4(Ipv4Addr::UNSPECIFIED), BTreeMap::from([(0, Way::Unread)]))]);
    let others = if frame.others.is_empty() { &nobody } else { &frame.others };
    let taken = |way: &Way| match way {
        Way::Sniffed => chain_named(names::SNIFFED),
        Way::Unread => chain_named(names::TCP),
        // Who may come is known before anything is said to the application, which may be the first to speak.
        Way::Guarded(decision) => access::chosen(decision, &chain_named(names::TCP), &chain_named(names::REFUSED)),
    };
    let ports = |ports: &BTreeMap<u16, Way>| {
        let ports: Map<String, Value> = ports.iter().map(|(port, way)| (port.to_string(), taken(way))).collect();
        json!({"matcher": {"matcher_tree": {
            "input": input("destination_port", "DestinationPortInput"),
            "exact_match_map": {"map": ports},
        }}})
    };
    let addresses: Map<String, Value> =
        others.iter().map(|(address, by_port)| (address.to_string(), ports(by_port))).collect();
    json!({"matcher_tree": {
        "input": input("destination_address", "DestinationIPInput"),
        "exact_match_map": {"map": addresses},
    }})
}

/// Connections of which every request is routed by the scope of its address.
fn read(settings: &Settings) -> Value {
    json!({"name": names::HTTP, "filters": [connection_manager(settings)]})
}

/// Connections that are passed on as they are, to the cluster that is named by the address and
/// port they were made to. Where none is, Envoy closes them: that is how a port is refused.
fn unread(settings: &Settings) -> Value {
    let cluster = json!({
        "object_key": "envoy.tcp_proxy.cluster",
        "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_LOCAL_ADDRESS%"}},
    });
    let proxy = tcp_proxy(names::TCP, names::NO_BACKEND, access_log::sinks(settings));
    let filters = json!([filter_state(cluster), proxy]);
    json!({"name": names::TCP, "filters": filters})
}

/// Connections that are closed.
fn refused(settings: &Settings) -> Value {
    let proxy = tcp_proxy(names::REFUSED, names::NO_BACKEND, access_log::sinks(settings));
    json!({"name": names::REFUSED, "filters": [proxy]})
}

/// Connections that are passed on to [`sniffed`].
fn passed_inside() -> Value {
    json!({"name": names::SNIFFED, "filters": [tcp_proxy(names::SNIFFED, names::SNIFFED, Vec::new())]})
}

fn tcp_proxy(name: &str, cluster: &str, access_log: Vec<Value>) -> Value {
    let fields = json!({"stat_prefix": name, "cluster": cluster, "access_log": access_log});
    json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": packed(
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            fields,
        ),
    })
}

/// Who calls: the SPIFFE id as Istio's policies read it, and the address. Without a TLV there is no such
/// object: a `-` would satisfy `principals: ["*"]`. It is known before a chain is chosen.
fn callers() -> Value {
    let format = format!("%DYNAMIC_METADATA({PROXY_PROTOCOL}:peer_principal)%");
    let principal = json!({
        "object_key": names::PEER_PRINCIPAL,
        "factory_key": "envoy.string",
        "format_string": {
            "omit_empty_values": true,
            "text_format_source": {"inline_string": format},
        },
        "skip_if_empty": true,
        "shared_with_upstream": "ONCE",
    });
    json!({
        "name": "envoy.filters.listener.set_filter_state",
        "typed_config": packed(
            "envoy.extensions.filters.listener.set_filter_state.v3.Config",
            json!({"on_accept": [principal, source_address()]}),
        ),
    })
}

/// The address from which a connection comes. Later Envoy may take another one from headers.
fn source_address() -> Value {
    json!({
        "object_key": names::SOURCE_ADDRESS,
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}},
    })
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
    fields["access_log"] = access_log::sinks(settings).into();
    if !settings.trusted_proxies.is_empty() {
        fields["original_ip_detection_extensions"] = json!([forwarded_for::believed_from(&settings.trusted_proxies)]);
    }
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": packed(HCM, fields)})
}
