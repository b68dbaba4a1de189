//! More connections than there is room for: whoever opens them loses, and nobody else.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use waykeeper_tests::parts::Application;
use waykeeper_tests::{Backends, Curl, Folder, Waykeeper, eventually, turn};

/// As many as reset every Service of a machine once: more than all Services together may have.
const FLOOD: usize = 8_400;
/// Files that this needs: a socket of ours for each, and two for each that is carried.
const FILES: u64 = 20_000;

/// A connection from `source` that says nothing.
fn idle(source: Ipv4Addr, to: SocketAddr) -> Option<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), Duration::from_secs(5)).ok().map(|()| socket)
}

fn flood(sources: &[Ipv4Addr], to: SocketAddr) -> Vec<Socket> {
    (0..FLOOD).filter_map(|n| idle(sources[n % sources.len()], to)).collect()
}

fn get(service: &str, source: &str) -> Curl {
    Curl::to(&format!("http://{service}:8000/get")).args(&["--interface", source])
}

#[test]
fn idle_connections_to_one_service_leave_the_others_their_room() {
    let limit = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limit.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft = files.split_whitespace().nth(3).unwrap();
    assert!(soft == "unlimited" || soft.parse::<u64>().unwrap() >= FILES, "needs `ulimit -n {FILES}`: {files}");
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    let waykeeper = Waykeeper::up(&folder, &[]);
    let guarded: SocketAddr = "127.0.20.2:8000".parse().unwrap();

    // From many sources, so that no source has its fill: the Service has.
    let sources: Vec<Ipv4Addr> = (1..=8).map(|n| Ipv4Addr::new(127, 0, 50, n)).collect();
    let flooding = flood(&sources, guarded);
    for source in ["127.0.10.8", "127.0.50.1"] {
        for _ in 0..20 {
            let reply = get("httpbin3", source).send();
            assert_eq!(reply.status, 200, "another Service, from {source}: {reply:?}");
        }
    }
    let metrics = waykeeper.admin("/metrics").body;
    let refused = metrics.lines().find(|line| line.contains("service_limit") && line.contains("127.0.20.2:8000"));
    assert!(refused.is_some(), "{metrics}");
    drop(flooding);
    eventually("the Service itself, once they are gone", Duration::from_secs(20), || {
        let reply = get("httpbin2", "127.0.10.8").send();
        if reply.status == 200 { Ok(()) } else { Err(format!("{reply:?}")) }
    });

    // From one source to every Service: others have their part of each, also of the one that is flooded.
    let one = [Ipv4Addr::new(127, 0, 50, 9)];
    let flooding = [flood(&one, guarded), flood(&one, "127.0.20.3:8000".parse().unwrap())];
    for service in ["httpbin2", "httpbin3"] {
        eventually("another source", Duration::from_secs(5), || {
            let reply = get(service, "127.0.10.8").send();
            if reply.status == 200 { Ok(()) } else { Err(format!("{service}: {reply:?}")) }
        });
    }
    drop(flooding);
}
