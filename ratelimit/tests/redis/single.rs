//! One server.

use std::time::{Duration, Instant};

use api::gloo::rate_limit_config::Unit;
use ratelimit::limit::{Algorithm, Change, Hit, Limit};
use ratelimit::store::redis::{RedisParts, RedisSettings, RedisUrl};
use ratelimit::store::{CounterStore as _, StoreError};
use runtime::Shutdown;

use super::servers::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_of_two_replicas_are_admitted_exactly_and_every_key_ends() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::plain(dir.path()).await;
    let shutdown = Shutdown::new();
    let url = format!("redis://127.0.0.1:{}", server.port);
    let replicas = [opened(settings(&url), &shutdown).await, opened(settings(&url), &shutdown).await];
    assert_eq!(admitted(&replicas, 50, 20, 300).await, 300);

    assert_eq!(replicas[0].hit(&[hit(1, Change::Add(0))], NOW).await.unwrap()[0], 1000);
    assert_eq!(
        replicas[0].hit(&[hit(1, Change::Refund(5000)), hit(1, Change::Add(2))], NOW).await.unwrap()[..],
        [0, 2]
    );
    assert_eq!(server.counters_that_end().len(), 51);
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_fails_requests_at_once_and_comes_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::plain(dir.path()).await;
    let port = server.port;
    let shutdown = Shutdown::new();
    let redis = opened(settings(&format!("127.0.0.1:{port}")), &shutdown).await;
    count(&redis, 1).await.unwrap();

    drop(server);
    until("noticed", async || !redis.is_up()).await;
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(count(&redis, 1).await, Err(StoreError::Down));
    }
    assert!(began.elapsed() < Duration::from_secs(1));

    let _server = Server::start(dir.path(), port, &[]);
    until("back", async || redis.is_up()).await;
    assert_eq!(count(&redis, 1).await, Ok(1));
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_costs_the_budget_once_and_then_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::plain(dir.path()).await;
    let shutdown = Shutdown::new();
    let budget = Duration::from_millis(200);
    let url = format!("redis://127.0.0.1:{}", server.port);
    let redis = opened(RedisSettings { budget, ..settings(&url) }, &shutdown).await;
    count(&redis, 1).await.unwrap();

    server.signal("STOP");
    let began = Instant::now();
    let answers = futures_util::future::join_all((0..100).map(|_| count(&redis, 1))).await;
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    assert!(began.elapsed() < budget * 3, "{:?}", began.elapsed());
    until("given up", async || !redis.is_up()).await;
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(count(&redis, 1).await, Err(StoreError::Down));
    }
    assert!(began.elapsed() < Duration::from_secs(1));

    server.signal("CONT");
    until("back", async || count(&redis, 2).await.is_ok()).await;
    server.counters_that_end();
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_made_a_replica_is_left_until_it_is_master_again() {
    let dir = tempfile::tempdir().unwrap();
    let (server, other) = (Server::plain(dir.path()).await, Server::plain(dir.path()).await);
    let shutdown = Shutdown::new();
    let redis = opened(settings(&format!("127.0.0.1:{}", server.port)), &shutdown).await;
    count(&redis, 1).await.unwrap();
    server.cli(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    until("refused", async || count(&redis, 1).await.is_err()).await;
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    until("back", async || count(&redis, 2).await.is_ok()).await;
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acl_user_on_a_unix_socket_needs_its_password_and_no_more_than_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let may = "on >se:cr@et ~rl:* +evalsha +script|load +ping +hget +hmget +hset +hincrby +hlen +pexpire +time";
    let looks = format!("{may} +scan +pttl +hscan +hdel +unlink");
    let mut acl = vec!["--unixsocket", "redis.sock", "--user", "default", "off", "--user", "limiter"];
    acl.extend(may.split(' '));
    acl.extend(["--user", "owner"].into_iter().chain(looks.split(' ')));
    let _server = Server::start(dir.path(), 0, &acl);
    let shutdown = Shutdown::new();
    let socket = dir.path().join("redis.sock");
    let url = format!("unix:{}?user=limiter&pass=se%3Acr%40et", socket.display());
    let redis = opened(RedisSettings { prefix: "rl:".to_owned(), ..settings(&url) }, &shutdown).await;
    assert_eq!(count(&redis, 1).await, Ok(1));

    let wrong = open(settings(&format!("unix:{}?user=limiter&pass=wrong", socket.display())), &shutdown);
    let parts = RedisParts {
        socket_type: "unix".to_owned(),
        url: socket.display().to_string(),
        auth: Some(api::Redacted::new("limiter:se:cr@et")),
        ..RedisParts::default()
    };
    let url = RedisUrl::from_parts(&parts, "REDIS_").unwrap();
    let peer = opened(RedisSettings { prefix: "rl:".to_owned(), url, ..settings("unix:/-") }, &shutdown).await;
    assert_eq!(count(&peer, 1).await, Ok(2));
    assert!(!wrong.is_up());

    // Who lists and resets counters needs a little more.
    assert_eq!(redis.found("ns.", 10).await, Err(StoreError::Refused("NOPERM: the user may not run scan".to_owned())));
    let url = format!("unix:{}?user=owner&pass=se%3Acr%40et", socket.display());
    let owner = opened(RedisSettings { prefix: "rl:".to_owned(), ..settings(&url) }, &shutdown).await;
    let bucket = Limit::new(5, Unit::Minute).unwrap().by(Algorithm::TokenBucket { burst: 5.try_into().unwrap() });
    owner.hit(&[Hit { limit: bucket, ..hit(2, Change::Add(1)) }], NOW).await.unwrap();
    let found = owner.found("ns.", 10).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(owner.forget_found(&found).await, Ok(2));
    assert_eq!(count(&redis, 1).await, Ok(1));
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_of_a_second_live_in_a_redis_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (long, short) = (Server::plain(dir.path()).await, Server::plain(dir.path()).await);
    let shutdown = Shutdown::new();
    let per_second = Some(Box::new(settings(&format!("127.0.0.1:{}", short.port))));
    let all = RedisSettings { per_second, ..settings(&format!("127.0.0.1:{}", long.port)) };
    let redis = opened(all, &shutdown).await;
    let hits = [
        hit_in(Unit::Second, 1, Change::Add(3)),
        hit_in(Unit::Minute, 2, Change::Add(5)),
        hit_in(Unit::Second, 3, Change::Add(7)),
        hit_in(Unit::Minute, 2, Change::Add(1)),
    ];
    assert_eq!(redis.hit(&hits, NOW).await.unwrap()[..], [3, 5, 7, 6]);
    assert_eq!((long.counters_that_end().len(), short.counters_that_end().len()), (1, 2));

    drop(short);
    until("noticed", async || !redis.is_up()).await;
    assert_eq!(count(&redis, 2).await, Ok(7));
    assert_eq!(redis.hit(&hits, NOW).await, Err(StoreError::Down));
    shutdown.begin();
}
