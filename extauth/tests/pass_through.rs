//! Asking another server: a real one over gRPC and one over HTTP, on loopback, which say what a test tells them to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use extauth::methods::Pem;
use extauth::report::report;
use extauth::{Authority, Compilation, Compiler, Settings};
use metrics_exporter_prometheus::PrometheusBuilder;
use proto::envoy::config::core::v3::{HeaderMap, HeaderValue, HeaderValueOption, Metadata, QueryParameter};
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::protobuf::{BoolValue, Struct, Value, value::Kind};
use proto::google::rpc::Status;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use crate::support::{authority, check, compile, compiler, snapshot};

/// As long as Envoy waits.
const PATIENCE: Duration = Duration::from_millis(175);

/// Where a test is not about time.
const LONG: Duration = Duration::from_secs(10);

type Says = Arc<dyn Fn(&pb::CheckRequest) -> Result<pb::CheckResponse, tonic::Status> + Send + Sync>;

/// Another server over gRPC.
#[derive(Clone)]
struct Grpc {
    says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<Vec<pb::CheckRequest>>>,
    /// Answers come this late.
    late: Arc<Mutex<Duration>>,
}

#[tonic::async_trait]
impl Authorization for Grpc {
    async fn check(
        &self,
        request: tonic::Request<pb::CheckRequest>,
    ) -> Result<tonic::Response<pb::CheckResponse>, tonic::Status> {
        let request = request.into_inner();
        let (says, late) = (self.says.lock().unwrap().clone(), *self.late.lock().unwrap());
        let answer = says(&request);
        self.asked.lock().unwrap().push(request);
        tokio::time::sleep(late).await;
        answer.map(tonic::Response::new)
    }
}

impl Grpc {
    async fn start() -> (Grpc, SocketAddr) {
        let grpc =
            Grpc { says: Arc::new(Mutex::new(Arc::new(|_| Ok(yes())))), asked: Arc::default(), late: Arc::default() };
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap();
        let service = AuthorizationServer::new(grpc.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        (grpc, address)
    }

    fn says(&self, answer: pb::CheckResponse) {
        *self.says.lock().unwrap() = Arc::new(move |_| Ok(answer.clone()));
    }

    fn fails(&self, code: tonic::Code) {
        *self.says.lock().unwrap() = Arc::new(move |_| Err(tonic::Status::new(code, "told to")));
    }

    fn asked(&self) -> pb::CheckRequest {
        self.asked.lock().unwrap().last().cloned().expect("it was asked")
    }

    /// The headers that it was shown last.
    fn shown(&self) -> BTreeMap<String, String> {
        let http = self.asked().attributes.unwrap().request.unwrap().http.unwrap();
        http.headers.into_iter().collect()
    }

    /// What earlier steps told it.
    fn told(&self) -> serde_json::Value {
        let mut metadata = self.asked().attributes.unwrap().metadata_context.unwrap().filter_metadata;
        json_of(&metadata.remove("solo.auth.passthrough").expect("it is there, if empty"))
    }
}

fn json_of(facts: &Struct) -> serde_json::Value {
    extauth::state::object(facts).unwrap().into()
}

fn struct_of(facts: serde_json::Value) -> Struct {
    extauth::state::struct_of(facts.as_object().unwrap())
}

/// An answer over HTTP, as bytes, to a request's head and body.
pub type Speaks = Arc<dyn Fn(&str, &[u8]) -> String + Send + Sync>;

/// Another server over HTTP/1.
#[derive(Clone)]
pub struct Http {
    pub speaks: Arc<Mutex<Speaks>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Http {
    pub async fn start() -> (Http, SocketAddr) {
        Self::accepting(None).await
    }

    /// One that speaks over TLS, as `localhost`, with its certificate.
    pub async fn start_with_tls() -> (Http, SocketAddr, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let (http, address) = Self::accepting(Some(TlsAcceptor::from(Arc::new(config)))).await;
        (http, address, made.cert.pem())
    }

    async fn accepting(tls: Option<TlsAcceptor>) -> (Http, SocketAddr) {
        let http = Http { speaks: Arc::new(Mutex::new(Arc::new(|_, _| ok("", "")))), asked: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = http.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (http, tls) = (accepting.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => http.serve(stream).await,
                        Some(tls) => http.serve(tls.accept(stream).await?).await,
                    }
                });
            }
        });
        (http, address)
    }

    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut read = Vec::new();
        loop {
            while !read.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                read.push(stream.read_u8().await?);
            }
            let head = String::from_utf8(std::mem::take(&mut read)).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).await?;
            let answer = self.speaks.lock().unwrap()(&head, &body);
            self.asked.lock().unwrap().push((head, String::from_utf8(body).unwrap()));
            stream.write_all(answer.as_bytes()).await?;
        }
    }

    pub fn says(&self, answer: String) {
        *self.speaks.lock().unwrap() = Arc::new(move |_, _| answer.clone());
    }

    /// The lines of the head that it was asked with last, and the body.
    pub fn asked(&self) -> (Vec<String>, String) {
        let (head, body) = self.asked.lock().unwrap().last().cloned().expect("it was asked");
        (head.trim_end().lines().map(str::to_owned).collect(), body)
    }

    pub fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

pub fn answers(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

pub fn ok(headers: &str, body: &str) -> String {
    answers(200, headers, body)
}

fn yes() -> pb::CheckResponse {
    pb::CheckResponse { status: Some(Status::default()), ..Default::default() }
}

fn yes_with(ok: pb::OkHttpResponse) -> pb::CheckResponse {
    pb::CheckResponse { http_response: Some(HttpResponse::OkResponse(ok)), ..yes() }
}

fn no(code: i32, denied: Option<pb::DeniedHttpResponse>) -> pb::CheckResponse {
    let http_response = denied.map(HttpResponse::DeniedResponse);
    pb::CheckResponse { status: Some(Status { code, ..Default::default() }), http_response, ..Default::default() }
}

#[allow(deprecated)]
fn header(key: &str, value: &str, append: Option<bool>) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: key.into(), value: value.into(), raw_value: Vec::new() }),
        append: append.map(|value| BoolValue { value }),
        ..Default::default()
    }
}

