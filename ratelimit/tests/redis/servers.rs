//! Redis processes of our own, each ended with its test, and what all tests do with them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::gloo::rate_limit_config::Unit;
use ratelimit::limit::{Change, CountPolicy, CounterId, Hit, Limit, Moment};
use ratelimit::store::redis::{RedisSettings, RedisUrl};
use ratelimit::store::{CounterStore as _, Redis, StoreError};
use runtime::Shutdown;
pub use waykeeper_tests::free_port;

pub const NOW: Moment = Moment(1_000_000_020_000);

/// A process that ends with its test.
pub struct Server {
    pub process: Child,
    pub port: u16,
}

impl Server {
    /// A `redis-server` in `dir` with these arguments besides.
    pub fn start(dir: &Path, port: u16, args: &[&str]) -> Server {
        let started = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(args)
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = started.unwrap_or_else(|error| panic!("redis-server: {error}; apt-get install redis-server"));
        Server { process, port }
    }

    /// A plain one on TCP, ready.
    pub async fn plain(dir: &Path) -> Server {
        let server = Server::start(dir, free_port(), &[]);
        until("redis-server answers", async || server.cli(&["PING"]) == "PONG").await;
        server
    }

    /// What `redis-cli` prints.
    pub fn cli(&self, args: &[&str]) -> String {
        let port = self.port.to_string();
        let out = Command::new("redis-cli").args(["-p", &port]).args(args).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// Sends `STOP` or `CONT`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.process.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The counters, each of which must end.
    pub fn counters_that_end(&self) -> Vec<String> {
        counters_that_end(|args| self.cli(args))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The counters of a server that is asked so: the key of each, and its field where that is a page.
/// All must end.
pub fn counters_that_end(ask: impl Fn(&[&str]) -> String) -> Vec<String> {
    const ALL: &str = "
        local all = {}
        for _, key in ipairs(redis.call('KEYS', '*')) do
          local left = redis.call('PTTL', key)
          if left < 0 and left ~= -2 then return redis.error_reply('without an end: ' .. key) end
          if string.match(key, ':[%w_-]:%d+:%d+$') then
            for _, field in ipairs(redis.call('HKEYS', key)) do
              if #field == 22 then all[#all + 1] = key .. ' ' .. field end
            end
          else
            all[#all + 1] = key
          end
        end
        return all";
    let told = ask(&["EVAL", ALL, "0"]);
    assert!(!told.contains("without an end") && !told.starts_with("ERR"), "{told}");
    told.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Whether one of `counters` is that of [`hit`]s on `counter`.
pub fn has(counters: &[String], counter: u128) -> bool {
    let digest = hit(counter, Change::Add(1)).counter.to_string();
    counters.iter().any(|one| one.ends_with(&digest))
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A busy machine may be slow; the tests that measure time choose a budget themselves.
pub fn settings(url: &str) -> RedisSettings {
    RedisSettings { budget: Duration::from_secs(2), ..RedisSettings::new(url.parse::<RedisUrl>().unwrap()) }
}

/// A handle whose driver runs until `shutdown`.
pub fn open(settings: RedisSettings, shutdown: &Shutdown) -> Redis {
    let (redis, driver) = Redis::new(settings).unwrap();
    tokio::spawn(driver.run(shutdown.clone(), || ()));
    redis
}

pub async fn opened(settings: RedisSettings, shutdown: &Shutdown) -> Redis {
    let redis = open(settings, shutdown);
    until("connected", async || redis.is_up()).await;
    redis
}

pub fn hit(counter: u128, change: Change) -> Hit<'static> {
    hit_in(Unit::Minute, counter, change)
}

pub fn hit_in(unit: Unit, counter: u128, change: Change) -> Hit<'static> {
    let limit = Limit::new(1, unit).unwrap();
    // Spread over all bits, as real digests are, and so over pages and slots.
    let spread = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let (counter, window) = (CounterId(spread), limit.window(NOW.secs()));
    Hit { config: "ns.name", counter, rule: counter, limit, window, change, policy: CountPolicy::Always, shadow: false }
}

/// A plain server, and a handle on it.
pub async fn alone(dir: &Path, shutdown: &Shutdown) -> (Server, Redis) {
    let server = Server::plain(dir).await;
    let redis = opened(settings(&format!("127.0.0.1:{}", server.port)), shutdown).await;
    (server, redis)
}

pub async fn count(redis: &Redis, counter: u128) -> Result<u64, StoreError> {
    redis.hit(&[hit(counter, Change::Add(1))], NOW).await.map(|counts| counts[0])
}

/// So many tasks over all `handles`, each with `hits` on counter 1 and as many on one of its own:
/// how many of the first came to no more than `limit`.
pub async fn admitted(handles: &[Redis], tasks: usize, hits: usize, limit: u64) -> usize {
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..tasks {
        let redis = handles[client % handles.len()].clone();
        clients.spawn(async move {
            let mut admitted = 0;
            for n in 1..=hits {
                let other = hit(1000 + client as u128, Change::Add(1));
                let counts = redis.hit(&[hit(1, Change::Add(1)), other], NOW).await.unwrap();
                assert_eq!(counts[1], n as u64);
                admitted += usize::from(counts[0] <= limit);
            }
            admitted
        });
    }
    clients.join_all().await.into_iter().sum()
}

/// How long this machine kept everybody waiting: what a thread that only wants to sleep for a moment lost.
/// Where time is measured, that much more is granted; on a machine with time to spare it is nothing.
pub struct Stalls {
    lost: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Stalls {
    const MOMENT: Duration = Duration::from_millis(5);
    /// Less is no stall.
    const SMALL: Duration = Duration::from_millis(20);

    pub fn watch() -> Stalls {
        let stalls = Stalls { lost: Arc::default(), stop: Arc::default() };
        let (lost, stop) = (stalls.lost.clone(), stalls.stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::sleep(Self::MOMENT);
                let late = began.elapsed() - Self::MOMENT;
                if late > Self::SMALL {
                    lost.fetch_add(late.as_millis() as u64, Ordering::Relaxed);
                }
            }
        });
        stalls
    }

    /// Since it began to watch, or since this was last asked.
    pub fn so_far(&self) -> Duration {
        Duration::from_millis(self.lost.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Counts without pause, and notes when it was counted, until it is stopped.
pub struct Counting {
    counted: Arc<Mutex<Vec<Instant>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Counting {
    pub fn start(redis: Redis, counter: u128) -> Counting {
        let counted = Arc::new(Mutex::new(vec![Instant::now()]));
        let task = tokio::spawn({
            let counted = counted.clone();
            async move {
                loop {
                    if count(&redis, counter).await.is_ok() {
                        counted.lock().unwrap().push(Instant::now());
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        });
        Counting { counted, task }
    }

    /// When it was first counted after that.
    pub async fn first_after(&self, moment: Instant) -> Instant {
        let mut found = None;
        until("counted", async || {
            found = self.counted.lock().unwrap().iter().copied().find(|at| *at > moment);
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// The longest time in which nothing was counted.
    pub fn longest_gap(&self) -> Duration {
        let counted = self.counted.lock().unwrap();
        counted.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.task.abort();
    }
}
