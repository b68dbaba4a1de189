//! One listener: bound, then accepting until told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Binding, carry, refuse};
use crate::shares::Shares;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// A pause after a failure to accept that a retry at once would only repeat.
const PAUSE: Duration = Duration::from_millis(50);

/// How long nobody may have come before a listener that stops is closed.
const QUIET: Duration = Duration::from_millis(20);

/// The longest that a listener takes to close, where newcomers cannot be turned away.
const CLOSING: Duration = Duration::from_millis(500);

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
    /// Who may have how many connections.
    pub shares: Shares,
    /// Every connection being carried.
    pub connections: TaskTracker,
    /// Ends them all.
    pub cut: CancellationToken,
}

/// Accepts until `stop`, and then whoever had been let in.
pub(crate) async fn accept(listener: TcpListener, binding: Arc<Binding>, shared: Shared, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((caller, peer)) => serve(&binding, &shared, caller, peer),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(binding = %binding.address, %error, "cannot accept; is the limit of open files too low?");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // The system resets whoever still waits in the queue of a socket that closes.
    turn_away_newcomers(&listener);
    let deadline = Instant::now() + CLOSING;
    loop {
        let quiet = (Instant::now() + QUIET).min(deadline);
        match timeout_at(quiet, listener.accept()).await {
            Ok(Ok((caller, peer))) => serve(&binding, &shared, caller, peer),
            Ok(Err(error)) if is_about_one_connection(&error) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

fn serve(binding: &Arc<Binding>, shared: &Shared, caller: TcpStream, peer: SocketAddr) {
    match shared.shares.take(peer, binding.address) {
        Ok(share) => {
            let binding = Arc::clone(binding);
            let cut = shared.cut.clone();
            shared.connections.spawn(async move {
                carry(&binding, caller, peer, cut).await;
                drop(share);
            });
        }
        Err(reason) => refuse(binding, &caller, reason),
    }
}

/// Has the system drop what would open a new connection; handshakes under way
/// still finish. A caller turned away so asks again a second later, and is
/// refused then. Where the system cannot do this, a caller who comes in the
/// moment between the last accept and the close is reset.
fn turn_away_newcomers(listener: &TcpListener) {
    #[cfg(target_os = "linux")]
    {
        // Classic BPF over the segment, which begins with the TCP header.
        const LOAD_BYTE: u16 = 0x30;
        const JUMP_IF_ANY: u16 = 0x45;
        const RETURN: u16 = 0x06;
        const FLAGS: u32 = 13;
        const SYN: u32 = 0x02;
        let program = [
            SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
            SockFilter::new(JUMP_IF_ANY, 0, 1, SYN),
            SockFilter::new(RETURN, 0, 0, 0),
            SockFilter::new(RETURN, 0, 0, u32::MAX),
        ];
        // An improvement, not a condition.
        let _ = SockRef::from(listener).attach_filter(&program);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
