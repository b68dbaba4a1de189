//! The client against a real server on loopback that misbehaves in every way a server can.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use waykeeper_outbound::http::{Client, Limits};
use waykeeper_outbound::{Outcome, Why};

const LIMITS: Limits =
    Limits { connect: Duration::from_secs(1), head: 8 << 10, body: 1 << 10, idle: 4, idle_for: Duration::from_secs(5) };

struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// Reads one request's head.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(text).unwrap())
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), text: &str) {
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.flush().await;
}

/// Does what the path says.
async fn behave(mut stream: TcpStream) {
    while let Some(head) = head(&mut stream).await {
        let path = head.split([' ', '?']).nth(1).unwrap();
        match path {
            "/good" => say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello").await,
            "/redirect" => {
                say(&mut stream, "HTTP/1.1 302 Found\r\nlocation: /good\r\ncontent-length: 0\r\n\r\n").await;
            }
            "/error" => say(&mut stream, "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n").await,
            "/just-fits" => {
                let body = "x".repeat(LIMITS.body);
                say(&mut stream, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
            }
            "/hangs" => std::future::pending().await,
            "/hangs-in-the-body" => {
                say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
                std::future::pending().await
            }
            "/drips" => {
                say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n").await;
                loop {
                    say(&mut stream, "x").await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            "/late" => {
                tokio::time::sleep(Duration::from_millis(600)).await;
                say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
            "/resets" => {
                socket(&stream);
                return;
            }
            "/resets-in-the-body" => {
                say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                socket(&stream);
                return;
            }
            "/ends-in-the-body" => return say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await,
            "/oversized" => say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\nxxxx").await,
            "/endless" => {
                say(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                while stream.write_all(format!("ff\r\n{}\r\n", "x".repeat(255)).as_bytes()).await.is_ok() {}
                return;
            }
            "/oversized-head" => {
                let more = format!("x: {}\r\n", "y".repeat(200)).repeat(200);
                say(&mut stream, &format!("HTTP/1.1 200 OK\r\n{more}\r\n")).await;
            }
            "/nonsense" => return say(&mut stream, "SSH-2.0-OpenSSH_9.9\r\n\r\n").await,
            other => panic!("{other}"),
        }
    }
}

/// From now on closing is a reset.
fn socket(stream: &TcpStream) {
    stream.set_zero_linger().unwrap();
}

async fn server() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(behave(stream));
        }
    });
    Server { address, connections }
}

fn client() -> Client {
    Client::new(LIMITS, RootCertStore::empty()).unwrap()
}

async fn get(client: &Client, url: &str, patience: Duration) -> Outcome<Response<Bytes>> {
    let request = Request::get(url).body(Bytes::new()).unwrap();
    client.call(request, Instant::now() + patience).await
}

fn answered(outcome: Outcome<Response<Bytes>>) -> Response<Bytes> {
    match outcome {
        Outcome::Answered(answer) => answer,
        Outcome::Unavailable(unavailable) => panic!("{unavailable}"),
    }
}

#[tokio::test]
async fn whatever_the_server_does_there_is_an_answer_in_time_or_the_reason() {
    let (server, client) = (server().await, client());
    let url = |path: &str| format!("http://{}{path}", server.address);
    let patience = Duration::from_millis(400);
    for (path, status, length) in
        [("/good", 200, 5), ("/redirect", 302, 0), ("/error", 500, 0), ("/just-fits", 200, LIMITS.body)]
    {
        let answer = answered(get(&client, &url(path), patience).await);
        assert_eq!((answer.status().as_u16(), answer.body().len()), (status, length), "{path}");
    }
    for (path, wanted) in [
        ("/hangs", Why::TooLate),
        ("/hangs-in-the-body", Why::TooLate),
        ("/drips", Why::TooLate),
        ("/late", Why::TooLate),
        ("/resets", Why::Broken),
        ("/resets-in-the-body", Why::Broken),
        ("/ends-in-the-body", Why::Broken),
        ("/oversized", Why::TooLarge),
        ("/endless", Why::TooLarge),
        ("/oversized-head", Why::TooLarge),
        ("/nonsense", Why::Unreadable),
    ] {
        let begun = Instant::now();
        let outcome = get(&client, &url(path), patience).await;
        let took = begun.elapsed();
        let Outcome::Unavailable(unavailable) = outcome else { panic!("{path}: {outcome:?}") };
        assert_eq!(unavailable.why, wanted, "{path}: {unavailable}");
        assert_eq!(*unavailable.who, *server.address.to_string(), "no path and no query in it");
        assert!(took < patience + Duration::from_secs(5), "{path} took {took:?}");
        assert_eq!(took >= patience, wanted == Why::TooLate, "{path} took {took:?}");
    }
}

#[tokio::test]
async fn neither_query_nor_body_is_in_a_message() {
    let (server, client) = (server().await, client());
    for path in ["/hangs", "/resets", "/nonsense"] {
        let url = format!("http://u:canary@{}{path}?token=canary", server.address);
        let request = Request::post(url).body(Bytes::from_static(b"canary")).unwrap();
        let outcome = client.call(request, Instant::now() + Duration::from_millis(100)).await;
        assert!(
            matches!(outcome, Outcome::Unavailable(_)) && !format!("{outcome:?}").contains("canary"),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn connections_are_kept_unless_they_broke() {
    let (server, client) = (server().await, client());
    let url = |path: &str| format!("http://{}{path}", server.address);
    for _ in 0..5 {
        answered(get(&client, &url("/good"), Duration::from_secs(5)).await);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let broken = get(&client, &url("/resets"), Duration::from_secs(5)).await;
    assert!(matches!(broken, Outcome::Unavailable(_)));
    answered(get(&client, &url("/good"), Duration::from_secs(5)).await);
    assert!(server.connections.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcome = get(&client(), &format!("http://{address}/"), Duration::from_secs(5)).await;
    let Outcome::Unavailable(unavailable) = outcome else { panic!("{outcome:?}") };
    assert_eq!(unavailable.why, Why::Unreachable);
    assert!(unavailable.to_string().contains("refused"), "{unavailable}");
}

#[tokio::test]
async fn only_a_server_of_a_trusted_authority_is_asked() {
    use tokio_rustls::rustls;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], rustls::pki_types::PrivatePkcs8KeyDer::from(key).into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            if head(&mut stream).await.is_some() {
                say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
            }
        }
    });
    let url = |host: &str| format!("https://{host}:{port}/");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusting = Client::new(LIMITS, roots).unwrap();
    let patience = Duration::from_secs(5);
    assert_eq!(answered(get(&trusting, &url("localhost"), patience).await).body().as_ref(), b"hello");
    for outcome in
        [get(&client(), &url("localhost"), patience).await, get(&trusting, &url("127.0.0.1"), patience).await]
    {
        let Outcome::Unavailable(unavailable) = outcome else { panic!("{outcome:?}") };
        assert_eq!(unavailable.why, Why::Unreachable, "{unavailable}");
    }
}
