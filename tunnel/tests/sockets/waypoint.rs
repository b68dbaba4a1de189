//! What a waypoint hears from the tunnel.

use std::net::{IpAddr, SocketAddr};

use crate::support::*;
use tokio::io::AsyncWriteExt as _;
use tunnel::{Limits, Reason, Target};

const CLIENT: &str = "spiffe://cluster.local/ns/httpbin/sa/client";

fn client_ip() -> IpAddr {
    "127.0.10.4".parse().unwrap()
}

/// A waypoint's listener, and a tunnel whose one service leads there.
async fn waypoint() -> (tokio::net::TcpListener, SocketAddr, Running) {
    let (waypoint, address) = listener().await;
    let vip = free(2).await;
    let mut plan = plan([(vip, Target::Waypoint(address.into()))]);
    plan.identities.insert(client_ip(), CLIENT.to_owned());
    plan.identities.insert("127.0.10.5".parse().unwrap(), String::new());
    plan.identities.insert("127.0.10.6".parse().unwrap(), "x".repeat(5000));
    (waypoint, vip, Running::start(plan, Limits::default()).await)
}

#[tokio::test]
async fn it_hears_the_true_source_the_vip_and_the_callers_identity() {
    let (waypoint, vip, _running) = waypoint().await;
    let caller = connect_from(client_ip(), vip).await;
    let mut stream = accept(&waypoint).await;
    let header = read_header(&mut stream).await;
    assert_eq!(header.addresses, Some((caller.local_addr().unwrap(), vip)));
    assert_eq!(header.identity.as_deref(), Some(CLIENT));
}

#[tokio::test]
async fn an_unknown_source_or_an_empty_identity_carries_no_identity_at_all() {
    let (waypoint, vip, _running) = waypoint().await;
    for source in ["127.0.0.1", "127.0.10.5"] {
        let caller = connect_from(source.parse().unwrap(), vip).await;
        let header = read_header(&mut accept(&waypoint).await).await;
        assert_eq!(header.addresses, Some((caller.local_addr().unwrap(), vip)));
        assert_eq!(header.identity, None, "from {source}");
    }
}

#[tokio::test]
async fn a_caller_whose_identity_cannot_be_written_is_not_let_in_as_anonymous() {
    let (waypoint, vip, running) = waypoint().await;
    let mut caller = connect_from("127.0.10.6".parse().unwrap(), vip).await;
    assert!(read_to_end(&mut caller).await.is_err());
    assert_eq!(running.status(vip).failed, [(Reason::Identity, 1)]);
    let anonymous = connect(vip).await;
    let header = read_header(&mut accept(&waypoint).await).await;
    assert_eq!(header.addresses.unwrap().0, anonymous.local_addr().unwrap());
}

#[tokio::test]
async fn a_header_sent_by_the_caller_is_only_data() {
    let (waypoint, vip, _running) = waypoint().await;
    let mut caller = connect(vip).await;
    let forged = tunnel::header::write(vip, vip, Some("spiffe://cluster.local/ns/a/sa/admin")).unwrap();
    caller.write_all(&forged).await.unwrap();
    caller.shutdown().await.unwrap();
    let mut stream = accept(&waypoint).await;
    assert_eq!(read_header(&mut stream).await.identity, None);
    assert_eq!(read_to_end(&mut stream).await.unwrap(), forged);
}

#[tokio::test]
async fn the_waypoint_may_speak_first_and_either_side_may_finish_first() {
    let (waypoint, vip, running) = waypoint().await;

    let mut caller = connect(vip).await;
    let mut stream = accept(&waypoint).await;
    read_header(&mut stream).await;
    caller.write_all(b"question").await.unwrap();
    caller.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await.unwrap(), b"question");
    assert_eq!(running.status(vip).connections, 1, "half-closed is not closed");
    stream.write_all(b"answer after the end of the question").await.unwrap();
    drop(stream);
    assert_eq!(read_to_end(&mut caller).await.unwrap(), b"answer after the end of the question");

    let mut caller = connect(vip).await;
    let mut stream = accept(&waypoint).await;
    read_header(&mut stream).await;
    stream.write_all(b"announcement").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut caller).await.unwrap(), b"announcement");
    caller.write_all(b"reply after the end of the announcement").await.unwrap();
    drop(caller);
    assert_eq!(read_to_end(&mut stream).await.unwrap(), b"reply after the end of the announcement");
    drop(stream);
    eventually("all closed", || running.status(vip).connections == 0).await;
}

#[tokio::test]
async fn a_reset_of_the_waypoint_reaches_the_caller_as_a_reset() {
    let (waypoint, vip, _running) = waypoint().await;
    let mut caller = connect(vip).await;
    let mut stream = accept(&waypoint).await;
    read_header(&mut stream).await;
    stream.write_all(b"half an answ").await.unwrap();
    echo_of(&mut caller, b"half an answ").await;
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
    let error = read_to_end(&mut caller).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

async fn echo_of(stream: &mut tokio::net::TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    tokio::io::AsyncReadExt::read_exact(stream, &mut bytes).await.unwrap();
    assert_eq!(bytes, expected);
}

#[tokio::test]
async fn without_its_waypoint_a_service_resets_and_says_why() {
    let vip = free(2).await;
    let nobody = free(3).await;
    let running = Running::start(plan([(vip, Target::Waypoint(nobody.into()))]), Limits::default()).await;
    let mut caller = connect(vip).await;
    assert!(read_to_end(&mut caller).await.is_err());
    assert_eq!(running.status(vip).failed, [(Reason::ConnectRefused, 1)]);
    assert_eq!(running.status(vip).connections, 0);
}

#[tokio::test]
async fn a_published_address_is_told_to_it_as_the_services_own_and_goes_with_the_plan() {
    let (waypoint, vip, running) = waypoint().await;
    let mut plan = (*running.plans.borrow().clone()).clone();
    let published = free(1).await;
    plan.published.insert(published, vip);
    running.plan(plan.clone()).await;
    let caller = connect(published).await;
    let header = read_header(&mut accept(&waypoint).await).await;
    assert_eq!(header.addresses, Some((caller.local_addr().unwrap(), vip)));

    // The service is gone: its published address is one that nobody serves, and lets nothing through.
    plan.bindings.clear();
    running.plan(plan.clone()).await;
    assert!(read_to_end(&mut connect(published).await).await.is_err());
    plan.published.clear();
    running.plan(plan).await;
    assert!(tokio::net::TcpStream::connect(published).await.is_err());
}
