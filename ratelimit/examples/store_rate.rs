//! Prints how many hits a second one handle on Redis makes:
//!
//! ```text
//! cargo run --release -p ratelimit --example store_rate -- redis://127.0.0.1:6379 [seconds] [waiting requests]
//! ```
//!
//! The prefix is `store-rate:`; the keys end by themselves. Use a Redis of its own all the same.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use api::gloo::rate_limit_config::Unit;
use ratelimit::limit::{Change, CountPolicy, CounterId, Hit, Limit};
use ratelimit::server::{Clock as _, SystemClock};
use ratelimit::store::redis::{RedisSettings, RedisUrl};
use ratelimit::store::{CounterStore as _, Redis};
use runtime::Shutdown;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let url: RedisUrl = args.next().context("name a Redis URL")?.parse().map_err(anyhow::Error::msg)?;
    let seconds: f64 = args.next().map_or(Ok(3.0), |text| text.parse()).context("seconds")?;
    let waiting: u64 = args.next().map_or(Ok(512), |text| text.parse()).context("waiting requests")?;
    let (prefix, budget) = ("store-rate:".to_owned(), Duration::from_secs(1));
    let (redis, driver) = Redis::new(RedisSettings { prefix, budget, ..RedisSettings::new(url) })?;
    let shutdown = Shutdown::new();
    let (sender, connected) = tokio::sync::oneshot::channel();
    let tell = || {
        let _ = sender.send(());
    };
    let driver = tokio::spawn(driver.run(shutdown.clone(), tell));
    tokio::time::timeout(Duration::from_secs(10), connected).await.context("no connection")??;

    let limit = Limit::new(1_000_000, Unit::Hour).context("a limit")?;
    println!("{:>10} {:>5} {:>12} {:>8} {:>10}", "keys", "hits", "hits/s", "errors", "p99");
    for (keys, hits) in [(1, 1), (1000, 1), (1_000_000, 1), (1000, 8)] {
        let (done, errors) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let began = Instant::now();
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..waiting {
            let (redis, done, errors) = (redis.clone(), done.clone(), errors.clone());
            clients.spawn(async move {
                let mut times = Vec::new();
                let mut random = client.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                while began.elapsed().as_secs_f64() < seconds {
                    let now = SystemClock.now();
                    let window = limit.window(now.secs());
                    let mut one = || {
                        // xorshift64: good enough to pick keys.
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let key = u128::from(random % keys);
                        let counter = CounterId(key.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
                        let (change, policy) = (Change::Add(1), CountPolicy::Always);
                        Hit { config: "ns.name", counter, rule: counter, limit, window, change, policy, shadow: false }
                    };
                    let request: Vec<Hit<'_>> = (0..hits).map(|_| one()).collect();
                    let asked = Instant::now();
                    match redis.hit(&request, now).await {
                        Ok(_) => done.fetch_add(hits, Ordering::Relaxed),
                        Err(_) => errors.fetch_add(1, Ordering::Relaxed),
                    };
                    times.push(asked.elapsed());
                }
                times
            });
        }
        let mut times = clients.join_all().await.concat();
        let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
        times.sort_unstable();
        let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
        println!("{keys:>10} {hits:>5} {rate:>12.0} {:>8} {p99:>10.2?}", errors.load(Ordering::Relaxed));
    }
    shutdown.begin();
    driver.await?
}
