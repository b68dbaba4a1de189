//! How one Redis process is reached: its place, who we are, and TLS.

use std::fmt;
use std::path::PathBuf;

use api::Redacted;
use redis::{Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, TlsCertificates};

/// Where one process listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A host by name or address, and its port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp(host, port) => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Who we say we are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// An ACL user; none is the default user.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Redacted>,
}

/// How connections are encrypted. Files are read anew for every connection, so
/// that renewed certificates are used without a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file with the authorities to trust, instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files with our own certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Whether the server's certificate must name the host we connect to.
    pub check_hostname: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self { ca: None, client: None, check_hostname: true }
    }
}

/// All that is needed besides a [`Place`].
#[derive(Debug, Clone, Default)]
pub(super) struct Access {
    pub(super) login: Login,
    pub(super) tls: Option<Tls>,
    pub(super) db: i64,
}

impl Access {
    /// A client for the process at `place`.
    ///
    /// # Errors
    /// Says what is wrong with which file; never holds anything secret.
    pub(super) fn client(&self, place: &Place) -> Result<Client, String> {
        let mut login = RedisConnectionInfo::default().set_db(self.db);
        if let Some(user) = &self.login.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.login.password {
            let text = std::str::from_utf8(password.expose()).map_err(|_| "the password is not UTF-8".to_owned())?;
            login = login.set_password(text);
        }
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        let open = |addr: ConnectionAddr| {
            let info = addr.into_connection_info()?.set_tcp_settings(tcp.clone()).set_redis_settings(login.clone());
            Client::open(info)
        };
        let wrong = |_| format!("cannot use Redis at {place}");
        match (place, &self.tls) {
            (Place::Unix(path), _) => open(ConnectionAddr::Unix(path.clone())).map_err(wrong),
            (Place::Tcp(host, port), None) => open(ConnectionAddr::Tcp(host.clone(), *port)).map_err(wrong),
            (Place::Tcp(host, port), Some(tls)) => {
                let addr =
                    ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None };
                let client = open(addr).map_err(wrong)?;
                let info = client.get_connection_info().clone();
                // The library's error could quote the files.
                let client = Client::build_with_tls(info, tls.certificates()?)
                    .map_err(|_| "a TLS certificate or key file is not PEM".to_owned())?;
                let mut addr = client.get_connection_info().addr().clone();
                addr.set_danger_accept_invalid_hostnames(!tls.check_hostname);
                open(addr).map_err(wrong)
            }
        }
    }
}

impl Tls {
    fn certificates(&self) -> Result<TlsCertificates, String> {
        let read = |what: &str, path: &PathBuf| {
            std::fs::read(path).map_err(|error| format!("cannot read {what} {}: {error}", path.display()))
        };
        let root_cert = self.ca.as_ref().map(|path| read("the authorities", path)).transpose()?;
        if root_cert.as_ref().is_some_and(|pem| !String::from_utf8_lossy(pem).contains("BEGIN CERTIFICATE")) {
            let path = self.ca.as_deref().unwrap_or_else(|| "".as_ref());
            return Err(format!("{} holds no certificate", path.display()));
        }
        let client_tls = match &self.client {
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: read("the client certificate", certificate)?,
                client_key: read("the client key", key)?,
            }),
            None => None,
        };
        Ok(TlsCertificates { client_tls, root_cert })
    }
}
