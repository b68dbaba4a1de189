//! What is written for each choice of an operator and for each thing that a rule may say, page by page in `testdata`:
//! `UPDATE_GOLDEN=1` writes the pages anew, and then the difference is to be read.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ir::tokens::{Issuer, KeyServer, Keys};
use ir::{
    Abort, Access, AccessLog, Action, Auth, Backend, Cors, Delay, Descriptor, Destination, Disowned, Entry, Faults,
    Forward, Front, GrpcTarget, HeaderChanges, HeaderPut, KeyMatch, LimitSettings, Match, Mirror, Name, Origin,
    PathMatch, PathRewrite, Pauses, Policy, PortRef, Redirect, Refusal, Retries, RetryOn, Route, Settings, Stage,
    Strangers, Tokens, UpstreamTls, ValueMatch,
};
use proto::schema::pack_json;
use serde_json::{Value, json};

use crate::filters::{self, Guards};
use crate::listener::{self, Frame, Way};
use crate::{Admin, AdsServer, BootstrapSettings, bootstrap, routes};

fn page(name: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(format!("{name}.json"));
    let text = format!("{value:#}\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{}: UPDATE_GOLDEN=1 writes it anew", path.display());
}

fn tls(name: &str, client: bool) -> UpstreamTls {
    let client = client.then(|| ("/tls.crt".to_owned(), "/tls.key".to_owned()));
    UpstreamTls { server_name: name.to_owned(), ca: "/ca.crt".to_owned(), client }
}

/// Settings that have everything.
fn rich() -> Settings {
    let (host, port) = ("extauth.test".to_owned(), 8083);
    Settings {
        extauth: Some(GrpcTarget::Tls { host: host.clone(), port, tls: tls(&host, true) }),
        ratelimit: Some(GrpcTarget::Tcp { host: "10.9.0.1".to_owned(), port: 8081 }),
        limits: LimitSettings {
            timeout: Duration::from_millis(1_250),
            deny_on_fail: true,
            before_auth: true,
            headers: true,
        },
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        access_log: Some(AccessLog::Json),
        clusters_on_demand: true,
        ..Settings::default()
    }
}

#[test]
fn what_is_written_for_the_choices_of_an_operator() {
    let mutual = GrpcTarget::Mutual { host: "ext".to_owned(), port: 1, server_name: "ext.test".to_owned() };
    let unix = GrpcTarget::Unix("/run/limits.sock".to_owned());
    let some = Settings {
        extauth: Some(mutual),
        ratelimit: Some(unix),
        access_log: Some(AccessLog::Text),
        ..Settings::default()
    };
    let others = BTreeMap::from([(
        IpAddr::V6(Ipv6Addr::LOCALHOST),
        BTreeMap::from([
            (1, Way::Sniffed),
            (2, Way::Unread),
            (3, Way::Guarded(ir::access::Decision { deny: vec![], allow: Some(vec![]) }.into())),
        ]),
    )]);
    for (name, settings, address, others) in [
        ("settings-none", Settings::default(), "127.0.0.1:15088", BTreeMap::new()),
        ("settings-some", some, "[::1]:15088", others),
        ("settings-all", rich(), "[::]:15088", BTreeMap::new()),
    ] {
        let frame = Frame::new(Front::Proxy, address.parse().unwrap(), &others).unwrap();
        let clusters: BTreeMap<&str, Value> = filters::clusters(&settings).into_iter().collect();
        let sniffed = listener::sniffed(&settings);
        let all = json!({"clusters": clusters, "listener": listener::listener(&frame, &settings), "sniffed": sniffed});
        page(name, &all);
    }
}

#[test]
fn what_an_envoy_is_started_with() {
    let on_sockets = BootstrapSettings {
        admin: Admin::Unix("/run/admin.sock".to_owned()),
        ads: AdsServer::Unix("/run/xds.sock".to_owned()),
        memory: None,
    };
    let host = "waypoint.test".to_owned();
    let over_tcp = BootstrapSettings {
        admin: Admin::Tcp(SocketAddr::from(([127, 0, 0, 1], 15_000))),
        ads: AdsServer::Tls { host: host.clone(), port: 9977, tls: tls(&host, true) },
        memory: Some(512 << 20),
    };
    for (name, settings) in [("bootstrap-on-sockets", on_sockets), ("bootstrap-over-tcp", over_tcp)] {
        page(name, &bootstrap(&Name::new("shop", "gateway"), &settings));
    }
}

fn to(name: &str) -> Destination {
    Destination::Service(port(name))
}

fn port(name: &str) -> PortRef {
    PortRef { service: Name::new("shop", name), port: 80 }
}

fn changes(of: &str) -> HeaderChanges {
    let put = |name: String, format: &str, append| HeaderPut { name, format: format.to_owned(), append };
    HeaderChanges {
        remove: vec![format!("not-{of}"), format!("nor-{of}")],
        put: vec![put(format!("set-{of}"), "", false), put(format!("add-{of}"), "1", true)],
    }
}

