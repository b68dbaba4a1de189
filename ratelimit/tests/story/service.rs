//! The service over gRPC, as Envoy sees it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use proto::google::protobuf::UInt64Value;
use provider::StatusBoard;
use ratelimit::Settings;
use ratelimit::config::{Configs, Index};
use ratelimit::service::{Failure, Service};
use ratelimit::store::Memory;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use runtime::tls::ServerTls;
use runtime::{Listener, Readiness, Shutdown, Tasks, Workers};
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
}

pub async fn start(snapshot: api::Snapshot) -> Running {
    start_with(snapshot, Settings::default(), None).await
}

/// The same with `settings`, and TLS for the client that asks.
async fn start_with(snapshot: api::Snapshot, settings: Settings, tls: Option<ClientTlsConfig>) -> Running {
    let (snapshots, receiver) = watch::channel(Arc::new(snapshot));
    let shutdown = Shutdown::new();
    let (readiness, board) = (Readiness::new(), StatusBoard::new());
    let mut tasks = Tasks::new(shutdown.clone());
    let clock = HandClock::at(1_000_000_020);
    let built = ratelimit::server::build_with_clock(settings, clock, receiver, board.clone(), &readiness, &mut tasks);
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn("grpc", built.unwrap().serve(listener, readiness.clone(), shutdown.clone()));
    tokio::spawn(tasks.join(std::time::Duration::from_secs(5)));
    while !readiness.is_ready() {
        tokio::task::yield_now().await;
    }
    let address = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
    let endpoint = Endpoint::from_shared(address.clone()).unwrap();
    let endpoint = if let Some(tls) = tls { endpoint.tls_config(tls).unwrap() } else { endpoint };
    let client = RateLimitServiceClient::new(endpoint.connect_lazy());
    Running { client, address, board, snapshots, shutdown }
}

impl Running {
    async fn ask(&mut self, request: RateLimitRequest) -> Result<RateLimitResponse, tonic::Status> {
        self.client.should_rate_limit(request).await.map(tonic::Response::into_inner)
    }
}

#[tokio::test]
async fn until_something_was_read_nothing_is_said_of_any_request() {
    let index = Arc::new(ArcSwap::from_pointee(Index::not_loaded(scope())));
    let service = Service::new(index.clone(), Arc::new(Memory::new(10)), HandClock::at(1_000_000_020));
    let asked = || request(vec![descriptor("ns.limits", false, "a=1")]);
    assert!(matches!(service.answer(&asked()).await, Err(Failure::NotLoaded)));
    index.store(Arc::new(Configs::new(scope()).update(&api::Snapshot::default()).index));
    assert!(service.answer(&asked()).await.is_ok(), "there is nothing that governs it");
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
        request(vec![descriptor("ns.limits", false, "a=1"); 65]),
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
