//! Three Sentinels, a master, a replica.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ratelimit::store::redis::RedisSettings;
use runtime::Shutdown;

use super::servers::*;

/// Within which a failover is followed once Sentinels tell of it.
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn sentinel(dir: &std::path::Path, n: usize, master: u16) -> Server {
    let config = dir.join(format!("sentinel{n}.conf"));
    let text = format!(
        "sentinel monitor main 127.0.0.1 {master} 2\nsentinel down-after-milliseconds main 700\n\
         sentinel failover-timeout main 4000\nrequirepass sentinels\nsentinel sentinel-pass sentinels\n\
         sentinel auth-pass main servers\n"
    );
    std::fs::write(&config, text).unwrap();
    let port = free_port();
    let process = std::process::Command::new("redis-server")
        .arg(&config)
        .args(["--sentinel", "--port", &port.to_string(), "--bind", "127.0.0.1"])
        .current_dir(dir)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    Server { process, port }
}

/// The moments at which a Sentinel tells those who listen that there is another master.
fn switches(sentinel: u16) -> mpsc::Receiver<Instant> {
    let (sender, receiver) = mpsc::channel();
    let mut stream = TcpStream::connect(("127.0.0.1", sentinel)).unwrap();
    stream.write_all(b"AUTH sentinels\r\nSUBSCRIBE +switch-master\r\n").unwrap();
    std::thread::spawn(move || {
        // An answer to each command, then what is published.
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        for _ in lines.filter(|line| line == "+switch-master").skip(1) {
            if sender.send(Instant::now()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// When the first of them said so.
async fn switched(listeners: &[mpsc::Receiver<Instant>]) -> Instant {
    let mut first = None;
    until("a Sentinel tells", async || {
        first = listeners.iter().filter_map(|listener| listener.try_recv().ok()).min();
        first.is_some()
    })
    .await;
    first.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_asked_for_and_one_forced_by_a_hanging_master_are_followed_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let auth = ["--requirepass", "servers", "--masterauth", "servers"];
    let first = Server::start(dir.path(), free_port(), &auth);
    let of_first = first.port.to_string();
    let second = Server::start(
        dir.path(),
        free_port(),
        &[&auth[..], &["--replicaof", &format!("127.0.0.1 {of_first}")]].concat(),
    );
    let servers =
        |server: &Server, args: &[&str]| server.cli(&[&["--no-auth-warning", "-a", "servers"], args].concat());
    until("replicated", async || servers(&second, &["INFO", "replication"]).contains("master_link_status:up")).await;
    let sentinels: Vec<Server> = (0..3).map(|n| sentinel(dir.path(), n, first.port)).collect();
    let ask = |n: usize, args: &[&str]| sentinels[n].cli(&[&["--no-auth-warning", "-a", "sentinels"], args].concat());
    until("the Sentinels know everybody", async || {
        (0..3).all(|n| {
            let state = ask(n, &["SENTINEL", "MASTER", "main"]);
            let lines: Vec<&str> = state.lines().collect();
            let of = |name| lines.iter().position(|line| *line == name).and_then(|at| lines.get(at + 1)).copied();
            of("num-slaves") == Some("1") && of("num-other-sentinels") == Some("2")
        })
    })
    .await;

    let shutdown = Shutdown::new();
    let places: Vec<String> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
    let plain = settings(&format!("redis+sentinel://:servers@{}/main", places.join(",")));
    let login = ratelimit::store::redis::Login { user: None, password: Some(api::Redacted::new("sentinels")) };
    let url = plain.url.clone().with_sentinel_login(login);
    let budget = Duration::from_millis(500);
    let both = RedisSettings { url, budget, ..plain };
    let handles = [opened(both.clone(), &shutdown).await, opened(both, &shutdown).await];
    assert_eq!(admitted(&handles, 10, 10, 60).await, 60);

    // Asked for: nothing hangs, nothing is lost that was replicated.
    let listeners: Vec<_> = sentinels.iter().map(|sentinel| switches(sentinel.port)).collect();
    let (stalls, counting) = (Stalls::watch(), Counting::start(handles[0].clone(), 2));
    assert_eq!(ask(0, &["SENTINEL", "FAILOVER", "main"]), "OK");
    let (told, before) = (switched(&listeners).await, stalls.so_far());
    // A counter that only the new master can have seen.
    until("followed", async || {
        let counted = count(&handles[1], 77).await.is_ok();
        counted && has(&counters_that_end(|args| servers(&second, args)), 77)
    })
    .await;
    let (took, lost) = (told.elapsed(), stalls.so_far());
    println!("a failover asked for: followed after {took:?} (stalled {lost:?})");
    assert!(took < SECOND + lost, "{took:?}, of which the machine stalled {lost:?}");
    counting.first_after(Instant::now()).await;
    let gap = counting.longest_gap();
    drop(counting);
    println!("nothing was counted for {gap:?}");
    assert!(gap < SECOND + before + lost + stalls.so_far(), "{gap:?}");
    let promoted = |server: &Server| servers(server, &["ROLE"]).starts_with("master");
    assert!(promoted(&second));
    assert!(count(&handles[0], 1).await.unwrap() > 100);
    until("the old master is a replica", async || {
        servers(&first, &["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;

    // Forced: the master hangs. Every request is answered within its budget all the while.
    let listeners: Vec<_> = sentinels.iter().map(|sentinel| switches(sentinel.port)).collect();
    let counting = Counting::start(handles[1].clone(), 3);
    second.signal("STOP");
    let hung = Instant::now();
    let mut longest = Duration::ZERO;
    let mut told = None;
    until("promoted again", async || {
        let began = Instant::now();
        let _ = count(&handles[0], 1).await;
        longest = longest.max(began.elapsed());
        told = listeners.iter().filter_map(|listener| listener.try_recv().ok()).min();
        told.is_some()
    })
    .await;
    let (told, _) = (told.unwrap(), stalls.so_far());
    let (took, lost) = (counting.first_after(told).await - told, stalls.so_far());
    println!("one forced: told {:?} after it hung, followed after {took:?} (stalled {lost:?})", told - hung);
    assert!(took < SECOND + lost, "{took:?}, of which the machine stalled {lost:?}");
    assert!(promoted(&first));
    assert!(longest < budget * 2, "{longest:?}");
    second.signal("CONT");
    for server in [&first, &second] {
        counters_that_end(|args| servers(server, args));
    }
    shutdown.begin();
}
