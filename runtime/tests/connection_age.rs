//! What a connection that becomes too old sees on the wire, frame by frame.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::service::Routes;
use waykeeper_runtime::grpc::{Age, GrpcOptions, serve};
use waykeeper_runtime::tls::{Client, ClientTls, ServerTls, acceptor};
use waykeeper_runtime::{Addr, Listener, Readiness, Shutdown, Tasks};

const AGE: Age = Age { most: Duration::from_millis(300), grace: Duration::from_millis(900) };

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

async fn start() -> (SocketAddr, Shutdown) {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let Addr::Tcp(address) = listener.local_addr().unwrap() else { panic!("TCP") };
    let slow = || async {
        tokio::time::sleep(AGE.most + AGE.grace / 2).await;
        "finished"
    };
    let stuck = || async { std::future::pending::<()>().await };
    let routes = axum::Router::new()
        .route("/test/slow", axum::routing::post(slow))
        .route("/test/stuck", axum::routing::post(stuck));
    let options = GrpcOptions { max_connection_age: Some(AGE), ..GrpcOptions::default() };
    let shutdown = Shutdown::new();
    tokio::spawn(serve(listener, Routes::from(routes), options, Readiness::new(), shutdown.clone()));
    (address, shutdown)
}

/// A connection whose frames are read by hand.
struct Raw<S> {
    stream: S,
    began: Instant,
}

impl Raw<TcpStream> {
    async fn connect(address: SocketAddr) -> Raw<TcpStream> {
        let began = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();
        Raw { stream, began }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// The type and payload of the next frame that is not about settings; None at the end of the connection.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let mut head = [0; 9];
            if self.stream.read_exact(&mut head).await.is_err() {
                return None;
            }
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.stream.read_exact(&mut payload).await.unwrap();
            match head[3] {
                SETTINGS | WINDOW_UPDATE => {}
                kind => return Some((kind, payload)),
            }
        }
    }

    async fn acknowledge(&mut self, ping: &[u8]) {
        self.stream.write_all(&[&[0, 0, 8, PING, 1, 0, 0, 0, 0], ping].concat()).await.unwrap();
    }
}

/// The last stream that a GOAWAY says is answered, and its error.
fn goaway(frame: Option<(u8, Vec<u8>)>) -> (u32, u32) {
    let (kind, payload) = frame.expect("a frame");
    assert_eq!(kind, GOAWAY);
    let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
    (number(0), number(4))
}

#[tokio::test]
async fn an_idle_connection_is_asked_to_end_at_its_age_and_ends_once_the_client_has_heard() {
    let (address, _shutdown) = start().await;
    let mut raw = Raw::connect(address).await;
    assert_eq!(goaway(raw.frame().await), (0x7fff_ffff, 0), "no new calls, and none is refused yet");
    let asked = raw.began.elapsed();
    assert!(asked >= AGE.most && asked < AGE.most + AGE.grace, "{asked:?}");
    let (kind, ping) = raw.frame().await.unwrap();
    assert_eq!(kind, PING);
    raw.acknowledge(&ping).await;
    assert_eq!(goaway(raw.frame().await), (0, 0), "no call was made");
    assert_eq!(raw.frame().await, None);
    assert!(raw.began.elapsed() < AGE.most + AGE.grace, "it need not be cut");
}

#[tokio::test]
async fn a_client_that_does_not_hear_is_cut_only_after_the_grace() {
    let (address, _shutdown) = start().await;
    let mut raw = Raw::connect(address).await;
    assert_eq!(goaway(raw.frame().await), (0x7fff_ffff, 0));
    assert_eq!(raw.frame().await.unwrap().0, PING);
    assert_eq!(raw.frame().await, None);
    let cut = raw.began.elapsed();
    assert!(cut >= AGE.most + AGE.grace, "{cut:?}");
}

async fn ask(address: SocketAddr, path: &str) -> Result<u16, hyper::Error> {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
    tokio::spawn(connection);
    let request = Request::post(format!("http://{address}{path}")).body(String::new()).unwrap();
    Ok(sender.send_request(request).await?.status().as_u16())
}

#[tokio::test]
async fn a_call_under_way_at_the_age_is_answered_and_one_that_outlives_the_grace_is_cut() {
    let (address, _shutdown) = start().await;
    let (slow, stuck) = tokio::join!(ask(address, "/test/slow"), ask(address, "/test/stuck"));
    assert_eq!(slow.unwrap(), 200);
    assert!(stuck.is_err());
}

#[tokio::test]
async fn shutdown_asks_every_connection_to_end() {
    let (address, shutdown) = start().await;
    let mut raw = Raw::connect(address).await;
    shutdown.begin();
    assert_eq!(goaway(raw.frame().await), (0x7fff_ffff, 0));
    assert!(raw.began.elapsed() < AGE.most + AGE.grace);
}

/// A certificate of `by`, good for `seconds` from now, and its key.
fn certificate(by: &rcgen::CertifiedIssuer<'static, rcgen::KeyPair>, seconds: u64) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = (SystemTime::now() + Duration::from_secs(seconds)).into();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_connection_is_asked_to_end_when_the_certificate_ends_by_which_its_client_was_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let trusted = put("ca.pem", &authority.pem());
    let (cert, key) = certificate(&authority, 3600);
    let at = ServerTls {
        cert: put("s.pem", &cert),
        key: put("s.key", &key),
        client_ca: Some(trusted.clone()),
        client_san: None,
    };
    let shutdown = Shutdown::new();
    let mut tasks = Tasks::new(shutdown.clone());
    let options = GrpcOptions { acceptor: Some(acceptor(at, &mut tasks).unwrap()), ..GrpcOptions::default() };
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let Addr::Tcp(address) = listener.local_addr().unwrap() else { panic!("TCP") };
    tokio::spawn(serve(listener, Routes::from(axum::Router::new()), options, Readiness::new(), shutdown.clone()));

    let connect = async |(cert, key): (String, String)| {
        let [cert, key] = [put("c.pem", &cert), put("c.key", &key)];
        let client =
            Client::http2(ClientTls { ca: Some(trusted.clone()), client: Some((cert, key)), ..ClientTls::default() });
        let began = Instant::now();
        let mut stream = client.unwrap().connect("127.0.0.1", address.port(), "localhost").await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();
        Raw { stream, began }
    };
    let mut lasting = connect(certificate(&authority, 3600)).await;
    let mut short = connect(certificate(&authority, 3)).await;
    assert_eq!(goaway(short.frame().await), (0x7fff_ffff, 0));
    let asked = short.began.elapsed();
    assert!(asked > Duration::from_secs(1) && asked < Duration::from_secs(6), "{asked:?}");
    let nothing = tokio::time::timeout(Duration::from_millis(100), lasting.frame()).await;
    assert!(nothing.is_err(), "another's connection goes on");
}