fn backend(target: Option<&str>, weight: u32) -> Backend {
    Backend::new(target.map(to), weight)
}

fn forward(backends: Vec<Backend>) -> Forward {
    Forward { timeout: Duration::from_secs(15), ..Forward::to(backends) }
}

fn route(name: &str, matches: Match, action: Action, policy: Policy) -> Route {
    Route { name: name.to_owned(), matches, action, policy, origins: Default::default() }
}

/// A policy that has everything.
fn policy() -> Policy {
    let key = |name: &str| Entry::Header { name: name.to_owned(), key: "k".to_owned(), optional: name == "b" };
    let parameter = |name: &str| Entry::Parameter { name: name.to_owned(), key: "k".to_owned(), optional: name == "b" };
    let limit = |stage, entries| Descriptor { stage, entries, limit_from: None };
    let disowned = |name: &str, spelling_stays| Disowned { name: name.to_owned(), spelling_stays };
    Policy {
        request: changes("request"),
        response: changes("response"),
        disowned: BTreeSet::from([disowned("x-user-id", true), disowned("x-organization", false)]),
        auth: Some(Auth { config: Name::new("shop", "keys"), user_header: "x-user-id".to_owned(), reads: None }),
        limits: vec![
            limit(Stage::Early, vec![Entry::Constant("first".to_owned()), Entry::RemoteAddress]),
            limit(
                Stage::Regular,
                vec![
                    Entry::Named { key: "k".to_owned(), value: "v".to_owned() },
                    Entry::SourceCluster,
                    Entry::DestinationCluster,
                    Entry::RemoteNetwork { v4: Some(24), v6: None },
                    Entry::RemoteNetwork { v4: None, v6: Some(48) },
                    key("a"),
                    key("b"),
                    parameter("a"),
                    parameter("b"),
                ],
            ),
        ],
        cors: Some(Cors {
            origins: vec![Origin::Exact("https://a.test".to_owned()), Origin::Regex("https://.*".to_owned())],
            methods: vec!["GET".to_owned(), "PUT".to_owned()],
            headers: vec!["a".to_owned(), "b".to_owned()],
            exposed: vec!["c".to_owned(), "d".to_owned()],
            max_age: Some(60),
            credentials: true,
            strangers: Strangers::Answered,
        }),
        faults: Some(Faults {
            abort: Some(Abort { millionths: 1, status: 503 }),
            delay: Some(Delay { millionths: 2, time: Duration::from_millis(10) }),
        }),
    }
}

