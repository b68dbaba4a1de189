//! The right to an address on this machine: what two of us must not both have.
//!
//! A Gateway's address follows from its name. Two processes with a Gateway of the same name
//! would share it, and requests to the one would reach the Envoy of the other.

use std::net::SocketAddr;

/// An address that nobody else of us may use for as long as this value exists.
#[derive(Debug)]
pub struct Claim {
    /// The address.
    pub address: SocketAddr,
    /// A name that the system gives to one process only, and takes back when that ends.
    #[cfg(target_os = "linux")]
    _name: std::os::unix::net::UnixListener,
}

/// Why an address cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Taken {
    /// Another of us has it.
    #[error(
        "another `waykeeper up` on this machine serves a Gateway of this name at {0}: requests would reach its Envoy. \
         Stop that one, or rename the Gateway here, with the istio.io/use-waypoint labels that name it"
    )]
    ByAnotherOfUs(SocketAddr),
    /// Some other program listens there.
    #[error("another program listens on {0}, where its Envoy is to listen: stop that one (`ss -ltnp` shows it)")]
    ByAProgram(SocketAddr),
}

impl Claim {
    /// Claims `address`.
    ///
    /// # Errors
    /// When somebody else has it.
    pub fn take(address: SocketAddr) -> Result<Self, Taken> {
        #[cfg(target_os = "linux")]
        let name = {
            use std::os::linux::net::SocketAddrExt as _;
            use std::os::unix::net::{SocketAddr, UnixListener};
            let name = SocketAddr::from_abstract_name(format!("waykeeper/waypoint/{address}"));
            name.and_then(|name| UnixListener::bind_addr(&name)).map_err(|_| Taken::ByAnotherOfUs(address))?
        };
        match std::net::TcpListener::bind(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(Taken::ByAProgram(address)),
            // What else is wrong with it, Envoy says in its own words.
            _ => Ok(Self {
                address,
                #[cfg(target_os = "linux")]
                _name: name,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_had_by_one_and_free_again_when_that_is_gone() {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = probe.local_addr().unwrap();
        assert_eq!(Claim::take(address).unwrap_err(), Taken::ByAProgram(address));
        drop(probe);
        let claim = Claim::take(address).unwrap();
        assert_eq!(Claim::take(address).unwrap_err(), Taken::ByAnotherOfUs(address));
        drop(claim);
        Claim::take(address).unwrap();
    }
}
