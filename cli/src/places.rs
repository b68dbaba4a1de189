//! Where waypoints are, and where Services are to be published, as the command line says it.

use std::net::SocketAddr;
use std::str::FromStr;

use api::Name;
use tunnel::Endpoint;

/// Where the Envoy of a Gateway, or of any Gateway, can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaypointAt {
    /// The Gateway; none, any that is not named by another.
    pub gateway: Option<Name>,
    /// Where its Envoy listens.
    pub endpoint: Endpoint,
}

/// A Service's port, to be reached on another address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The other address.
    pub at: SocketAddr,
    /// The Service.
    pub service: Name,
    /// Its port.
    pub port: u16,
}

impl FromStr for WaypointAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (gateway, endpoint) = match text.split_once('=') {
            Some((gateway, endpoint)) => (Some(name(gateway)?), endpoint),
            None => (None, text),
        };
        let (host, port) = host_and_port(endpoint).ok_or_else(|| format!("{endpoint:?} is not HOST:PORT"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(WaypointAt { gateway, endpoint: Endpoint { host, port } })
    }
}

impl FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} does not read ADDR=NAMESPACE/NAME:PORT, e.g. 0.0.0.0:8002=shop/cart:8000");
        let (at, service) = text.split_once('=').ok_or_else(wrong)?;
        let (service, port) = host_and_port(service).ok_or_else(wrong)?;
        Ok(Published { at: at.parse().map_err(|_| wrong())?, service: name(service)?, port })
    }
}

fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then_some((host, port))
}

fn name(text: &str) -> Result<Name, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(Name::new(namespace, name)),
        _ => Err(format!("{text:?} is not NAMESPACE/NAME")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_on_the_command_line_say_what_to_write() {
        for wrong in ["envoy", "envoy:0", "x=envoy:1", ":1"] {
            assert!(wrong.parse::<WaypointAt>().is_err(), "{wrong}");
        }
        for wrong in ["8002=x/a:80", "0.0.0.0:8002=a:80", "0.0.0.0:8002=x/a", "0.0.0.0:8002"] {
            assert!(wrong.parse::<Published>().is_err(), "{wrong}");
        }
        assert_eq!("[::1]:15088".parse::<WaypointAt>().unwrap().endpoint, Endpoint { host: "::1".into(), port: 15088 });
    }
}
