//! The service over gRPC, as Envoy sees it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use proto::google::protobuf::UInt64Value;
use provider::StatusBoard;
use ratelimit::rules::config::{Configs, Index};
use ratelimit::server::Settings;
use ratelimit::server::assemble::build_with_clock;
use ratelimit::server::service::Service;
use ratelimit::store::Memory;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use runtime::tls::ServerTls;
use runtime::{Listener, Process, Shutdown, Workers};
use serde_json::json;
use tokio::sync::watch;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::support::{HandClock, descriptor, of_raw, request, scope};

pub struct Running {
    client: RateLimitServiceClient<Channel>,
    pub address: String,
    board: StatusBoard,
    snapshots: watch::Sender<Arc<api::Snapshot>>,
    pub shutdown: Shutdown,
    served: tokio::task::JoinHandle<anyhow::Result<()>>,
}

pub async fn start(snapshot: api::Snapshot) -> Running {
    start_with(snapshot, Settings::default(), None).await
}

/// The same with `settings`, and TLS for the client that asks.
async fn start_with(snapshot: api::Snapshot, settings: Settings, tls: Option<ClientTlsConfig>) -> Running {
    let (snapshots, receiver) = watch::channel(Arc::new(snapshot));
    let (board, mut process) = (StatusBoard::new(), Process::detached().unwrap());
    let clock = HandClock::at(1_000_000_020);
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    build_with_clock(settings, clock, listener, receiver, board.clone(), &mut process).unwrap();
    let (readiness, shutdown) = (process.readiness().clone(), process.stopping());
    let served = tokio::spawn(process.run());
    while !readiness.is_ready() {
        tokio::task::yield_now().await;
    }
    let address = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
    let endpoint = Endpoint::from_shared(address.clone()).unwrap();
    let endpoint = if let Some(tls) = tls { endpoint.tls_config(tls).unwrap() } else { endpoint };
    let client = RateLimitServiceClient::new(endpoint.connect_lazy());
    Running { client, address, board, snapshots, shutdown, served }
}

impl Running {
    async fn ask(&mut self, request: RateLimitRequest) -> Result<RateLimitResponse, tonic::Status> {
        self.client.should_rate_limit(request).await.map(tonic::Response::into_inner)
    }
}

#[tokio::test]
async fn while_everything_is_withheld_it_is_not_ready_and_says_nothing_of_any_request() {
    let mut declared = limits();
    declared.withheld = vec![api::Withheld { place: "limits.yaml:3".into(), why: "not valid YAML".into() }];
    let (snapshots, receiver) = watch::channel(Arc::new(declared.clone()));
    let mut process = Process::detached().unwrap();
    let (clock, board) = (HandClock::at(1_000_000_020), StatusBoard::new());
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    build_with_clock(Settings::default(), clock, listener, receiver, board, &mut process).unwrap();
    let (readiness, shutdown) = (process.readiness().clone(), process.stopping());
    let served = tokio::spawn(process.run());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!readiness.is_ready());
    declared.withheld.clear();
    declared.revision += 1;
    snapshots.send_replace(Arc::new(declared));
    while !readiness.is_ready() {
        tokio::task::yield_now().await;
    }
    shutdown.begin();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn nobody_declaring_anything_any_more_is_the_reason_to_exit() {
    let Running { snapshots, served, .. } = start(limits()).await;
    drop(snapshots);
    let why = served.await.unwrap().unwrap_err();
    assert_eq!(format!("{why:#}"), "ratelimit-config failed: nobody reads what is declared any more");
}

