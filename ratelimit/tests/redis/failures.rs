//! A Redis that is there and yet of no use.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use ratelimit::limit::Change;
use ratelimit::store::redis::RedisSettings;
use ratelimit::store::{CounterStore as _, OnStoreFailure, Resilient, StoreError};
use runtime::Shutdown;

use super::servers::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_answers_pings_but_counts_nothing_gets_one_request_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::plain(dir.path()).await;
    let shutdown = Shutdown::new();
    let url = format!("redis://127.0.0.1:{}", server.port);
    let redis = opened(RedisSettings { budget: Duration::from_millis(100), ..settings(&url) }, &shutdown).await;
    server.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let wave = async || join_all((0..20).map(|_| count(&redis, 1))).await;
    let late =
        |answers: &[Result<u64, StoreError>]| answers.iter().filter(|one| **one == Err(StoreError::Late)).count();
    // The first waves find out. While the connection is made anew nobody waits, and one may have been
    // alone with a connection that was given up: that says nothing yet.
    let (mut failed, mut alone) = (0, 0);
    while alone < 3 {
        match late(&wave().await) {
            0 => tokio::time::sleep(Duration::from_millis(1)).await,
            1 => alone += 1,
            _ => (failed, alone) = (failed + 1, 0),
        }
        assert!(failed < 12, "everyone still waits");
    }
    let (began, mut tried) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(1) {
        let asked = Instant::now();
        let answers = wave().await;
        // One after the other at most, each as long as its budget; and one more where the machine stood still for as long
        // as that, which is late from the beginning.
        let one_by_one = asked.elapsed().as_millis() / 100;
        assert!(late(&answers) as u128 <= one_by_one + 1, "{answers:?}");
        tried += late(&answers);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Two at a time would be twenty.
    assert!(tried <= 12, "{tried} requests waited in a second");
    server.cli(&["CLIENT", "UNPAUSE"]);
    until("all requests again", async || wave().await.iter().all(Result::is_ok)).await;
    server.counters_that_end();
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_is_counted_here_while_redis_hangs_and_redis_again_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::plain(dir.path()).await;
    let shutdown = Shutdown::new();
    let url = format!("redis://127.0.0.1:{}", server.port);
    let budget = Duration::from_millis(200);
    let redis = opened(RedisSettings { budget, ..settings(&url) }, &shutdown).await;
    let replicas = NonZeroU32::new(3).unwrap();
    let store = Resilient::new(redis, OnStoreFailure::Local { replicas }, 1000);
    let hit = async || store.hit(&[hit(1, Change::Add(1))], NOW).await.map(|counts| counts[0]);
    assert_eq!(hit().await, Ok(1));
    assert_eq!(hit().await, Ok(2));

    server.signal("STOP");
    let began = Instant::now();
    // The third here stands for the seventh of all: of a limit of 7, each of three gets three.
    for expected in [1, 4, 7, 10] {
        assert_eq!(hit().await, Ok(expected));
    }
    assert!(store.is_failing());
    assert!(began.elapsed() < budget * 4, "{:?}", began.elapsed());

    server.signal("CONT");
    until("back", async || {
        let _ = hit().await;
        !store.is_failing()
    })
    .await;
    assert!(hit().await.unwrap() >= 3);
    shutdown.begin();
}
