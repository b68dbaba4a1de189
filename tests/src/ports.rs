//! Ports for servers that are told where to listen.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// With those 10,000 above them, below what the system gives to connections that go out.
const FIRST: u16 = 20_000;
const COUNT: u16 = 2_700;

/// A port of 127.0.0.1 on which nobody listens, nor on the one 10,000 above it, which a node of a
/// Redis Cluster uses as well. Nobody else of this process is given it, nor does the system take it
/// for a connection, before a server gets to listen there.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Where other processes of tests begin elsewhere.
    let start = (std::process::id() % 27) as u16 * 100;
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut ports = (0..COUNT).map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT);
    ports.find(|port| free(*port) && free(port + 10_000)).expect("a free port")
}
