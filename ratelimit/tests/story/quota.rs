//! Quotas for Envoys that limit by themselves: divided evenly, never more than there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proto::envoy::service::rate_limit_quota::v3 as pb;
use proto::envoy::service::rate_limit_quota::v3::rate_limit_quota_response::bucket_action::BucketAction;
use proto::envoy::service::rate_limit_quota::v3::rate_limit_quota_service_client::RateLimitQuotaServiceClient;
use proto::envoy::r#type::v3::rate_limit_strategy::{BlanketRule, Strategy as PbStrategy};
use ratelimit::limit::UnixSecs;
use ratelimit::rules::config::{Configs, Index};
use ratelimit::server::quota::{Action, Bucket, IDLE, Ledger, Order, Strategy, StreamId, Usage};
use serde_json::{Value, json};

use crate::service::start;
use crate::support::{of_raw, scope};

const NOW: UnixSecs = UnixSecs(1_000_000_020);

fn index(limit: Value) -> Index {
    let set = json!({"simpleDescriptors": [{"key": "user"}], "rateLimit": limit});
    Configs::new(scope()).update(&of_raw(json!({"setDescriptors": [set]}))).index
}

fn minute(requests: u32) -> Index {
    index(json!({"requestsPerUnit": requests, "unit": "MINUTE"}))
}

