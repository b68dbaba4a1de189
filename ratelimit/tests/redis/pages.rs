//! Fixed windows are counted on pages, many counters in one hash: whatever its size, each counts as if alone.

use std::cell::Cell;
use std::collections::BTreeMap;

use api::gloo::rate_limit_config::Unit;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use ratelimit::limit::{Change, CountPolicy, CounterId, Hit, Limit};
use ratelimit::server::{Clock as _, SystemClock};
use ratelimit::store::{CounterStore as _, Memory, StoreError};
use runtime::Shutdown;

use super::servers::*;

/// A counter on page A or B.
fn on_page(config: &str, counter: u8, change: Change) -> Hit<'_> {
    let limit = Limit::new(1, Unit::Year).unwrap();
    let id = CounterId(u128::from(counter % 2) << 122 | u128::from(counter));
    let window = limit.window(SystemClock.now().secs());
    Hit { config, counter: id, rule: id, limit, window, change, policy: CountPolicy::Always, shadow: false }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => Just(Change::Add(1)),
        2 => (0u32..4).prop_map(Change::Add),
        1 => prop_oneof![Just(u32::MAX), Just(7)].prop_map(Change::Add),
        1 => (0u32..4).prop_map(Change::Refund),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_of_a_page_count_as_in_memory_whatever_a_call_asks_of_it() {
    let (dir, shutdown) = (tempfile::tempdir().unwrap(), Shutdown::new());
    let (server, redis) = alone(dir.path(), &shutdown).await;
    // Some requests only add, as nearly all do; they take another script.
    let adds = prop::collection::vec((0u8..90, (1u32..3).prop_map(Change::Add)), 1..80);
    let anything = prop::collection::vec((0u8..90, change()), 1..80);
    let requests = prop::collection::vec(prop_oneof![2 => adds, 1 => anything], 1..12);
    let (handle, round) = (tokio::runtime::Handle::current(), Cell::new(0));
    tokio::task::block_in_place(|| {
        TestRunner::new(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })
            .run(&requests, |requests| {
                round.set(round.get() + 1);
                let (config, memory) = (format!("ns.round-{}", round.get()), Memory::new(10_000));
                let mut stand = BTreeMap::new();
                for request in &requests {
                    let hits: Vec<_> = request.iter().map(|(n, change)| on_page(&config, *n, *change)).collect();
                    let now = SystemClock.now();
                    let (expected, got) =
                        handle.block_on(async { (memory.hit(&hits, now).await, redis.hit(&hits, now).await) });
                    let counts = expected.unwrap();
                    prop_assert_eq!(&counts, &got.unwrap(), "{:?}", request);
                    stand.extend(hits.iter().map(|hit| hit.counter).zip(counts));
                }
                stand.retain(|_, count| *count > 0);
                let found = handle.block_on(redis.found(&format!("{config}:"), 1000)).unwrap();
                let found: BTreeMap<_, _> = found.iter().map(|one| (one.counter, one.count.unwrap())).collect();
                prop_assert_eq!(found, stand, "what is found is what counts");
                Ok(())
            })
            .unwrap();
    });
    assert!(!server.counters_that_end().is_empty());
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_grows_is_looked_up_by_digest_and_can_be_emptied() {
    let (dir, shutdown) = (tempfile::tempdir().unwrap(), Shutdown::new());
    let (server, redis) = alone(dir.path(), &shutdown).await;
    let counters = |many: u8| (0..many).map(|n| on_page("ns.name", 2 * n, Change::Add(1)));
    let encoding = || server.cli(&["OBJECT", "ENCODING", server.cli(&["--scan"]).trim()]);
    for many in 1..=32 {
        redis.hit(&counters(many).collect::<Vec<_>>(), SystemClock.now()).await.unwrap();
        assert_ne!(encoding(), "hashtable", "{many}: short lists take less room");
    }
    redis.hit(&counters(33).collect::<Vec<_>>(), SystemClock.now()).await.unwrap();
    assert_eq!(encoding(), "hashtable", "long lists take more time");
    assert_eq!(server.counters_that_end().len(), 33);

    // As does one that is long at once, and one that grows by one at a time.
    server.cli(&["FLUSHALL"]);
    redis.hit(&counters(100).collect::<Vec<_>>(), SystemClock.now()).await.unwrap();
    assert_eq!((encoding().as_str(), server.counters_that_end().len()), ("hashtable", 100));
    server.cli(&["FLUSHALL"]);
    for one in counters(40) {
        redis.hit(&[one], SystemClock.now()).await.unwrap();
    }
    assert_eq!((encoding().as_str(), server.counters_that_end().len()), ("hashtable", 40));

    let found = redis.found("ns.", 1000).await.unwrap();
    assert_eq!(found.len(), 40);
    assert!(found.iter().all(|one| one.count == Some(1) && &*one.config == "ns.name"));
    assert_eq!(redis.found("ns.", 15).await.unwrap().len(), 15);
    assert_eq!(redis.forget(&[counters(3).next_back().unwrap()]).await.unwrap(), 1);
    assert_eq!(redis.forget_found(&found).await.unwrap(), 39);
    assert_eq!(redis.found("ns.", 1000).await.unwrap(), []);
    // The page itself is still there, and still ends.
    assert_eq!(redis.hit(&counters(2).collect::<Vec<_>>(), SystemClock.now()).await.unwrap()[..], [1, 1]);
    assert_eq!(server.counters_that_end().len(), 2);
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_counter_fails_the_requests_that_hit_it_and_no_others() {
    let (dir, shutdown) = (tempfile::tempdir().unwrap(), Shutdown::new());
    let (server, redis) = alone(dir.path(), &shutdown).await;
    let now = SystemClock.now();
    let hits: Vec<_> = (0..12).map(|n| on_page("ns.name", n, Change::Add(1))).collect();
    redis.hit(&hits, now).await.unwrap();
    let mut pages: Vec<String> = server.cli(&["--scan"]).lines().map(str::to_owned).collect();
    pages.sort();
    server.cli(&["HSET", &pages[0], &hits[4].counter.to_string(), "many"]);

    // In one call together: `join_all` leaves all of them with the store before it sends any.
    for policy in [CountPolicy::Always, CountPolicy::WhenAllowed] {
        for change in [Change::Add(1), Change::Add(0), Change::Refund(1)] {
            let requests: Vec<Vec<Hit<'_>>> = hits.iter().map(|hit| vec![Hit { change, policy, ..*hit }]).collect();
            let told = futures_util::future::join_all(requests.iter().map(|hits| redis.hit(hits, now))).await;
            for (n, told) in told.iter().enumerate() {
                let strange = matches!(told, Err(StoreError::Refused(_)));
                assert_eq!(strange, n == 4, "{policy:?} {change:?} {n}: {told:?}");
            }
        }
    }
    let together = redis.hit(&hits[..8], now).await;
    assert!(matches!(together, Err(StoreError::Refused(_))), "{together:?}");

    server.cli(&["SET", &pages[1], "a text"]);
    let requests: Vec<Vec<Hit<'_>>> = hits.iter().map(|hit| vec![*hit]).collect();
    let told = futures_util::future::join_all(requests.iter().map(|hits| redis.hit(hits, now))).await;
    let wrong: Vec<usize> = told.iter().enumerate().filter(|(_, told)| told.is_err()).map(|(n, _)| n).collect();
    assert_eq!(wrong, [1, 3, 4, 5, 7, 9, 11]);
    shutdown.begin();
}
