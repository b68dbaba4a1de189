//! Plans that change, endpoints taken in turn, and an orderly end.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::*;
use tokio::net::TcpListener;
use tunnel::{Endpoint, Limits, Reason, Target};

fn endpoint(addr: SocketAddr) -> Endpoint {
    Endpoint { host: addr.ip().to_string(), port: addr.port() }
}

fn direct(addr: SocketAddr) -> Target {
    Target::Direct(vec![endpoint(addr)])
}

#[tokio::test]
async fn a_change_of_plan_moves_new_connections_and_leaves_the_old_ones_alone() {
    let (a, b) = (echo_server(b"a").await, echo_server(b"b").await);
    let (changed, kept, gone) = (free(2).await, free(3).await, free(4).await);
    let running =
        Running::start(plan([(changed, direct(a)), (kept, direct(a)), (gone, direct(a))]), Limits::default()).await;
    let mut old = Vec::new();
    for vip in [changed, kept, gone] {
        let mut stream = connect(vip).await;
        assert_eq!(greeting(&mut stream).await, b'a');
        old.push(stream);
    }

    let new = free(5).await;
    running.plan(plan([(changed, direct(b)), (kept, direct(a)), (new, direct(b))])).await;
    for stream in &mut old {
        echoes(stream, b"as before").await;
    }
    assert_eq!(greeting(&mut connect(changed).await).await, b'b');
    assert_eq!(greeting(&mut connect(kept).await).await, b'a');
    assert_eq!(greeting(&mut connect(new).await).await, b'b');
    assert_eq!(running.tunnel.status().len(), 3);
    let gone_is_free = async {
        while TcpListener::bind(gone).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone_is_free).await.unwrap();
    echoes(&mut old[2], b"though its listener is gone").await;
}

#[tokio::test]
async fn a_taken_port_is_reported_others_go_on_and_it_is_bound_once_free() {
    let a = echo_server(b"a").await;
    let (taken, fine) = (free(2).await, free(3).await);
    let squatter = TcpListener::bind(taken).await.unwrap();
    let limits = Limits { bind_retry: Duration::from_millis(20), ..Limits::default() };
    let running = Running::start(plan([(taken, direct(a)), (fine, direct(a))]), limits).await;
    let why = running.status(taken).bound.unwrap_err();
    assert!(why.contains("taken by another program"), "{why}");
    assert_eq!(running.status(fine).bound, Ok(()));
    assert_eq!(greeting(&mut connect(fine).await).await, b'a');

    drop(squatter);
    eventually("bound", || running.status(taken).bound.is_ok()).await;
    assert_eq!(greeting(&mut connect(taken).await).await, b'a');
}

#[tokio::test]
async fn an_address_of_another_machine_is_reported_with_what_to_do() {
    let elsewhere: SocketAddr = "192.0.2.1:8000".parse().unwrap();
    let running = Running::start(plan([(elsewhere, Target::Refuse("x".into()))]), Limits::default()).await;
    let why = running.status(elsewhere).bound.unwrap_err();
    assert!(why.contains("no address 192.0.2.1"), "{why}");
}

#[tokio::test]
async fn a_service_taken_away_and_given_back_is_soon_served_again() {
    let a = echo_server(b"a").await;
    let vip = free(2).await;
    let running = Running::start(plan([(vip, direct(a))]), Limits::default()).await;
    for _ in 0..10 {
        running.plan(plan([])).await;
        running.plan(plan([(vip, direct(a))])).await;
        eventually("bound", || running.status(vip).bound.is_ok()).await;
        assert_eq!(greeting(&mut connect(vip).await).await, b'a');
    }
}

#[tokio::test]
async fn endpoints_are_taken_in_turn_and_a_dead_one_is_stepped_over() {
    let (a, b, dead) = (echo_server(b"a").await, echo_server(b"b").await, free(9).await);
    let vip = free(2).await;
    let endpoints = [a, dead, b].map(endpoint).to_vec();
    let running = Running::start(plan([(vip, Target::Direct(endpoints))]), Limits::default()).await;
    let mut heard = Vec::new();
    for _ in 0..6 {
        heard.push(greeting(&mut connect(vip).await).await);
    }
    assert_eq!(heard, b"abbabb");
    assert_eq!(running.status(vip).failed, []);
}

#[tokio::test]
async fn an_endpoint_may_be_a_host_name() {
    let a = echo_server(b"a").await;
    let vip = free(2).await;
    let target = Target::Direct(vec![Endpoint { host: "localhost".to_owned(), port: a.port() }]);
    let _running = Running::start(plan([(vip, target)]), Limits::default()).await;
    assert_eq!(greeting(&mut connect(vip).await).await, b'a');
}

#[tokio::test]
async fn what_cannot_be_reached_is_reset_and_counted_by_its_reason() {
    let (refused, empty, dead, looping) = (free(2).await, free(3).await, free(4).await, free(5).await);
    let nobody = free(6).await;
    let bindings = [
        (refused, Target::Refuse("its waypoint does not exist".into()), Reason::Refused),
        (empty, Target::Direct(Vec::new()), Reason::NoEndpoints),
        (dead, direct(nobody), Reason::ConnectRefused),
        (looping, direct(looping), Reason::Loop),
    ];
    let running = Running::start(plan(bindings.clone().map(|(vip, target, _)| (vip, target))), Limits::default()).await;
    for (vip, _, reason) in bindings {
        assert!(read_to_end(&mut connect(vip).await).await.is_err(), "{reason:?}");
        assert_eq!(running.status(vip).failed, [(reason, 1)]);
    }
}

