//! Asking why: what an explanation says is what the service then does, and it costs nothing.
//!
//! Beside each case of `testdata` stands `explain.txt`: what is said of the first request before
//! anything was sent, and of the last one after everything was. `UPDATE_GOLDEN=1` rewrites them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::http::{Request as HttpRequest, StatusCode, header};
use proptest::prelude::*;
use ratelimit::rules::config::{Configs, Index};
use ratelimit::rules::explain::ask::Ask;
use ratelimit::rules::explain::{Answer, Explanation, Question};
use ratelimit::rules::request::Request;
use ratelimit::server::Clock as _;
use ratelimit::server::book::Book;
use ratelimit::server::explain::http::{Counting, routes};
use ratelimit::server::explain::rehearsal;
use ratelimit::server::explain::rehearsal::{HandClock, START, in_a_word};
use ratelimit::server::explain::simulation::{Tally, simulate};
use ratelimit::server::service::Service;
use ratelimit::store::redis::{RedisSettings, RedisUrl};
use ratelimit::store::{CounterStore as _, Memory, OnStoreFailure, Redis, Resilient, Store};
use runtime::Shutdown;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::model;
use crate::support::{of_raw, scope, snapshot};

fn index_of(yaml: &str) -> Index {
    Configs::new(scope()).update(&snapshot(yaml)).index
}

/// A server's inside: the rules, the store, the names, the time.
struct Inside {
    counting: Counting,
    service: Service<Arc<Store>, HandClock>,
    clock: HandClock,
}

impl Inside {
    fn new(index: Index, store: Store) -> Inside {
        let (index, store) = (Arc::new(ArcSwap::from_pointee(index)), Arc::new(store));
        let (book, clock) = (Arc::new(Book::default()), HandClock::at(START));
        let service = Service::new(index.clone(), store.clone(), clock.clone()).noting(book.clone());
        Inside { counting: Counting { index, store, book, clock: Arc::new(clock.clone()) }, service, clock }
    }

    fn in_memory(index: Index) -> Inside {
        Inside::new(index, Store::Memory(Arc::new(Memory::new(10_000))))
    }

    async fn explain(&self, ask: &Ask) -> Explanation {
        let (index, message) = (self.counting.index.load_full(), ask.message("solo.io"));
        let request = Request::read(&message).unwrap();
        let question = Question::new(&index, &request, self.clock.now().secs());
        let readings = self.counting.store.hit(&question.looks(), self.clock.now()).await.unwrap();
        question.answer(Some(&readings))
    }

    async fn send(&self, ask: &Ask) -> Answer {
        in_a_word(&self.service.answer(&ask.message("solo.io")).await)
    }

