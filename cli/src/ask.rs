//! Questions to an admin port, at an address or a Unix socket: JSON there, JSON back.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use runtime::Addr;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may be.
const MOST_BYTES: usize = 16 << 20;

/// GET of `path`.
///
/// # Errors
/// When nobody answers, or with what the answer says is wrong.
pub async fn get<T: DeserializeOwned>(admin: &Addr, path: &str) -> anyhow::Result<T> {
    send(admin, Method::GET, path, Bytes::new()).await
}

/// POST of `body` to `path`.
///
/// # Errors
/// When nobody answers, or with what the answer says is wrong.
pub async fn post<T: DeserializeOwned>(admin: &Addr, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
    send(admin, Method::POST, path, serde_json::to_vec(body)?.into()).await
}

/// A text as part of a query.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => encoded.push(byte.into()),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

async fn send<T: DeserializeOwned>(admin: &Addr, method: Method, path: &str, body: Bytes) -> anyhow::Result<T> {
    let nobody = |error: std::io::Error| match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => anyhow::anyhow!(
            "nothing answers at {admin}; start `waykeeper up` or a server, or name its --admin address ({error})"
        ),
        _ => anyhow::Error::new(error).context(format!("connecting to {admin}")),
    };
    let (status, answer) = tokio::time::timeout(PATIENCE, async {
        match admin {
            Addr::Tcp(address) => {
                let host = address.to_string();
                exchange(TcpStream::connect(address).await.map_err(nobody)?, &host, method, path, body).await
            }
            Addr::Unix(socket) => {
                exchange(UnixStream::connect(socket).await.map_err(nobody)?, "localhost", method, path, body).await
            }
        }
    })
    .await
    .with_context(|| format!("{admin} did not answer in {} s", PATIENCE.as_secs()))??;
    if !status.is_success() {
        let said = serde_json::from_slice::<Value>(&answer).ok();
        let why = said.as_ref().and_then(|said| said["error"].as_str());
        anyhow::bail!(
            "{}",
            why.map_or_else(
                || format!("{admin} answers {status} to {path}: another server's admin address?"),
                str::to_owned
            )
        );
    }
    serde_json::from_slice(&answer).with_context(|| format!("reading what {path} answered"))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    method: Method,
    path: &str,
    body: Bytes,
) -> anyhow::Result<(hyper::StatusCode, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let reply = sender.send_request(request).await.context("asking")?;
    let status = reply.status();
    let body = Limited::new(reply.into_body(), MOST_BYTES).collect().await.map_err(|why| anyhow::anyhow!("{why}"))?;
    connection.abort();
    Ok((status, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn any_text_fits_into_a_query() {
        assert_eq!(encode("shop.limits: a=1&b"), "shop.limits%3A%20a%3D1%26b");
    }
}