/// However it is spelt, and whatever its name comes to: the admin port of this machine is behind no Service.
#[tokio::test]
async fn a_place_of_our_own_is_behind_no_service_in_any_spelling() {
    let everywhere = TcpListener::bind("0.0.0.0:0").await.unwrap().local_addr().unwrap();
    let (own, other) = (echo_server(b"o").await, echo_server(b"a").await);
    let mut spelt: Vec<(Endpoint, Result<(), Reason>)> =
        ["127.0.0.1", "localhost", "LOCALHOST", "::ffff:127.0.0.1", "0.0.0.0", "127.1", "2130706433", "0x7f.1"]
            .map(|host| (Endpoint { host: host.to_owned(), port: own.port() }, Err(Reason::Reserved)))
            .into();
    spelt.push((Endpoint { host: "127.9.9.9".to_owned(), port: everywhere.port() }, Err(Reason::Reserved)));
    spelt.push((endpoint(other), Ok(())));
    let mut bindings = Vec::new();
    for (target, expected) in spelt {
        bindings.push((free(2).await, target, expected));
    }
    let targets = bindings.iter().map(|(vip, target, _)| (*vip, Target::Direct(vec![target.clone()])));
    let own_name = Endpoint { host: "localhost".to_owned(), port: own.port() };
    let reserved = [own_name, everywhere.into()].into();
    let plan = tunnel::Plan { reserved, ..plan(targets) };
    let running = Running::start(plan, Limits::default()).await;
    for (vip, target, expected) in bindings {
        let heard = read_to_end_or_greeting(&mut connect(vip).await).await;
        match expected {
            Ok(()) => assert_eq!(heard, Some(b'a')),
            Err(reason) => {
                assert_eq!(heard, None, "{target}");
                assert_eq!(running.status(vip).failed, [(reason, 1)], "{target}");
            }
        }
    }
    // A waypoint is one of them, and is reached as a waypoint.
    let vip = free(3).await;
    let target = Target::Waypoint(endpoint(own));
    let plan = tunnel::Plan { reserved: [endpoint(own)].into(), ..crate::support::plan([(vip, target)]) };
    running.plan(plan).await;
    assert_eq!(greeting(&mut connect(vip).await).await, b'o');
}

#[tokio::test]
async fn draining_stops_new_connections_and_lets_the_old_ones_finish() {
    let a = echo_server(b"a").await;
    let vip = free(2).await;
    let running = Running::start(plan([(vip, direct(a))]), Limits { drain: LONG, ..Limits::default() }).await;
    let mut old = connect(vip).await;
    greeting(&mut old).await;
    running.stop.send(()).unwrap();
    let closed = async {
        while tokio::net::TcpStream::connect(vip).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, closed).await.unwrap();
    echoes(&mut old, b"the rest of it").await;
    drop(old);
    assert_eq!(running.ended.await.unwrap().cut, 0);
}

// Elsewhere nobody can be turned away without a reset.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_got_in_before_the_end_is_served_and_who_came_after_is_refused_but_nobody_is_reset() {
    use std::io::{ErrorKind, Read as _};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let a = echo_server(b"a").await;
    let mut vips = Vec::new();
    for _ in 0..16 {
        vips.push(free(2).await);
    }
    let bindings = vips.iter().map(|vip| (*vip, direct(a)));
    let running = Running::start(plan(bindings), Limits { drain: LONG, ..Limits::default() }).await;
    let call = |vip: SocketAddr| {
        let mut stream = std::net::TcpStream::connect_timeout(&vip, LONG)?;
        let mut name = [0];
        stream.read_exact(&mut name).map(|()| name)
    };
    let served = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = vips
        .into_iter()
        .map(|vip| {
            let served = served.clone();
            std::thread::spawn(move || {
                loop {
                    match call(vip) {
                        Ok(name) => assert_eq!(&name, b"a"),
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                        Err(error) => panic!("neither served nor refused: {error}"),
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    eventually("calls under way", || served.load(Ordering::Relaxed) > 400).await;
    running.stop.send(()).unwrap();
    assert_eq!(running.ended.await.unwrap().cut, 0);
    for caller in callers {
        tokio::task::spawn_blocking(|| caller.join()).await.unwrap().expect("no caller is reset");
    }
}

#[tokio::test]
async fn what_has_not_finished_by_the_deadline_is_reset() {
    let a = echo_server(b"a").await;
    let vip = free(2).await;
    let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
    let running = Running::start(plan([(vip, direct(a))]), limits).await;
    let mut endless = connect(vip).await;
    greeting(&mut endless).await;
    running.stop.send(()).unwrap();
    assert_eq!(running.ended.await.unwrap().cut, 1);
    assert!(read_to_end(&mut endless).await.is_err(), "a reset, not an end that looks complete");
}

#[tokio::test]
async fn when_the_planner_has_gone_the_last_plan_stands() {
    let a = echo_server(b"a").await;
    let vip = free(2).await;
    let running = Running::start(plan([(vip, direct(a))]), Limits::default()).await;
    drop(running.plans);
    assert_eq!(greeting(&mut connect(vip).await).await, b'a');
}