/// An AuthConfig `default/ask` of these steps.
fn config(steps: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Secret, type: extauth.solo.io/apikey, metadata: {{name: ann, labels: {{team: a}}}}, stringData: {{api-key: good, org: acme}}}}
---
{{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {{name: ask}}, spec: {{configs: [{steps}]{rest}}}}}
"
    )
}

const KEY: &str = "{name: key, apiKeyAuth: {labelSelector: {team: a}, headersFromMetadataEntry: {X-Org: {name: org}}}}";

fn grpc(address: SocketAddr, rest: &str) -> String {
    format!(
        "{{name: other, passThroughAuth: {{grpc: {{address: '{address}', allowedUpstreamHeaders: [X-Team]}}{rest}}}}}"
    )
}

fn http(address: SocketAddr, options: &str, rest: &str) -> String {
    format!("{{name: web, passThroughAuth: {{http: {{url: 'http://{address}/check?by=waypoint'{options}}}{rest}}}}}")
}

/// What became of a question, as a test compares it.
#[derive(Debug)]
pub struct Answer {
    pub status: i32,
    pub set: BTreeMap<String, String>,
    pub removed: Vec<String>,
    /// To the client, in order.
    pub told: Vec<(String, String)>,
    pub body: String,
    pub metadata: serde_json::Value,
}

#[allow(deprecated)]
fn pairs(options: &[HeaderValueOption]) -> Vec<(String, String)> {
    let pair = |option: &HeaderValueOption| option.header.clone().map(|header| (header.key, header.value)).unwrap();
    options.iter().map(pair).collect()
}

pub async fn ask_as(authority: &Authority, check: pb::CheckRequest) -> Answer {
    ask_within(LONG, authority, check).await
}

#[allow(deprecated)]
async fn ask_within(patience: Duration, authority: &Authority, check: pb::CheckRequest) -> Answer {
    let response = authority.answer(&check, Instant::now() + patience).await;
    let metadata = response.dynamic_metadata.as_ref().map(json_of).unwrap_or_default();
    let removed =
        |ok: &pb::OkHttpResponse| ok.headers_to_remove.iter().filter(|name| !name.contains('_')).cloned().collect();
    match response.http_response.unwrap() {
        HttpResponse::OkResponse(ok) => {
            // Nothing is added to what the client says.
            let added = ok.headers.iter().find(|header| header.append != Some(BoolValue { value: false }));
            assert_eq!(added, None);
            Answer {
                status: 200,
                set: pairs(&ok.headers).into_iter().collect(),
                removed: removed(&ok),
                told: pairs(&ok.response_headers_to_add),
                body: String::new(),
                metadata,
            }
        }
        HttpResponse::DeniedResponse(denied) => Answer {
            status: denied.status.unwrap().code,
            set: BTreeMap::new(),
            removed: Vec::new(),
            told: pairs(&denied.headers),
            body: denied.body,
            metadata,
        },
        other => panic!("{other:?}"),
    }
}

async fn ask(authority: &Authority, headers: &[(&str, &str)]) -> Answer {
    ask_as(authority, check(Some("default.ask"), headers)).await
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_server_is_shown_the_request_as_earlier_steps_leave_it_and_what_they_know() {
    let (server, address) = Grpc::start().await;
    let (web, web_address) = Http::start().await;
    let steps = [
        KEY.to_owned(),
        grpc(address, ", config: {realm: {name: town, floors: [1, 2]}}"),
        http(web_address, ", request: {allowedHeaders: [x-team, x-org, x-user-id], passThroughState: true}", ""),
    ];
    let authority = authority(&config(&steps.join(", "), ""));
    let metadata = struct_of(json!({"level": 3, "solo": {"a": "b"}}));
    server.says(pb::CheckResponse {
        dynamic_metadata: Some(metadata),
        ..yes_with(pb::OkHttpResponse {
            headers: vec![header("X-Team", "blue", None), header("x-team", "green", Some(true))],
            headers_to_remove: vec!["Authorization".into(), ":path".into(), "Host".into()],
            response_headers_to_add: vec![
                header("Set-Cookie", "a=1", None),
                header("set-cookie", "b=2", None),
                header("x-by", "1", None),
                header("X-By", "2", None),
            ],
            #[allow(deprecated)]
            dynamic_metadata: Some(struct_of(
                json!({"limits": {"unit": "DAY"}, "solo.auth.passthrough": {"jwt": {"sub": "me"}}}),
            )),
            ..Default::default()
        })
    });
    let mut asks = check(
        Some("default.ask"),
        &[
            (":path", "/a"),
            ("api-key", "good"),
            ("x-org", "evil"),
            ("x_org", "evil"),
            ("x-user-id", "root"),
            ("x-team", "mine"),
            ("authorization", "Bearer t"),
        ],
    );
    let attributes = asks.attributes.as_mut().unwrap();
    let said_by_envoy = struct_of(json!({"sub": "someone"}));
    attributes.metadata_context = Some(Metadata {
        filter_metadata: [("envoy.filters.http.jwt_authn".to_owned(), said_by_envoy)].into(),
        ..Default::default()
    });
    let answer = ask_as(&authority, asks).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.set, map(&[("x-user-id", "ann"), ("x-org", "acme"), ("x-team", "blue,green")]));
    assert_eq!(answer.removed, ["authorization"]);
    let told = [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-by", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(answer.told, told);
    assert_eq!(answer.metadata, json!({"userId": "ann", "other": {"limits": {"unit": "DAY"}}}));

    let shown = [
        (":path", "/a"),
        ("api-key", "good"),
        ("authorization", "Bearer t"),
        ("x-org", "acme"),
        ("x-team", "mine"),
        ("x-user-id", "ann"),
    ];
    assert_eq!(server.shown(), map(&shown));
    assert_eq!(server.told(), json!({"api_key_value": "good", "x-org": "acme"}));
    let attributes = server.asked().attributes.unwrap();
    assert_eq!(attributes.context_extensions["config_id"], "default.ask");
    let mut metadata = attributes.metadata_context.unwrap().filter_metadata;
    let own = json_of(&metadata.remove("solo.auth.passthrough.config").unwrap());
    assert_eq!(own, json!({"realm": {"name": "town", "floors": [1, 2]}}));
    assert_eq!(json_of(&metadata["envoy.filters.http.jwt_authn"]), json!({"sub": "someone"}));

    // The last step knows what both have told, and sees what they have set.
    let (head, body) = web.asked();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({"state": {"api_key_value": "good", "x-org": "acme", "jwt": {"sub": "me"}}}));
    for line in [
        "POST /check?by=waypoint HTTP/1.1",
        "x-team: blue,green",
        "x-org: acme",
        "x-user-id: ann",
        "content-type: application/json",
    ] {
        assert!(head.iter().any(|known| known == line), "{line}: {head:?}");
    }
    assert!(!head.iter().any(|line| line.starts_with("api-key") || line.starts_with("authorization")), "{head:?}");
}

