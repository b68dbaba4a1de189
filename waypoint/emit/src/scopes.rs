//! One connection manager for all Services: a request is answered by the routes of the address and
//! port that its connection was made to, never by its Host.
//!
//! Envoy writes that address into a header of ours before it looks at anything else, over whatever
//! a client had put there, and chooses the scope by it. A scope is named by its key, so that no two
//! can claim one address, and holds its routes itself: a change of one Service is one small
//! resource, touches no listener, and an unknown address has no routes at all.

use std::net::SocketAddr;

use ir::PortRef;
use proto::fields::put;
use serde_json::{Value, json};

use crate::{ads, names};

/// The header in which Envoy tells itself which address a request came to.
const HEADER: &str = "x-waykeeper-vip";

/// Field numbers of `ScopedRouteConfiguration`.
pub mod number {
    /// Its name.
    pub const NAME: u32 = 1;
    /// Its key.
    pub const KEY: u32 = 3;
    /// Its routes.
    pub const ROUTE_CONFIGURATION: u32 = 5;
}

/// The last thing to happen to a request's headers before it is routed.
pub fn said_last() -> Value {
    let header = json!({"key": HEADER, "value": "%DOWNSTREAM_LOCAL_ADDRESS%"});
    json!({"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}})
}

/// Takes out what begins as headers of ours do.
pub fn removed() -> Value {
    json!({"remove_on_match": {"key_matcher": {"prefix": names::RESERVED_HEADERS, "ignore_case": true}}})
}

/// How a connection manager finds the routes of a request.
pub fn by_address() -> Value {
    json!({
        "name": "services",
        "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": HEADER, "index": 0}}]},
        "scoped_rds": {"scoped_rds_config_source": ads()},
    })
}

/// What a request gets that came to an address without a scope.
pub fn unknown_address() -> Value {
    let words = "no service at %DOWNSTREAM_LOCAL_ADDRESS% is served by this waypoint\n";
    json!({"mappers": [{
        "filter": {"response_flag_filter": {"flags": ["NR"]}},
        "body_format_override": {"text_format_source": {"inline_string": words}},
    }]})
}

/// The name and key of the scope of an address, as Envoy writes addresses.
pub fn key(address: SocketAddr) -> String {
    address.to_string()
}

/// The bytes of the scope `key`, whose routes are these packed ones.
pub fn scope(key: &str, routes: &[u8]) -> Vec<u8> {
    let (mut fragment, mut fragments, mut out) = (Vec::new(), Vec::new(), Vec::new());
    put(1, key.as_bytes(), &mut fragment);
    put(1, &fragment, &mut fragments);
    put(number::NAME, key.as_bytes(), &mut out);
    put(number::KEY, &fragments, &mut out);
    put(number::ROUTE_CONFIGURATION, routes, &mut out);
    out
}

/// Why a request that no route matches is not served.
pub fn no_route(port: &PortRef) -> String {
    format!("no route of Service {} on port {} matches this request", port.service, port.port)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proto::ResourceType;
    use proto::schema::{pack_json, resource_json};

    use super::*;

    #[test]
    fn a_scope_put_together_is_the_one_its_schema_describes() {
        let table = json!({"name": "shop/cart/80", "virtual_hosts": [{"name": "v", "domains": ["*"]}]});
        let routes = pack_json("envoy.config.route.v3.RouteConfiguration", table.clone()).unwrap();
        for (address, name) in [("10.0.0.1:8000", "10.0.0.1:8000"), ("[fd00:0:0:0::5]:8000", "[fd00::5]:8000")] {
            let key = key(address.parse().unwrap());
            assert_eq!(key, name);
            let whole = json!({
                "name": name,
                "key": {"fragments": [{"string_key": name}]},
                "route_configuration": table,
            });
            let whole = resource_json(ResourceType::Scope, name, whole).unwrap();
            assert_eq!(scope(&key, &routes.value), whole.body.value);
        }
    }
}
