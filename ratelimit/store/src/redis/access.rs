//! How one Redis process is reached: its place, who we are, and TLS.

use std::fmt;
use std::path::PathBuf;

use api::Redacted;
use redis::RedisConnectionInfo;
use runtime::tls;

/// How connections are encrypted.
pub use runtime::tls::ClientTls as Tls;

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

/// All that is needed besides a [`Place`]: in settings the files of TLS, later what connects by them.
#[derive(Debug, Clone)]
pub(super) struct Access<T = tls::Client> {
    pub(super) login: Login,
    pub(super) tls: Option<T>,
    pub(super) db: i64,
}

impl<T> Default for Access<T> {
    fn default() -> Self {
        Self { login: Login::default(), tls: None, db: 0 }
    }
}

impl Access<Tls> {
    /// With the files read.
    ///
    /// # Errors
    /// Says what is wrong with which file, or with the login; never holds anything secret.
    pub(super) fn opened(&self) -> anyhow::Result<Access> {
        let tls = self.tls.clone().map(tls::Client::new).transpose()?;
        let opened = Access { login: self.login.clone(), tls, db: self.db };
        opened.info().map_err(anyhow::Error::msg)?;
        Ok(opened)
    }
}

impl Access {
    /// What is said first on each connection.
    ///
    /// # Errors
    /// When the password cannot be sent.
    pub(super) fn info(&self) -> Result<RedisConnectionInfo, String> {
        let mut login = RedisConnectionInfo::default().set_db(self.db);
        if let Some(user) = &self.login.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.login.password {
            let text = std::str::from_utf8(password.expose()).map_err(|_| "the password is not UTF-8".to_owned())?;
            login = login.set_password(text);
        }
        Ok(login)
    }
}
