//! Reaching a target.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::counters::Reason;
use crate::plan::Endpoint;

/// Connects to the endpoint whose turn it is, or to the next that answers: as
/// long as nothing has been sent, another endpoint is as good.
pub(crate) async fn to_one_of(
    endpoints: &[Endpoint],
    turn: usize,
    binding: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, Reason> {
    let mut last = Reason::NoEndpoints;
    for at in 0..endpoints.len() {
        let endpoint = &endpoints[turn.wrapping_add(at) % endpoints.len()];
        match timeout(limit, to_endpoint(endpoint, binding)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(reason)) => last = reason,
            Err(_) => last = Reason::ConnectTimeout,
        }
        tracing::debug!(%binding, %endpoint, reason = last.as_str(), "endpoint not reached");
    }
    Err(last)
}

async fn to_endpoint(endpoint: &Endpoint, binding: SocketAddr) -> Result<TcpStream, Reason> {
    let addresses = lookup_host((endpoint.host.as_str(), endpoint.port)).await.map_err(|_| Reason::NameLookup)?;
    let mut last = Reason::NameLookup;
    for address in addresses {
        if address == binding {
            return Err(Reason::Loop);
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = reason(&error),
        }
    }
    Err(last)
}

fn reason(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Reason::ConnectRefused,
        io::ErrorKind::TimedOut => Reason::ConnectTimeout,
        _ => Reason::ConnectError,
    }
}