    async fn call(&self, admin: &str, request: HttpRequest<Body>) -> (StatusCode, Value) {
        let reply = routes(self.counting.clone(), Some(&admin.parse().unwrap())).oneshot(request).await.unwrap();
        let status = reply.status();
        let body = axum::body::to_bytes(reply.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.call("127.0.0.1:15000", post(path, body.to_string())).await
    }

    async fn counters(&self, prefix: &str) -> Vec<(String, u64)> {
        let path = format!("/counters?prefix={prefix}");
        let (status, page) = self.call("127.0.0.1:15000", HttpRequest::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let name = |one: &Value| one["counter"].as_str().or(one["config"].as_str()).unwrap().to_owned();
        let counters = page["counters"].as_array().unwrap().iter();
        counters.map(|one| (name(one), one["used"].as_u64().unwrap())).collect()
    }
}

fn post(path: &str, body: String) -> HttpRequest<Body> {
    HttpRequest::post(path).header(header::CONTENT_TYPE, "application/json").body(Body::from(body)).unwrap()
}

fn ask(texts: &[&str]) -> Ask {
    Ask::of(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 10, "{cases:?}");
    cases
}

#[tokio::test]
async fn every_case_is_explained_as_it_is_answered() {
    for case in cases() {
        let steps = rehearsal::read(&std::fs::read_to_string(case.join("requests.yaml")).unwrap()).unwrap();
        let inside = Inside::in_memory(index_of(&std::fs::read_to_string(case.join("config.yaml")).unwrap()));
        let asked = |send: &[_]| Ask { descriptors: send.to_vec(), ..Ask::default() };
        let before = inside.explain(&asked(&steps.first().unwrap().send)).await;
        for step in &steps {
            inside.clock.advance(step.after);
            for _ in 0..step.times {
                let said = inside.explain(&asked(&step.send)).await;
                assert_eq!(said, inside.explain(&asked(&step.send)).await, "asking spends nothing");
                assert_eq!(said.answer, inside.send(&asked(&step.send)).await, "{}\n{said}", case.display());
            }
        }
        let after = inside.explain(&asked(&steps.last().unwrap().send)).await;
        let text = format!("# Before anything was sent\n\n{before}\n# After everything was\n\n{after}");
        let golden = case.join("explain.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(text, wanted, "{}: UPDATE_GOLDEN=1 rewrites it", golden.display());
    }
}

#[tokio::test]
async fn every_case_passes_as_a_rehearsal_and_a_wrong_expectation_is_shown() {
    for case in cases() {
        let steps = rehearsal::read(&std::fs::read_to_string(case.join("requests.yaml")).unwrap()).unwrap();
        let config = std::fs::read_to_string(case.join("config.yaml")).unwrap();
        assert_eq!(rehearsal::play(index_of(&config), &steps).await, [], "{}", case.display());
    }
    let rules = of_raw(json!({"descriptors": [{"key": "a", "rateLimit": {"requestsPerUnit": 2, "unit": "HOUR"}}]}));
    let steps =
        "[{send: ['ns.limits: a=1'], times: 3, answer: ok}, {send: ['ns.limits: a=2'], answer: ok, remaining: [0]}]";
    let differences =
        rehearsal::play(Configs::new(scope()).update(&rules).index, &rehearsal::read(steps).unwrap()).await;
    let shown: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "step 1, time 3\n  - answer: ok\n  + answer: over (solo.io|generic_key^ns.limits|a, 0 left)",
            "step 2, time 1\n  - remaining: [0]\n  + remaining: [1]",
        ]
    );
    assert!(rehearsal::read("[{send: ['ns.limits: a=1'], answer: maybe}]").is_err_and(|why| why.contains("maybe")));
}

/// Gives every limit another algorithm, another way to count, or tries it out only.
fn vary<'w>(value: &mut Value, ways: &mut impl Iterator<Item = &'w (u8, bool, bool)>) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| vary(value, ways)),
        Value::Object(fields) => {
            if fields.contains_key("requestsPerUnit") {
                let (algorithm, waits, shadow) = ways.next().unwrap();
                let algorithm = ["fixedWindow", "slidingWindow", "tokenBucket"][usize::from(*algorithm)];
                fields.insert("algorithm".to_owned(), json!(algorithm));
                fields.insert("countWhenLimited".to_owned(), json!(if *waits { "never" } else { "always" }));
                fields.insert("shadowMode".to_owned(), json!(shadow));
            }
            fields.values_mut().for_each(|value| vary(value, ways));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_the_rules_an_explanation_says_what_the_service_then_answers(
        tree in model::level(2), sets in model::sets(), requests in prop::collection::vec(model::sent(), 1..12),
        ways in prop::collection::vec((0u8..3, any::<bool>(), any::<bool>()), 1..8)
    ) {
        prop_assume!(!tree.is_empty() || !sets.is_empty());
        let mut raw = json!({"descriptors": tree, "setDescriptors": sets});
        vary(&mut raw, &mut ways.iter().cycle());
        let rules = of_raw(raw);
        let inside = Inside::in_memory(Configs::new(scope()).update(&rules).index);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for sent in requests {
            let texts: Vec<String> = sent.iter().map(|(set, entries)| {
                let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("ns.limits{}: {}", if *set { " set" } else { "" }, entries.join(", "))
            }).collect();
            let ask = Ask::of(&texts).unwrap();
            let said = runtime.block_on(inside.explain(&ask));
            prop_assert_eq!(said.answer, runtime.block_on(inside.send(&ask)), "{}", said);
            // What a person pastes is what was meant.
            let again: Vec<String> = said.descriptors.iter().map(|one| one.descriptor.clone()).collect();
            prop_assert_eq!(Ask::of(&again).unwrap(), ask);
        }
    }
}

