//! Where a server listens: a TCP address or a Unix socket.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use tokio::net::{TcpListener, UnixListener, UnixStream};

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
    /// Binds `addr`. A left-over Unix socket nobody listens on is replaced, and nothing else.
    ///
    /// # Errors
    /// Those of the operating system, with the address in the message; and when another process
    /// listens there, or what is there is no socket.
    pub async fn bind(addr: &Addr) -> anyhow::Result<Listener> {
        match addr {
            Addr::Tcp(tcp) => {
                let listener = TcpListener::bind(tcp).await.with_context(|| format!("listening on {addr}"))?;
                Ok(Listener::Tcp(listener))
            }
            Addr::Unix(path) => {
                make_room(path).await.with_context(|| format!("listening on {addr}"))?;
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

/// Removes the socket at `path` if a process that is gone has left it there.
async fn make_room(path: &Path) -> anyhow::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    anyhow::ensure!(found.is_socket(), "there is something there that is no socket; remove it or choose another path");
    match UnixStream::connect(path).await {
        Ok(_) => anyhow::bail!("another process listens there; stop it or choose another path"),
        // Nobody has it open any more.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).context("removing the socket that a process left there")
        }
        Err(error) => Err(error).context("finding out whether another process listens there"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let bind = |name: &str| {
            let addr = Addr::Unix(at(name));
            async move { Listener::bind(&addr).await.map_err(|error| format!("{error:#}")) }
        };

        std::fs::write(at("file"), "precious").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        for name in ["file", "link", "folder"] {
            let why = bind(name).await.unwrap_err();
            assert!(why.contains(name) && why.contains("no socket"), "{why}");
        }
        assert_eq!(std::fs::read_to_string(at("link")).unwrap(), "precious");

        let first = bind("socket").await.unwrap();
        let why = bind("socket").await.unwrap_err();
        assert!(why.contains("another process listens there"), "{why}");
        drop(first);
        bind("socket").await.unwrap();
    }

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
