//! Requests to an Envoy's admin socket.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

const PATIENCE: Duration = Duration::from_secs(2);
/// More than any page asked for here.
const MOST_BYTES: usize = 64 << 20;

/// Sends `method path` to the admin socket, and gives the body of the answer.
///
/// # Errors
/// When there is no answer within two seconds, or it is none of success.
pub async fn request(socket: &Path, method: Method, path: &str) -> anyhow::Result<String> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header(header::HOST, "admin");
        let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await.map_err(anyhow::Error::from_boxed)?;
        connection.abort();
        anyhow::Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.context("Envoy's admin did not answer in time")?;
    match answer.context("asking Envoy's admin")? {
        (StatusCode::OK, body) => Ok(body),
        (status, _) => bail!("Envoy's admin answered {path} with {status}"),
    }
}
