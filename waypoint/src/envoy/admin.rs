//! Requests to an Envoy's admin socket.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use runtime::Addr;
use runtime::ask::{Limits, ask};

/// More than any page asked for here.
const LIMITS: Limits = Limits { patience: Duration::from_secs(2), bytes: 64 << 20 };

/// Sends `method path` to the admin socket, and gives the body of the answer.
///
/// # Errors
/// When there is no answer within two seconds, or it is none of success.
pub async fn request(socket: &Path, method: Method, path: &str) -> anyhow::Result<String> {
    match ask(&Addr::Unix(socket.to_owned()), method, path, Bytes::new(), LIMITS)
        .await
        .context("asking Envoy's admin")?
    {
        (StatusCode::OK, body) => Ok(String::from_utf8_lossy(&body).into_owned()),
        (status, _) => bail!("Envoy's admin answered {path} with {status}"),
    }
}
