//! One listener: bound, then accepting until told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Binding, carry, refuse};
use crate::counters::Reason;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// A pause after a failure to accept that a retry at once would only repeat.
const PAUSE: Duration = Duration::from_millis(50);

/// Listens on `address`; the error says what to do about it.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    try_listen(address).map_err(|error| explain(address, &error))
}

fn try_listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of an earlier run in TIME_WAIT must not keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn explain(address: SocketAddr, error: &io::Error) -> String {
    let (ip, port) = (address.ip(), address.port());
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} of {ip} is taken by another program; stop it or change the Service's port")
        }
        io::ErrorKind::PermissionDenied => format!(
            "port {port} is reserved for privileged programs; use a port above 1023 or allow it with \
             `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no address {ip}; on macOS add it with `sudo ifconfig lo0 alias {ip}`")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

/// What all listeners share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// One permit for each connection.
    pub permits: Arc<Semaphore>,
    /// Every connection being carried.
    pub connections: TaskTracker,
    /// Ends them all.
    pub cut: CancellationToken,
}

/// Accepts until `stop`.
pub(crate) async fn accept(listener: TcpListener, binding: Arc<Binding>, shared: Shared, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (caller, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_about_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(binding = %binding.address, %error, "cannot accept; is the limit of open files too low?");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match Arc::clone(&shared.permits).try_acquire_owned() {
            Ok(permit) => {
                let binding = Arc::clone(&binding);
                let cut = shared.cut.clone();
                shared.connections.spawn(async move {
                    carry(&binding, caller, peer, cut).await;
                    drop(permit);
                });
            }
            Err(_) => refuse(&binding, &caller, Reason::Limit),
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