fn bucket(text: &str) -> Bucket {
    text.split(',').map(|one| one.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

const ANN: &str = "config=ns.limits,user=ann";

const USED: Usage = Usage { allowed: 1, denied: 0, new: false };
const UNUSED: Usage = Usage { allowed: 0, denied: 0, new: false };
const FIRST: Usage = Usage { allowed: 0, denied: 1, new: true };

/// Envoys as 1.40 was seen to be, and the ledger they report to.
#[derive(Default)]
struct Envoys {
    ledger: Ledger,
    /// Older ones: a bucket that takes another's place was full.
    old: bool,
    buckets: BTreeMap<(StreamId, Arc<Bucket>), Filled>,
}

/// A bucket of an Envoy: what it was told, and what has happened since it last reported.
#[derive(Default)]
struct Filled {
    told: Option<Strategy>,
    left: u32,
    usage: Usage,
}

impl Envoys {
    fn hear(&mut self, orders: Vec<Order>) {
        for order in orders {
            let filled = self.buckets.entry((order.stream, order.bucket)).or_default();
            match order.action {
                Action::Abandon => *filled = Filled::default(),
                Action::Assign(strategy) => {
                    // Filled anew when it is another one by what Envoy compares.
                    let key = |strategy: Strategy| match strategy {
                        Strategy::Tokens { most, tokens, every } => (most, tokens, every.subsec_nanos()),
                        _ => (0, 0, 0),
                    };
                    let most = key(strategy).0;
                    match filled.told.map(key) {
                        Some(same) if same == key(strategy) && !order.fill => {}
                        Some((before, ..)) if before > 0 && !order.fill && !self.old => {
                            filled.left = most * filled.left / before;
                        }
                        _ => filled.left = most,
                    }
                    filled.told = Some(strategy);
                }
            }
        }
    }

    /// So many requests come; how many pass.
    fn requests(&mut self, index: &Index, stream: StreamId, text: &str, requests: u32, now: UnixSecs) -> u32 {
        let key = (stream, Arc::new(bucket(text)));
        let filled = self.buckets.entry(key).or_default();
        let first = filled.told.is_none();
        let pass = if filled.told == Some(Strategy::AllowAll) { requests } else { requests.min(filled.left) };
        filled.left -= pass.min(filled.left);
        filled.usage.allowed += u64::from(pass);
        filled.usage.denied += u64::from(requests - pass);
        if first && requests > 0 {
            filled.usage.new = true;
            self.report(index, stream, text, now);
        }
        pass
    }

    fn report(&mut self, index: &Index, stream: StreamId, text: &str, now: UnixSecs) {
        let key = (stream, Arc::new(bucket(text)));
        let usage = std::mem::take(&mut self.buckets.entry(key).or_default().usage);
        let orders = self.ledger.report(index, stream, &"solo.io".into(), bucket(text), usage, now);
        self.hear(orders);
    }

    fn tick(&mut self, index: &Index, now: UnixSecs) {
        let orders = self.ledger.tick(index, now);
        self.hear(orders);
    }

    fn close(&mut self, stream: StreamId, now: UnixSecs) {
        let orders = self.ledger.close(stream, now);
        assert!(orders.iter().all(|order| order.stream != stream));
        self.buckets.retain(|(of, _), _| *of != stream);
        self.hear(orders);
    }

    fn left(&self) -> Vec<u32> {
        self.buckets.values().map(|filled| filled.left).collect()
    }
}

#[test]
fn a_window_is_divided_among_those_who_are_there_and_who_comes_later_gets_what_they_leave() {
    let index = minute(10);
    let mut envoys = Envoys::default();
    let [one, two, three] = [envoys.ledger.open(), envoys.ledger.open(), envoys.ledger.open()];
    assert_eq!(envoys.requests(&index, one, ANN, 1, NOW), 0, "denied until there is an assignment");
    assert_eq!(envoys.left(), [10]);
    assert_eq!(envoys.requests(&index, one, ANN, 2, NOW), 2);
    envoys.requests(&index, two, ANN, 1, NOW);
    assert_eq!(envoys.left(), [8, 0], "nobody knows yet what the first one has left");
    envoys.report(&index, one, ANN, NOW);
    assert_eq!(envoys.left(), [3, 5]);
    // What a rule does not look at makes no difference.
    let other = "config=ns.limits,user=ann,path=/x";
    envoys.requests(&index, three, other, 1, NOW);
    assert_eq!(envoys.left(), [3, 5, 0]);
    envoys.report(&index, two, ANN, NOW);
    assert_eq!(envoys.left(), [3, 3, 2]);
    envoys.requests(&index, three, "config=ns.limits,user=bob", 1, NOW);
    assert_eq!(envoys.left(), [3, 3, 2, 10], "each user has a limit");

    let next = UnixSecs(NOW.0 + 60);
    envoys.tick(&index, next);
    assert_eq!(envoys.left(), [4, 3, 3, 10], "a new minute");
    assert_eq!(envoys.requests(&index, three, other, 3, next), 3);
    envoys.tick(&index, NOW);
    envoys.tick(&index, next);
    assert_eq!(envoys.left(), [4, 3, 0, 10], "a clock that was put back makes no new window");
    envoys.report(&index, three, other, next);
    envoys.close(three, next);
    envoys.report(&index, one, ANN, next);
    envoys.report(&index, two, ANN, next);
    assert_eq!(envoys.left(), [4, 3], "what one used who left is used");
}

#[test]
fn assignments_are_renewed_unchanged_and_a_bucket_nobody_uses_is_abandoned() {
    let index = index(json!({"requestsPerUnit": 10, "unit": "DAY"}));
    let mut ledger = Ledger::default();
    let stream = ledger.open();
    let mut report = |usage, now| ledger.report(&index, stream, &"solo.io".into(), bucket(ANN), usage, UnixSecs(now));
    let first = report(FIRST, 0);
    assert_eq!(first.len(), 1);
    for now in 1..30 {
        assert_eq!(report(USED, now), []);
    }
    let again = vec![Order { fill: false, ..first[0].clone() }];
    assert_eq!(report(USED, 30), again, "the same one, which stays as it is");
    assert_eq!(ledger.tick(&index, UnixSecs(59)), []);
    assert_eq!(ledger.tick(&index, UnixSecs(60)), again, "before it runs out");
    let mut abandoned = None;
    for now in 61..=30 + IDLE + 30 {
        // Envoy speaks of all its buckets, used or not.
        let orders = ledger.report(&index, stream, &"solo.io".into(), bucket(ANN), UNUSED, UnixSecs(now));
        let said = [orders, ledger.tick(&index, UnixSecs(now))].concat();
        if said.iter().any(|order| order.action == Action::Abandon) {
            abandoned = Some(now);
            break;
        }
        assert!(said.iter().all(|order| *order == again[0]), "{said:?}");
    }
    assert!(abandoned.is_some_and(|now| now >= 30 + IDLE), "{abandoned:?}");
    assert!(ledger.is_empty());
}

#[test]
fn a_ledger_that_begins_in_the_midst_of_a_window_leaves_buckets_as_they_are_until_the_next() {
    let index = minute(10);
    let mut envoys = Envoys::default();
    let [one, two] = [envoys.ledger.open(), envoys.ledger.open()];
    envoys.requests(&index, one, ANN, 1, NOW);
    assert_eq!(envoys.requests(&index, one, ANN, 4, NOW), 4);
    envoys.report(&index, one, ANN, NOW);
    assert_eq!(envoys.requests(&index, one, ANN, 3, NOW), 3);
    envoys.ledger = Ledger::default();
    let _ = [envoys.ledger.open(), envoys.ledger.open()];
    let later = UnixSecs(NOW.0 + 10);
    envoys.report(&index, one, ANN, later);
    assert_eq!(envoys.left(), [3]);
    envoys.requests(&index, two, ANN, 1, later);
    envoys.report(&index, one, ANN, later);
    assert_eq!(envoys.left(), [1, 5], "half of what it has, which may be less than it is due");
    envoys.tick(&index, UnixSecs(NOW.0 + 60));
    assert_eq!(envoys.left(), [5, 5]);
}

#[test]
fn servers_that_know_how_many_they_are_hand_out_no_more_than_the_limit_together() {
    let index = minute(10);
    let three = || Envoys { ledger: Ledger::one_of(3.try_into().unwrap()), ..Envoys::default() };
    let mut servers = [three(), three(), three()];
    for envoys in &mut servers {
        let [one, two] = [envoys.ledger.open(), envoys.ledger.open()];
        envoys.requests(&index, one, ANN, 1, NOW);
        assert_eq!(envoys.left(), [3], "a third, rounded down");
        envoys.requests(&index, two, ANN, 1, NOW);
        envoys.report(&index, one, ANN, NOW);
        assert_eq!(envoys.left(), [2, 1]);
        envoys.close(one, NOW);
        assert_eq!(envoys.left(), [1]);
        envoys.report(&index, two, ANN, NOW);
        assert_eq!(envoys.left(), [3]);
    }
    let burst = json!({"requestsPerUnit": 9, "unit": "SECOND", "algorithm": "tokenBucket", "burst": 30});
    let mut ledger = Ledger::one_of(3.try_into().unwrap());
    let stream = ledger.open();
    let orders = ledger.report(&self::index(burst), stream, &"solo.io".into(), bucket(ANN), FIRST, NOW);
    let Some(Action::Assign(Strategy::Tokens { most, tokens, every })) = orders.last().map(|order| order.action) else {
        panic!("{orders:?}")
    };
    assert_eq!((most, tokens, every.as_secs()), (10, 3, 1), "of the burst a third, too");
}

#[test]
fn an_envoy_that_has_lost_its_bucket_gets_one_with_what_is_left() {
    let index = minute(10);
    let mut ledger = Ledger::default();
    let stream = ledger.open();
    let mut report = |usage| {
        let orders = ledger.report(&index, stream, &"solo.io".into(), bucket(ANN), usage, NOW);
        orders.into_iter().map(|order| most(order.action)).collect::<Vec<_>>()
    };
    assert_eq!(report(Usage { allowed: 1, ..FIRST }), [9], "one passed before anything was assigned");
    assert!(report(Usage { allowed: 4, ..USED }).is_empty());
    assert_eq!(report(FIRST), [5]);
}

fn most(action: Action) -> u32 {
    match action {
        Action::Assign(Strategy::Tokens { most, .. }) => most,
        Action::Assign(Strategy::DenyAll) => 0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_no_rule_governs_passes_and_of_what_is_unknown_nothing_is_said() {
    let index = minute(10);
    let mut ledger = Ledger::default();
    let stream = ledger.open();
    let mut said = |domain: &str, text: &str| {
        ledger
            .report(&index, stream, &domain.into(), bucket(text), FIRST, NOW)
            .iter()
            .map(|o| o.action)
            .collect::<Vec<_>>()
    };
    assert_eq!(said("solo.io", "config=ns.limits,group=a"), [Action::Assign(Strategy::AllowAll)]);
    assert_eq!(said("solo.io", "config=ns.other,user=ann"), []);
    assert_eq!(said("solo.io", "user=ann"), []);
    assert_eq!(said("other", ANN), [], "the owner's no_assignment_behavior decides");
}

#[test]
fn every_limit_becomes_tokens_at_intervals_of_whole_seconds() {
    let said = |limit: Value, sharers: usize| {
        let (index, mut ledger) = (index(limit), Ledger::default());
        let streams: Vec<StreamId> = (0..sharers).map(|_| ledger.open()).collect();
        // All know of each other once each has reported.
        let all = streams.iter().chain(&streams);
        all.flat_map(|stream| ledger.report(&index, *stream, &"solo.io".into(), bucket(ANN), FIRST, NOW))
            .filter(|order| order.stream == streams[0])
            .last()
            .map(|order| order.action)
    };
    let tokens = |most, tokens, seconds, nanos| {
        Some(Action::Assign(Strategy::Tokens { most, tokens, every: Duration::new(seconds, nanos) }))
    };
    // As many as there are, and none comes back before Envoy is told of the next window.
    let (year, window) = (365 * 86_400, |length: u64| ((NOW.0 / length % 15_625_000) * 64 + 1) as u32);
    for (unit, length) in [("SECOND", 1), ("MINUTE", 60), ("WEEK", 604_800), ("YEAR", year)] {
        let limit = json!({"requestsPerUnit": 7, "unit": unit});
        assert_eq!(said(limit, 1), tokens(7, 1, year, window(length)));
    }
    // Any hour: 50 at once and 51 more, the last of them after its end.
    let sliding = json!({"requestsPerUnit": 100, "unit": "HOUR", "algorithm": "slidingWindow"});
    assert_eq!(said(sliding, 1), tokens(50, 51, 3600, 7200));
    let bucket = json!({"requestsPerUnit": 60000, "unit": "MINUTE", "algorithm": "tokenBucket", "burst": 3000});
    assert_eq!(said(bucket.clone(), 1), tokens(3000, 60000, 60, 120));
    assert_eq!(said(bucket, 2), tokens(1500, 30000, 60, 120));
    let none = json!({"requestsPerUnit": 0, "unit": "MINUTE"});
    assert_eq!(said(none, 1), Some(Action::Assign(Strategy::DenyAll)));
}

proptest! {
    #[test]
    fn whatever_comes_and_goes_never_more_passes_in_a_window_than_its_limit(
        limit in 0u32..20,
        old in any::<bool>(),
        steps in prop::collection::vec((0usize..4, 0u8..3, 0u8..8, 0u32..6), 1..80)
    ) {
        let index = minute(limit);
        let mut envoys = Envoys { old, ..Envoys::default() };
        let mut streams: Vec<StreamId> = (0..4).map(|_| envoys.ledger.open()).collect();
        let (mut now, mut passed) = (NOW, 0);
        // It was there when the window began.
        envoys.requests(&index, streams[0], "config=ns.limits,user=bob", 1, now);
        for (stream, path, what, requests) in steps {
            let text = format!("{ANN},path={path}");
            match what {
                0 => {
                    // It says what it used before it goes.
                    for path in 0..3 {
                        envoys.report(&index, streams[stream], &format!("{ANN},path={path}"), now);
                    }
                    envoys.close(streams[stream], now);
                    streams[stream] = envoys.ledger.open();
                }
                1 => {
                    let next = UnixSecs(now.0 + 25);
                    if next.0 / 60 != now.0 / 60 {
                        passed = 0;
                    }
                    now = next;
                    envoys.tick(&index, now);
                }
                2 | 3 => envoys.report(&index, streams[stream], &text, now),
                _ => passed += envoys.requests(&index, streams[stream], &text, requests, now),
            }
            prop_assert!(passed <= limit, "{passed} of {limit}");
            let given: u64 = (0..3).flat_map(|path| envoys.ledger.shares_of(&bucket(&format!("{ANN},path={path}")))).sum();
            prop_assert!(given <= u64::from(limit), "{given} of {limit}");
        }
    }

    #[test]
    fn tokens_that_come_back_evenly_keep_all_limits_in_any_window(
        limits in prop::collection::vec((1u32..50, 0usize..3, any::<bool>(), 1u32..30), 1..4),
        gaps in prop::collection::vec(0u32..2000, 1..200)
    ) {
        let mut limits = limits;
        limits.sort_by_key(|(_, unit, tokens, _)| (*unit, *tokens));
        limits.dedup_by_key(|(_, unit, tokens, _)| (*unit, *tokens));
        let units = [("SECOND", 1000), ("MINUTE", 60_000), ("HOUR", 3_600_000)];
        let rules: Vec<Value> = limits.iter().map(|(requests, unit, tokens, burst)| match tokens {
            true => json!({"requestsPerUnit": requests, "unit": units[*unit].0, "algorithm": "tokenBucket", "burst": burst}),
            false => json!({"requestsPerUnit": requests, "unit": units[*unit].0, "algorithm": "slidingWindow"}),
        }).collect();
        let set = json!({"simpleDescriptors": [{"key": "user"}], "limits": rules});
        let index = Configs::new(scope()).update(&of_raw(json!({"setDescriptors": [set]}))).index;
        let mut ledger = Ledger::default();
        let stream = ledger.open();
        let orders = ledger.report(&index, stream, &"solo.io".into(), bucket(ANN), FIRST, NOW);
        let (most, rate) = match orders.first().map(|order| order.action) {
            Some(Action::Assign(Strategy::Tokens { most, tokens, every })) => {
                (f64::from(most), f64::from(tokens) / (every.as_secs() * 1000) as f64)
            }
            other => panic!("{other:?}"),
        };
        // As Envoy takes them out.
        let (mut at, mut level, mut passed) = (0u64, most, Vec::new());
        for gap in gaps {
            at += u64::from(gap);
            level = (level + f64::from(gap) * rate).min(most);
            while level >= 1.0 {
                level -= 1.0;
                passed.push(at);
            }
        }
        for (requests, unit, tokens, burst) in limits {
            let length = units[unit].1;
            for (n, start) in passed.iter().enumerate() {
                let within = passed[n..].iter().take_while(|at| **at < start + length).count();
                let most = if tokens { burst + requests } else { requests };
                prop_assert!(within <= most as usize, "{within} of {most} in {length} ms: {passed:?}");
            }
        }
    }
}

fn reports(domain: &str, texts: &[&str]) -> pb::RateLimitQuotaUsageReports {
    let usage = |text: &&str| pb::rate_limit_quota_usage_reports::BucketQuotaUsage {
        bucket_id: Some(pb::BucketId { bucket: bucket(text).into_iter().collect() }),
        time_elapsed: None,
        num_requests_allowed: 1,
        num_requests_denied: 0,
    };
    pb::RateLimitQuotaUsageReports { domain: domain.to_owned(), bucket_quota_usages: texts.iter().map(usage).collect() }
}

fn requests_of(answer: &pb::RateLimitQuotaResponse) -> u64 {
    match answer.bucket_action.last().unwrap().bucket_action {
        Some(BucketAction::QuotaAssignmentAction(action)) => {
            assert_eq!(action.assignment_time_to_live.unwrap().seconds, 60);
            match action.rate_limit_strategy.unwrap().strategy {
                Some(PbStrategy::TokenBucket(bucket)) => bucket.max_tokens.into(),
                Some(PbStrategy::BlanketRule(rule)) if rule == BlanketRule::DenyAll as i32 => 0,
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_envoys_share_a_limit_over_grpc() {
    let set = json!({"simpleDescriptors": [{"key": "user"}], "rateLimit": {"requestsPerUnit": 10, "unit": "MINUTE"}});
    let running = start(of_raw(json!({"setDescriptors": [set]}))).await;
    let mut client = RateLimitQuotaServiceClient::connect(running.address.clone()).await.unwrap();
    let mut open = async |first: pb::RateLimitQuotaUsageReports| {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(8);
        sender.send(first).await.unwrap();
        let sent = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        (sender, client.stream_rate_limit_quotas(sent).await.unwrap().into_inner())
    };
    let (first, mut one) = open(reports("solo.io", &[ANN])).await;
    assert_eq!(requests_of(&one.message().await.unwrap().unwrap()), 9, "one has passed");
    let (_keep, mut two) = open(reports("solo.io", &[ANN])).await;
    assert_eq!(requests_of(&two.message().await.unwrap().unwrap()), 0);
    first.send(reports("", &[ANN])).await.unwrap();
    assert_eq!(requests_of(&one.message().await.unwrap().unwrap()), 3, "the first report named the domain");
    assert_eq!(requests_of(&two.message().await.unwrap().unwrap()), 4, "told without asking");
    let (_keep, mut nameless) = open(reports("", &[ANN])).await;
    assert_eq!(nameless.message().await.unwrap_err().code(), tonic::Code::InvalidArgument);
    running.shutdown.begin();
    assert_eq!(one.message().await.unwrap(), None, "streams end with the server");
}
