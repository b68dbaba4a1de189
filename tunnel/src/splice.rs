//! Passing bytes both ways until both sides have finished.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use metrics::Counter;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes held per direction; two of these for every connection.
const BUFFER: usize = 16 * 1024;

/// Passes bytes between the two until each has ended its side. An end of one
/// direction is passed on and leaves the other open.
pub(crate) async fn splice(
    caller: &mut TcpStream,
    target: &mut TcpStream,
    received: &Counter,
    sent: &Counter,
) -> io::Result<()> {
    let mut caller = Counted { stream: caller, read: received };
    let mut target = Counted { stream: target, read: sent };
    tokio::io::copy_bidirectional_with_sizes(&mut caller, &mut target, BUFFER, BUFFER).await.map(drop)
}

/// Small writes leave at once, and a peer that vanished is noticed.
pub(crate) fn tune(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    // Both are improvements, not conditions: a socket that refuses them still works.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Makes closing `stream` a reset, so that its peer cannot take what it has for the whole.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// A stream that counts what is read from it, as it is read.
struct Counted<'a> {
    stream: &'a mut TcpStream,
    read: &'a Counter,
}

impl AsyncRead for Counted<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *self.stream).poll_read(cx, buffer);
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.read.increment(count as u64);
        }
        polled
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
