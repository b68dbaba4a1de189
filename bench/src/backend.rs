//! The application behind every Service: answers 200 and nothing else.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// Serves on a free port of `at` for as long as this process runs.
///
/// # Errors
/// When no port is free.
pub fn start(at: Ipv4Addr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((at, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            std::thread::spawn(move || answer(caller));
        }
    });
    Ok(address)
}

/// Answers each request of a connection; requests have no body.
fn answer(mut caller: TcpStream) {
    let mut received = Vec::new();
    let mut buffer = [0_u8; 4096];
    while let Ok(length @ 1..) = caller.read(&mut buffer) {
        received.extend_from_slice(&buffer[..length]);
        while let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            received.drain(..end + 4);
            if caller.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
                return;
            }
        }
    }
}