/// Where headers come as a list, as an Envoy sends them that is told to.
#[tokio::test]
async fn raw_headers_are_shown_as_earlier_steps_leave_them_too() {
    let (server, address) = Grpc::start().await;
    let authority = authority(&config(&[KEY.to_owned(), grpc(address, "")].join(", "), ""));
    let mut asks = check(Some("default.ask"), &[]);
    let raw = |key: &str, value: &[u8]| HeaderValue { key: key.into(), raw_value: value.into(), ..Default::default() };
    let headers = vec![
        raw("api-key", b"good"),
        raw("x-org", b"evil"),
        raw("x_org", b"evil"),
        raw("x-user-id", b"root"),
        raw("x-b", b"\xff"),
    ];
    asks.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap().header_map =
        Some(HeaderMap { headers });
    assert_eq!(ask_as(&authority, asks).await.status, 200);
    let shown = server.asked().attributes.unwrap().request.unwrap().http.unwrap().header_map.unwrap().headers;
    let shown: Vec<_> = shown.into_iter().map(|header| (header.key, header.raw_value)).collect();
    let expected = [("api-key", &b"good"[..]), ("x-b", b"\xff"), ("x-org", b"acme"), ("x-user-id", b"ann")];
    assert_eq!(shown, expected.map(|(name, value)| (name.to_owned(), value.to_vec())));
}

#[tokio::test]
async fn whatever_a_branch_does_not_say_no_client_says_to_upstream_or_to_the_server_that_is_asked() {
    let (server, address) = Grpc::start().await;
    let evil = [("x-org", "evil"), ("x.org", "evil"), ("x-user-id", "root"), ("x-team", "evil"), ("x_team", "evil")];
    let with_key: Vec<_> = evil.iter().copied().chain([("api-key", "good")]).collect();
    let either = config(&[KEY.to_owned(), grpc(address, "")].join(", "), ", booleanExpr: 'key || other'");
    let authority = authority(&either);

    let answer = ask(&authority, &with_key).await;
    assert_eq!((answer.status, answer.set), (200, map(&[("x-user-id", "ann"), ("x-org", "acme")])));
    assert!(answer.removed.iter().any(|name| name == "x-team"), "{:?}", answer.removed);
    assert!(server.asked.lock().unwrap().is_empty(), "the key was enough");

    let answer = ask(&authority, &evil).await;
    assert_eq!((answer.status, answer.set), (200, map(&[])));
    for name in ["x-org", "x.org", "x-user-id", "x-team"] {
        assert!(answer.removed.iter().any(|removed| removed == name), "{name}: {:?}", answer.removed);
    }
    // Its own header it may see, or it could not exchange what a client brings there.
    assert_eq!(server.shown(), map(&[("x-team", "evil"), ("x_team", "evil")]));
    assert_eq!(server.told(), json!({}));

    // Added to nothing that a client says; the user may be named by the server.
    let own = grpc(address, "").replace("[X-Team]", "[X-Team, X-User-Id]");
    let authority = crate::support::authority(&config(&own, ""));
    server.says(yes_with(pb::OkHttpResponse {
        headers: vec![header("x-team", "blue", Some(true)), header("x-user-id", "bob", Some(true))],
        ..Default::default()
    }));
    let answer = ask(&authority, &evil).await;
    assert_eq!(answer.set, map(&[("x-team", "blue"), ("x-user-id", "bob")]));
    assert_eq!(answer.metadata, json!({"userId": "bob"}));
}

