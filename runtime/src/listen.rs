//! Where a server listens: a TCP address or a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::net::{TcpListener, UnixListener};

/// An address to listen on or to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addr {
    /// `127.0.0.1:8083`, `[::1]:8083`
    Tcp(SocketAddr),
    /// `unix:/run/extauth.sock`
    Unix(PathBuf),
}

impl FromStr for Addr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
            return if path.is_empty() { Err("unix: wants a path".to_owned()) } else { Ok(Addr::Unix(path.into())) };
        }
        let bare_port = text.strip_prefix(':').map(|port| format!("0.0.0.0:{port}"));
        bare_port
            .as_deref()
            .unwrap_or(text)
            .parse()
            .map(Addr::Tcp)
            .map_err(|_| format!("{text:?} is not an address; write for example 127.0.0.1:8083 or unix:/run/x.sock"))
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Tcp(addr) => addr.fmt(f),
            Addr::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket: nobody else can take the address, connections queue up.
#[derive(Debug)]
pub enum Listener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket, readable and writable by its owner only, and where it is.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds `addr`. A left-over Unix socket nobody listens on is replaced.
    ///
    /// # Errors
    /// Those of the operating system, with the address in the message.
    pub async fn bind(addr: &Addr) -> anyhow::Result<Listener> {
        use anyhow::Context as _;
        match addr {
            Addr::Tcp(tcp) => {
                let listener = TcpListener::bind(tcp).await.with_context(|| format!("listening on {addr}"))?;
                Ok(Listener::Tcp(listener))
            }
            Addr::Unix(path) => {
                if path.exists() && tokio::net::UnixStream::connect(path).await.is_err() {
                    std::fs::remove_file(path)
                        .with_context(|| format!("removing the stale socket {}", path.display()))?;
                }
                let listener = UnixListener::bind(path).with_context(|| format!("listening on {addr}"))?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                    .with_context(|| format!("protecting {addr}"))?;
                Ok(Listener::Unix(listener, path.clone()))
            }
        }
    }

    /// The address as bound: with the port the system chose where 0 was asked for.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> std::io::Result<Addr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Addr::Tcp),
            Listener::Unix(_, path) => Ok(Addr::Unix(path.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_parse_and_print() {
        for text in ["127.0.0.1:8083", "[::1]:1", "unix:/run/x.sock"] {
            assert_eq!(text.parse::<Addr>().map(|a| a.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("unix:///run/x.sock".parse::<Addr>(), Ok(Addr::Unix("/run/x.sock".into())));
        assert_eq!(":8080".parse::<Addr>().map(|a| a.to_string()), Ok("0.0.0.0:8080".to_owned()));
        for wrong in ["", "8083", "localhost", "unix:", "127.0.0.1"] {
            assert!(wrong.parse::<Addr>().is_err(), "{wrong}");
        }
    }
}
