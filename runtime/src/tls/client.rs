//! TLS towards a server: whom we trust, who we are, and why there is no connection.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use futures_util::future::select_ok;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{self, WebPkiSupportedAlgorithms, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
};

use super::files::{Contents, Followed, Source};

/// The files of a client's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// A PEM file with the authorities to trust, instead of the system's. A server's own certificate may be there too.
    pub ca: Option<PathBuf>,
    /// PEM files with our own certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Whether the server's certificate must name the host we connect to.
    pub check_hostname: bool,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self { ca: None, client: None, check_hostname: true }
    }
}

/// Connects over TLS. Files are looked at before each connection: replaced ones are used by the next, and while they
/// are broken what they held last is.
#[derive(Debug, Clone)]
pub struct Client(Arc<Followed<Dialing>>);

impl Client {
    /// One that agrees on no protocol in the handshake.
    ///
    /// # Errors
    /// When the files cannot be used as they are.
    pub fn new(at: ClientTls) -> anyhow::Result<Client> {
        Ok(Client(Arc::new(Followed::new(Dialing { at, protocols: Vec::new() })?)))
    }

    /// One whose servers must speak HTTP/2.
    ///
    /// # Errors
    /// When the files cannot be used as they are.
    pub fn http2(at: ClientTls) -> anyhow::Result<Client> {
        Ok(Client(Arc::new(Followed::new(Dialing { at, protocols: vec![b"h2".to_vec()] })?)))
    }

    /// A connection to `port` of `host`, which has proved to be `name`. It waits as long as it takes.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connect(&self, host: &str, port: u16, name: &str) -> Result<TlsStream<TcpStream>, NoConnection> {
        let proved = ServerName::try_from(name.to_owned()).map_err(|_| NoConnection::NoName(name.to_owned()))?;
        let stream = open(host, port).await?;
        let followed = self.0.clone();
        // A disk may be slow. Should it panic, what was read before is used.
        let _ = tokio::task::spawn_blocking(move || followed.look()).await;
        let config = self.0.current();
        let agreed = !config.alpn_protocols.is_empty();
        let stream = TlsConnector::from(config).connect(proved, stream).await.map_err(NoConnection::of_handshake)?;
        if agreed && stream.get_ref().1.alpn_protocol().is_none() {
            return Err(NoConnection::NoProtocol);
        }
        Ok(stream)
    }
}

/// To whichever address of `host` answers first.
async fn open(host: &str, port: u16) -> Result<TcpStream, NoConnection> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    if addresses.is_empty() {
        return Err(NoConnection::NoName(host.to_owned()));
    }
    let (stream, _) = select_ok(addresses.into_iter().map(|address| Box::pin(TcpStream::connect(address)))).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NoConnection {
    /// Nothing that has this name can be connected to.
    #[error("{0} is no name of a host")]
    NoName(String),
    /// No connection without TLS either.
    #[error(transparent)]
    Unreachable(#[from] io::Error),
    /// Something else than TLS came back.
    #[error("what listens there does not speak TLS: name its TLS port, or turn TLS off")]
    NoTls,
    /// Nobody we trust vouches for the server.
    #[error("TLS: none of the authorities that are trusted signed the server's certificate")]
    Stranger,
    /// The server does not want us.
    #[error("TLS: the server refuses us ({0:?}); it may want a client certificate")]
    Refused(AlertDescription),
    /// The server ended the connection instead of answering.
    #[error("TLS: the server hung up; it may speak no TLS on that port")]
    HungUp,
    /// The server took up none of the protocols it was offered.
    #[error("TLS: the server does not speak HTTP/2 on that port")]
    NoProtocol,
    /// All else that TLS may fail of.
    #[error("TLS: {0}")]
    NotAgreed(io::Error),
}

impl NoConnection {
    fn of_handshake(error: io::Error) -> NoConnection {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            Some(TlsError::InvalidMessage(_)) => NoConnection::NoTls,
            Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)) => NoConnection::Stranger,
            Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)) => NoConnection::NoProtocol,
            Some(TlsError::AlertReceived(alert)) => NoConnection::Refused(*alert),
            None if error.kind() == io::ErrorKind::UnexpectedEof => NoConnection::HungUp,
            _ => NoConnection::NotAgreed(error),
        }
    }
}

/// What the configuration of connections is made of.
#[derive(Debug)]
struct Dialing {
    at: ClientTls,
    protocols: Vec<Vec<u8>>,
}

impl Source for Dialing {
    type Made = ClientConfig;

    fn read(&self) -> Contents {
        let ours = self.at.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        let files = Contents::of(ours.chain(&self.at.ca));
        if self.at.ca.is_some() { files } else { files.and_system() }
    }

    fn make(&self, contents: &Contents) -> anyhow::Result<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusted::of(&self.at, contents)?))
            .with_no_client_auth();
        if let Some((certificate, key)) = &self.at.client {
            let certified = contents.certified("the client certificate", certificate, key)?;
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        }
        config.alpn_protocols.clone_from(&self.protocols);
        // A session taken up again would skip the look at the server's certificate.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// Trusts what authorities have signed, and the very certificates that are listed: one that signed itself