#[tokio::test]
async fn an_answer_over_grpc_counts_if_all_of_it_is_understood_and_listed() {
    let (server, address) = Grpc::start().await;
    let closed = authority(&config(&grpc(address, ""), ""));
    let open = authority(&config(&grpc(address, ", failureModeAllow: true"), ""));
    let negated = authority(&config(&grpc(address, ""), ", booleanExpr: '!other'"));
    let ok = |ok: pb::OkHttpResponse| yes_with(ok);
    let sets = |key: &str, value: &str, append: Option<bool>| {
        yes_with(pb::OkHttpResponse { headers: vec![header(key, value, append)], ..Default::default() })
    };
    let big = "x".repeat(300 * 1024);
    let metadata = |facts: serde_json::Value| pb::CheckResponse { dynamic_metadata: Some(struct_of(facts)), ..yes() };
    let nan = Value { kind: Some(Kind::NumberValue(f64::NAN)) };
    // What each comes to: alone, where failures are let pass, and negated.
    for (what, answer, expected) in [
        ("yes", yes(), [200, 200, 403]),
        ("yes in so many words", ok(pb::OkHttpResponse::default()), [200, 200, 403]),
        ("a header that is listed", sets("x-TEAM", "a", None), [200, 200, 403]),
        ("a header that is not", sets("x-other", "a", None), [503, 503, 503]),
        ("the path", sets(":path", "/admin", None), [503, 503, 503]),
        ("the user", sets("x-user-id", "root", None), [503, 503, 503]),
        ("a line break", sets("x-team", "a\r\nx-user-id: root", None), [503, 503, 503]),
        ("too long a value", sets("x-team", &"a".repeat(9000), None), [503, 503, 503]),
        (
            "a query",
            ok(pb::OkHttpResponse { query_parameters_to_set: vec![QueryParameter::default()], ..Default::default() }),
            [503, 503, 503],
        ),
        (
            "less of a query",
            ok(pb::OkHttpResponse { query_parameters_to_remove: vec!["a".into()], ..Default::default() }),
            [503, 503, 503],
        ),
        (
            "what frames a response",
            ok(pb::OkHttpResponse {
                response_headers_to_add: vec![header("content-length", "1", None)],
                ..Default::default()
            }),
            [503, 503, 503],
        ),
        (
            "very many headers",
            ok(pb::OkHttpResponse { headers_to_remove: vec!["a".into(); 65], ..Default::default() }),
            [503, 503, 503],
        ),
        ("nothing at all", pb::CheckResponse::default(), [503, 503, 503]),
        (
            "yes and no",
            pb::CheckResponse { status: Some(Status::default()), ..no(7, Some(pb::DeniedHttpResponse::default())) },
            [503, 503, 503],
        ),
        ("more than is read", metadata(json!({"a": big})), [503, 503, 503]),
        (
            "more state than is kept",
            metadata(json!({"solo.auth.passthrough": {"a": "x".repeat(70_000)}})),
            [503, 503, 503],
        ),
        ("state that is none", metadata(json!({"solo.auth.passthrough": 1})), [503, 503, 503]),
        (
            "a number that is none",
            pb::CheckResponse { dynamic_metadata: Some(Struct { fields: [("a".to_owned(), nan)].into() }), ..yes() },
            [503, 503, 503],
        ),
        ("no", no(7, None), [403, 403, 200]),
        ("who are you", no(16, None), [403, 403, 200]),
        (
            "no, with what is for a yes",
            pb::CheckResponse {
                status: Some(Status { code: 7, ..Default::default() }),
                ..ok(pb::OkHttpResponse::default())
            },
            [403, 403, 200],
        ),
        (
            "a status of its own",
            no(7, Some(pb::DeniedHttpResponse { status: Some(HttpStatus { code: 429 }), ..Default::default() })),
            [429, 429, 200],
        ),
        (
            "a status that Envoy does not know",
            no(7, Some(pb::DeniedHttpResponse { status: Some(HttpStatus { code: 299 }), ..Default::default() })),
            [403, 403, 200],
        ),
        (
            "a status before the answer",
            no(7, Some(pb::DeniedHttpResponse { status: Some(HttpStatus { code: 100 }), ..Default::default() })),
            [403, 403, 200],
        ),
    ] {
        server.says(answer);
        let mut got = Vec::new();
        for authority in [&closed, &open, &negated] {
            got.push(ask(authority, &[]).await.status);
        }
        assert_eq!(got, expected, "{what}");
    }
    for (code, expected) in [
        (tonic::Code::PermissionDenied, [403, 403, 200]),
        (tonic::Code::Unauthenticated, [403, 403, 200]),
        (tonic::Code::Unavailable, [503, 200, 503]),
        (tonic::Code::Internal, [503, 200, 503]),
        (tonic::Code::Unknown, [503, 200, 503]),
        (tonic::Code::DeadlineExceeded, [503, 200, 503]),
        // What whoever sends the request may bring about.
        (tonic::Code::ResourceExhausted, [503, 503, 503]),
        (tonic::Code::OutOfRange, [503, 503, 503]),
        (tonic::Code::Unimplemented, [503, 503, 503]),
    ] {
        server.fails(code);
        let mut got = Vec::new();
        for authority in [&closed, &open, &negated] {
            got.push(ask(authority, &[]).await.status);
        }
        assert_eq!(got, expected, "{code:?}");
    }
}

