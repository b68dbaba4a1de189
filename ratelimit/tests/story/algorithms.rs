//! Whatever is asked of it, Redis counts as memory does.

use api::gloo::rate_limit_config::Unit;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use ratelimit::limit::{Algorithm, Change, CountPolicy, CounterId, Hit, Limit, Moment};
use ratelimit::server::{Clock as _, SystemClock};
use ratelimit::store::{CounterStore as _, Memory, Redis};
use runtime::Shutdown;

use crate::redis::{Server, open, until};

#[derive(Debug, Clone)]
struct Asked {
    rule: u8,
    change: Change,
    policy: CountPolicy,
    shadow: bool,
}

/// Of windows so long that no time passes while the test runs. `round` keeps the counters of cases apart.
fn hit(asked: &Asked, round: u32, now: Moment) -> Hit<'static> {
    let amount = u32::from(asked.rule) % 7;
    let limit = Limit::new(amount, Unit::Year).unwrap().by(match asked.rule % 3 {
        0 => Algorithm::FixedWindow,
        1 => Algorithm::SlidingWindow,
        _ => Algorithm::TokenBucket { burst: 4.try_into().unwrap() },
    });
    let counter = CounterId(u128::from(round) << 8 | u128::from(asked.rule));
    let Asked { change, policy, shadow, .. } = *asked;
    Hit { config: "ns.name", counter, rule: counter, limit, window: limit.window(now.secs()), change, policy, shadow }
}

fn asked() -> impl Strategy<Value = Asked> {
    let change = prop_oneof![5 => (0u32..4).prop_map(Change::Add), 1 => (0u32..4).prop_map(Change::Refund)];
    let policy = prop_oneof![Just(CountPolicy::Always), Just(CountPolicy::WhenAllowed)];
    (0u8..9, change, policy, prop::bool::weighted(0.2)).prop_map(|(rule, change, policy, shadow)| Asked {
        rule,
        change,
        policy,
        shadow,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_counts_as_memory_does_by_every_algorithm_and_policy() {
    let dir = tempfile::tempdir().unwrap();
    let _server = Server::start(dir.path());
    let shutdown = Shutdown::new();
    let redis: Redis = open(dir.path(), &shutdown);
    until("connected", || redis.is_up()).await;
    let now = SystemClock.now();
    let streams = prop::collection::vec(prop::collection::vec(asked(), 1..4), 1..30);
    let handle = tokio::runtime::Handle::current();
    let round = std::cell::Cell::new(0);
    tokio::task::block_in_place(|| {
        TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })
            .run(&streams, |requests| {
                round.set(round.get() + 1);
                let memory = Memory::new(10_000);
                for request in &requests {
                    let hits: Vec<Hit<'_>> = request.iter().map(|asked| hit(asked, round.get(), now)).collect();
                    let (ours, theirs) =
                        handle.block_on(async { (memory.hit(&hits, now).await, redis.hit(&hits, now).await) });
                    prop_assert_eq!(ours, theirs, "{:?}", request);
                }
                Ok(())
            })
            .unwrap();
    });
    let keys = std::process::Command::new("redis-cli")
        .args(["-s", &dir.path().join("redis.sock").display().to_string(), "EVAL"])
        .arg("local n = 0 for _, key in ipairs(redis.call('KEYS', '*')) do if redis.call('PTTL', key) < 0 then n = n + 1 end end return n")
        .arg("0")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&keys.stdout).trim(), "0", "every counter ends");
    shutdown.begin();
}
