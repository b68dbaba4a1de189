//! Where Envoys connect for their resources: a private Unix socket, or TCP with mutual TLS.

use std::future::Future;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use runtime::grpc::{self, GrpcOptions};
use runtime::tls::{self, ServerTls};
use runtime::{Addr, Listener, Readiness, Tasks};
use tonic::service::Routes;
use xds::{Authorizer, Hub, Options, Service};

/// The files with which the server proves itself and checks its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate chain.
    pub cert: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
    /// The authority whose client certificates are accepted; each names its node.
    pub client_ca: PathBuf,
}

/// An xDS address and how clients prove who they are on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket: whoever can open it is trusted.
    Unix(PathBuf),
    /// TCP with mutual TLS: a client gets the resources of the node its certificate names.
    Tcp(std::net::SocketAddr, TlsFiles),
}

impl Listen {
    /// Pairs an address with its TLS files.
    ///
    /// # Errors
    /// A sentence for the operator, when TCP is asked for without mutual TLS.
    pub fn new(addr: &Addr, tls: Option<TlsFiles>) -> Result<Listen, String> {
        match (addr, tls) {
            (Addr::Unix(path), _) => Ok(Listen::Unix(path.clone())),
            (Addr::Tcp(addr), Some(tls)) => Ok(Listen::Tcp(*addr, tls)),
            (Addr::Tcp(addr), None) => Err(format!(
                "xDS on {addr} would hand every Gateway's configuration to whoever connects: give --tls-dir DIR, \
                 or --tls-cert, --tls-key and --client-ca, or listen on a socket with --grpc unix:PATH"
            )),
        }
    }

    /// Binds, and gives the address as bound with the server to run. Certificates that are replaced
    /// while it runs are followed by one of `tasks`.
    ///
    /// # Errors
    /// When the address cannot be bound or a TLS file cannot be read.
    pub async fn serve(
        &self,
        hub: Hub,
        readiness: Readiness,
        tasks: &mut Tasks,
    ) -> anyhow::Result<(Addr, impl Future<Output = anyhow::Result<()>> + Send + 'static)> {
        let (addr, authorizer, acceptor) = match self {
            Listen::Unix(path) => {
                private_parent(path)?;
                (Addr::Unix(path.clone()), Authorizer::local(), None)
            }
            Listen::Tcp(addr, files) => {
                (Addr::Tcp(*addr), Authorizer::by_certificate(), Some(tls::acceptor(of(files), tasks)?))
            }
        };
        let listener = Listener::bind(&addr).await?;
        let bound = listener.local_addr().context("the xDS address")?;
        let shutdown = tasks.shutdown().clone();
        let service = Service::new(hub, authorizer, Options::default(), shutdown.clone());
        let routes = Routes::new(service.into_server());
        let health_services = vec!["envoy.service.discovery.v3.AggregatedDiscoveryService".to_owned()];
        let options = GrpcOptions { health_services, acceptor, ..GrpcOptions::default() };
        Ok((bound, grpc::serve(listener, routes, options, readiness, shutdown)))
    }
}

fn of(files: &TlsFiles) -> ServerTls {
    let TlsFiles { cert, key, client_ca } = files.clone();
    ServerTls { cert, key, client_ca: Some(client_ca), client_san: None }
}

/// Creates the socket's folder for its owner only. One that exists is the operator's choice,
/// unless others may write to it: they could put a socket of their own in its place.
fn private_parent(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    match std::fs::metadata(parent) {
        Ok(found) if found.permissions().mode() & 0o022 != 0 => {
            bail!("{} may be written by others; choose a folder only you may write to", parent.display())
        }
        Ok(_) => Ok(()),
        Err(_) => std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .with_context(|| format!("creating {}", parent.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_tcp_is_refused_with_what_to_write_instead() {
        let addr: Addr = "127.0.0.1:9977".parse().expect("an address");
        let why = Listen::new(&addr, None).expect_err("no TLS");
        assert!(why.contains("--tls-dir") && why.contains("unix:PATH"), "{why}");
    }

    #[test]
    fn a_socket_in_a_folder_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a folder");
        let open = dir.path().join("open");
        std::fs::create_dir(&open).expect("a folder");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("permissions");
        assert!(private_parent(&open.join("xds.sock")).is_err());
        let made = dir.path().join("run/xds.sock");
        private_parent(&made).expect("created");
        let mode = std::fs::metadata(dir.path().join("run")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
