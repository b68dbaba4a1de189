//! Commands that ask the API server of a cluster: which one, and where things are on it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use api::Kind;
use api::name::is_namespace;
use clap::Args;
use kubernetes::client::Client;

/// Which cluster, and where in it.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// The kubeconfig [default: as kubectl finds it]
    #[arg(short = 'c', long, env = "WAYKEEPER_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in it [default: the current one]
    #[arg(long, env = "WAYKEEPER_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace [default: the context's]
    #[arg(short = 'n', long, env = "WAYKEEPER_NAMESPACE", value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,
}

impl ClusterArgs {
    /// The API server, and the namespace that is meant.
    ///
    /// # Errors
    /// When it is not known which one to ask.
    pub async fn open(&self) -> anyhow::Result<(Client, String)> {
        let client = Client::find(self.kubeconfig.as_deref(), self.context.as_deref()).await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| client.namespace().to_owned());
        ensure!(is_namespace(&namespace), "{namespace:?}, of the kubeconfig, is not the name of a namespace");
        Ok((client, namespace))
    }
}

/// Where an API server has the objects of a kind: of `version`, and in `namespace` if they are in one.
pub fn list_path(kind: Kind, version: &str, namespace: &str) -> String {
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let place = if kind.namespaced() { format!("/namespaces/{namespace}") } else { String::new() };
    format!("{root}{place}/{}", kind.plural())
}

/// A namespace, as a flag names it.
pub fn namespace(text: &str) -> Result<String, String> {
    if is_namespace(text) { Ok(text.to_owned()) } else { Err("not the name of a namespace".to_owned()) }
}

/// A span of time as istioctl takes it, such as 90s or 1m30s.
pub fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and s, m or h, such as 90s".to_owned();
    let mut rest = text;
    let mut whole = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u32 = rest[..end].parse().map_err(|_| wrong())?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| end + at);
        let unit = match &rest[end..unit_end] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(wrong()),
        };
        whole = unit.checked_mul(count).and_then(|part| whole.checked_add(part)).ok_or_else(wrong)?;
        rest = &rest[unit_end..];
    }
    if whole.is_zero() { Err(wrong()) } else { Ok(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_istioctl_takes_them() {
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "0s", "90", "s", "1d", "-1s", "1.5s", "99999999999s", "4294967295h9"] {
            assert!(span(wrong).is_err(), "{wrong:?}");
        }
    }
}