#[test]
fn what_meets_no_rule_is_told_where_it_went_astray() {
    let rules = of_raw(json!({
        "descriptors": [{"key": "type", "rateLimit": {"requestsPerUnit": 1, "unit": "MINUTE"},
            "descriptors": [{"key": "number", "value": "411", "rateLimit": {"requestsPerUnit": 1, "unit": "MINUTE"}}]}],
        "setDescriptors": [{"simpleDescriptors": [{"key": "type", "value": "a"}], "rateLimit": {"requestsPerUnit": 1, "unit": "MINUTE"}}]}));
    let index = Configs::new(scope()).update(&rules).index;
    let note = |text: &str, domain: Option<&str>| {
        let message = Ask { domain: domain.map(str::to_owned), ..ask(&[text]) }.message("solo.io");
        let said = Question::new(&index, &Request::read(&message).unwrap(), START).answer(None);
        (said.answer, said.to_string())
    };
    let cases = [
        ("ns.limits: typo=a", None, "nothing matches typo=a; there are: type (any value)"),
        ("ns.limits: type=a, number=5", None, "nothing matches number=5; there are: number=411"),
        ("ns.limits: type=a, number=411, more=1", None, "so send the shorter one beside this one"),
        ("ns.limits:", None, "rules in set style want \"set\""),
        ("ns.other: type=a", None, "ns.other is known, so its requests are refused; there are: ns.limits"),
        ("ns.limits set: type=b", None, "rule 1: the descriptor has not type=a"),
        ("ns.limits: type=a", Some("envoy"), "the domain is not served, so everything passes; served: solo.io, crd"),
    ];
    for (text, domain, wanted) in cases {
        let (answer, said) = note(text, domain);
        assert_eq!(answer == Answer::Ok, !wanted.contains("refused"), "{text}");
        assert!(said.contains(wanted), "{text}:\n{said}");
        assert!(said.contains("every counter is taken for unused"), "{said}");
    }
}

const TRIO: &str = include_str!("../../testdata/the-heaviest-rule-hides-the-others/config.yaml");

#[tokio::test]
async fn over_http_asking_spends_nothing_resetting_frees_and_counters_have_names() {
    let inside = Inside::in_memory(index_of(TRIO));
    let both = ["gloo-system.limits: type=a", "gloo-system.limits: type=a, number=1"];
    // Names are noted from when the admin port is served on.
    assert_eq!(inside.counters("").await, []);
    for _ in 0..3 {
        inside.send(&ask(&both)).await;
    }
    inside.send(&ask(&["gloo-system.limits: type=b"])).await;
    let (status, said) = inside.post("/explain", json!({"descriptors": both})).await;
    assert_eq!(
        (status, &said["answer"], &said["countersRead"]),
        (StatusCode::OK, &json!("ok"), &json!(true)),
        "{said}"
    );
    assert_eq!(said["descriptors"][0]["outcome"], "outweighed");
    assert_eq!(said["descriptors"][1]["rules"][0]["counters"][0]["left"], 7);
    let all = [("gloo-system.limits: type=a, number=1".to_owned(), 3), ("gloo-system.limits: type=b".to_owned(), 1)];
    assert_eq!(inside.counters("").await, all);
    assert_eq!(inside.counters("gloo-system.limits%3A%20type%3Db").await, all[1..]);

    let (_, reset) = inside.post("/counters/reset", json!({"descriptors": both})).await;
    assert_eq!(reset, json!({"reset": 1}));
    assert_eq!(inside.counters("").await, all[1..]);
    let (_, reset) = inside.post("/counters/reset", json!({"prefix": "gloo-system"})).await;
    assert_eq!((reset, inside.counters("").await), (json!({"reset": 1}), vec![]));
}