/// Envoy takes an error for a pass, so what nobody can answer for is refused by an answer.
#[tokio::test]
async fn a_config_that_nobody_knows_is_refused_from_the_first_moment_and_nothing_else_is() {
    let index = Arc::new(ArcSwap::from_pointee(Index::not_loaded(scope())));
    let service = Service::new(index.clone(), Arc::new(Memory::new(10)), HandClock::at(1_000_000_020));
    let ask = async |message: RateLimitRequest| service.answer(&message).await.unwrap().over;
    let known = || request(vec![descriptor("ns.limits", false, "a=1")]);
    let nobodys = || request(vec![descriptor("ns.nobodys", true, "a=1")]);
    let mut foreign = nobodys();
    foreign.domain = "another".to_owned();
    let mut unnamed = nobodys();
    unnamed.descriptors[0].entries.remove(0);
    unnamed.descriptors[0].entries.remove(0);

    assert!(ask(known()).await && ask(nobodys()).await, "before anything was read");
    index.store(Arc::new(Configs::new(scope()).update(&limits()).index));
    assert!(!ask(known()).await && ask(nobodys()).await, "afterwards");
    let both = vec![known().descriptors.remove(0), nobodys().descriptors.remove(0)];
    assert!(ask(request(both)).await, "beside one that is known");
    index.store(Arc::new(Configs::new(scope()).update(&api::Snapshot::default()).index));
    assert!(ask(known()).await, "what is gone, after its grace");
    assert!(!ask(foreign).await && !ask(unnamed).await, "what names no RateLimitConfig of ours");
}

fn limits() -> api::Snapshot {
    of_raw(json!({"descriptors": [{"key": "a", "rateLimit": {"requestsPerUnit": 2, "unit": "WEEK"}}]}))
}

#[tokio::test]
async fn envoy_is_told_limit_remaining_and_reset_for_each_descriptor() {
    let mut running = start(limits()).await;
    let two = || request(vec![descriptor("ns.limits", false, "a=1"), descriptor("ns.limits", false, "zzz=1")]);
    let answer = running.ask(two()).await.unwrap();
    assert_eq!(answer.overall_code, Code::Ok as i32);
    let limit = answer.statuses[0].current_limit.clone().unwrap();
    assert_eq!((limit.requests_per_unit, limit.unit), (2, 7));
    assert_eq!(limit.name, "solo.io|generic_key^ns.limits|a");
    assert_eq!(answer.statuses[0].limit_remaining, 1);
    let left = 604_800 - 1_000_000_020 % 604_800;
    assert_eq!(answer.statuses[0].duration_until_reset.unwrap().seconds, left);
    assert_eq!((answer.statuses.len(), answer.statuses[1].current_limit.is_none()), (2, true));
    running.ask(two()).await.unwrap();
    assert_eq!(running.ask(two()).await.unwrap().overall_code, Code::OverLimit as i32);
    running.shutdown.begin();
}

