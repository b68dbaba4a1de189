//! A Cluster of three masters and three replicas.

use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use api::gloo::rate_limit_config::Unit;
use futures_util::future::join_all;
use ratelimit::limit::{Algorithm, Change, Hit, Limit};
use ratelimit::store::CounterStore as _;
use ratelimit::store::redis::{RedisSettings, Together};
use runtime::Shutdown;

use super::servers::*;

async fn cluster(dir: &Path) -> Vec<Server> {
    cluster_of(dir, &[], |dir, args| Server::start(dir, free_port(), args)).await
}

/// One of nodes that `start` makes, which `redis-cli` reaches with the arguments `cli`.
pub(super) async fn cluster_of(dir: &Path, cli: &[&str], start: impl Fn(&Path, &[&str]) -> Server) -> Vec<Server> {
    let nodes: Vec<Server> = (0..6)
        .map(|n| {
            let own = dir.join(n.to_string());
            std::fs::create_dir(&own).unwrap();
            let args =
                ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"];
            start(&own, &args)
        })
        .collect();
    let ask = |node: &Server, args: &[&str]| node.cli(&[cli, args].concat());
    for node in &nodes {
        until("a node answers", async || ask(node, &["PING"]) == "PONG").await;
    }
    let places: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let created = Command::new("redis-cli")
        .args(cli)
        .args(["--cluster", "create"])
        .args(places)
        .args(["--cluster-replicas", "1", "--cluster-yes"])
        .stdout(Stdio::null())
        .status();
    assert!(created.unwrap().success());
    until("all agree and the replicas follow", async || {
        nodes.iter().all(|node| {
            ask(node, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
                && ask(node, &["CLUSTER", "SLOTS"]).lines().filter(|line| line.len() == 40).count() == 6
                && !ask(node, &["INFO", "replication"]).contains("master_link_status:down")
        })
    })
    .await;
    nodes
}

fn url(nodes: &[Server]) -> String {
    // One that does not answer among them does no harm.
    format!("redis+cluster://127.0.0.1:{},127.0.0.1:1,127.0.0.1:{}", nodes[0].port, nodes[3].port)
}

fn is_master(node: &Server) -> bool {
    node.cli(&["ROLE"]).starts_with("master")
}

/// Moves `slot` from one node to the other, key by key, as redis-cli would; `step` is called before each.
async fn migrate(nodes: &[Server], slot: u16, from: &Server, to: &Server, mut step: impl AsyncFnMut()) {
    let slot = slot.to_string();
    let id = |node: &Server| node.cli(&["CLUSTER", "MYID"]);
    to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
    from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    step().await;
    loop {
        let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]);
        if keys.is_empty() {
            break;
        }
        from.cli(&["MIGRATE", "127.0.0.1", &to.port.to_string(), &keys, "0", "1000"]);
        step().await;
    }
    for node in [to, from].into_iter().chain(nodes) {
        if is_master(node) {
            node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
        }
    }
    step().await;
}

