//! Where Envoys connect for their resources: a private Unix socket, or TCP with TLS, and a certificate or a token of theirs.

use std::future::Future;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use api::Name;
use kubernetes::identity::Accounts;
use runtime::grpc::{self, GrpcOptions};
use runtime::tls::{self, ServerTls, Shown};
use runtime::{Addr, Listener, Readiness, Tasks};
use tokio::sync::watch;
use tonic::service::Routes;
use xds::{Admission, Authorizer, Hub, Options, Service};

use crate::proxy_name::speaks_for;

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

/// For whom the tokens are that Envoys of a cluster show: nobody else takes one, and we take no others.
pub const AUDIENCE: &str = "xds.waykeeper.dev";

/// An xDS address and how clients prove who they are on it.
#[derive(Debug, Clone)]
pub enum Listen {
    /// A Unix socket: whoever can open it is trusted.
    Unix(PathBuf),
    /// TCP with mutual TLS: a client gets the resources of the node its certificate names.
    Tcp(std::net::SocketAddr, TlsFiles),
    /// TCP with TLS: a client shows the token of a ServiceAccount, and gets the resources of the Gateway whose
    /// proxies have that one.
    Tokens(std::net::SocketAddr, Proof, Accounts),
}

/// How the server proves who it is.
#[derive(Debug, Clone)]
pub enum Proof {
    /// By files.
    Files(ServerTls),
    /// By what it is told to show.
    Shown(Shown),
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
                 or --tls-cert, --tls-key and --client-ca (with --kubernetes Envoys may show tokens, and --client-ca \
                 is left out), or listen on a socket with --grpc unix:PATH"
            )),
        }
    }

    /// Binds, and gives the address as bound with the server to run; Envoys are served while `turn` is true, if there is
    /// one. Certificates that are replaced
    /// while it runs are followed by one of `tasks`.
    ///
    /// # Errors
    /// When the address cannot be bound or a TLS file cannot be read.
    pub async fn serve(
        &self,
        hub: Hub,
        readiness: Readiness,
        turn: Option<watch::Receiver<bool>>,
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
            Listen::Tokens(addr, proof, accounts) => {
                let acceptor = match proof {
                    Proof::Files(files) => tls::acceptor(files.clone(), tasks)?,
                    Proof::Shown(shown) => shown.acceptor()?,
                };
                (Addr::Tcp(*addr), by_account(accounts.clone()), Some(acceptor))
            }
        };
        let listener = Listener::bind(&addr).await?;
        let bound = listener.local_addr().context("the xDS address")?;
        let shutdown = tasks.shutdown().clone();
        let service = Service::new(hub, authorizer, Options::default(), shutdown.clone());
        let service = service.while_it_is_our_turn(turn);
        let routes = Routes::new(service.into_server());
        let health_services = vec!["envoy.service.discovery.v3.AggregatedDiscoveryService".to_owned()];
        let options = GrpcOptions { health_services, acceptor, ..GrpcOptions::default() };
        Ok((bound, grpc::serve(listener, routes, options, readiness, shutdown)))
    }
}

/// A token's ServiceAccount must be that of the node's Gateway; the pod to which it is bound says which of its Envoys it is.
fn by_account(accounts: Accounts) -> Authorizer {
    Authorizer::by_token(move |token, node| {
        let accounts = accounts.clone();
        Box::pin(async move {
            let Some(account) = accounts.of(token.expose()).await else { return Admission::Refused };
            match (speaks_for(&Name::new(account.namespace, account.name), &node), account.pod) {
                (false, _) => Admission::Refused,
                (true, None) => Admission::Admitted,
                (true, Some(pod)) => Admission::As(pod),
            }
        })
    })
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

    #[tokio::test]
    async fn a_certificate_that_is_replaced_is_shown_without_a_restart() {
        use std::sync::Arc;
        use std::time::{Duration, Instant};

        use tokio_rustls::rustls::crypto::ring;
        use tokio_rustls::rustls::pki_types::CertificateDer;
        use tokio_rustls::rustls::pki_types::pem::PemObject as _;
        use tokio_rustls::rustls::{ClientConfig, RootCertStore};

        let dir = tempfile::tempdir().expect("a folder");
        let issue = || crate::tls::TlsDir::open(dir.path(), &["localhost".to_owned()]).expect("certificates").server();
        let files = issue();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&files.client_ca).expect("a certificate")).expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));

        let mut tasks = Tasks::new(runtime::Shutdown::new());
        let at = Listen::Tcp("127.0.0.1:0".parse().expect("an address"), files.clone());
        let (bound, serving) = at.serve(Hub::new(), Readiness::new(), None, &mut tasks).await.expect("a server");
        tasks.spawn("xds", serving);
        let Addr::Tcp(address) = bound else { panic!("{bound:?}") };
        let shown = async || {
            let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
            let stream = connector.connect("localhost".try_into().expect("a name"), stream).await.expect("a handshake");
            stream.get_ref().1.peer_certificates().expect("a certificate")[0].as_ref().to_vec()
        };
        let first = shown().await;
        assert_eq!(shown().await, first);
        std::fs::remove_file(&files.cert).expect("removed");
        assert_eq!(shown().await, first, "one that is missing changes nothing");
        issue();
        let (second, begun) = (CertificateDer::from_pem_file(&files.cert).expect("a certificate"), Instant::now());
        while shown().await != second.as_ref() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the first is shown still");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_ne!(first, second.as_ref());
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
