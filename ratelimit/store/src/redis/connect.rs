//! One connection: made, encrypted and logged in, or a word on why not.
//!
//! Where authorities are given TLS is ours rather than the library's: it takes a server whose own
//! certificate is listed as trusted, and its errors say what is wrong.

use std::io;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

use super::access::{Access, Place, Tls};

impl Access {
    /// A connection to the process at `place`, which has logged in. It waits as long as it takes.
    ///
    /// # Errors
    /// Why there is none, in words that hold neither keys nor passwords.
    pub(super) async fn connect(
        &self,
        place: &Place,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, String> {
        let client = self.client(place)?;
        let tls = self.tls.as_ref().and_then(|tls| Some((tls, tls.ca.as_ref()?)));
        let (Some((tls, _)), Place::Tcp(host, port)) = (tls, place) else {
            let opened = client.get_multiplexed_async_connection_with_config(config).await;
            return opened.map_err(|error| self.why_not_open(place, &error));
        };
        let config = config.clone();
        let connector = TlsConnector::from(Arc::new(tls.config()?));
        let name = ServerName::try_from(host.clone()).map_err(|_| format!("{host} is no name of a host"))?;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let stream = connector.connect(name, stream).await.map_err(|error| why_not_secure(&error))?;
        let login = client.get_connection_info().redis_settings();
        let (connection, driver) =
            MultiplexedConnection::new_with_config(login, stream, config).await.map_err(|error| why(&error))?;
        // It ends with the last handle on the connection.
        tokio::spawn(driver);
        Ok(connection)
    }

    /// [`why`], of a connection on which nothing was understood yet: whether one of the two speaks TLS and the other not.
    pub(super) fn why_not_open(&self, place: &Place, error: &RedisError) -> String {
        let said = why(error);
        let unread = error.kind() == ErrorKind::Parse || error.is_io_error() && !error.is_connection_refusal();
        match (&self.tls, place) {
            (None, Place::Tcp(..)) if unread && !error.is_timeout() => {
                format!("{said}; it may want TLS: rediss://, or REDIS_TLS=true")
            }
            (Some(_), _) if said.contains("corrupt message") => NO_TLS_THERE.to_owned(),
            (Some(_), _) if error.is_timeout() => self.why_silent().to_owned(),
            _ => said,
        }
    }

    /// What is said where nothing came back: a server that speaks no TLS waits for the end of a command.
    pub(super) fn why_silent(&self) -> &'static str {
        match self.tls {
            Some(_) => "no answer in time; if it does not speak TLS there, name its TLS port, or turn TLS off",
            None => "no answer in time",
        }
    }
}

/// What is said of a port that answers a TLS greeting with something else.
const NO_TLS_THERE: &str = "what listens there does not speak TLS: name its TLS port, or turn TLS off";

impl Tls {
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
        let unread =
            |what: &str, path: &std::path::Path| format!("{what} {} cannot be used: it is not PEM", path.display());
        let listed: Vec<CertificateDer<'static>> = match &self.ca {
            Some(path) => CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|_| unread("the file of authorities", path))?,
            None => Vec::new(),
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(listed.iter().cloned());
        let provider = Arc::new(ring::default_provider());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| format!("the file of authorities cannot be used: {error}"))?;
        let verifier = Arc::new(Trusted { authorities, listed, check_hostname: self.check_hostname });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let Some((certificate, key)) = &self.client else { return Ok(config.with_no_client_auth()) };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|_| unread("the client certificate", certificate))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|_| unread("the client key", key))?;
        config
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("the client certificate cannot be used with its key: {error}"))
    }
}

/// Trusts what authorities have signed, and the very certificates that are listed: one that signed itself
/// is an authority by its own word, which no server's certificate may be, but who lists it means it.
#[derive(Debug)]
struct Trusted {
    authorities: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
    check_hostname: bool,
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
        let verified = self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
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
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether `error` says no more than that nobody but itself signed the certificate. That it has ended is another.
fn is_of_itself(error: &CertificateError) -> bool {
    matches!(error, CertificateError::UnknownIssuer) || format!("{error:?}").contains("CaUsedAsEndEntity")
}

/// Why TLS was not agreed upon.
fn why_not_secure(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(TlsError::InvalidMessage(_)) => NO_TLS_THERE.to_owned(),
        Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "TLS: none of the authorities that are trusted signed the server's certificate".to_owned()
        }
        Some(TlsError::AlertReceived(alert)) => {
            format!("TLS: the server refuses us ({alert:?}); it may want a client certificate")
        }
        Some(error) => format!("TLS: {error}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "TLS: the server hung up; it may speak no TLS on that port".to_owned()
        }
        None => format!("TLS: {error}"),
    }
}

/// What went wrong and what to do, without anything that could hold a key or a password.
pub(super) fn why(error: &RedisError) -> String {
    match (error.code(), error.kind()) {
        (Some("NOPERM"), _) => match forbidden(error.detail().unwrap_or_default()) {
            Some(command) => format!("NOPERM: the user may not run {command}"),
            None => "NOPERM: the user may not use keys or channels that are needed".to_owned(),
        },
        (Some("MOVED" | "ASK"), _) => {
            "MOVED: this is a node of a Cluster; write redis+cluster://host:port, or REDIS_TYPE=CLUSTER".to_owned()
        }
        (Some("NOAUTH"), _) => "NOAUTH: it wants a password".to_owned(),
        (Some("WRONGPASS"), _) | (_, ErrorKind::AuthenticationFailed) => {
            "WRONGPASS: it does not know this user and password".to_owned()
        }
        (Some(code), _) => code.to_owned(),
        // What the system says of sockets, and TLS of certificates.
        (None, ErrorKind::Io) => error.to_string(),
        (None, kind) => format!("{kind:?}"),
    }
}

/// The command that NOPERM is about, which stands in quotes: a word, perhaps with another behind a bar.
fn forbidden(detail: &str) -> Option<&str> {
    let command = detail.split('\'').nth(1)?;
    let is_word =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"|-_".contains(&b));
    is_word(command).then_some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_are_quoted_of_what_is_forbidden() {
        let commands = "User limiter has no permissions to run the 'script|load' command";
        assert_eq!(forbidden(commands), Some("script|load"));
        assert_eq!(forbidden("No permissions to access a key"), None);
        assert_eq!(forbidden("this user has no permissions to run the 'a secret' command"), None);
    }
}
