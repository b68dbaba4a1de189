//! `health`: a server's own binary asks whether the server is ready.
//!
//! Images hold nothing but the binary, so it is what their health checks run.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use crate::Addr;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than this nobody writes at `/readyz`.
const LONGEST: u64 = 64 * 1024;

/// Between two looks at a server that is waited for.
const PAUSE: Duration = Duration::from_millis(50);

/// How long to wait for a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub struct Wait {
    /// Wait until it is ready, at most so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    pub wait: Option<u32>,
}

/// GETs `/readyz` at `admin`, prints what it says, and succeeds when the server is ready.
#[allow(clippy::print_stdout, reason = "printing is what this is for")]
pub fn ask(admin: &Addr, wait: Wait) -> ExitCode {
    let began = Instant::now();
    let most = Duration::from_secs(wait.wait.unwrap_or(0).into());
    let mut found = look(admin);
    while found.is_err() && began.elapsed() < most {
        std::thread::sleep(PAUSE);
        found = look(admin);
    }
    match found {
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
    let said = body.trim_end().to_owned();
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
        let remark = "HTTP/1.1 200 OK\r\n\r\nready\nnot in force: x\n";
        assert_eq!(verdict(remark), Ok("ready\nnot in force: x".to_owned()));
        let waiting = "HTTP/1.1 503 Service Unavailable\r\n\r\nwaiting for: folder loaded\n";
        assert_eq!(verdict(waiting), Err("waiting for: folder loaded".to_owned()));
        for other in ["", "SSH-2.0\r\n", "HTTP/1.1 404 Not Found\r\n\r\nno"] {
            assert!(verdict(other).is_err_and(|why| why.contains("admin address")), "{other}");
        }
    }

    #[test]
    fn a_server_that_is_about_to_be_ready_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let admin = Addr::Unix(path.clone());
        assert_eq!(ask(&admin, Wait::default()), ExitCode::FAILURE);
        let server = std::thread::spawn(move || {
            let listener = std::os::unix::net::UnixListener::bind(path).expect("a socket");
            for answer in ["HTTP/1.1 503 x\r\n\r\nwaiting for: x\n", "HTTP/1.1 200 OK\r\n\r\nready\n"] {
                let (mut stream, _) = listener.accept().expect("a connection");
                let _ = stream.read(&mut [0; 256]).expect("a question");
                stream.write_all(answer.as_bytes()).expect("an answer");
            }
        });
        assert_eq!(ask(&admin, Wait { wait: Some(30) }), ExitCode::SUCCESS);
        server.join().expect("two questions");
    }

    #[test]
    fn a_server_that_is_not_there_is_not_ready() {
        let why = look(&Addr::Unix("/nowhere/admin.sock".into())).expect_err("nobody there");
        assert!(why.starts_with("no answer at unix:/nowhere/admin.sock: "), "{why}");
        assert_eq!(reachable("0.0.0.0:80".parse().expect("an address")).to_string(), "127.0.0.1:80");
    }
}
