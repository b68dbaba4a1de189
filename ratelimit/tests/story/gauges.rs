//! Limits and what is left on the metrics page: the fullest few, and nothing of what clients sent.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ratelimit::rules::config::Configs;
use ratelimit::server::book::Book;
use ratelimit::server::explain::gauges::{GaugeSettings, Gauges};
use ratelimit::server::explain::http::Counting;
use ratelimit::server::service::Service;
use ratelimit::store::{Memory, Store};
use serde_json::json;

use crate::support::{HandClock, descriptor, of_raw, request, scope};

/// What the metrics page says once a request was made with each of `keys`, so many times.
async fn page_after(settings: GaugeSettings, sent: &[(&str, u32)]) -> String {
    let rules = json!({"descriptors": [
        {"key": "api-key", "rateLimit": {"requestsPerUnit": 10, "unit": "MINUTE"}},
        {"key": "plan", "value": "free", "rateLimit": {"requestsPerUnit": 5, "unit": "HOUR"}},
        {"key": "unused", "value": "x", "rateLimit": {"requestsPerUnit": 5, "unit": "HOUR"}},
    ]});
    let index = Arc::new(ArcSwap::from_pointee(Configs::new(scope()).update(&of_raw(rules)).index));
    let (store, book) = (Arc::new(Store::Memory(Arc::new(Memory::new(20_000)))), Arc::new(Book::default()));
    let clock = HandClock::at(1_000_000_020);
    let counting =
        Counting { index: index.clone(), store: store.clone(), book: book.clone(), clock: Arc::new(clock.clone()) };
    let gauges = Gauges::new(counting, settings);
    let service = Service::new(index, store, clock).noting(book);
    for (text, times) in sent {
        for _ in 0..*times {
            service.answer(&request(vec![descriptor("ns.limits", false, text)])).await.unwrap();
        }
    }
    gauges.text().await.to_string()
}

fn series<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
    page.lines().filter(|line| line.starts_with(&format!("{name}{{"))).collect()
}

#[tokio::test]
async fn by_default_each_rule_says_what_it_allows_and_who_is_left_least_but_not_whom() {
    let sent = [("api-key=canary-1", 3), ("api-key=canary-2", 8), ("plan=free", 1), ("nobody=knows", 9)];
    let page = page_after(GaugeSettings::default(), &sent).await;
    assert_eq!(
        series(&page, "ratelimit_solo_io_limit"),
        [
            r#"ratelimit_solo_io_limit{descriptor="generic_key_ns.limits.api-key",unit="MINUTE"} 10"#,
            r#"ratelimit_solo_io_limit{descriptor="generic_key_ns.limits.plan_free",unit="HOUR"} 5"#,
        ]
    );
    assert_eq!(
        series(&page, "ratelimit_solo_io_remaining"),
        [
            r#"ratelimit_solo_io_remaining{descriptor="generic_key_ns.limits.api-key",unit="MINUTE"} 2"#,
            r#"ratelimit_solo_io_remaining{descriptor="generic_key_ns.limits.plan_free",unit="HOUR"} 4"#,
        ]
    );
    assert!(!page.contains("canary"), "{page}");
}

#[tokio::test]
async fn whoever_asks_for_values_gets_the_fullest_counters_and_no_more() {
    let many: Vec<String> = (0..11_000).map(|number| format!("api-key=k{number}")).collect();
    let mut sent: Vec<(&str, u32)> = vec![("api-key=busy", 9)];
    sent.extend(many.iter().map(|text| (text.as_str(), 1)));
    let page = page_after(GaugeSettings { most: 5, values: true }, &sent).await;
    let remaining = series(&page, "ratelimit_solo_io_remaining");
    assert_eq!((remaining.len(), page.lines().count()), (5, 14), "{page}");
    assert!(remaining.iter().any(|line| line.ends_with("counter=\"ns.limits: api-key=busy\"} 1")), "{page}");
    assert_eq!(page_after(GaugeSettings { most: 0, values: true }, &sent[..1]).await, "");
}