/// The number of counters on all masters, none without an end.
fn counters(nodes: &[Server]) -> usize {
    nodes.iter().filter(|node| is_master(node)).map(|node| node.counters_that_end().len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_are_exact_over_slots_and_while_a_slot_moves() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(dir.path()).await;
    let shutdown = Shutdown::new();
    let handles = [opened(settings(&url(&nodes)), &shutdown).await, opened(settings(&url(&nodes)), &shutdown).await];
    assert_eq!(admitted(&handles, 40, 20, 250).await, 250);
    assert_eq!(counters(&nodes), 41);
    let spread = nodes.iter().filter(|node| is_master(node) && node.cli(&["DBSIZE"]) != "0").count();
    assert_eq!(spread, 3, "the counters of one config are on all nodes");

    // Other algorithms are as exact: the tokens do not come back in the time this takes.
    let bucket = Algorithm::TokenBucket { burst: NonZeroU32::new(30).unwrap() };
    let limit = Limit::new(30, Unit::Day).unwrap().by(bucket);
    let tokens = (0..100).map(|n| {
        let redis = handles[n % 2].clone();
        async move { redis.hit(&[Hit { limit, ..hit(7, Change::Add(1)) }], NOW).await.unwrap()[0] <= 30 }
    });
    assert_eq!(join_all(tokens).await.into_iter().filter(|passes| *passes).count(), 30);

    // In one slot with the config as tag: on one node, in one step.
    let together = RedisSettings { together: Together::Config, prefix: "t:".to_owned(), ..settings(&url(&nodes)) };
    let redis = opened(together, &shutdown).await;
    let hits: Vec<_> = (0..20).map(|n| hit(n, Change::Add(1))).collect();
    assert!(redis.hit(&hits, NOW).await.unwrap().iter().all(|count| *count == 1));
    let tagged = |node: &Server| node.counters_that_end().iter().filter(|one| one.starts_with("t:")).count();
    assert_eq!(nodes.iter().filter(|node| is_master(node) && tagged(node) == 20).count(), 1);

    // The hot counter's slot goes round while everybody hits it: no hit fails, none is lost, none counts twice.
    let key = nodes.iter().find_map(|node| {
        let found = node.counters_that_end().into_iter().find(|one| has(std::slice::from_ref(one), 1));
        found.filter(|_| is_master(node))
    });
    let key = key.unwrap();
    let page = key.split(' ').next().unwrap();
    let slot: u16 = nodes[0].cli(&["CLUSTER", "KEYSLOT", page]).parse().unwrap();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (redis, stop, done) = (handles[n % 2].clone(), stop.clone(), done.clone());
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let counts = redis.hit(&[hit(1, Change::Add(1)), hit(1000, Change::Add(0))], NOW).await.unwrap();
                assert!(counts[0] > 800 && counts[1] == 20);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let masters: Vec<&Server> = nodes.iter().filter(|node| is_master(node)).collect();
    let mut at =
        masters.iter().position(|node| node.cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]) != "0").unwrap();
    for _ in 0..4 {
        let (from, to) = (masters[at], masters[(at + 1) % masters.len()]);
        migrate(&nodes, slot, from, to, async || {
            let enough = done.load(Ordering::Relaxed) + 50;
            until("hits go on", async || done.load(Ordering::Relaxed) >= enough).await;
        })
        .await;
        at = (at + 1) % masters.len();
    }
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let total = handles[0].hit(&[hit(1, Change::Add(0))], NOW).await.unwrap()[0];
    assert_eq!(total, 800 + done.load(Ordering::Relaxed));
    counters(&nodes);
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_master_dies_the_other_slots_go_on_and_its_replica_is_followed_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = cluster(dir.path()).await;
    let shutdown = Shutdown::new();
    let budget = Duration::from_millis(500);
    let redis = opened(RedisSettings { budget, ..settings(&url(&nodes)) }, &shutdown).await;
    for n in 0..60 {
        assert_eq!(count(&redis, n).await, Ok(1));
    }
    let dead = nodes.iter().position(is_master).unwrap();
    let there = nodes[dead].counters_that_end();
    let lost: Vec<u128> = (0..60).filter(|n| has(&there, *n)).collect();
    assert!((1..60).contains(&lost.len()));
    let others: Vec<u128> = (0..60).filter(|n| !lost.contains(n)).collect();
    // What was replicated stays; WAIT makes sure that it was.
    assert_eq!(nodes[dead].cli(&["WAIT", "1", "2000"]), "1");
    drop(nodes.remove(dead));

    let (stalls, counting) = (Stalls::watch(), Counting::start(redis.clone(), lost[0]));
    let masters = |nodes: &[Server]| nodes.iter().filter(|node| is_master(node)).count();
    let mut longest = Duration::ZERO;
    until("a replica is promoted", async || {
        for n in others.iter().take(3).chain(&lost[..1]) {
            let began = Instant::now();
            let counted = count(&redis, *n).await;
            longest = longest.max(began.elapsed());
            assert!(counted.is_ok() || lost.contains(n), "{counted:?}");
        }
        masters(&nodes) == 3
    })
    .await;
    let (told, _) = (Instant::now(), stalls.so_far());
    let (took, lost_time) = (counting.first_after(told).await - told, stalls.so_far());
    println!("a master that died: followed after {took:?} (stalled {lost_time:?})");
    assert!(took < Duration::from_secs(1) + lost_time, "{took:?}, of which the machine stalled {lost_time:?}");
    assert!(longest < budget * 2, "{longest:?}");
    for n in &lost[1..] {
        assert_eq!(count(&redis, *n).await, Ok(2));
    }
    until("whole again", async || redis.is_up()).await;
    counters(&nodes);
    shutdown.begin();
}
