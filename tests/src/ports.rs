//! Ports for servers that are told where to listen.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that the system gives to connections that go out.
const FIRST: u16 = 22_000;
const COUNT: u16 = 10_000;

/// A port of 127.0.0.1 on which nobody listens. Nobody else of this process is given it, nor
/// does the system take it for a connection, before a server gets to listen there.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Where other processes of tests begin elsewhere.
    let start = (std::process::id() % 100) as u16 * (COUNT / 100);
    let ports = (0..COUNT).map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT);
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a free port")
}
