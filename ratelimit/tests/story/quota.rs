//! Quotas for Envoys that limit by themselves: divided evenly, never more than there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::gloo::rate_limit_config::Unit;
use proptest::prelude::*;
use proto::envoy::service::rate_limit_quota::v3 as pb;
use proto::envoy::service::rate_limit_quota::v3::rate_limit_quota_response::bucket_action::BucketAction;
use proto::envoy::service::rate_limit_quota::v3::rate_limit_quota_service_client::RateLimitQuotaServiceClient;
use proto::envoy::r#type::v3::rate_limit_strategy::Strategy as PbStrategy;
use ratelimit::config::{Configs, Index};
use ratelimit::quota::{Action, Bucket, IDLE, Ledger, Order, Strategy, StreamId};
use ratelimit::window::UnixSecs;
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

/// A ledger, and what each stream was last told about each bucket.
#[derive(Default)]
struct Told {
    ledger: Ledger,
    last: BTreeMap<(StreamId, Arc<Bucket>), Action>,
}

impl Told {
    fn hear(&mut self, orders: Vec<Order>) {
        for order in orders {
            self.last.insert((order.stream, order.bucket), order.action);
        }
    }

    fn report(&mut self, index: &Index, stream: StreamId, text: &str, now: UnixSecs) {
        let orders = self.ledger.report(index, stream, &"solo.io".into(), bucket(text), now);
        self.hear(orders);
    }

    fn tick(&mut self, index: &Index, now: UnixSecs) {
        let orders = self.ledger.tick(index, now);
        self.hear(orders);
    }

    fn all(&self) -> Vec<Action> {
        self.last.values().copied().collect()
    }
}

fn per_minute(requests: &[u32]) -> Vec<Action> {
    requests.iter().map(|requests| Action::Assign(Strategy::PerUnit(*requests, Unit::Minute))).collect()
}

#[test]
fn a_limit_is_divided_evenly_and_anew_when_one_comes_or_goes() {
    let index = minute(10);
    let mut told = Told::default();
    let [one, two, three] = [told.ledger.open(), told.ledger.open(), told.ledger.open()];
    told.report(&index, one, ANN, NOW);
    assert_eq!(told.all(), per_minute(&[10]));
    told.report(&index, two, ANN, NOW);
    assert_eq!(told.all(), per_minute(&[5, 5]), "the first one gives way at once");
    // What a rule does not look at makes no difference.
    told.report(&index, three, "config=ns.limits,user=ann,path=/x", NOW);
    assert_eq!(told.all(), per_minute(&[4, 3, 3]));
    told.report(&index, three, "config=ns.limits,user=bob", NOW);
    assert!(told.all().contains(&per_minute(&[10])[0]), "each user has a limit");

    let orders = told.ledger.close(three, NOW);
    assert!(orders.iter().all(|order| order.stream != three));
    told.hear(orders);
    assert_eq!(told.all()[..2], per_minute(&[5, 5])[..]);
}

#[test]
fn assignments_are_renewed_and_a_bucket_nobody_uses_is_abandoned() {
    let index = minute(10);
    let mut ledger = Ledger::default();
    let stream = ledger.open();
    let report =
        |ledger: &mut Ledger, now| ledger.report(&index, stream, &"solo.io".into(), bucket(ANN), UnixSecs(now));
    assert_eq!(report(&mut ledger, 0).len(), 1);
    assert!(ledger.tick(&index, UnixSecs(29)).is_empty());
    assert_eq!(ledger.tick(&index, UnixSecs(30)).len(), 1, "before it runs out");
    for now in (31..IDLE).step_by(29) {
        ledger.tick(&index, UnixSecs(now));
    }
    let last: Vec<_> = (IDLE..IDLE + 30).flat_map(|now| ledger.tick(&index, UnixSecs(now))).collect();
    assert_eq!(last.last().map(|order| order.action), Some(Action::Abandon));
    assert!(ledger.is_empty());
}

