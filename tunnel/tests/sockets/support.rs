//! A tunnel under test, what it leads to, and what calls it: real sockets on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use tunnel::header::{self, Header};
use tunnel::{BindingStatus, Drained, Limits, Plan, Target, Tunnel};

pub const LONG: Duration = Duration::from_secs(30);

/// A running tunnel and the pen that writes its plan.
pub struct Running {
    pub tunnel: Tunnel,
    pub plans: watch::Sender<Arc<Plan>>,
    pub stop: oneshot::Sender<()>,
    pub ended: JoinHandle<Drained>,
}

impl Running {
    pub async fn start(plan: Plan, limits: Limits) -> Self {
        let (plans, receiver) = watch::channel(Arc::new(plan));
        let tunnel = Tunnel::new(receiver, limits);
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tunnel.clone();
        let ended = tokio::spawn(async move { running.run(async { drop(stopped.await) }).await.unwrap() });
        tunnel.caught_up().await;
        Self { tunnel, plans, stop, ended }
    }

    pub async fn plan(&self, plan: Plan) {
        self.plans.send_replace(Arc::new(plan));
        self.tunnel.caught_up().await;
    }

    pub fn status(&self, addr: SocketAddr) -> BindingStatus {
        self.tunnel.status().into_iter().find(|status| status.addr == addr).unwrap()
    }
}

pub fn plan(bindings: impl IntoIterator<Item = (SocketAddr, Target)>) -> Plan {
    Plan { bindings: bindings.into_iter().collect(), ..Plan::default() }
}

/// An address no one listens on.
pub async fn free(host: u8) -> SocketAddr {
    TcpListener::bind((Ipv4Addr::new(127, 0, 20, host), 0)).await.unwrap().local_addr().unwrap()
}

pub async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpSocket::new_v4().unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(4096).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

pub async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(LONG, listener.accept()).await.unwrap().unwrap().0
}

/// Connects from `source`.
pub async fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    timeout(LONG, socket.connect(to)).await.unwrap().unwrap()
}

pub async fn connect(to: SocketAddr) -> TcpStream {
    timeout(LONG, TcpStream::connect(to)).await.unwrap().unwrap()
}

/// Reads exactly the PROXY header off a connection.
pub async fn read_header(stream: &mut TcpStream) -> Header {
    let mut bytes = Vec::new();
    loop {
        if let Some((header, length)) = header::read(&bytes).unwrap() {
            assert_eq!(length, bytes.len());
            return header;
        }
        let byte = timeout(LONG, stream.read_u8()).await.unwrap().unwrap();
        bytes.push(byte);
    }
}

pub async fn read_to_end(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    timeout(LONG, stream.read_to_end(&mut bytes)).await.unwrap()?;
    Ok(bytes)
}

/// Sends `text` and waits until the same has come back.
pub async fn echoes(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.unwrap();
    let mut back = vec![0; text.len()];
    timeout(LONG, stream.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, text);
}

/// A server that says `name` and then what it hears.
pub async fn echo_server(name: &'static [u8]) -> SocketAddr {
    let (listener, addr) = listener().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                stream.write_all(name).await.unwrap();
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    addr
}

/// The name an [`echo_server`] says first.
pub async fn greeting(stream: &mut TcpStream) -> u8 {
    timeout(LONG, stream.read_u8()).await.unwrap().unwrap()
}

/// Polls until `is_so`.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "never so: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// The first byte that comes, if any does.
pub async fn read_to_end_or_greeting(stream: &mut TcpStream) -> Option<u8> {
    timeout(LONG, stream.read_u8()).await.unwrap().ok()
}
