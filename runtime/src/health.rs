//! `health`: a server's own binary asks whether the server is ready.
//!
//! Images hold nothing but the binary, so it is what their health checks run.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use crate::Addr;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than this nobody writes at `/readyz`.
const LONGEST: u64 = 64 * 1024;

/// GETs `/readyz` at `admin`, prints one line, and succeeds when the server is ready.
#[allow(clippy::print_stdout, reason = "printing is what this is for")]
pub fn ask(admin: &Addr) -> ExitCode {
    match look(admin) {
        Ok(ready) => {
            println!("{ready}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// What the server says of itself.
///
/// # Errors
/// When it is not ready, what it waits for; when it does not answer, why.
pub fn look(admin: &Addr) -> Result<String, String> {
    let answer = exchange(admin).map_err(|error| format!("no answer at {admin}: {error}"))?;
    verdict(&String::from_utf8_lossy(&answer))
}

fn exchange(admin: &Addr) -> std::io::Result<Vec<u8>> {
    match admin {
        Addr::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            get(stream)
        }
        Addr::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            get(stream)
        }
    }
}

/// A server that listens on all addresses listens on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn get(mut stream: impl Read + Write) -> std::io::Result<Vec<u8>> {
    stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: admin\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(answer)
}

/// What an HTTP answer to `/readyz` means.
fn verdict(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split_whitespace().nth(1);
    let said = body.lines().next().unwrap_or_default().to_owned();
    match status {
        Some("200") => Ok(said),
        Some("503") if !said.is_empty() => Err(said),
        Some(status) => Err(format!("/readyz answered {status}; is this its admin address?")),
        None => Err("what answers is no HTTP server; is this its admin address?".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_server_waits_for() {
        assert_eq!(verdict("HTTP/1.1 200 OK\r\nx: y\r\n\r\nready\n"), Ok("ready".to_owned()));
        let waiting = "HTTP/1.1 503 Service Unavailable\r\n\r\nwaiting for: folder loaded\n";
        assert_eq!(verdict(waiting), Err("waiting for: folder loaded".to_owned()));
        for other in ["", "SSH-2.0\r\n", "HTTP/1.1 404 Not Found\r\n\r\nno"] {
            assert!(verdict(other).is_err_and(|why| why.contains("admin address")), "{other}");
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_not_ready() {
        let why = look(&Addr::Unix("/nowhere/admin.sock".into())).expect_err("nobody there");
        assert!(why.starts_with("no answer at unix:/nowhere/admin.sock: "), "{why}");
        assert_eq!(reachable("0.0.0.0:80".parse().expect("an address")).to_string(), "127.0.0.1:80");
    }
}
