//! Counters in a real Redis: exact, always with an end, quick to fail, back by themselves.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::gloo::rate_limit_config::Unit;
use ratelimit::config::CounterId;
use ratelimit::request::Change;
use ratelimit::store::redis::{RedisSettings, RedisUrl};
use ratelimit::store::{CountPolicy, CounterStore as _, Hit, Redis, StoreError};
use ratelimit::window::{Limit, Moment};
use runtime::Shutdown;

const NOW: Moment = Moment(1_000_000_020_000);

/// A redis-server of our own on a Unix socket, ended with the test.
pub struct Server(Child);

impl Server {
    pub fn start(dir: &Path) -> Server {
        let started = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(dir.join("redis.sock"))
            .current_dir(dir)
            .stdout(Stdio::null())
            .spawn();
        Server(started.unwrap_or_else(|error| panic!("redis-server: {error}; apt-get install redis-server")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn open(dir: &Path, shutdown: &Shutdown) -> Redis {
    let url: RedisUrl = format!("unix:{}", dir.join("redis.sock").display()).parse().unwrap();
    // A busy machine may be slow; the tests that measure time say so themselves.
    let settings = RedisSettings { budget: Duration::from_secs(2), ..RedisSettings::new(url) };
    let (redis, driver) = Redis::new(settings).unwrap();
    tokio::spawn(driver.run(shutdown.clone(), || ()));
    redis
}

fn hit(counter: u128, change: Change) -> Hit<'static> {
    let limit = Limit::new(1, Unit::Minute).unwrap();
    let (counter, window) = (CounterId(counter), limit.window(NOW.secs()));
    Hit { config: "ns.name", counter, limit, window, change, policy: CountPolicy::Always, shadow: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_of_two_replicas_are_admitted_exactly_and_every_key_ends() {
    let dir = tempfile::tempdir().unwrap();
    let _server = Server::start(dir.path());
    let shutdown = Shutdown::new();
    let replicas = [open(dir.path(), &shutdown), open(dir.path(), &shutdown)];
    until("both connected", || replicas.iter().all(Redis::is_up)).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..50 {
        let redis = replicas[client % 2].clone();
        clients.spawn(async move {
            let mut admitted = 0;
            for _ in 0..20 {
                let other = hit(1000 + client as u128, Change::Add(1));
                let counts = redis.hit(&[hit(1, Change::Add(1)), other], NOW).await.unwrap();
                admitted += usize::from(counts[0] <= 300);
            }
            admitted
        });
    }
    assert_eq!(clients.join_all().await.into_iter().sum::<usize>(), 300);

    assert_eq!(replicas[0].hit(&[hit(1, Change::Add(0))], NOW).await.unwrap()[0], 1000);
    assert_eq!(
        replicas[0].hit(&[hit(1, Change::Refund(5000)), hit(1, Change::Add(2))], NOW).await.unwrap()[..],
        [0, 2]
    );

    let client = ::redis::Client::open(format!("unix://{}", dir.path().join("redis.sock").display())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = ::redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert_eq!(keys.len(), 51);
    for key in keys {
        let ttl: i64 = ::redis::cmd("TTL").arg(&key).query_async(&mut connection).await.unwrap();
        assert!((1..=80).contains(&ttl), "{key}: {ttl}");
    }
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_fails_requests_at_once_and_comes_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let shutdown = Shutdown::new();
    let redis = Arc::new(open(dir.path(), &shutdown));
    until("connected", || redis.is_up()).await;
    redis.hit(&[hit(1, Change::Add(1))], NOW).await.unwrap();

    drop(server);
    until("noticed", || !redis.is_up()).await;
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(redis.hit(&[hit(1, Change::Add(1))], NOW).await, Err(StoreError::Down));
    }
    assert!(began.elapsed() < Duration::from_secs(1));

    let _ = std::fs::remove_file(dir.path().join("redis.sock"));
    let _server = Server::start(dir.path());
    until("back", || redis.is_up()).await;
    assert_eq!(redis.hit(&[hit(1, Change::Add(1))], NOW).await.unwrap()[..], [1]);
    shutdown.begin();
}
