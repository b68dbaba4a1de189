//! Addresses that nobody is asked at, whatever a name leads to: those of the machine's own cloud, which hands out
//! credentials to whoever asks from inside, and those that are no one server's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

/// That nobody may be asked at this address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forbidden(IpAddr);

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is link-local, no one server's or a cloud's own: nobody is asked there", self.0)
    }
}

impl std::error::Error for Forbidden {}

/// Where clouds hand out credentials, beside the link-local addresses of most.
const CLOUDS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

impl Forbidden {
    /// Whether `address` is one.
    pub fn of(address: IpAddr) -> Option<Forbidden> {
        let meant = match address {
            IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        let forbidden = match meant {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast(),
        };
        (forbidden || CLOUDS.contains(&meant)).then_some(Forbidden(address))
    }
}

/// The IPv4 address that an IPv6 one leads to: mapped, or through a translator (RFC 6052).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(v4) = v6.to_ipv4_mapped() {
        return Some(v4);
    }
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let [[w, x], [y, z]] = [g.to_be_bytes(), h.to_be_bytes()];
    ([a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0]).then(|| Ipv4Addr::new(w, x, y, z))
}

/// The address that `host` of a URL is, if it is no name.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Names to addresses, without those at which nobody is asked.
#[derive(Debug, Clone)]
pub(crate) struct Resolver(GaiResolver);

impl Resolver {
    pub(crate) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

type Addresses = std::vec::IntoIter<SocketAddr>;
type Error = Box<dyn std::error::Error + Send + Sync>;

impl Service<Name> for Resolver {
    type Response = Addresses;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Addresses, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = self.0.call(name);
        Box::pin(async move { allowed(found.await?) })
    }
}

/// Those of `found` at which one may ask. A name that has another one too is suspicious enough to leave it alone.
fn allowed(found: impl Iterator<Item = SocketAddr>) -> Result<Addresses, Error> {
    let found: Vec<SocketAddr> = found.collect();
    match found.iter().find_map(|address| Forbidden::of(address.ip())) {
        Some(forbidden) => Err(forbidden.into()),
        None => Ok(found.into_iter()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_a_clouds_own_or_nobodys_is_forbidden_in_every_spelling() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "168.63.129.16",
            "100.100.100.200",
            "[::ffff:100.100.100.200]",
            "0.0.0.0",
            "[::]",
            "224.0.0.1",
            "255.255.255.255",
            "[ff02::1]",
        ] {
            assert!(Forbidden::of(literal(address).unwrap()).is_some(), "{address}");
        }
        for address in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "[::1]", "[fd00::1]", "8.8.8.8", "[64:ff9b::808:808]"] {
            assert_eq!(Forbidden::of(literal(address).unwrap()), None, "{address}");
        }
        assert_eq!(literal("localhost"), None);
    }

    #[test]
    fn a_name_with_one_such_address_leads_nowhere() {
        let both = ["10.0.0.1:0", "169.254.169.254:0"].map(|address| address.parse().unwrap());
        assert!(allowed(both.into_iter()).unwrap_err().is::<Forbidden>());
        assert_eq!(allowed(both.into_iter().take(1)).unwrap().len(), 1);
    }
}
