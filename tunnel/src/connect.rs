//! Reaching a target.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::counters::Reason;
use crate::plan::Endpoint;

/// Whom a connection may be passed on to.
#[derive(Clone, Copy)]
pub(crate) enum Whom<'a> {
    /// Our own waypoint.
    Waypoint,
    /// Anybody but these.
    AnyoneBut(&'a BTreeSet<Endpoint>),
}

/// Connects to the endpoint whose turn it is, or to the next that answers: as
/// long as nothing has been sent, another endpoint is as good.
pub(crate) async fn to_one_of(
    endpoints: &[Endpoint],
    turn: usize,
    binding: SocketAddr,
    limit: Duration,
    whom: Whom<'_>,
) -> Result<TcpStream, Reason> {
    let mut last = Reason::NoEndpoints;
    for at in 0..endpoints.len() {
        let endpoint = &endpoints[turn.wrapping_add(at) % endpoints.len()];
        match timeout(limit, to_endpoint(endpoint, binding, whom)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(reason)) => last = reason,
            Err(_) => last = Reason::ConnectTimeout,
        }
        tracing::debug!(%binding, %endpoint, reason = last.as_str(), "endpoint not reached");
    }
    Err(last)
}

async fn to_endpoint(endpoint: &Endpoint, binding: SocketAddr, whom: Whom<'_>) -> Result<TcpStream, Reason> {
    let addresses = lookup_host((endpoint.host.as_str(), endpoint.port)).await.map_err(|_| Reason::NameLookup)?;
    let mut last = Reason::NameLookup;
    for address in addresses {
        if address == binding {
            return Err(Reason::Loop);
        }
        // What counts is what a name came to now, not what it was when it was written.
        let reserved = match whom {
            Whom::Waypoint => Reserved::default(),
            Whom::AnyoneBut(reserved) => Reserved::on(reserved, address.port()).await,
        };
        if reserved.has(address.ip()) {
            return Err(Reason::Reserved);
        }
        match TcpStream::connect(address).await {
            // A server that listens on 0.0.0.0 answers at every address of this machine.
            Ok(stream) if reserved.everywhere && is_to_this_machine(&stream) => return Err(Reason::Reserved),
            Ok(stream) => return Ok(stream),
            Err(error) => last = reason(&error),
        }
    }
    Err(last)
}

/// Our own addresses on one port.
#[derive(Default)]
struct Reserved {
    addresses: BTreeSet<IpAddr>,
    everywhere: bool,
}

impl Reserved {
    async fn on(reserved: &BTreeSet<Endpoint>, port: u16) -> Self {
        let mut addresses = BTreeSet::new();
        for own in reserved.iter().filter(|own| own.port == port) {
            if let Ok(found) = lookup_host((own.host.as_str(), port)).await {
                addresses.extend(found.map(|address| address.ip().to_canonical()));
            }
        }
        let everywhere = addresses.iter().any(IpAddr::is_unspecified);
        Self { addresses, everywhere }
    }

    fn has(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        // To connect to the unspecified address is to connect to this machine.
        let here = ip.is_unspecified() && self.addresses.iter().any(IpAddr::is_loopback);
        here || self.everywhere && (ip.is_loopback() || ip.is_unspecified()) || self.addresses.contains(&ip)
    }
}

/// A connection to an address of one's own comes from it.
fn is_to_this_machine(stream: &TcpStream) -> bool {
    let ends = (stream.local_addr(), stream.peer_addr());
    matches!(ends, (Ok(from), Ok(to)) if from.ip() == to.ip())
}

fn reason(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Reason::ConnectRefused,
        io::ErrorKind::TimedOut => Reason::ConnectTimeout,
        _ => Reason::ConnectError,
    }
}
