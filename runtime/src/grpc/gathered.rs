//! A connection whose writes are gathered into one buffer first.
//!
//! Offered vectored writes, the HTTP/2 library hands every message of 256 bytes or more to
//! the system by itself, one call each. Without, that begins at 1,024 bytes: answers that
//! are ready together go out together.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A connection as it came in.
pub(super) type Accepted = Either<TcpStream, UnixStream>;

/// A connection on the way to being served.
pub(super) type Socket = Gathered<Accepted>;

/// A connection that is written to without vectored writes.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    io: T,
    /// Held as long as the connection is open: how many hold it is how many are open.
    pub(super) open: Option<Arc<()>>,
}

impl<T> Gathered<T> {
    pub(super) fn of(io: T) -> Gathered<T> {
        Gathered { io, open: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

/// `is_write_vectored` is left at its default, which is no.
impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Wanted by TLS, which adds the client's certificate to it. Of a Unix socket nothing is known.
impl Connected for Socket {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match &self.io {
            Either::Left(tcp) => tcp.connect_info(),
            Either::Right(_) => TcpConnectInfo { local_addr: None, remote_addr: None },
        }
    }
}