/// is an authority by its own word, which no server's certificate may be, but who lists it means it.
#[derive(Debug)]
struct Trusted {
    /// None where there are none: then nobody is trusted.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    listed: Vec<CertificateDer<'static>>,
    check_hostname: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trusted {
    fn of(at: &ClientTls, contents: &Contents) -> anyhow::Result<Trusted> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let mut roots = RootCertStore::empty();
        // Lists of authorities are long, and some have one that is too old to be read.
        let listed = match &at.ca {
            Some(ca) => {
                let listed = contents.certificates("the authorities", ca)?;
                let (_, unread) = roots.add_parsable_certificates(listed.iter().cloned());
                ensure!(!roots.is_empty(), "no authority in {} can be used", ca.display());
                if unread > 0 {
                    tracing::warn!(file = %ca.display(), unread, "authorities that cannot be used are not trusted");
                }
                listed
            }
            None => {
                roots.add_parsable_certificates(contents.system.iter().cloned());
                Vec::new()
            }
        };
        let authorities = if roots.is_empty() {
            tracing::warn!("the system has no authorities, so no server is trusted; name a file with some");
            None
        } else {
            Some(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
        };
        Ok(Trusted { authorities, listed, check_hostname: at.check_hostname, algorithms })
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(authorities) = &self.authorities else { return Err(CertificateError::UnknownIssuer.into()) };
        let verified = authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Ok(verified) => Ok(verified),
            // Checked last there: all else was as it should be.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.check_hostname => Ok(ServerCertVerified::assertion()),
            Err(TlsError::InvalidCertificate(error)) if is_of_itself(&error) && self.listed.contains(end_entity) => {
                if self.check_hostname {
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether `error` says no more than that nobody but itself signed the certificate. That it has ended is another.
fn is_of_itself(error: &CertificateError) -> bool {
    matches!(error, CertificateError::UnknownIssuer) || format!("{error:?}").contains("CaUsedAsEndEntity")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::server::WebPkiClientVerifier;
    use tokio_rustls::rustls::{HandshakeKind, ServerConfig};

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
    }

    /// PEM of a certificate for `name`, and of its key.
    fn leaf(by: &Authority, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        (params.signed_by(&key, by).expect("signed").pem(), key.serialize_pem())
    }

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
    }

    /// A server that answers each client with the certificate it was shown, or with nothing.
    async fn server((cert, key): &(String, String), protocols: &[&[u8]], clients: Option<&Authority>) -> u16 {
        let provider = Arc::new(ring::default_provider());
        let verifier = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(by) => {
                let mut roots = RootCertStore::empty();
                roots.add(der(&by.pem())).expect("an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                verifier.build().expect("a verifier")
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![der(cert)], PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key"))
            .expect("a certificate");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let accepted = acceptor.accept(stream);
                tokio::spawn(async move {
                    let Ok(mut stream) = accepted.await else { return };
                    let shown = stream.get_ref().1.peer_certificates().map(|all| all[0].to_vec()).unwrap_or_default();
                    let _ = stream.write_all(&shown).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        port
    }

    fn put(dir: &Path, (cert, key): &(String, String)) {
        std::fs::write(dir.join("client.pem"), cert).expect("written");
        std::fs::write(dir.join("client.key"), key).expect("written");
    }

    fn listing(dir: &Path, pem: &str) -> ClientTls {
        std::fs::write(dir.join("ca.pem"), pem).expect("written");
        ClientTls { ca: Some(dir.join("ca.pem")), ..ClientTls::default() }
    }

    async fn asked(client: &Client, port: u16) -> Result<Vec<u8>, String> {
        let mut stream = client.connect("127.0.0.1", port, "server.test").await.map_err(|error| error.to_string())?;
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "each looks at the certificate");
        let mut shown = Vec::new();
        stream.read_to_end(&mut shown).await.map_err(|error| error.to_string())?;
        Ok(shown)
    }

    #[tokio::test]
    async fn a_replaced_client_certificate_is_shown_at_the_next_connection_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let (servers, clients) = (authority("servers"), authority("clients"));
        let port = server(&leaf(&servers, "server.test"), &[], Some(&clients)).await;
        let (first, second) = (leaf(&clients, "first"), leaf(&clients, "second"));
        put(dir.path(), &first);
        let ours = Some((dir.path().join("client.pem"), dir.path().join("client.key")));
        let at = ClientTls { client: ours, ..listing(dir.path(), &servers.pem()) };
        let client = Client::new(at.clone()).expect("good files");
        for _ in 0..2 {
            assert_eq!(asked(&client, port).await.as_deref(), Ok(&*der(&first.0)));
        }

        let file = |name: &str| dir.path().join(name);
        let broken: [(&str, &dyn Fn()); 5] = [
            ("not PEM", &|| std::fs::write(file("client.pem"), "-----BEGIN broken").expect("written")),
            ("empty", &|| std::fs::write(file("client.key"), "").expect("written")),
            ("gone", &|| std::fs::remove_file(file("client.pem")).expect("removed")),
            ("half of it replaced", &|| put(dir.path(), &(second.0.clone(), first.1.clone()))),
            ("no authorities", &|| {
                put(dir.path(), &second);
                std::fs::write(file("ca.pem"), "").expect("written");
            }),
        ];
        for (how, make_so) in broken {
            make_so();
            assert_eq!(asked(&client, port).await.as_deref(), Ok(&*der(&first.0)), "{how}");
            assert!(Client::new(at.clone()).is_err(), "{how}: no start with it");
        }
        listing(dir.path(), &servers.pem());
        assert_eq!(asked(&client, port).await.as_deref(), Ok(&*der(&second.0)));

        listing(dir.path(), &authority("others").pem());
        let why = asked(&client, port).await.expect_err("an authority that is taken off the list");
        assert_eq!(why, NoConnection::Stranger.to_string());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_to_its_end_holds_up_one_connection() {
        let dir = tempfile::tempdir().expect("a folder");
        let ours = authority("ours");
        let port = server(&leaf(&ours, "server.test"), &[], None).await;
        let client = Client::new(listing(dir.path(), &ours.pem())).expect("good files");
        // Whoever opens a pipe waits for somebody to write to it.
        let pipe = dir.path().join("ca.pem");
        std::fs::remove_file(&pipe).expect("removed");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let held_up = tokio::spawn({
            let client = client.clone();
            async move { asked(&client, port).await }
        });
        while !client.0.is_looked_at() {
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            assert_eq!(asked(&client, port).await, Ok(Vec::new()));
        }
        assert!(!held_up.is_finished());
        std::fs::write(&pipe, "").expect("written");
        assert_eq!(held_up.await.expect("no panic"), Ok(Vec::new()), "with the last good ones");
    }

    #[tokio::test]
    async fn who_is_trusted_and_what_is_said_of_the_others() {
        let dir = tempfile::tempdir().expect("a folder");
        let ours = authority("ours");
        let own = |name: &str| {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params.self_signed(&key).expect("signed").pem(), key.serialize_pem())
        };
        let (named, renamed) = (own("server.test"), own("other.test"));
        let (good, other) = (leaf(&ours, "server.test"), leaf(&ours, "other.test"));
        let refused = "certificate not valid for name";
        for (shown, listed, check_hostname, said) in [
            (&good, Some(ours.pem()), true, None),
            (&other, Some(ours.pem()), true, Some(refused)),
            (&other, Some(ours.pem()), false, None),
            (&good, Some(named.0.clone()), true, Some("none of the authorities")),
            (&good, None, true, Some("none of the authorities")),
            (&other, None, false, Some("none of the authorities")),
            (&named, Some(named.0.clone()), true, None),
            (&named, Some(format!("{}{}", ours.pem(), named.0)), true, None),
            (&renamed, Some(renamed.0.clone()), true, Some(refused)),
            (&renamed, Some(renamed.0.clone()), false, None),
            (&named, Some(renamed.0.clone()), false, Some("TLS: ")),
        ] {
            let port = server(shown, &[], None).await;
            let listed = listed.map_or_else(ClientTls::default, |pem| listing(dir.path(), &pem));
            let client = Client::new(ClientTls { check_hostname, ..listed }).expect("good files");
            match (asked(&client, port).await, said) {
                (Ok(_), None) => {}
                (Err(why), Some(said)) if why.contains(said) => {}
                (got, said) => panic!("{got:?} instead of {said:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_speaks_something_else_is_called_what_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let ours = authority("ours");
        let at = listing(dir.path(), &ours.pem());
        let plain = async |answer: &'static [u8]| {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(answer).await;
                }
            });
            port
        };
        let client = Client::new(at.clone()).expect("good files");
        for (answer, said) in [(&b"-ERR unknown command\r\n"[..], "does not speak TLS"), (b"", "hung up")] {
            let why = asked(&client, plain(answer).await).await.expect_err("no TLS");
            assert!(why.contains(said), "{why}");
        }
        let why = client.connect("127.0.0.1", 1, "no name").await.expect_err("no name");
        assert!(matches!(why, NoConnection::NoName(_)), "{why}");

        let client = Client::http2(at).expect("good files");
        let good = leaf(&ours, "server.test");
        assert_eq!(asked(&client, server(&good, &[b"h2"], None).await).await, Ok(Vec::new()));
        for protocols in [&[&b"http/1.1"[..]][..], &[]] {
            let why = asked(&client, server(&good, protocols, None).await).await.expect_err("no HTTP/2");
            assert_eq!(why, NoConnection::NoProtocol.to_string());
        }
    }
}
