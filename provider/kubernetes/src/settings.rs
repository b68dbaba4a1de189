//! How a server is told to read from Kubernetes.

use std::path::PathBuf;

use clap::Args;

/// Settings of reading from Kubernetes.
#[derive(Debug, Clone, Default, Args)]
pub struct KubernetesArgs {
    /// Read from Kubernetes, not files
    #[arg(long, env = "WAYKEEPER_KUBERNETES", conflicts_with = "paths")]
    pub kubernetes: bool,
    /// From the cluster that this file names, as kubectl would; help is one page, and few need it
    #[arg(
        long,
        env = "WAYKEEPER_KUBECONFIG",
        value_name = "FILE",
        hide = true,
        requires = "kubernetes",
        conflicts_with = "paths"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// Write statuses of objects
    #[arg(
        long,
        env = "WAYKEEPER_STATUSES",
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        hide = true
    )]
    pub statuses: bool,
    /// Of replicas in this namespace one writes statuses
    #[arg(
        long = "own-namespace",
        env = "POD_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "waykeeper",
        hide = true
    )]
    pub namespace: String,
    /// The name of the controller that says what is said of routes [default: ours]
    #[arg(skip)]
    pub controller: Option<String>,
}

/// Settings of reading Secrets from Kubernetes.
#[derive(Debug, Clone, Default, Args)]
pub struct SecretArgs {
    /// Read Secrets of these namespaces alone [default: of all]
    #[arg(
        long,
        env = "WAYKEEPER_SECRET_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMESPACE",
        requires = "kubernetes",
        conflicts_with = "paths"
    )]
    pub secret_namespaces: Vec<String>,
}
