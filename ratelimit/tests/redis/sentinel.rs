//! Three Sentinels, a master, a replica.

use std::time::{Duration, Instant};

use ratelimit::request::Change;
use ratelimit::store::CounterStore as _;
use ratelimit::store::redis::RedisSettings;
use runtime::Shutdown;

use super::servers::*;

fn sentinel(dir: &std::path::Path, n: usize, master: u16) -> Server {
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
    assert_eq!(ask(0, &["SENTINEL", "FAILOVER", "main"]), "OK");
    let promoted = |server: &Server| servers(server, &["ROLE"]).starts_with("master");
    until("promoted", async || promoted(&second)).await;
    let since = Instant::now();
    let on_second =
        async || handles[0].hit(&[hit(1, Change::Add(1))], NOW).await.is_ok() && servers(&second, &["DBSIZE"]) == "12";
    // A counter that only the new master can have seen.
    until("followed", async || {
        let _ = count(&handles[1], 77).await;
        on_second().await
    })
    .await;
    assert!(since.elapsed() < Duration::from_millis(2500), "{:?}", since.elapsed());
    assert!(count(&handles[0], 1).await.unwrap() > 100);
    until("the old master is a replica", async || {
        servers(&first, &["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;

    // Forced: the master hangs. Every request is answered within its budget all the while.
    second.signal("STOP");
    let mut longest = Duration::ZERO;
    until("promoted again", async || {
        let began = Instant::now();
        let _ = count(&handles[0], 1).await;
        longest = longest.max(began.elapsed());
        // Redis promotes; a Sentinel notices with its next INFO, up to a second later, and tells.
        let told = |n| ask(n, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]).ends_with(&of_first);
        promoted(&first) && (0..3).any(told)
    })
    .await;
    let since = Instant::now();
    until("followed again", async || count(&handles[0], 5).await.is_ok()).await;
    // A second, and as much again for a busy machine.
    assert!(since.elapsed() < Duration::from_millis(2000), "{:?}", since.elapsed());
    assert!(longest < budget * 2, "{longest:?}");
    second.signal("CONT");
    for server in [&first, &second] {
        for key in servers(server, &["--scan"]).lines() {
            let left: i64 = servers(server, &["PTTL", key]).parse().unwrap();
            assert!(left > 0 || left == -2, "{key}: {left}");
        }
    }
    shutdown.begin();
}
