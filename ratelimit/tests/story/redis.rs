//! A Redis of our own, for stories that need one; what is told about Redis itself is in `tests/redis`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ratelimit::store::Redis;
use ratelimit::store::redis::{RedisSettings, RedisUrl};
use runtime::Shutdown;

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
