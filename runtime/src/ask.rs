//! One request to an admin port, ours or an Envoy's: a connection of its own, an answer of bounded
//! size, within a bounded time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::Addr;

/// How long an answer may take, and how large it may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From connecting to the last byte.
    pub patience: Duration,
    /// Bytes of the body.
    pub bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody could be connected to.
    #[error("connecting: {0}")]
    Connect(#[source] io::Error),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs_f64())]
    TooLate(Duration),
    /// What came is no HTTP.
    #[error("what answers is no HTTP server")]
    NoHttp,
    /// The connection broke, or the answer is too large.
    #[error("the answer broke off: {0}")]
    Broken(String),
}

/// What was answered: a status and a body, whatever the status is.
pub type Answer = (StatusCode, Bytes);

/// Sends `body`, JSON if it is not empty, to `path` of what serves at `admin`.
///
/// # Errors
/// When there is no whole answer.
pub async fn ask(admin: &Addr, method: Method, path: &str, body: Bytes, limits: Limits) -> Result<Answer, Error> {
    let exchanged = async {
        match admin {
            Addr::Tcp(address) => {
                let stream = TcpStream::connect(reachable(*address)).await.map_err(Error::Connect)?;
                exchange(stream, &address.to_string(), method, path, body, limits).await
            }
            Addr::Unix(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(Error::Connect)?;
                exchange(stream, "localhost", method, path, body, limits).await
            }
        }
    };
    tokio::time::timeout(limits.patience, exchanged).await.map_err(|_| Error::TooLate(limits.patience))?
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    method: Method,
    path: &str,
    body: Bytes,
    limits: Limits,
) -> Result<Answer, Error> {
    let broken = |error: &dyn std::error::Error| Error::Broken(innermost(error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let mut request = Request::builder().method(method).uri(path).header(HOST, host);
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(body)).map_err(|error| broken(&error))?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(|error| match error.is_parse() {
            true => Error::NoHttp,
            false => broken(&error),
        })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), limits.bytes).collect().await.map_err(|error| broken(&*error))?;
        Ok((status, body.to_bytes()))
    };
    // The connection is driven here, and ends with the answer.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        answer = asked => answer,
        () = driven => Err(Error::Broken(String::new())),
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

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMITS: Limits = Limits { patience: Duration::from_millis(500), bytes: 100 };

    /// What is made of `answer`, after which the connection stays open or ends.
    async fn answered(answer: &'static str, ends: bool) -> Result<Answer, Error> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = Addr::Tcp(listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            if !ends {
                std::future::pending::<()>().await;
            }
        });
        let asked = ask(&admin, Method::GET, "/x", Bytes::new(), LIMITS).await;
        server.abort();
        asked
    }

    #[tokio::test]
    async fn an_answer_or_the_reason_why_there_is_none() {
        for ends in [true, false] {
            let (status, body) = answered("HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nno\n", ends).await.unwrap();
            assert_eq!((status.as_u16(), body.as_ref()), (503, &b"no\n"[..]));
        }
        let (_, body) = answered("HTTP/1.0 200 OK\r\n\r\nuntil the end", true).await.unwrap();
        assert_eq!(body.as_ref(), b"until the end");
        assert!(matches!(answered("SSH-2.0-x\r\n\r\n", true).await, Err(Error::NoHttp)));
        assert!(matches!(answered("", true).await, Err(Error::Broken(_))));
        assert!(matches!(
            answered("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nno", true).await,
            Err(Error::Broken(_))
        ));
        assert!(matches!(
            answered("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nno", false).await,
            Err(Error::TooLate(_))
        ));
        let long = "HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n................................................................................................................................................................................................................";
        assert!(matches!(answered(long, true).await, Err(Error::Broken(_))));
        let nobody = ask(&Addr::Unix("/nowhere/x.sock".into()), Method::GET, "/", Bytes::new(), LIMITS).await;
        assert!(matches!(nobody, Err(Error::Connect(_))));
    }

    #[test]
    fn all_addresses_are_reached_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()).to_string(), "127.0.0.1:80");
        assert_eq!(reachable("[::]:80".parse().unwrap()).to_string(), "[::1]:80");
    }
}