#[test]
fn what_no_rule_governs_passes_and_of_what_is_unknown_nothing_is_said() {
    let index = minute(10);
    let mut ledger = Ledger::default();
    let stream = ledger.open();
    let mut said = |domain: &str, text: &str| {
        ledger.report(&index, stream, &domain.into(), bucket(text), NOW).iter().map(|o| o.action).collect::<Vec<_>>()
    };
    assert_eq!(said("solo.io", "config=ns.limits,group=a"), [Action::Assign(Strategy::AllowAll)]);
    assert_eq!(said("solo.io", "config=ns.other,user=ann"), []);
    assert_eq!(said("solo.io", "user=ann"), []);
    assert_eq!(said("other", ANN), [], "the owner's no_assignment_behavior decides");
}

#[test]
fn what_envoy_has_no_word_for_becomes_a_bucket_of_tokens() {
    let mut strategies = Vec::new();
    for limit in [
        json!({"requestsPerUnit": 7, "unit": "WEEK"}),
        json!({"requestsPerUnit": 6, "unit": "MINUTE", "algorithm": "tokenBucket", "burst": 3}),
        json!({"requestsPerUnit": 60000, "unit": "MINUTE", "algorithm": "tokenBucket", "burst": 3000}),
        json!({"requestsPerUnit": 0, "unit": "MINUTE"}),
    ] {
        let mut ledger = Ledger::default();
        let stream = ledger.open();
        strategies.extend(
            ledger.report(&index(limit), stream, &"solo.io".into(), bucket(ANN), NOW).into_iter().map(|o| o.action),
        );
    }
    let tokens = |most, tokens, every| Action::Assign(Strategy::Tokens { most, tokens, every });
    assert_eq!(
        strategies,
        [
            tokens(7, 7, Duration::from_secs(604_800)),
            tokens(3, 1, Duration::from_secs(10)),
            tokens(3000, 50, Duration::from_millis(50)),
            per_minute(&[0])[0],
        ]
    );
}

proptest! {
    #[test]
    fn whatever_comes_and_goes_never_more_is_handed_out_than_there_is(
        limits in (0u32..20, 0u32..20),
        steps in prop::collection::vec((0usize..5, 0u8..4, 0u64..40), 1..60)
    ) {
        let (before, after) = (minute(limits.0), minute(limits.1));
        let mut told = Told::default();
        let mut streams: Vec<StreamId> = (0..5).map(|_| told.ledger.open()).collect();
        let mut now = NOW;
        for (number, (stream, what, passes)) in steps.iter().enumerate() {
            now = UnixSecs(now.0 + passes);
            let (index, limit) = if number < 30 { (&before, limits.0) } else { (&after, limits.1) };
            match what {
                0 => {
                    let orders = told.ledger.close(streams[*stream], now);
                    told.hear(orders);
                    streams[*stream] = told.ledger.open();
                }
                1 => told.tick(index, now),
                _ => told.report(index, streams[*stream], ANN, now),
            }
            // A change of the rules is heard of with the next report or renewal.
            let most = if number < 30 || *what > 1 { limit } else { limits.0.max(limits.1) };
            let given: u64 = told.ledger.shares_of(&bucket(ANN)).into_iter().map(u64::from).sum();
            prop_assert!(given <= u64::from(most), "{given} of {most}");
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
    match answer.bucket_action[0].bucket_action {
        Some(BucketAction::QuotaAssignmentAction(action)) => {
            assert_eq!(action.assignment_time_to_live.unwrap().seconds, 60);
            match action.rate_limit_strategy.unwrap().strategy {
                Some(PbStrategy::RequestsPerTimeUnit(rate)) => rate.requests_per_time_unit,
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
    let (_keep, mut one) = open(reports("solo.io", &[ANN])).await;
    assert_eq!(requests_of(&one.message().await.unwrap().unwrap()), 10);
    let (again, mut two) = open(reports("solo.io", &[ANN])).await;
    assert_eq!(requests_of(&two.message().await.unwrap().unwrap()), 5);
    assert_eq!(requests_of(&one.message().await.unwrap().unwrap()), 5, "told without asking");
    again.send(reports("", &[ANN])).await.unwrap();
    assert_eq!(requests_of(&two.message().await.unwrap().unwrap()), 5, "the first report named the domain");
    let (_keep, mut nameless) = open(reports("", &[ANN])).await;
    assert_eq!(nameless.message().await.unwrap_err().code(), tonic::Code::InvalidArgument);
    running.shutdown.begin();
    assert_eq!(one.message().await.unwrap(), None, "streams end with the server");
}