#[tokio::test]
async fn what_cannot_be_answered_is_an_error_and_not_unknown() {
    let mut running = start(limits()).await;
    for wrong in [
        RateLimitRequest { domain: String::new(), ..request(vec![descriptor("ns.limits", false, "a=1")]) },
        request(vec![]),
        request(vec![descriptor("ns.limits", false, "a=1"); ratelimit::rules::bounds::MOST_DESCRIPTORS + 1]),
    ] {
        assert_eq!(running.ask(wrong).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    }
    // A client's long header is counted like any other, never an error that would let it pass.
    let long = request(vec![descriptor("ns.limits", false, &format!("a={}", "x".repeat(100_000)))]);
    for code in [Code::Ok, Code::Ok, Code::OverLimit] {
        assert_eq!(running.ask(long.clone()).await.unwrap().overall_code, code as i32);
    }
    running.shutdown.begin();
}

#[tokio::test]
async fn hits_overrides_looks_and_refunds_are_as_the_descriptor_says() {
    let mut running = start(limits()).await;
    let sent = |hits: Option<u64>, negative: bool, limit: Option<(u32, i32)>| {
        let mut one = descriptor("ns.limits", false, "a=1");
        one.hits_addend = hits.map(|value| UInt64Value { value });
        one.is_negative_hits = negative;
        one.limit = limit.map(|(requests_per_unit, unit)| RateLimitOverride { requests_per_unit, unit });
        request(vec![one])
    };
    for (message, code, remaining) in [
        (sent(Some(0), false, None), Code::Ok, 2),
        (sent(Some(2), false, None), Code::Ok, 0),
        (sent(Some(0), false, None), Code::Ok, 0),
        (sent(None, false, None), Code::OverLimit, 0),
        (sent(Some(2), true, None), Code::Ok, 1),
        // No unit, or one that is none: the rule's own limit.
        (sent(Some(0), false, Some((100, 0))), Code::Ok, 1),
        (sent(Some(0), false, Some((100, 99))), Code::Ok, 1),
        (sent(None, false, Some((1, 2))), Code::Ok, 0),
        (sent(None, false, Some((1, 2))), Code::OverLimit, 0),
        (sent(Some(u64::MAX), false, None), Code::OverLimit, 0),
    ] {
        let answer = running.ask(message.clone()).await.unwrap();
        let status = &answer.statuses[0];
        assert_eq!((status.code, status.limit_remaining), (code as i32, remaining), "{message:?}");
    }
    running.shutdown.begin();
}

#[tokio::test]
async fn every_config_is_told_whether_it_is_accepted_and_a_new_one_is_served() {
    let mut running = start(limits()).await;
    let said = running.board.merged();
    let status = said.values().flatten().find(|(author, _)| author == "ratelimit").unwrap();
    assert_eq!(status.1.conditions[0].status, Some(true));
    let mut next = of_raw(json!({"descriptors": [{"key": "b", "rateLimit": {"unit": "DAY"}}]}));
    next.revision = 2;
    running.snapshots.send(Arc::new(next)).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while running.ask(request(vec![descriptor("ns.limits", false, "b=1")])).await.unwrap().overall_code
        != Code::OverLimit as i32
    {
        assert!(std::time::Instant::now() < deadline);
    }
    running.shutdown.begin();
}

/// On one thread: were they compiled there, nobody would be answered meanwhile.
#[tokio::test]
async fn many_rules_are_compiled_while_requests_are_answered() {
    let mut running = start(limits()).await;
    let rules: Vec<_> = (0..15_000)
        .map(|n| json!({"key": "b", "value": format!("v{n}"), "rateLimit": {"requestsPerUnit": 0, "unit": "DAY"}}))
        .collect();
    let mut next = of_raw(json!({"descriptors": rules}));
    next.revision = 2;
    running.snapshots.send(Arc::new(next)).unwrap();
    let mut answered_meanwhile = 0;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while running.ask(request(vec![descriptor("ns.limits", false, "b=v7")])).await.unwrap().overall_code
        != Code::OverLimit as i32
    {
        answered_meanwhile += 1;
        assert!(std::time::Instant::now() < deadline);
    }
    assert!(answered_meanwhile > 3, "{answered_meanwhile} requests were answered, the others had to wait");
    running.shutdown.begin();
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key.
fn signed(by: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

#[tokio::test]
async fn over_tls_clients_are_let_in_by_their_authority_on_whichever_thread() {
    let folder = tempfile::tempdir().unwrap();
    let (servers, clients, strangers) = (authority("servers"), authority("clients"), authority("strangers"));
    let (cert, key) = signed(&servers, "ratelimit.test");
    for (file, pem) in [("tls.crt", cert), ("tls.key", key), ("clients.pem", clients.pem())] {
        std::fs::write(folder.path().join(file), pem).unwrap();
    }
    let settings = || Settings {
        tls: Some(ServerTls::in_folder(folder.path(), Some(folder.path().join("clients.pem")))),
        workers: Some(Workers::start(2).unwrap()),
        ..Settings::default()
    };
    let trusting = || ClientTlsConfig::new().ca_certificate(Certificate::from_pem(servers.pem()));
    let known_as = |(cert, key): (String, String)| Identity::from_pem(cert, key);
    let told = trusting().domain_name("ratelimit.test");
    let asked = || request(vec![descriptor("ns.limits", false, "a=v")]);

    let mut known =
        start_with(limits(), settings(), Some(told.clone().identity(known_as(signed(&clients, "x"))))).await;
    for expected in [Code::Ok, Code::Ok, Code::OverLimit] {
        assert_eq!(known.ask(asked()).await.unwrap().overall_code, expected as i32);
    }
    let stranger = told.clone().identity(known_as(signed(&strangers, "x")));
    for refused in [told, stranger] {
        let mut running = start_with(limits(), settings(), Some(refused)).await;
        assert!(running.ask(asked()).await.is_err());
        running.shutdown.begin();
    }
    known.shutdown.begin();
}

/// What each thread counts in memory is one count: of many connections no more than the limit passes.
#[tokio::test(flavor = "multi_thread")]
async fn however_many_threads_answer_a_limit_is_one_limit() {
    let settings = Settings { workers: Some(Workers::start(3).unwrap()), ..Settings::default() };
    let limits = of_raw(json!({"descriptors": [{"key": "a", "rateLimit": {"requestsPerUnit": 50, "unit": "DAY"}}]}));
    let running = start_with(limits, settings, None).await;
    let connections = (0..6).map(|_| {
        let address = running.address.clone();
        tokio::spawn(async move {
            let mut client = RateLimitServiceClient::connect(address).await.unwrap();
            let mut passed = 0;
            for _ in 0..20 {
                let asked = request(vec![descriptor("ns.limits", false, "a=v")]);
                let answer = client.should_rate_limit(asked).await.unwrap().into_inner();
                passed += usize::from(answer.overall_code == Code::Ok as i32);
            }
            passed
        })
    });
    let mut passed = 0;
    for connection in connections.collect::<Vec<_>>() {
        passed += connection.await.unwrap();
    }
    assert_eq!(passed, 50);
    running.shutdown.begin();
}

/// The commonest way of a client to make its request large: one header, and a configuration that reads it often.
#[tokio::test]
async fn what_the_largest_configuration_makes_of_the_longest_header_is_answered() {
    let mut running = start(limits()).await;
    let entries = format!("a={}", "x".repeat(60 * 1024));
    let all = vec![descriptor("ns.limits", false, &entries); 96];
    for code in [Code::OverLimit, Code::OverLimit] {
        assert_eq!(running.ask(request(all.clone())).await.unwrap().overall_code, code as i32);
    }
    let per_route = api::gloo::rate_limit_config::MOST_DESCRIPTORS_PER_ROUTE;
    let many = vec![descriptor("ns.limits", false, "b=1"); per_route];
    assert_eq!(running.ask(request(many)).await.unwrap().overall_code, Code::Ok as i32);
    running.shutdown.begin();
}

/// What admission lets pass at most, of one object and of one route, as the message that Envoy makes of it.
#[test]
fn the_most_that_a_route_may_send_fits_into_a_message() {
    use api::gloo::rate_limit_config::{
        MOST_CLIENT_VALUES, MOST_CLIENT_VALUES_PER_ROUTE, MOST_RATE_LIMITS, MOST_REFS, SET_DESCRIPTOR_MARKER,
    };
    use prost::Message as _;
    use proto::envoy::extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry};

    const LEVELS: usize = 16;
    let long = "k".repeat(1024);
    let (copied, constant) = (
        json!({"requestHeaders": {"headerName": "x-a", "descriptorKey": long}}),
        json!({"genericKey": {"descriptorKey": long, "descriptorValue": "v".repeat(1024)}}),
    );
    let object = |copies: usize, levels: usize| {
        let mut copies = vec![copied.clone(); copies].into_iter();
        let mut list = || (0..levels).map(|_| copies.next().unwrap_or(constant.clone())).collect::<Vec<_>>();
        let limits: Vec<_> = (0..MOST_RATE_LIMITS).map(|_| json!({"actions": list(), "setActions": list()})).collect();
        let rule = json!({"key": "k", "rateLimit": {"requestsPerUnit": 1, "unit": "DAY"}});
        let set = json!({"rateLimit": {"requestsPerUnit": 1, "unit": "DAY"}});
        let raw = json!({"descriptors": [rule], "setDescriptors": [set], "rateLimits": limits});
        api::admit(&json!({"apiVersion": "ratelimit.solo.io/v1alpha1", "kind": "RateLimitConfig",
            "metadata": {"name": "n".repeat(253), "namespace": "n".repeat(63)}, "spec": {"raw": raw}}))
    };
    let admitted = |admission: &api::Admission| !admission.problems.iter().any(api::Problem::is_error);
    assert!(admitted(&object(MOST_CLIENT_VALUES, LEVELS)));
    assert!(!admitted(&object(MOST_CLIENT_VALUES + 1, LEVELS)) && !admitted(&object(0, LEVELS + 1)));

    let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
    let (id, header) = ("n".repeat(63 + 1 + 253), "h".repeat(60 * 1024));
    let mut copies = std::iter::repeat_n(entry(&long, &header), MOST_CLIENT_VALUES_PER_ROUTE);
    let mut descriptors = Vec::new();
    for number in 0..MOST_REFS * MOST_RATE_LIMITS * 2 {
        let mut entries = vec![entry("generic_key", &id)];
        if number % 2 == 1 {
            entries.push(entry("generic_key", SET_DESCRIPTOR_MARKER));
        }
        entries.extend((0..LEVELS).map(|_| copies.next().unwrap_or_else(|| entry(&long, &long))));
        descriptors.push(RateLimitDescriptor { entries, ..Default::default() });
    }
    let by_caller =
        vec![entry("generic_key", &id), entry("header_match", "is-authenticated"), entry("userid", &header)];
    descriptors.push(RateLimitDescriptor { entries: by_caller, ..Default::default() });
    let message = request(descriptors);
    assert!(copies.next().is_none());
    let (bytes, most) = (message.encoded_len(), ratelimit::rules::bounds::MOST_MESSAGE_BYTES);
    assert!(bytes < most, "{bytes} of {most}");
    assert!(ratelimit::rules::request::Request::read(&message).is_ok());
}

fn named(name: &str, requests: u32) -> api::Snapshot {
    crate::support::snapshot(&format!(
        "{{apiVersion: ratelimit.solo.io/v1alpha1, kind: RateLimitConfig, metadata: {{name: {name}, namespace: ns}}, \
         spec: {{raw: {{descriptors: [{{key: a, rateLimit: {{requestsPerUnit: {requests}, unit: DAY}}}}]}}}}}}"
    ))
}

#[test]
fn what_is_removed_is_answered_for_as_long_as_envoys_need_and_what_is_changed_changes_at_once() {
    let grace = std::time::Duration::from_secs(10);
    let begin = std::time::Instant::now();
    let mut configs = Configs::new(scope()).keeping_removed(grace);
    let knows = |index: &Index| ["ns.old", "ns.new"].map(|id| index.config(id).is_some());
    let mut at = |snapshot: &api::Snapshot, seconds| {
        let outcome = configs.update_at(snapshot, begin + std::time::Duration::from_secs(seconds));
        (knows(&outcome.index), outcome.report.len(), configs.due().map(|due| due.duration_since(begin).as_secs()))
    };
    assert_eq!(at(&named("old", 1), 0), ([true, false], 1, None));
    let renamed = named("new", 1);
    assert_eq!(at(&renamed, 5), ([true, true], 1, Some(15)), "nobody is told of what is not there");
    assert_eq!(at(&renamed, 14), ([true, true], 1, Some(15)));
    assert_eq!(at(&renamed, 15), ([false, true], 1, None));
    assert_eq!(at(&named("old", 1), 20), ([true, true], 1, Some(30)));
    assert_eq!(at(&renamed, 25), ([true, true], 1, Some(35)), "what is back is what it is now");
    let changed = configs.update_at(&named("new", 7), begin + std::time::Duration::from_secs(26)).index;
    let Some(ratelimit::rules::config::Entry::Serving(config)) = changed.config("ns.new") else { panic!("served") };
    let rules: Vec<u32> = config
        .tree
        .0
        .values()
        .flat_map(|v| v.nodes())
        .flat_map(|n| &n.rules)
        .map(|r| r.limit.requests_per_unit)
        .collect();
    assert_eq!(rules, [7]);
}

/// A rename and its reference in one save, again and again, while Envoy asks now by the new name and now by the old.
#[tokio::test(flavor = "multi_thread")]
async fn renames_under_load_let_nothing_past_a_limit_of_none() {
    let running = start(named("one", 0)).await;
    let client = running.client.clone();
    let (told, heard) = watch::channel("ns.one");
    let storm = tokio::spawn(async move {
        let mut answers = Vec::new();
        while heard.has_changed().is_ok() {
            let id = *heard.borrow();
            let asked = request(vec![descriptor(id, false, "a=1")]);
            answers.push(client.clone().should_rate_limit(asked).await.unwrap().into_inner().overall_code);
        }
        answers
    });
    for round in 0..40 {
        let (name, id) = if round % 2 == 0 { ("two", "ns.two") } else { ("one", "ns.one") };
        let early = round % 3 == 0;
        // Envoy is told a moment before us, or after.
        if early {
            told.send(id).unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(4)).await;
        running.snapshots.send(Arc::new(api::Snapshot { revision: round + 2, ..named(name, 0) })).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(4)).await;
        told.send(id).unwrap();
    }
    drop(told);
    let answers = storm.await.unwrap();
    assert!(answers.len() > 20, "{}", answers.len());
    assert!(answers.iter().all(|code| *code == Code::OverLimit as i32), "{answers:?}");
    running.shutdown.begin();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_let_in_until_the_last_moment_is_counted_until_the_last_moment() {
    let folder = tempfile::tempdir().unwrap();
    let _redis = crate::redis::Server::start(folder.path());
    let url: ratelimit::store::redis::RedisUrl =
        format!("unix:{}", folder.path().join("redis.sock").display()).parse().unwrap();
    let redis = ratelimit::store::redis::RedisSettings {
        budget: std::time::Duration::from_secs(2),
        ..ratelimit::store::redis::RedisSettings::new(url)
    };
    for workers in [None, Some(Workers::start(2).unwrap())] {
        let store = ratelimit::server::StoreSettings::Redis(Box::new(redis.clone()));
        let settings = Settings { store, workers, ..Settings::default() };
        let running = start_with(limits(), settings, None).await;
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let mut client = running.client.clone();
            clients.spawn(async move {
                let (mut good, mut wrong) = (0, Vec::new());
                loop {
                    match client.should_rate_limit(request(vec![descriptor("ns.limits", false, "a=1")])).await {
                        Ok(_) => good += 1,
                        Err(status) if status.message().contains("counter store") => wrong.push(status),
                        // The server is gone.
                        Err(_) => return (good, wrong),
                    }
                }
            });
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        running.shutdown.begin();
        let ended: Vec<(u32, Vec<tonic::Status>)> = clients.join_all().await;
        assert!(ended.iter().all(|(good, wrong)| *good > 0 && wrong.is_empty()), "{ended:?}");
    }
}

#[tokio::test]
async fn who_has_no_room_for_counters_is_told_on_its_object_and_nobody_else_is_concerned() {
    let two = "{apiVersion: ratelimit.solo.io/v1alpha1, kind: RateLimitConfig, metadata: {name: NAME, namespace: ns}, \
        spec: {raw: {descriptors: [{key: a, rateLimit: {requestsPerUnit: 2, unit: HOUR}, limits: [{requestsPerUnit: 9, unit: DAY}]}]}}}";
    let both = format!("{}\n---\n{}", two.replace("NAME", "flooded"), two.replace("NAME", "small"));
    for when_full in [ratelimit::store::WhenFull::Coarse, ratelimit::store::WhenFull::Deny] {
        let store = ratelimit::server::StoreSettings::Memory { counters: 2_000, when_full };
        let mut running =
            start_with(crate::support::snapshot(&both), Settings { store, ..Settings::default() }, None).await;
        let mut last = Code::Ok as i32;
        for number in 0..1_000 {
            let asked = request(vec![descriptor("ns.flooded", false, &format!("a={number}"))]);
            last = running.ask(asked).await.unwrap().overall_code;
        }
        assert_eq!(last, Code::OverLimit as i32, "never more than a limit, rather less");
        let mut admitted = 0;
        for _ in 0..20 {
            let answer = running.ask(request(vec![descriptor("ns.small", false, "a=new")])).await.unwrap();
            admitted += i32::from(answer.overall_code == Code::Ok as i32);
        }
        assert_eq!(admitted, 2);
        let mut board = running.board.subscribe();
        let said = loop {
            let said: Vec<(String, bool)> = running
                .board
                .merged()
                .into_iter()
                .flat_map(|(object, said)| said.into_iter().map(move |(_, status)| (object.to_string(), status)))
                .flat_map(|(object, status)| status.conditions.into_iter().map(move |one| (object.clone(), one)))
                .filter(|(_, condition)| condition.kind == ratelimit::rules::config::COUNTED_EXACTLY)
                .map(|(object, condition)| (object, condition.status == Some(false)))
                .collect();
            if !said.is_empty() {
                break said;
            }
            board.changed().await.unwrap();
        };
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].0.contains("flooded") && said[0].1, "{said:?}");
        running.shutdown.begin();
    }
}