#[tokio::test]
async fn a_denial_reaches_the_client_whole_and_a_redirect_only_if_it_may() {
    let (server, address) = Grpc::start().await;
    let authority = authority(&config(&grpc(address, ""), ""));
    let denied = |code: i32| pb::DeniedHttpResponse {
        status: Some(HttpStatus { code }),
        headers: vec![
            header("Location", "https://login.example/?a=b", None),
            header("set-cookie", "a=1; Secure", None),
            header("Set-Cookie", "b=2", Some(true)),
            header("x-why", "first", None),
            header("x-why", "second", None),
            header("x-more", "1", Some(true)),
            header("x-more", "2", Some(true)),
            header("content-length", "5", None),
            header("x-broken", "a\nb", None),
        ],
        body: "<p>Log in".into(),
    };
    server.says(no(16, Some(denied(302))));
    let answer = ask(&authority, &[]).await;
    let told = [
        ("location", "https://login.example/?a=b"),
        ("set-cookie", "a=1; Secure"),
        ("set-cookie", "b=2"),
        ("x-why", "first"),
        ("x-why", "second"),
        ("x-more", "1"),
        ("x-more", "2"),
    ];
    assert_eq!((answer.status, answer.body.as_str()), (302, "<p>Log in"));
    assert_eq!(answer.told, told.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!((answer.set, answer.metadata), (map(&[]), json!(null)));

    let refusing = crate::support::authority(&config(&grpc(address, ""), ", failOnRedirect: true"));
    let answer = ask(&refusing, &[]).await;
    assert_eq!((answer.status, answer.told, answer.body.as_str()), (401, vec![], ""));
    server.says(no(16, Some(denied(403))));
    assert_eq!(ask(&refusing, &[]).await.status, 403);
    // Whoever has no key may still log in.
    let either = [grpc(address, ""), KEY.to_owned()].join(", ");
    let either = crate::support::authority(&config(&either, ", booleanExpr: 'other || key'"));
    server.says(no(16, Some(denied(302))));
    assert_eq!(ask(&either, &[]).await.status, 302);
    assert_eq!(ask(&either, &[("api-key", "good")]).await.status, 200);
}

#[tokio::test]
async fn over_http_what_is_listed_is_shown_and_taken_and_nothing_else() {
    let (server, address) = Http::start().await;
    let options = ", request: {allowedHeaders: [Cookie, X-Mine, Content-Type], headersToAdd: {X-Mine: ours, x-secret: canary}},
        response: {allowedUpstreamHeaders: [x-roles], allowedUpstreamHeadersToOverwrite: [x-team, X-User-Id],
            allowedClientHeadersOnDenied: [Set-Cookie, location], allowedClientHeadersOnSuccess: [set-cookie, x-quota]}";
    let authority = authority(&config(&http(address, options, ""), ""));
    server.says(ok("x-roles: a\r\nX-Roles: b\r\nx-team: blue\r\nx-user-id: bob\r\nx-other: 1\r\nset-cookie: s=1\r\nset-cookie: t=2\r\nx-quota: 5\r\nx-quota: 6\r\n", "not read"));
    let sent = [
        ("cookie", "c=1"),
        ("x-mine", "theirs"),
        ("x-secret", "theirs"),
        ("authorization", "Bearer t"),
        ("x-roles", "admin"),
        ("x-user-id", "root"),
        ("content-type", "text/x"),
    ];
    let answer = ask(&authority, &sent).await;
    assert_eq!(answer.set, map(&[("x-roles", "a,b"), ("x-team", "blue"), ("x-user-id", "bob")]));
    assert_eq!(
        answer.told,
        [("set-cookie", "s=1"), ("set-cookie", "t=2"), ("x-quota", "5,6")].map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
    assert_eq!(answer.metadata, json!({"userId": "bob"}));
    let (mut head, body) = server.asked();
    head.sort();
    let mut expected = vec![
        "POST /check?by=waypoint HTTP/1.1".to_owned(),
        "content-length: 0".into(),
        "content-type: text/x".into(),
        "cookie: c=1".into(),
        format!("host: {address}"),
        "x-mine: ours".into(),
        "x-secret: canary".into(),
        "x-waykeeper-asks: for-a-manifest".into(),
    ];
    expected.sort();
    assert_eq!((head, body.as_str()), (expected, ""));

    // An answer without them: what the client says of them goes.
    server.says(ok("", ""));
    let answer = ask(&authority, &sent).await;
    assert_eq!(answer.set, map(&[]));
    for name in ["x-roles", "x-team", "x-user-id"] {
        assert!(answer.removed.iter().any(|removed| removed == name), "{name}");
    }
    server.says(ok("x-team:\r\n", ""));
    assert!(ask(&authority, &sent).await.removed.iter().any(|removed| removed == "x-team"));
    server.says(ok("x-team: \u{1}\r\n", ""));
    assert_ne!(ask(&authority, &sent).await.status, 200);

    for grpc in [
        "content-type: application/grpc\r\ngrpc-status: 12\r\n",
        "Content-Type: Application/gRPC+proto\r\n",
        "grpc-status: 0\r\n",
    ] {
        server.says(ok(grpc, ""));
        assert_eq!(ask(&authority, &sent).await.status, 503, "{grpc}");
    }
    for status in [201, 204, 301, 302, 400, 401, 403, 404, 407, 418, 429, 499] {
        server.says(answers(
            status,
            "set-cookie: s=1\r\nlocation: /login\r\nx-quota: 5\r\nx-team: blue\r\nset-cookie: t=2\r\n",
            if status == 204 { "" } else { "why" },
        ));
        let answer = ask(&authority, &sent).await;
        assert_eq!((answer.status, answer.body.as_str()), (401, ""), "{status}");
        assert_eq!(
            answer.told,
            [("set-cookie", "s=1"), ("set-cookie", "t=2"), ("location", "/login")]
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }
    assert!(!format!("{:?}", authority.index()).contains("canary"));
}

#[tokio::test]
async fn over_http_state_and_metadata_go_both_ways_in_the_body() {
    let (first, first_address) = Http::start().await;
    let (second, second_address) = Http::start().await;
    let steps = [
        KEY.to_owned(),
        http(first_address, ", response: {readStateFromResponse: true}", "").replace("web", "first"),
        http(
            second_address,
            ", request: {passThroughState: true, passThroughFilterMetadata: true, allowedHeaders: [content-type]}",
            ", config: {a: [1, b]}",
        ),
    ];
    let authority = authority(&config(&steps.join(", "), ""));
    let asks = || {
        let mut asks = check(Some("default.ask"), &[("api-key", "good"), ("content-type", "text/x")]);
        let said_by_envoy = struct_of(json!({"sub": "someone"}));
        asks.attributes.as_mut().unwrap().metadata_context = Some(Metadata {
            filter_metadata: [("envoy.filters.http.jwt_authn".to_owned(), said_by_envoy)].into(),
            ..Default::default()
        });
        asks
    };
    first.says(ok("", r#"{"state": {"x-org": "told", "deep": {"n": 1.5}}, "other": 1}"#));
    assert_eq!(ask_as(&authority, asks()).await.status, 200);
    let (head, body) = second.asked();
    assert!(head.contains(&"content-type: application/json".to_owned()), "{head:?}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let state = json!({"api_key_value": "good", "x-org": "told", "deep": {"n": 1.5}});
    assert_eq!(
        body,
        json!({"state": state, "filterMetadata": {"envoy.filters.http.jwt_authn": {"sub": "someone"}}, "config": {"a": [1, "b"]}})
    );
    for (body, status) in [
        ("{}", 200),
        (r#"{"state": null}"#, 200),
        ("", 503),
        ("[]", 503),
        ("state", 503),
        (r#"{"state": []}"#, 503),
        (r#"{"state": {}}{}"#, 503),
    ] {
        first.says(ok("", body));
        assert_eq!(ask_as(&authority, asks()).await.status, status, "{body}");
    }
    let deep = format!(r#"{{"state": {}1{}}}"#, r#"{"a":"#.repeat(200), "}".repeat(200));
    first.says(ok("", &deep));
    assert_eq!(ask_as(&authority, asks()).await.status, 503);
}

#[tokio::test]
async fn a_server_that_is_gone_or_slow_lets_nobody_pass_unless_its_owner_says_so() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (server, slow) = Grpc::start().await;
    *server.late.lock().unwrap() = Duration::from_secs(60);
    for (what, step) in [
        ("gone, gRPC", grpc(nobody, "")),
        ("gone, HTTP", http(nobody, "", "")),
        ("slow, gRPC", grpc(slow, "")),
        ("slow, HTTP", http(silent().await, "", "")),
        ("slow for its own patience", http(silent().await, ", responseHeaderTimeout: 0.06s", "")),
    ] {
        let name = if step.contains("name: web") { "web" } else { "other" };
        for (rest, status) in [("", 503), (&format!(", booleanExpr: '!{name}'"), 503)] {
            let authority = authority(&config(&step, rest));
            for _ in 0..8 {
                let began = Instant::now();
                assert_eq!(
                    ask_within(PATIENCE, &authority, check(Some("default.ask"), &[])).await.status,
                    status,
                    "{what} {rest}"
                );
                assert!(began.elapsed() < PATIENCE + Duration::from_secs(2), "{what}");
            }
        }
        let open = step.replacen("passThroughAuth: {", "passThroughAuth: {failureModeAllow: true, ", 1);
        let open = authority(&config(&open, ""));
        let mut quickest = LONG;
        for number in 0..12 {
            let began = Instant::now();
            let evil = check(Some("default.ask"), &[("x-user-id", "root"), ("x-team", "evil")]);
            let answer = ask_within(PATIENCE, &open, evil).await;
            assert_eq!((answer.status, answer.set), (200, map(&[])), "{what}");
            assert!(answer.removed.iter().any(|removed| removed == "x-user-id"), "{what}: nobody is anybody");
            if number >= 6 {
                quickest = quickest.min(began.elapsed());
            }
        }
        assert!(quickest < Duration::from_millis(100), "{what}: it is left alone by now, {quickest:?}");
    }
}

/// Takes connections and says nothing.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}

/// Or one whom an answer makes fail could have everybody let pass.
#[tokio::test]
async fn what_a_client_may_bring_about_opens_nothing() {
    let (server, address) = Http::start().await;
    let open = authority(&config(
        &http(address, ", response: {allowedUpstreamHeaders: [x-a]}", ", failureModeAllow: true"),
        "",
    ));
    for answer in [
        ok("", &"x".repeat(300 * 1024)),
        ok(&format!("x-a: {}\r\n", "y".repeat(40_000)), ""),
        "nonsense\r\n\r\n".to_owned(),
        ok("x-a: \u{1}\r\n", ""),
    ] {
        server.says(answer);
        for _ in 0..8 {
            assert_eq!(ask(&open, &[]).await.status, 503);
        }
        server.says(ok("", ""));
        assert_eq!(ask(&open, &[]).await.status, 200, "it is asked as before");
    }
    server.says(answers(500, "", ""));
    assert_eq!(ask(&open, &[]).await.status, 200);
    let closed = authority(&config(&http(address, "", ""), ", booleanExpr: '!web'"));
    assert_eq!(ask(&closed, &[]).await.status, 503, "a failure is no denial");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_is_asked_at_addresses_of_the_cloud() {
    let (server, address) = Http::start().await;
    let (other, other_address) = Http::start().await;
    server.says(answers(307, &format!("location: http://{other_address}/\r\n"), ""));
    let authority = authority(&config(&http(address, "", ""), ""));
    assert_eq!((ask(&authority, &[]).await.status, other.times()), (401, 0));
    for step in [
        "{passThroughAuth: {http: {url: 'http://169.254.169.254/latest/meta-data'}, failureModeAllow: true}}",
        "{passThroughAuth: {grpc: {address: '[fd00:ec2::254]:80'}, failureModeAllow: true}}",
    ] {
        let compiled = compile(&compiler(), &snapshot(1, &config(step, "")), Compilation::default());
        let said = format!("{:?}", report(&compiled.index));
        assert!(said.contains("nobody is asked there; every request is answered 503"), "{said}");
        let authority = Authority::new();
        authority.install(compiled.index);
        assert_eq!(ask(&authority, &[]).await.status, 503);
    }
}

/// Who may write an AuthConfig does not thereby operate the server: it alone reaches its admin port.
#[tokio::test]
async fn an_admin_port_of_ours_answers_nobody_who_makes_a_server_ask_it() {
    let telemetry = runtime::telemetry::Telemetry::detached().unwrap();
    let admin = runtime::Admin::new(runtime::Readiness::new(), telemetry);
    let added = axum::Router::new().route("/reset", axum::routing::post(|| async { "done" }));
    let listener = runtime::Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let runtime::Addr::Tcp(address) = listener.local_addr().unwrap() else { panic!("TCP") };
    tokio::spawn(admin.merge(added).serve(listener, runtime::Shutdown::new()));
    let authority = authority(&config(&http(address, "", "").replace("/check?by=waypoint", "/reset"), ""));
    assert_eq!(ask(&authority, &[]).await.status, 401, "it was refused");
    let mut operator = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("POST /reset HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    operator.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    operator.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn a_server_that_was_there_is_asked_again_as_often_as_is_written() {
    let (server, address) = Grpc::start().await;
    let left = Arc::new(Mutex::new(0));
    let fails = |times: usize| {
        *left.lock().unwrap() = times;
        let left = left.clone();
        *server.says.lock().unwrap() = Arc::new(move |_| {
            let mut left = left.lock().unwrap();
            if *left == 0 {
                return Ok(yes());
            }
            *left -= 1;
            Err(tonic::Status::unavailable("told to"))
        });
    };
    let policy = "allowedUpstreamHeaders: [X-Team], retryPolicy: {numRetries: 2, retryBackOff: {baseInterval: 0.01s}}";
    let step = grpc(address, "").replace("allowedUpstreamHeaders: [X-Team]", policy);
    let authority = authority(&config(&step, ""));
    for (times, status) in [(1, 200), (2, 200), (3, 503)] {
        fails(times);
        assert_eq!(ask(&authority, &[]).await.status, status, "{times}");
    }
}

/// What cannot be read will not be read the next time either.
#[tokio::test]
async fn an_answer_that_makes_no_sense_is_not_asked_for_again() {
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counts = asked.clone();
    // A server of HTTP/2, and once of gRPC, which shows that it is there.
    let web = axum::Router::new().fallback(move || {
        let first = counts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        let headers = if first {
            [("content-type", "application/grpc"), ("grpc-status", "13")]
        } else {
            [("a", "b"), ("c", "d")]
        };
        std::future::ready((headers, if first { "" } else { "hello" }))
    });
    tokio::spawn(axum::serve(listener, web).into_future());
    let policy = "allowedUpstreamHeaders: [X-Team], retryPolicy: {numRetries: 5, retryBackOff: {baseInterval: 0.001s}}";
    let step = grpc(address, "").replace("allowedUpstreamHeaders: [X-Team]", policy);
    let authority = authority(&config(&step, ""));
    for times in 1..=3 {
        assert_eq!(ask(&authority, &[]).await.status, 503);
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), times);
    }
}

/// A server that says anything but that it is away has made up its mind, and a second question may count twice.
#[tokio::test]
async fn only_a_server_that_says_it_is_away_is_asked_again() {
    let (server, address) = Grpc::start().await;
    let policy = "allowedUpstreamHeaders: [X-Team], retryPolicy: {numRetries: 3, retryBackOff: {baseInterval: 0.001s}}";
    let step = grpc(address, "").replace("allowedUpstreamHeaders: [X-Team]", policy);
    let authority = authority(&config(&step, ""));
    for (code, times) in [
        (tonic::Code::Unavailable, 4),
        (tonic::Code::Internal, 1),
        (tonic::Code::PermissionDenied, 1),
        (tonic::Code::ResourceExhausted, 1),
        (tonic::Code::Unimplemented, 1),
    ] {
        server.asked.lock().unwrap().clear();
        *server.says.lock().unwrap() = Arc::new(move |_| Err(tonic::Status::new(code, "told to")));
        assert_ne!(ask(&authority, &[]).await.status, 200, "{code:?}");
        assert_eq!(server.asked.lock().unwrap().len(), times, "{code:?}");
    }
}

/// A server that is asked may be the very one that asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_asks_itself_asks_once() {
    let (server, address) = Grpc::start().await;
    let authority = Arc::new(authority(&config(&grpc(address, ", failureModeAllow: true"), "")));
    let runtime = tokio::runtime::Handle::current();
    let again = authority.clone();
    *server.says.lock().unwrap() = Arc::new(move |check| {
        let (check, again) = (check.clone(), again.clone());
        let asks = async move { again.answer(&check, Instant::now() + LONG).await };
        let asked = runtime.spawn(asks);
        Ok(tokio::task::block_in_place(|| runtime.block_on(asked)).unwrap())
    });
    let status = tokio::spawn(async move { ask(&authority, &[]).await.status }).await.unwrap();
    assert_eq!((status, server.asked.lock().unwrap().len()), (503, 1));
}

#[tokio::test]
async fn over_tls_only_a_server_of_a_trusted_authority_is_asked_and_only_by_its_name() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let identity = Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = incoming.local_addr().unwrap().port();
    let (grpc, _) = Grpc::start().await;
    let mut server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    tokio::spawn(server.add_service(AuthorizationServer::new(grpc)).serve_with_incoming(incoming));
    let own = Pem::parse(&STANDARD.encode(made.cert.pem())).unwrap();
    // Over HTTP/2 that server would answer any POST with 200, and say in other words that it does not know what it is asked.
    for (host, trusted, expected) in [
        ("localhost", Some(own.clone()), [200, 503]),
        ("127.0.0.1", Some(own), [503, 503]),
        ("localhost", None, [503, 503]),
    ] {
        let settings = Settings { https_passthrough_ca_cert: trusted, ..Settings::default() };
        let steps = [
            format!("{{passThroughAuth: {{grpc: {{address: '{host}:{port}', tlsConfig: {{}}}}}}}}"),
            format!("{{passThroughAuth: {{http: {{url: 'https://{host}:{port}/check', tlsConfig: {{}}}}}}}}"),
        ];
        for (step, status) in steps.iter().zip(expected) {
            let compiled = compile(&Compiler::new(&settings), &snapshot(1, &config(step, "")), Compilation::default());
            let authority = Authority::new();
            authority.install(compiled.index);
            assert_eq!(ask(&authority, &[]).await.status, status, "{step}");
        }
    }
    // Without TLS it is spoken to in vain.
    let plain = authority(&config(&format!("{{passThroughAuth: {{grpc: {{address: 'localhost:{port}'}}}}}}"), ""));
    assert_eq!(ask(&plain, &[]).await.status, 503);
    for wrong in ["", "?", &STANDARD.encode("no PEM")] {
        assert!(Pem::parse(wrong).is_err(), "{wrong}");
    }
}

/// Of what passes unasked somebody should hear.
#[test]
fn requests_that_pass_unasked_are_counted_by_the_way_of_asking() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let open = ", failureModeAllow: true";
            for (step, times) in [(grpc(nobody, open), 2), (http(nobody, "", open), 3), (grpc(nobody, ""), 1)] {
                let authority = authority(&config(&step, ""));
                for _ in 0..times {
                    ask(&authority, &[]).await;
                }
            }
        });
    });
    let text = metrics.render();
    for line in [
        "extauth_solo_io_passthrough_failure_bypass 2",
        "extauth_solo_io_http_passthrough_bypass_failure 3",
        "auth_server_outbound_failures_total{reason=\"unreachable\"} 6",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}: {text}");
    }
}

/// What a log holds.
#[derive(Clone, Default)]
pub struct Log(pub Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whatever is logged, down to what the libraries beneath say of each frame.
#[test]
fn nothing_that_is_asked_or_answered_is_in_a_log_or_a_status() {
    let (log, runtime) = (Log::default(), tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let writer = log.clone();
    let all =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let said = tracing::subscriber::with_default(all, || {
        runtime.block_on(async {
            let (server, address) = Grpc::start().await;
            let (web, web_address) = Http::start().await;
            let options = ", request: {allowedHeaders: [cookie], headersToAdd: {x-secret: canary-added}, passThroughState: true},
                response: {allowedUpstreamHeaders: [x-a], allowedClientHeadersOnDenied: [set-cookie], readStateFromResponse: true}";
            let steps = [KEY.to_owned(), grpc(address, ", failureModeAllow: true"), http(web_address, options, "")].join(", ");
            let manifest = config(&steps, "").replace("api-key: good", "api-key: canary-key").replace("org: acme", "org: canary-org");
            let compiled = compile(&compiler(), &snapshot(1, &manifest), Compilation::default());
            let mut said = format!("{:?} {compiled:?}", report(&compiled.index));
            let authority = Authority::new();
            authority.install(compiled.index);
            let state = struct_of(json!({"solo.auth.passthrough": {"a": "canary-told"}, "b": "canary-metadata"}));
            let team = pb::OkHttpResponse { headers: vec![header("x-team", "canary-team", None)], ..Default::default() };
            let other = pb::OkHttpResponse { headers: vec![header("x-other", "canary-other", None)], ..Default::default() };
            let denied = pb::DeniedHttpResponse { body: "canary-body".into(), headers: vec![header("set-cookie", "canary-cookie", None)], ..Default::default() };
            let sent = [("api-key", "canary-key"), ("cookie", "canary-sent")];
            for (answer, http, status) in [
                (pb::CheckResponse { dynamic_metadata: Some(state), ..yes_with(team) }, ok_web(), 200),
                (yes_with(other), ok_web(), 503),
                (no(7, Some(denied)), ok_web(), 403),
                (yes(), answers(403, "set-cookie: canary-cookie\r\n", "canary-body"), 401),
                (yes(), ok("x-a: canary\u{1}\r\n", "{}"), 503),
                (yes(), ok("", "{canary}"), 503),
                (yes(), answers(500, "", "canary"), 503),
                (yes(), "canary\r\n\r\n".into(), 503),
            ] {
                server.says(answer);
                web.says(http);
                assert_eq!(ask(&authority, &sent).await.status, status);
            }
            server.fails(tonic::Code::Internal);
            assert_eq!(ask(&authority, &sent).await.status, 503);
            said += &format!("{authority:?}");
            said
        })
    });
    let logs = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logs.contains("cannot be used; denying") && logs.contains("h2::codec"), "it is all there");
    for text in [&said, &logs] {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("canary")).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
}

fn ok_web() -> String {
    ok("x-a: canary-a\r\n", r#"{"state": {"c": "canary-state"}}"#)
}

/// So that an edit of what is asked, and with what, is in effect at once.
#[test]
fn an_edit_of_how_a_server_is_asked_leaves_no_older_version_answering() {
    let step = |secret: &str, shown: &str| {
        config(
            &format!(
                "{{passThroughAuth: {{http: {{url: 'http://127.0.0.1:9', request: {{allowedHeaders: [{shown}], headersToAdd: {{x-secret: {secret}}}}}}}}}}}"
            ),
            "",
        )
    };
    let compiler = compiler();
    let before = compile(&compiler, &snapshot(1, &step("a", "cookie")), Compilation::default());
    let now = Instant::now();
    let found =
        |compiled: &Compilation, brings: &str| compiled.index.find(Some("default.ask"), Some(brings), now).is_ok();
    assert!(found(&before, "cookie"));
    for edit in [step("b", "cookie, x-b"), step("a", "x-b")] {
        let after = compile(&compiler, &snapshot(2, &edit), before.clone());
        assert!(!found(&after, "cookie"), "{edit}");
    }
}
