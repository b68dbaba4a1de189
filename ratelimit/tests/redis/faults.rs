//! What befalls our server and its Redis under load: storms of changes, SIGKILL, no memory left.

use std::path::Path;

use proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tonic::transport::Channel;

use super::process::*;
use super::servers::*;

fn save(folder: &Path, name: &str, text: &str) {
    let temporary = folder.join(format!(".{name}.tmp"));
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(temporary, folder.join(format!("{name}.yaml"))).unwrap();
}

/// How many requests pass in a storm.
const MOST: u32 = 80;

/// Hundreds of changes of dozens of RateLimitConfigs while requests run, with these flags.
async fn storm(folder: &Path, flags: &[&str]) {
    let beside = |n: usize| {
        format!("{}\n    - {{key: other{}, rateLimit: {{requestsPerUnit: {n}, unit: HOUR}}}}", users(MOST), n % 7)
    };
    for name in ["same", "rewritten", "broken", "shrinking", "gone"] {
        save(folder, name, &manifest(name, &users(MOST)));
    }
    for n in 0..20 {
        save(folder, &format!("another{n}"), &manifest(&format!("another{n}"), &users(1)));
    }
    let ours = Ours::start(folder, free_port(), flags).await;
    let client = ours.client();
    let load = |name| Load::start(&client, name, 2);
    let [same, rewritten, broken, shrinking, gone] = ["same", "rewritten", "broken", "shrinking", "gone"].map(load);

    for n in 0..150 {
        match n % 6 {
            0 => save(folder, "rewritten", &manifest("rewritten", &beside(n))),
            1 if n % 4 == 1 => {
                save(folder, "broken", &manifest("broken", "    - {key: user, rateLimit: {unit: FORTNIGHT}}"));
            }
            1 => save(folder, "broken", "kind: [RateLimitConfig"),
            2 => save(folder, "shrinking", &manifest("shrinking", &users(if n % 4 == 0 { MOST } else { MOST - 20 }))),
            3 if n % 4 == 1 => std::fs::remove_file(folder.join("gone.yaml")).unwrap_or_default(),
            3 => save(folder, "gone", &manifest("gone", &users(MOST))),
            4 => save(folder, "broken", &manifest("broken", &users(MOST))),
            _ => save(folder, &format!("another{}", n % 20), &manifest(&format!("another{}", n % 20), &beside(n))),
        }
        // Now and then one comes to be served before it goes on.
        if n % 50 == 49 {
            let limit = 1000 + n as u32;
            save(folder, "another0", &manifest("another0", &users(limit)));
            served(&client, "another0", limit).await;
        }
    }
    for load in [&same, &rewritten, &broken, &shrinking] {
        until("the limit is reached", async || load.so_far().1 > 0).await;
    }
    for (load, name) in [(same, "same"), (rewritten, "rewritten"), (broken, "broken")] {
        let why = load.why.clone();
        let (passed, _, failed) = load.end().await;
        assert_eq!(
            (passed, failed),
            (u64::from(MOST), 0),
            "{name}: a counter outlives what is not its own; {:?}",
            why.lock()
        );
    }
    let (passed, _, failed) = shrinking.end().await;
    assert!((u64::from(MOST - 20)..=u64::from(MOST)).contains(&passed) && failed == 0, "{passed}, {failed}");
    assert_eq!(gone.end().await.2, 0);

    // The last change is the one that holds.
    save(folder, "shrinking", &manifest("shrinking", &users(7)));
    served(&client, "shrinking", 7).await;
}

async fn served(client: &RateLimitServiceClient<Channel>, name: &str, limit: u32) {
    until("a change is served", async || {
        let answer = client.clone().should_rate_limit(request(name, "bob")).await.unwrap();
        answer.get_ref().statuses[0].current_limit.as_ref().is_some_and(|now| now.requests_per_unit == limit)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_changes_no_request_fails_and_no_counter_begins_anew() {
    let (folder, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    storm(folder.path(), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::plain(dir.path()).await;
    storm(folder.path(), &["--redis", &format!("redis://127.0.0.1:{}", server.port)]).await;
    assert!(!server.counters_that_end().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_under_load_and_comes_back_admits_no_more_than_the_limit() {
    const LIMIT: u64 = 1500;
    let (folder, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::plain(dir.path()).await;
    save(folder.path(), "limits", &manifest("limits", &users(LIMIT as u32)));
    let (grpc, url) = (free_port(), format!("redis://127.0.0.1:{}", server.port));
    let flags = ["--redis", url.as_str()];
    let start = || Ours::start(folder.path(), grpc, &flags);
    let mut ours = start().await;
    let load = Load::start(&ours.client(), "limits", 8);
    for _ in 0..4 {
        load.answers(100).await;
        ours.kill();
        let before = load.so_far().2;
        until("noticed", async || load.so_far().2 > before).await;
        ours = start().await;
    }
    until("the limit is reached", async || load.so_far().1 > 100).await;
    let (passed, _, failed) = load.end().await;
    // What failed may have been counted; what passed was.
    assert!(passed <= LIMIT && passed + failed >= LIMIT, "{passed} passed, {failed} failed");
    assert!(failed > 0);
    assert_eq!(server.counters_that_end().len(), 1);
    ours.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_memory_refuses_to_count_and_nothing_passes_uncounted() {
    const LIMIT: u64 = 1000;
    let (folder, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::plain(dir.path()).await;
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "OK");
    save(folder.path(), "limits", &manifest("limits", &users(LIMIT as u32)));
    let ours =
        Ours::start(folder.path(), free_port(), &["--redis", &format!("redis://127.0.0.1:{}", server.port)]).await;
    let mut client = ours.client();
    assert!(passes(client.should_rate_limit(request("limits", "bob")).await.unwrap().get_ref()));

    // A counter that is there, and those that are not yet.
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    for user in ["bob", "cid", "dan"].iter().cycle().take(60) {
        let refused = client.should_rate_limit(request("limits", user)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    }
    assert_eq!(server.counters_that_end().len(), 1);
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    until("counted again", async || client.should_rate_limit(request("limits", "cid")).await.is_ok()).await;

    // Again and again under load: what is refused is not counted, so exactly the limit passes.
    let load = Load::start(&ours.client(), "limits", 8);
    for _ in 0..5 {
        load.answers(50).await;
        server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        let (before, passed) = (load.so_far().2, load.so_far().0);
        until("refused", async || load.so_far().2 > before + 20).await;
        assert!(load.so_far().0 <= passed + 100, "only what was under way");
        server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    }
    until("the limit is reached", async || load.so_far().1 > 100).await;
    let (passed, _, failed) = load.end().await;
    assert_eq!(passed, LIMIT, "{failed} failed");
    assert!(failed > 0);
    assert_eq!(server.counters_that_end().len(), 3);
}
