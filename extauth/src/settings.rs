//! What a person can set.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use api::contract::USER_HEADER;
use api::header::{self, HeaderUse};
use kubernetes::{KubernetesArgs, SecretArgs};
use runtime::telemetry::TelemetryArgs;
use runtime::tls::ServerTls;
use runtime::{Addr, Workers};

use crate::methods::{Pem, SigningKey};

/// Where the admin port is unless told otherwise.
const ADMIN: &str = "127.0.0.1:9091";

/// Settings of the service itself, wherever it runs.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Header that tells upstream who the user is
    #[arg(long, env = "USER_ID_HEADER", default_value = USER_HEADER, value_name = "HEADER", value_parser = header)]
    pub user_id_header: String,
    /// How long a removed AuthConfig still answers: longer than Envoy takes to hear of it. After an edit, Envoy's questions with the headers of before are answered for at most 2 s of it
    #[arg(long, env = "EXTAUTH_REMOVED_GRACE", default_value_t = REMOVED_GRACE, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=600))]
    pub removed_grace: u64,
    /// Authorities that passThroughAuth trusts over TLS besides the system's: PEM in base64
    #[arg(long, env = "HTTPS_PASSTHROUGH_CA_CERT", value_name = "BASE64", value_parser = Pem::parse)]
    pub https_passthrough_ca_cert: Option<Pem>,
    /// What sessions of logins are sealed with where their AuthConfig has no key: the same for all replicas, 32 characters or more
    #[arg(long, env = "SIGNING_KEY", hide_env_values = true, value_name = "TEXT", value_parser = SigningKey::parse)]
    pub signing_key: Option<SigningKey>,
    /// How long a question waits for an AuthConfig that is not there, or not in the version that reads what the
    /// question brings: Envoy may have been told of it before this process has read it.
    #[arg(skip = UNKNOWN_PATIENCE)]
    pub unknown_patience: Duration,
}

/// Ten seconds: an Envoy that is connected hears of a change in milliseconds, and one that has to
/// connect again has done so by then.
const REMOVED_GRACE: u64 = 10;

/// The most that a version which was replaced answers checks that were made for the headers it reads. An Envoy that
/// is connected has its new routes in milliseconds; one that is not is refused for a moment.
const REPLACED_GRACE: Duration = Duration::from_secs(2);

/// Longer than a change takes from one process to another, and shorter than Envoy waits.
const UNKNOWN_PATIENCE: Duration = Duration::from_millis(100);

impl Default for Settings {
    fn default() -> Self {
        Self {
            user_id_header: USER_HEADER.to_owned(),
            removed_grace: REMOVED_GRACE,
            https_passthrough_ca_cert: None,
            signing_key: None,
            unknown_patience: UNKNOWN_PATIENCE,
        }
    }
}

impl Settings {
    /// [`Settings::removed_grace`] as a duration.
    pub fn removed_grace(&self) -> Duration {
        Duration::from_secs(self.removed_grace)
    }

    /// How long a version that was replaced answers checks that were made for the headers it reads.
    pub(crate) fn replaced_grace(&self) -> Duration {
        self.removed_grace().min(REPLACED_GRACE)
    }
}

/// Answers Envoy's external authorization checks from AuthConfigs and Secrets.
#[derive(Debug, Parser)]
#[command(name = "extauth", version, subcommand_negates_reqs = true)]
pub struct Cli {
    /// Checks manifests and exits
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Files or folders of manifests, watched
    #[arg(env = "EXTAUTH_PATH", value_delimiter = ':', value_name = "PATH", required_unless_present = "kubernetes")]
    pub paths: Vec<PathBuf>,
    /// The other source of what is declared
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
    /// Where Secrets are read from it
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Where to serve gRPC: an address or unix:PATH
    #[arg(long, env = "EXTAUTH_GRPC", default_value = "127.0.0.1:8083", value_name = "ADDR")]
    pub grpc: Addr,
    /// Where to serve health, metrics and log level
    #[arg(long, env = "EXTAUTH_ADMIN", default_value = ADMIN, value_name = "ADDR")]
    pub admin: Addr,
    /// PEM files to serve TLS with, tls.crt and tls.key; may be replaced
    #[arg(long, env = "EXTAUTH_GRPC_TLS", value_name = "FOLDER")]
    pub grpc_tls: Option<PathBuf>,
    /// Let in only clients with a certificate of these authorities, PEM
    #[arg(long, env = "EXTAUTH_GRPC_CLIENT_CA", value_name = "FILE", requires = "grpc_tls")]
    pub grpc_client_ca: Option<PathBuf>,
    /// And of these only those whose certificate has this name
    #[arg(long, env = "EXTAUTH_GRPC_CLIENT_NAME", value_name = "NAME", requires = "grpc_client_ca")]
    pub grpc_client_name: Option<String>,
    /// Threads that answer; by itself up to 4
    #[arg(long, env = "EXTAUTH_THREADS", value_parser = Workers::parse_count, value_name = "N")]
    pub threads: Option<usize>,
    /// Settings of the service itself
    #[command(flatten)]
    pub settings: Settings,
    /// Logs and traces
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

impl Cli {
    /// TLS of the gRPC port, if it was asked for.
    pub fn tls(&self) -> Option<ServerTls> {
        let tls = self.grpc_tls.as_ref().map(|folder| ServerTls::in_folder(folder, self.grpc_client_ca.clone()))?;
        Some(tls.for_clients_named(self.grpc_client_name.clone()))
    }
}

/// What else the binary does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Checks manifests, prints what is wrong and exits with 1 if anything is
    Validate(provider::validate::ValidateArgs),
    /// Asks a running server whether it is ready: exits with 0 when it is
    Health {
        /// Its admin address
        #[arg(long, env = "EXTAUTH_ADMIN", default_value = ADMIN, value_name = "ADDR")]
        admin: Addr,
        /// Whether to wait for it
        #[command(flatten)]
        wait: runtime::health::Wait,
    },
}

fn header(name: &str) -> Result<String, String> {
    header::check(name, HeaderUse::Write).map(|()| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn paths_are_needed_to_serve_and_validate_takes_its_own() {
        assert!(Cli::try_parse_from(["extauth"]).is_err());
        let serve = Cli::try_parse_from(["extauth", "a", "b", "--user-id-header", "X-Who"]).unwrap();
        assert_eq!((serve.paths.len(), serve.settings.user_id_header.as_str()), (2, "x-who"));
        let validate = Cli::try_parse_from(["extauth", "validate", "a"]).unwrap();
        assert!(matches!(validate.command, Some(Command::Validate(args)) if args.paths.len() == 1));
        assert!(Cli::try_parse_from(["extauth", "a", "--user-id-header", "host"]).is_err());
    }

    #[test]
    fn manifests_come_from_files_or_from_kubernetes() {
        let cluster = Cli::try_parse_from(["extauth", "--kubernetes", "--secret-namespaces", "a,b"]).unwrap();
        assert!(cluster.kubernetes.kubernetes && cluster.paths.is_empty());
        assert_eq!(cluster.secrets.secret_namespaces, ["a", "b"]);
        for wrong in [
            &["a", "--kubernetes"][..],
            &["a", "--kubeconfig", "c"],
            &["a", "--secret-namespaces", "b"],
            &["--kubeconfig", "c"],
        ] {
            assert!(Cli::try_parse_from([&["extauth"], wrong].concat()).is_err(), "{wrong:?}");
        }
    }
}
