//! TLS of a port, with certificates that may be replaced while it serves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
pub use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::{Shutdown, Tasks};

/// The files of a server's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Certificates, PEM.
    pub cert: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
    /// Who signs clients' certificates; none are asked for without.
    pub client_ca: Option<PathBuf>,
    /// The name a client's certificate must have.
    pub client_san: Option<String>,
}

impl ServerTls {
    /// Of a folder like a mounted Secret of type `kubernetes.io/tls`.
    pub fn in_folder(folder: &Path, client_ca: Option<PathBuf>) -> ServerTls {
        ServerTls { cert: folder.join("tls.crt"), key: folder.join("tls.key"), client_ca, client_san: None }
    }
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// An acceptor whose certificates follow the files; a broken file leaves the last good ones in service.
///
/// # Errors
/// When the files cannot be used as they are.
pub fn acceptor(at: ServerTls, tasks: &mut Tasks) -> anyhow::Result<TlsAcceptor> {
    let current = Arc::new(ArcSwap::from(load(&at)?));
    let accepting = accepting(current.clone())?;
    let follow = follow(at, current, tasks.shutdown().clone());
    tasks.spawn("certificates", follow);
    Ok(accepting)
}

/// Certificate and clients' authorities are looked up in `current` for each connection.
fn accepting(current: Arc<ArcSwap<Loaded>>) -> anyhow::Result<TlsAcceptor> {
    Ok(TlsAcceptor::from(Arc::new(config(Arc::new(Current(current.clone())), Arc::new(CurrentClients(current)))?)))
}

/// What the files hold.
#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    clients: Arc<dyn ClientCertVerifier>,
    /// The name a client's certificate must have.
    client_name: Option<ServerName<'static>>,
}

fn load(at: &ServerTls) -> anyhow::Result<Arc<Loaded>> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&at.cert)?;
    let key = PrivateKeyDer::from_pem_file(&at.key).with_context(|| format!("reading the key {}", at.key.display()))?;
    let key = CertifiedKey::from_der(chain, key, &provider)
        .with_context(|| format!("{} and {}", at.cert.display(), at.key.display()))?;
    let clients: Arc<dyn ClientCertVerifier> = match &at.client_ca {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(ca)? {
                roots.add(certificate).with_context(|| format!("an authority in {}", ca.display()))?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .with_context(|| format!("the authorities in {}", ca.display()))?
        }
    };
    let named = |san: &String| ServerName::try_from(san.clone()).with_context(|| format!("{san} is not a name"));
    let client_name = at.client_san.as_ref().map(named).transpose()?;
    Ok(Arc::new(Loaded { key: Arc::new(key), clients, client_name }))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .with_context(|| format!("reading the certificates {}", path.display()))?
        .collect();
    let all = all.with_context(|| format!("reading the certificates {}", path.display()))?;
    anyhow::ensure!(!all.is_empty(), "there is no certificate in {}", path.display());
    Ok(all)
}

fn config(key: Arc<dyn ResolvesServerCert>, clients: Arc<dyn ClientCertVerifier>) -> anyhow::Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(key);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A session taken up again would skip the look at the client's certificate.
    config.session_storage = Arc::new(tokio_rustls::rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

async fn follow(at: ServerTls, current: Arc<ArcSwap<Loaded>>, shutdown: Shutdown) -> anyhow::Result<()> {
    let files = || {
        let paths = [Some(&at.cert), Some(&at.key), at.client_ca.as_ref()];
        paths.map(|path| path.and_then(|path| std::fs::read(path).ok()))
    };
    let mut served = files();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shutdown.begun() => return Ok(()),
        }
        let now = files();
        if now == served {
            continue;
        }
        match load(&at) {
            Ok(loaded) => {
                current.store(loaded);
                tracing::info!("certificates replaced");
            }
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "certificates cannot be used; the last good ones serve on"
            ),
        }
        served = now;
    }
}

/// The certificate being served.
#[derive(Debug)]
struct Current(Arc<ArcSwap<Loaded>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().key.clone())
    }
}

/// The authorities of clients being served.
#[derive(Debug)]
struct CurrentClients(Arc<ArcSwap<Loaded>>);

impl ClientCertVerifier for CurrentClients {
    fn offer_client_auth(&self) -> bool {
        self.0.load().clients.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.load().clients.client_auth_mandatory()
    }

    // Only a hint for clients that hold several certificates.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let loaded = self.0.load();
        let verified = loaded.clients.verify_client_cert(end, between, now)?;
        if let Some(name) = &loaded.client_name {
            verify_server_name(&ParsedCertificate::try_from(end)?, name)?;
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().clients.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().clients.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().clients.supported_verify_schemes()
    }
}
