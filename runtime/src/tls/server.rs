//! TLS of a port, with certificates that may be replaced while it serves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
pub use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};

use super::files::{Contents, Followed, Source};
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

    /// The same, that lets in only clients whose certificate has this name.
    #[must_use]
    pub fn for_clients_named(self, client_san: Option<String>) -> ServerTls {
        ServerTls { client_san, ..self }
    }
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// An acceptor whose certificates follow the files; a broken file leaves the last good ones in service.
///
/// # Errors
/// When the files cannot be used as they are.
pub fn acceptor(at: ServerTls, tasks: &mut Tasks) -> anyhow::Result<TlsAcceptor> {
    let followed = Arc::new(Followed::new(at)?);
    let config = config(Arc::new(Current(followed.clone())), Arc::new(CurrentClients(followed.clone())))?;
    let follow = follow(followed, tasks.shutdown().clone());
    tasks.spawn("certificates", follow);
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What the files hold.
#[derive(Debug)]
pub(super) struct Loaded {
    key: Arc<CertifiedKey>,
    clients: Arc<dyn ClientCertVerifier>,
    /// The name a client's certificate must have.
    client_name: Option<ServerName<'static>>,
}

impl Source for ServerTls {
    type Made = Loaded;

    fn read(&self) -> Contents {
        Contents::of([&self.cert, &self.key].into_iter().chain(&self.client_ca))
    }

    fn make(&self, contents: &Contents) -> anyhow::Result<Loaded> {
        let key = contents.certified("the certificate", &self.cert, &self.key)?;
        let clients: Arc<dyn ClientCertVerifier> = match &self.client_ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for certificate in contents.certificates("the authorities of clients", ca)? {
                    roots.add(certificate).with_context(|| format!("an authority in {}", ca.display()))?;
                }
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
                    .build()
                    .with_context(|| format!("the authorities in {}", ca.display()))?
            }
        };
        let named = |san: &String| ServerName::try_from(san.clone()).with_context(|| format!("{san} is not a name"));
        let client_name = self.client_san.as_ref().map(named).transpose()?;
        Ok(Loaded { key, clients, client_name })
    }
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

async fn follow(followed: Arc<Followed<ServerTls>>, shutdown: Shutdown) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => followed.look(),
            () = shutdown.begun() => return Ok(()),
        }
    }
}

/// A certificate that comes from no file: until one is shown, nobody is let in. No clients' certificates are asked for.
#[derive(Debug, Clone, Default)]
pub struct Shown(Arc<ArcSwapOption<CertifiedKey>>);

impl Shown {
    /// Shows this certificate from now on, PEM, with its key.
    ///
    /// # Errors
    /// When they cannot be used; what was shown before is shown still.
    pub fn show(&self, cert: &str, key: &str) -> anyhow::Result<()> {
        self.0.store(Some(super::files::certified(cert.as_bytes(), key.as_bytes())?));
        Ok(())
    }

    /// An acceptor that shows it.
    ///
    /// # Errors
    /// Never, as long as TLS is what it is.
    pub fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let config = config(Arc::new(self.clone()), WebPkiClientVerifier::no_client_auth())?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// The certificate being served.
#[derive(Debug)]
struct Current(Arc<Followed<ServerTls>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current().key.clone())
    }
}

/// The authorities of clients being served.
#[derive(Debug)]
struct CurrentClients(Arc<Followed<ServerTls>>);

impl ClientCertVerifier for CurrentClients {
    fn offer_client_auth(&self) -> bool {
        self.0.current().clients.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.current().clients.client_auth_mandatory()
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
        let loaded = self.0.current();
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
        self.0.current().clients.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.current().clients.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.current().clients.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;

    #[tokio::test]
    async fn until_a_certificate_is_shown_nobody_is_let_in_and_a_broken_one_changes_nothing() {
        let shown = Shown::default();
        let acceptor = shown.acceptor().expect("an acceptor");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (first, second) = (made(), made());
        let asked = async |trusted: &str| {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).expect("PEM")).expect("an authority");
            let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![b"h2".to_vec()];
            let stream = TcpStream::connect(at).await.expect("a connection");
            let name = ServerName::try_from("localhost").expect("a name");
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok()
        };
        let (one, other) = (first.cert.pem(), second.cert.pem());
        assert!(!asked(&one).await, "there is none");
        shown.show(&one, &first.signing_key.serialize_pem()).expect("good");
        assert!(asked(&one).await && !asked(&other).await);
        for (cert, key) in [
            (one.as_str(), second.signing_key.serialize_pem()),
            ("", first.signing_key.serialize_pem()),
            (&other, String::new()),
        ] {
            let why = format!("{:#}", shown.show(cert, &key).expect_err("broken"));
            assert!(!why.contains("BEGIN"), "{why}");
        }
        assert!(asked(&one).await, "what was shown last");
        shown.show(&other, &second.signing_key.serialize_pem()).expect("good");
        assert!(asked(&other).await && !asked(&one).await);
    }
}
