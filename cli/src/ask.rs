//! Questions to an admin port, at an address or a Unix socket: JSON there, JSON back.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::Method;
use runtime::Addr;
use runtime::ask::{Error, Limits, ask};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long an answer may take and be.
const LIMITS: Limits = Limits { patience: Duration::from_secs(10), bytes: 16 << 20 };

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
    let (status, answer) = ask(admin, method, path, body, LIMITS).await.map_err(|error| match error {
        Error::Connect(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
            anyhow::anyhow!(
                "nothing answers at {admin}; start `waykeeper up` or a server, or name its --admin address ({error})"
            )
        }
        error => anyhow::Error::new(error).context(format!("asking {admin}")),
    })?;
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

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn any_text_fits_into_a_query() {
        assert_eq!(encode("shop.limits: a=1&b"), "shop.limits%3A%20a%3D1%26b");
    }
}
