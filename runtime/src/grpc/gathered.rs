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

/// The same, to be served.
pub(super) type Socket = Gathered<Accepted>;

/// See above.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    io: T,
    /// Who is connected; of a Unix socket nothing is known.
    info: TcpConnectInfo,
    /// Held as long as it is open.
    pub(super) open: Option<Arc<()>>,
}

impl Gathered<Accepted> {
    pub(super) fn new(io: Accepted) -> Socket {
        let info = match &io {
            Either::Left(tcp) => tcp.connect_info(),
            Either::Right(_) => TcpConnectInfo { local_addr: None, remote_addr: None },
        };
        Gathered::of(io, info)
    }
}

impl<T> Gathered<T> {
    /// `io`, over a connection as `info` says.
    pub(super) fn of(io: T, info: TcpConnectInfo) -> Gathered<T> {
        Gathered { io, info, open: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

/// Without vectored writes, which is what a writer is unless it says otherwise.
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

impl<T> Connected for Gathered<T> {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.info.clone()
    }
}
