//! Requests to an Envoy's admin socket.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

const PATIENCE: Duration = Duration::from_secs(2);

/// Sends `method path` to the admin socket, and gives the status code and body of the answer.
///
/// # Errors
/// When there is no answer within two seconds.
pub async fn request(socket: &Path, method: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        let head = format!("{method} {path} HTTP/1.0\r\nHost: admin\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.context("Envoy's admin did not answer")??;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").context("Envoy's admin answered half")?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("Envoy's admin gave no status")?;
    Ok((code, body.to_owned()))
}
