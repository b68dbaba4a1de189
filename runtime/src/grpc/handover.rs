//! Connections accepted on one thread and served on others, each where the fewest are open.

use std::io;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, Stream};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::either::Either;

use super::gathered::{Accepted, Gathered, Socket};

/// Connections that may wait in a queue until their worker has time for them.
const MOST_WAITING: usize = 64;

/// A connection that belongs to no thread yet.
type Raw = Either<std::net::TcpStream, std::os::unix::net::UnixStream>;

/// Where a worker's connections are left.
#[derive(Debug)]
pub(super) struct Queue {
    to: mpsc::Sender<(Raw, Arc<()>)>,
    /// Held by all its open connections.
    open: Arc<()>,
}

/// A queue, and what is left in it, to be taken on the worker's own thread.
pub(super) fn queue() -> (Queue, impl Stream<Item = io::Result<Socket>> + Send + 'static) {
    let (to, left) = mpsc::channel(MOST_WAITING);
    let taken = ReceiverStream::new(left).map(|(raw, open)| {
        let io = match raw {
            Either::Left(tcp) => Either::Left(TcpStream::from_std(tcp)?),
            Either::Right(unix) => Either::Right(UnixStream::from_std(unix)?),
        };
        let mut socket = Gathered::of(io);
        socket.open = Some(open);
        Ok(socket)
    });
    (Queue { to, open: Arc::default() }, taken)
}

/// Leaves each connection where the fewest are open, until nobody takes them any more.
pub(super) async fn hand_over(mut sockets: BoxStream<'static, Accepted>, queues: &[Queue]) {
    while let Some(accepted) = sockets.next().await {
        let raw = match to_raw(accepted) {
            Ok(raw) => raw,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be handed over");
                continue;
            }
        };
        let Some(queue) = queues.iter().min_by_key(|queue| Arc::strong_count(&queue.open)) else { return };
        if queue.to.send((raw, queue.open.clone())).await.is_err() {
            return;
        }
    }
}

fn to_raw(accepted: Accepted) -> io::Result<Raw> {
    Ok(match accepted {
        Either::Left(tcp) => Either::Left(tcp.into_std()?),
        Either::Right(unix) => Either::Right(unix.into_std()?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;

    use super::*;

    #[tokio::test]
    async fn connections_go_where_the_fewest_are_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (first, at_first) = queue();
        let (second, at_second) = queue();
        let (mut at_first, mut at_second) = (at_first.boxed(), at_second.boxed());
        let accepted = TcpListenerStream::new(listener).map(|stream| Either::Left(stream.unwrap())).boxed();
        let handing_over = tokio::spawn(async move { hand_over(accepted, &[first, second]).await });

        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let here = [at_first.next().await.unwrap().unwrap(), at_first.next().await.unwrap().unwrap()];
        let _there = [at_second.next().await.unwrap().unwrap(), at_second.next().await.unwrap().unwrap()];
        drop(here);
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.unwrap());
            at_first.next().await.unwrap().unwrap();
        }
        drop((at_first, at_second));
        clients.push(TcpStream::connect(address).await.unwrap());
        handing_over.await.unwrap();
    }
}
