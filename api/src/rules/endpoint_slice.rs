//! EndpointSlice: addresses and ports must be some.

pub use super::plain::reach;
use super::prelude::*;
use crate::core::EndpointSlice;
pub(crate) use crate::decode::warning as decode;

/// Addresses must be what `addressType` says they are.
pub fn validate(slice: &mut EndpointSlice) -> Vec<Problem> {
    let mut problems = Vec::new();
    match slice.address_type.as_str() {
        "IPv4" | "IPv6" => {
            for (index, endpoint) in slice.endpoints.iter().enumerate() {
                for (at, address) in endpoint.addresses.iter().enumerate() {
                    let right = match slice.address_type.as_str() {
                        "IPv4" => address.parse::<std::net::Ipv4Addr>().is_ok(),
                        _ => address.parse::<std::net::Ipv6Addr>().is_ok(),
                    };
                    if !right {
                        problems.push(Problem::error(
                            format!("endpoints[{index}].addresses[{at}]"),
                            format!(
                                "{address:?} is not an {} address; for host names write addressType: FQDN",
                                slice.address_type
                            ),
                        ));
                    }
                }
            }
        }
        "FQDN" => {
            for (index, endpoint) in slice.endpoints.iter().enumerate() {
                for (at, address) in endpoint.addresses.iter().enumerate() {
                    if !crate::name::is_dns_name(address.trim_end_matches('.')) {
                        problems.push(Problem::error(
                            format!("endpoints[{index}].addresses[{at}]"),
                            format!("{address:?} is not a host name"),
                        ));
                    }
                }
            }
        }
        other => problems
            .push(Problem::error("addressType", format!("{other:?} is not an address type; write IPv4, IPv6 or FQDN"))),
    }
    for (index, port) in slice.ports.iter().flatten().enumerate() {
        if port.port.is_some_and(|p| !(1..=65535).contains(&p)) {
            problems.push(Problem::error(format!("ports[{index}].port"), "not a port; write 1 to 65535"));
        }
    }
    problems
}