#[tokio::test]
async fn counters_are_reset_from_this_machine_only_and_not_by_web_pages() {
    let inside = Inside::in_memory(index_of(TRIO));
    let b = ["gloo-system.limits: type=b"];
    let reset = || post("/counters/reset", json!({"descriptors": b}).to_string());
    for admin in ["0.0.0.0:8080", "10.0.0.1:8080", "[::]:8080"] {
        inside.send(&ask(&b)).await;
        let (status, why) = inside.call(admin, reset()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{admin}: {why}");
        let (_, counters) = inside.call(admin, HttpRequest::get("/counters").body(Body::empty()).unwrap()).await;
        assert_eq!(counters["counters"], json!([]), "what clients send is not listed to others");
        let (status, _) = inside.call(admin, post("/explain", json!({"descriptors": b}).to_string())).await;
        assert_eq!(status, StatusCode::OK, "asking is harmless");
    }
    let mut by_page = reset();
    by_page.headers_mut().insert(header::ORIGIN, "https://example.com".parse().unwrap());
    assert_eq!(inside.call("127.0.0.1:1", by_page).await.0, StatusCode::FORBIDDEN);
    let mut form = reset();
    form.headers_mut().insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
    assert_eq!(inside.call("127.0.0.1:1", form).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(inside.send(&ask(&b)).await, Answer::Over, "nothing was reset");
    for admin in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/run/admin.sock"] {
        assert_eq!(inside.call(admin, reset()).await.0, StatusCode::OK, "{admin}");
    }
    assert_eq!(inside.send(&ask(&b)).await, Answer::Ok);
}

#[tokio::test]
async fn questions_that_cannot_be_read_say_what_to_write() {
    let inside = Inside::in_memory(index_of(TRIO));
    let cases = [
        ("/explain", json!({"descriptors": ["type=a"]}), "write for example"),
        ("/explain", json!({"descriptors": []}), "descriptor list must not be empty"),
        (
            "/explain",
            json!({"descriptors": vec!["a.b: c=1"; ratelimit::rules::bounds::MOST_DESCRIPTORS + 1]}),
            "at most",
        ),
        ("/explain", json!({"descriptor": []}), "unknown field"),
        ("/counters/reset", json!({}), "write either"),
        ("/counters/reset", json!({"prefix": "a", "descriptors": ["a.b: c=1"]}), "write either"),
    ];
    for (path, body, wanted) in cases {
        let (status, why) = inside.post(path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(why["error"].as_str().unwrap().contains(wanted), "{why}");
    }
    let large = inside.call("127.0.0.1:1", post("/explain", " ".repeat(65 * 1024))).await;
    assert_eq!(large.0, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = inside.call("127.0.0.1:1", HttpRequest::get("/counters?x=1").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_searched_for_what_other_servers_counted() {
    let dir = tempfile::tempdir().unwrap();
    let _server = crate::redis::Server::start(dir.path());
    let shutdown = Shutdown::new();
    let open = || {
        let url: RedisUrl = format!("unix:{}", dir.path().join("redis.sock").display()).parse().unwrap();
        let settings = RedisSettings { budget: std::time::Duration::from_secs(2), ..RedisSettings::new(url) };
        let (redis, driver) = Redis::new(settings).unwrap();
        tokio::spawn(driver.run(shutdown.clone(), || ()));
        redis
    };
    let (here, there) = (open(), open());
    crate::redis::until("both connected", || here.is_up() && there.is_up()).await;
    let [here, there] = [here, there].map(|redis| {
        Inside::new(index_of(TRIO), Store::Redis(Box::new(Resilient::new(redis, OnStoreFailure::Error, 10))))
    });
    assert_eq!((here.counters("").await, there.counters("").await), (vec![], vec![]));

    here.send(&ask(&["gloo-system.limits: type=a"])).await;
    there.send(&ask(&["gloo-system.limits: type=b"])).await;
    let named = |value: &str| (format!("gloo-system.limits: type={value}"), 1);
    let unnamed = ("gloo-system.limits".to_owned(), 1);
    assert_eq!(here.counters("").await, [named("a"), unnamed.clone()]);
    assert_eq!(there.counters("gloo-system.limits").await, [named("b"), unnamed]);
    assert_eq!(here.counters("gloo-system.other").await, []);
    assert_eq!(here.counters("gloo-*").await, [], "a prefix is no pattern");

    assert_eq!(here.post("/counters/reset", json!({"prefix": "gloo-system.limits"})).await.1, json!({"reset": 2}));
    assert_eq!((here.counters("").await, there.counters("").await), (vec![], vec![]));
    assert_eq!(there.send(&ask(&["gloo-system.limits: type=b"])).await, Answer::Ok);

    // More than are listed at once are reset all the same, whoever counted them.
    for n in 0..50 {
        let some: Vec<String> = (0..50).map(|m| format!("gloo-system.limits: type=x{n}-{m}")).collect();
        there.send(&ask(&some.iter().map(String::as_str).collect::<Vec<_>>())).await;
    }
    assert_eq!(here.post("/counters/reset", json!({"prefix": "gloo-system.lim"})).await.1, json!({"reset": 2501}));
    assert_eq!(here.counters("").await, []);
    shutdown.begin();
}

#[tokio::test]
async fn a_simulation_counts_what_passes_in_each_window() {
    let rules = of_raw(json!({"descriptors": [{"key": "a", "rateLimit": {"requestsPerUnit": 100, "unit": "MINUTE"}}]}));
    let index = || Configs::new(scope()).update(&rules).index;
    let simulated = |rate: &str, span: &str| {
        let (rate, span) = (rate.parse().unwrap(), span.parse().unwrap());
        async move { simulate(index(), &ask(&["ns.limits: a=1"]), rate, span).await }
    };
    let outcome = simulated("2/s", "90s").await.unwrap();
    let tally = |from, to, sent, passed| Tally { from, to, sent, passed, over: sent - passed, failed: 0 };
    assert_eq!(outcome.windows, [tally(0, 60, 120, 100), tally(60, 90, 60, 60)]);
    assert_eq!(outcome.total, tally(0, 90, 180, 160));
    // More windows than anybody reads become fewer rows, of whole windows.
    let long = simulated("1/m", "1d").await.unwrap();
    assert_eq!((long.windows.len(), long.windows[0].to, long.total.passed), (480, 180, 1440));
    assert!(simulated("100000000/s", "1m").await.is_err_and(|why| why.contains("too long")));
}