#[test]
fn what_is_written_for_what_rules_say() {
    let key = |name: &str, value| KeyMatch { name: name.to_owned(), value };
    let exact = |value: &str| ValueMatch::Exact(value.to_owned());
    let regex = |value: &str| ValueMatch::Regex(value.to_owned());
    let narrow = Match {
        path: PathMatch::Prefix("/a b".to_owned()),
        method: Some("PUT".to_owned()),
        headers: vec![
            key("host", exact("a.test")),
            key("Host", regex("^b.*$")),
            key("x", exact("1")),
            key("x-forwarded-for", regex("2")),
        ],
        query: vec![key("p", exact("a b")), key("q", exact("plain")), key("r", regex("x+"))],
        hosts: vec!["*.a.test".to_owned(), "b.test".to_owned()],
        no_host: true,
        target: Some(ir::RequestTarget { is: "/a.*".to_owned(), is_not: Some("/b.*".to_owned()) }),
        grpc: true,
    };
    let path = |path| Match { path, ..Match::everything() };
    let mut shared = backend(Some("a"), 3);
    (shared.request, shared.response) = (changes("shared"), changes("answered"));
    let all = Forward {
        timeout: Duration::ZERO,
        streams: true,
        try_timeout: Some(Duration::from_millis(500)),
        retries: Some(Retries {
            on: RetryOn::NoAnswer,
            times: 3,
            statuses: vec![502, 503],
            pauses: Some(Pauses { first: Duration::from_millis(25), longest: Some(Duration::from_millis(250)) }),
        }),
        host: Some("inside.test".to_owned()),
        path: Some(PathRewrite::Prefix("/new".to_owned())),
        mirrors: vec![
            Mirror { target: to("copies"), millionths: 999_999 },
            Mirror { target: to("all"), millionths: 1_000_000 },
        ],
        ..forward(vec![shared, backend(Some("b"), 1), backend(None, 2)])
    };
    let named = Retries {
        on: RetryOn::Named(vec!["5xx".to_owned(), "reset".to_owned()]),
        times: 1,
        statuses: vec![],
        pauses: Some(Pauses { first: Duration::from_millis(25), longest: None }),
    };
    let retried = Forward { retries: Some(named), ..forward(vec![backend(Some("a"), 1)]) };
    let no_answer = Retries { on: RetryOn::NoAnswer, times: 1, statuses: vec![], pauses: None };
    let no_answer = Forward { retries: Some(no_answer), ..forward(vec![backend(Some("a"), 1)]) };
    let redirect = |scheme: Option<&str>, status, path| {
        Action::Redirect(Redirect {
            scheme: scheme.map(str::to_owned),
            host: scheme.map(|_| "else.test".to_owned()),
            port: scheme.is_none().then_some(8080),
            path,
            status,
        })
    };
    let refuse = Action::Refuse(Refusal { status: 403, why: "nobody may".to_owned() });
    let rewriting =
        |to: PathRewrite| Action::Forward(Forward { path: Some(to), ..forward(vec![backend(Some("a"), 1)]) });
    let prefix = |path: &str| PathRewrite::Prefix(path.to_owned());
    let below = |of: &str| path(PathMatch::Prefix(of.to_owned()));
    let none = Policy::default;
    let written = [
        route("with everything", narrow, Action::Forward(all), policy()),
        route("retried", path(PathMatch::Exact("/a".to_owned())), Action::Forward(retried), none()),
        route("spelt in several ways", path(PathMatch::Exact("/ü".to_owned())), Action::Forward(no_answer), none()),
        route("sent away", path(PathMatch::Regex("/b.*".to_owned())), redirect(Some("https"), 301, None), policy()),
        route("elsewhere", below("/c"), redirect(None, 308, Some(PathRewrite::Full("/d".to_owned()))), none()),
        route("below", below("/c"), redirect(Some("http"), 303, Some(prefix("/d"))), none()),
        route("for a while", below("/c"), redirect(Some("http"), 307, None), none()),
        route("found", below("/c"), redirect(Some("http"), 302, None), none()),
        route("refused", below("/e"), refuse, policy()),
        route("to the top", below("/f/"), rewriting(prefix("/")), none()),
        route("from the top", below("/"), rewriting(prefix("/g/")), none()),
        route("spelt, and rewritten", below("/ü"), rewriting(prefix("/h\\1/")), none()),
        route("one path", path(PathMatch::Exact("/i".to_owned())), rewriting(prefix("/j\\1")), none()),
        route("another", below("/k"), rewriting(PathRewrite::Full("/l\\1".to_owned())), none()),
    ];
    let (tokens, access) = Default::default();
    let guards = Guards { tokens: &tokens, access: &access };
    for (name, settings) in [("routes", Settings::default()), ("routes-told-on-demand", rich())] {
        let table = routes::table(&port("cart"), &written, guards, &settings);
        page(name, &table);
        pack_json("envoy.config.route.v3.RouteConfiguration", table).unwrap();
    }
    let last =
        routes::table(&port("cart"), &[route("all", Match::everything(), refuse_all(), none())], guards, &rich());
    assert_eq!(last["virtual_hosts"][0]["routes"].as_array().unwrap().len(), 1, "nothing is left for a 404");
}

/// Issuers with everything and with nothing, by each way to their keys.
#[test]
fn what_is_written_for_issuers_of_tokens() {
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let pairs = |all: &[(&str, &str)]| all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
    let asked = |server| Keys::Asked {
        url: "https://issuer.test/keys".to_owned(),
        server,
        timeout: Duration::from_millis(2_500),
    };
    let host = KeyServer::Host { host: "issuer.test".to_owned(), port: 443, tls: true };
    let rich = Issuer {
        audiences: texts(&["a", "b"]),
        headers: pairs(&[("x-token", ""), ("authorization", "Token ")]),
        parameters: texts(&["t", "u"]),
        cookies: texts(&["c", "d"]),
        passed_on: true,
        payload: Some("x-payload".to_owned()),
        claims: pairs(&[("x-sub", "sub"), ("x-groups", "groups")]),
        of_words: BTreeSet::from(["roles".to_owned(), "teams".to_owned()]),
        ..Issuer::new("rich", asked(host))
    };
    let of_mesh = Issuer::new("of the mesh", asked(KeyServer::Service(to("keys"))));
    let written = Issuer::new("written", Keys::Written("{\"keys\": []}".to_owned()));
    let (one, several) = (Tokens { issuers: vec![written.clone()] }, Tokens { issuers: vec![of_mesh, rich, written] });
    let access = Access::default();
    for (name, tokens) in [("tokens-of-one", &one), ("tokens-of-several", &several)] {
        let table = filters::per_table(Guards { tokens, access: &access });
        let written = json!({"name": "t", "typed_per_filter_config": table});
        page(name, &written);
        pack_json("envoy.config.route.v3.RouteConfiguration", written).unwrap();
    }
    assert!(filters::per_table(Guards { tokens: &Tokens::default(), access: &access }).is_empty());
}

fn refuse_all() -> Action {
    Action::Refuse(Refusal { status: 403, why: "x".repeat(1_001) })
}
