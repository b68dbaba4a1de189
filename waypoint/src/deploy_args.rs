//! Flags that say how the pods of Gateways are made.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::Value;
use waypoint::authority::Trusted;
use waypoint::classes::ClassArgs;
use waypoint::target::host_and_port;
use waypoint::{Ca, DeploySettings, Pods, amount};

/// How the pods of Gateways are made; the flags beside `--deploy` are in docs/kubernetes.md.
#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// Run Gateways' Envoys in pods
    #[arg(long, env = "WAYPOINT_DEPLOY")]
    pub deploy: bool,
    /// The image of the pods
    #[arg(long, env = "WAYPOINT_PROXY_IMAGE", value_name = "IMAGE", hide = true)]
    pub proxy_image: Option<String>,
    /// Secrets in the Gateways' namespaces that the image's registry wants to see
    #[arg(long, env = "WAYPOINT_PROXY_PULL_SECRETS", value_name = "NAME", value_delimiter = ',', hide = true)]
    pub proxy_pull_secrets: Vec<String>,
    /// Where the pods find this server
    #[arg(long, env = "WAYPOINT_PROXY_XDS", value_name = "HOST:PORT", value_parser = host_and_port, hide = true)]
    pub proxy_xds: Option<(String, u16)>,
    /// The name that this server's certificate is for, if it is not that host
    #[arg(long, env = "WAYPOINT_PROXY_XDS_NAME", value_name = "NAME", hide = true)]
    pub proxy_xds_name: Option<String>,
    /// Who signs this server's certificate, as the pods are to be told; followed as it changes
    #[arg(long, env = "WAYPOINT_PROXY_CA", value_name = "FILE", hide = true)]
    pub proxy_ca: Option<PathBuf>,
    /// How much of a processor each pod asks for
    #[arg(long, env = "WAYPOINT_PROXY_CPU", value_name = "AMOUNT", default_value = "100m", value_parser = an_amount, hide = true)]
    pub proxy_cpu: String,
    /// How much memory each pod asks for
    #[arg(long, env = "WAYPOINT_PROXY_MEMORY", value_name = "AMOUNT", default_value = "128Mi", value_parser = an_amount, hide = true)]
    pub proxy_memory: String,
}

impl DeployArgs {
    /// These flags as settings of the deployer of `classes`, if there is to be one.
    /// Where no file says who signs this server's certificate, `trusted` does.
    pub fn settings(&self, classes: &ClassArgs, trusted: Option<Trusted>) -> anyhow::Result<Option<DeploySettings>> {
        if !self.deploy {
            return Ok(None);
        }
        let image = self.proxy_image.clone().context("--deploy needs --proxy-image IMAGE")?;
        let xds = self.proxy_xds.clone().context("--deploy needs --proxy-xds HOST:PORT")?;
        let ca = self.proxy_ca.clone().map(Ca::File).or(trusted.map(Ca::Trusted));
        let ca = ca.context("--deploy needs --proxy-ca FILE where the certificate comes from a file")?;
        ensure!(!image.is_empty(), "--proxy-image names no image");
        let pods = Pods {
            image,
            pull_secrets: self.proxy_pull_secrets.clone(),
            xds,
            xds_name: self.proxy_xds_name.clone(),
            cpu: self.proxy_cpu.clone(),
            memory: self.proxy_memory.clone(),
            controller: classes.controller_name.clone(),
        };
        Ok(Some(DeploySettings { classes: classes.names(), ca, pods }))
    }

    /// The names by which pods know this server.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let host = self.proxy_xds.iter().map(|(host, _)| host.clone());
        host.chain(self.proxy_xds_name.clone())
    }
}

fn an_amount(text: &str) -> Result<String, String> {
    match amount(&Value::from(text)) {
        Some(1..) => Ok(text.to_owned()),
        _ => Err("write an amount as Kubernetes does, such as 100m or 128Mi".to_owned()),
    }
}
