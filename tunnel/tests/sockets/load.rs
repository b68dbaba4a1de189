//! Big bodies and many connections.

use std::sync::Arc;

use crate::support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tunnel::{Limits, Reason, Target};

const BODY: usize = 64 << 20;

/// A byte of the body that depends on where it stands and who sent it.
fn byte(at: usize, seed: usize) -> u8 {
    (at.wrapping_mul(31).wrapping_add(at >> 13).wrapping_add(seed)) as u8
}

async fn send(stream: &mut (impl tokio::io::AsyncWrite + Unpin), seed: usize) {
    let mut at = 0;
    while at < BODY {
        let chunk: Vec<u8> = (at..(at + 65_536).min(BODY)).map(|at| byte(at, seed)).collect();
        stream.write_all(&chunk).await.unwrap();
        at += chunk.len();
    }
    stream.shutdown().await.unwrap();
}

async fn receive(stream: &mut (impl tokio::io::AsyncRead + Unpin), seed: usize) {
    let mut buffer = vec![0; 65_536];
    let mut at = 0;
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        assert!(buffer[..count].iter().enumerate().all(|(i, b)| *b == byte(at + i, seed)), "changed after {at}");
        at += count;
    }
    assert_eq!(at, BODY);
}

async fn exchange(mut stream: TcpStream, sends: usize, receives: usize) {
    let (mut read, mut write) = stream.split();
    tokio::join!(send(&mut write, sends), receive(&mut read, receives));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_mebibytes_pass_both_ways_at_once_unchanged() {
    let (waypoint, address) = listener().await;
    let vip = free(2).await;
    let running = Running::start(plan([(vip, Target::Waypoint(address.into()))]), Limits::default()).await;
    let caller = connect(vip).await;
    let mut target = accept(&waypoint).await;
    read_header(&mut target).await;
    tokio::join!(exchange(caller, 1, 2), exchange(target, 2, 1));
    eventually("closed", || running.status(vip).connections == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_connections_at_once_each_get_their_own_answer() {
    const MANY: usize = 2000;
    let (waypoint, address) = listener().await;
    let vip = free(2).await;
    let running = Running::start(plan([(vip, Target::Waypoint(address.into()))]), Limits::default()).await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = waypoint.accept().await.unwrap();
            tokio::spawn(async move {
                read_header(&mut stream).await;
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let everyone = Arc::new(Barrier::new(MANY + 1));
    let mut callers = JoinSet::new();
    for number in 0..MANY {
        let everyone = Arc::clone(&everyone);
        callers.spawn(async move {
            let mut stream = connect(vip).await;
            echoes(&mut stream, &number.to_be_bytes()).await;
            everyone.wait().await;
            echoes(&mut stream, format!("again {number}").as_bytes()).await;
        });
    }
    everyone.wait().await;
    callers.join_all().await;
    let status = running.status(vip);
    assert_eq!(status.failed, []);
    eventually("all closed", || running.status(vip).connections == 0).await;
}

#[tokio::test]
async fn one_connection_too_many_is_reset_and_counted_and_the_others_go_on() {
    let server = echo_server(b"a").await;
    let vip = free(2).await;
    let limits = Limits { connections: 2, ..Limits::default() };
    let running = Running::start(plan([(vip, direct(server))]), limits).await;
    let mut first = connect(vip).await;
    let mut second = connect(vip).await;
    greeting(&mut first).await;
    greeting(&mut second).await;
    assert!(read_to_end(&mut connect(vip).await).await.is_err());
    assert_eq!(running.status(vip).failed, [(Reason::Limit, 1)]);
    echoes(&mut first, b"still here").await;
    drop(second);
    eventually("room again", || running.status(vip).connections == 1).await;
    let mut third = connect(vip).await;
    greeting(&mut third).await;
}

#[tokio::test]
async fn neither_a_service_nor_a_caller_takes_the_room_of_the_others() {
    let server = echo_server(b"a").await;
    let (busy, busy_too, quiet) = (free(2).await, free(2).await, free(3).await);
    let limits = Limits { connections: 8, per_source: 3, per_service: 2, ..Limits::default() };
    let bindings = [busy, busy_too, quiet].map(|vip| (vip, direct(server)));
    let running = Running::start(plan(bindings), limits).await;
    let from = |source: u8, vip: std::net::SocketAddr| async move {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(std::net::SocketAddr::from(([127, 0, 21, source], 0))).unwrap();
        socket.connect(vip).await.unwrap()
    };
    let mut kept = Vec::new();
    for vip in [busy, busy_too] {
        let mut stream = from(1, vip).await;
        greeting(&mut stream).await;
        kept.push(stream);
    }
    // Both ports of the Service count as one, whoever asks.
    assert!(read_to_end(&mut from(2, busy).await).await.is_err());
    assert_eq!(running.status(busy).failed, [(Reason::ServiceLimit, 1)]);
    let mut other = from(1, quiet).await;
    greeting(&mut other).await;
    assert!(read_to_end(&mut from(1, quiet).await).await.is_err());
    assert_eq!(running.status(quiet).failed, [(Reason::SourceLimit, 1)]);
    greeting(&mut from(2, quiet).await).await;
    drop(kept);
    eventually("room again", || running.status(busy).connections + running.status(busy_too).connections == 0).await;
    greeting(&mut from(1, busy).await).await;
}

fn direct(server: std::net::SocketAddr) -> Target {
    Target::Direct(vec![tunnel::Endpoint { host: server.ip().to_string(), port: server.port() }])
}
