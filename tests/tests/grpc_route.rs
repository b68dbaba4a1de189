//! Calls of gRPC, as a client of the real Envoy and the application behind it see them. The routes and the policy are
//! those of `docs/grpc.md`.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use proto::envoy::service::auth::v3 as auth;
use proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use proto::envoy::service::rate_limit_quota::v3 as quota;
use proto::envoy::service::rate_limit_quota::v3::rate_limit_quota_service_client::RateLimitQuotaServiceClient;
use proto::envoy::service::rate_limit_quota::v3::rate_limit_quota_service_server::{
    RateLimitQuotaService, RateLimitQuotaServiceServer,
};
use proto::google::rpc::Status;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request};
use waykeeper_tests::echo::send;
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{Folder, Waykeeper, eventually, turn};

/// Service `cart` says nothing of its port, `cart-v2` says HTTP/1; both speak gRPC.
const TOWN: &str = "\
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: t}
spec: {clusterIP: 127.0.20.81, ports: [{port: 9000, targetPort: 9090}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart, namespace: t, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{port: 9090}]
endpoints: [{addresses: [127.0.10.81]}]
---
apiVersion: v1
kind: Service
metadata: {name: cart-v2, namespace: t}
spec: {clusterIP: 127.0.20.82, ports: [{name: http, port: 9000, targetPort: 9090}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-v2, namespace: t, labels: {kubernetes.io/service-name: cart-v2}}
addressType: IPv4
ports: [{name: http, port: 9090}]
endpoints: [{addresses: [127.0.10.82]}]
---
apiVersion: v1
kind: Secret
type: extauth.solo.io/apikey
metadata: {name: ann, namespace: t, labels: {team: shop}}
stringData: {api-key: good}
---
apiVersion: enterprise.gloo.solo.io/v1
kind: AuthConfig
metadata: {name: keys, namespace: t}
spec: {configs: [{apiKeyAuth: {headerName: api-key, labelSelector: {team: shop}}}]}
";

const CART: &str = "127.0.20.81:9000";

/// The manifest of this kind on the page, for the services that the applications of this test have.
fn documented(kind: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/grpc.md")).unwrap();
    let mut blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.find(|block| block.contains(&format!("kind: {kind}\n"))).unwrap();
    block
        .replace("namespace: shop", "namespace: t")
        .replace("service: shop.Cart, method: Buy", "service: envoy.service.auth.v3.Authorization, method: Check")
        .replace("service: shop.Feed", "service: envoy.service.rate_limit_quota.v3.RateLimitQuotaService")
}

/// An application: calls are answered with its name and what they brought, streams with a message for each.
#[derive(Clone, Copy)]
struct App(&'static str);

#[tonic::async_trait]
impl Authorization for App {
    async fn check(
        &self,
        request: Request<auth::CheckRequest>,
    ) -> Result<tonic::Response<auth::CheckResponse>, tonic::Status> {
        let message = format!("{} {:?}", self.0, request.metadata());
        let status = Some(Status { message, ..Status::default() });
        Ok(tonic::Response::new(auth::CheckResponse { status, ..auth::CheckResponse::default() }))
    }
}

#[tonic::async_trait]
impl RateLimitQuotaService for App {
    type StreamRateLimitQuotasStream = BoxStream<quota::RateLimitQuotaResponse>;

    async fn stream_rate_limit_quotas(
        &self,
        request: Request<tonic::Streaming<quota::RateLimitQuotaUsageReports>>,
    ) -> Result<tonic::Response<Self::StreamRateLimitQuotasStream>, tonic::Status> {
        let answers = request.into_inner().map(|report| report.map(|_| quota::RateLimitQuotaResponse::default()));
        Ok(tonic::Response::new(Box::pin(answers)))
    }
}

/// Serves `app` at `address` until the runtime ends.
async fn serve(app: App, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let incoming = TcpIncoming::from(tokio::net::TcpListener::bind(address).await.unwrap());
    let server =
        Server::builder().add_service(AuthorizationServer::new(app)).add_service(RateLimitQuotaServiceServer::new(app));
    tokio::spawn(server.serve_with_incoming(incoming));
}

/// What runs beside the test, on threads of its own.
struct Runtime(tokio::runtime::Runtime);

impl Runtime {
    fn with_applications() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            serve(App("one"), "127.0.10.81:9090").await;
            serve(App("two"), "127.0.10.82:9090").await;
        });
        Self(runtime)
    }

    fn channel(&self) -> Channel {
        let _inside = self.0.enter();
        Channel::from_static("http://127.0.20.81:9000").connect_lazy()
    }

    /// A call of `Check` with these headers: what the application says, or the status.
    fn call(&self, headers: &[(&'static str, &'static str)]) -> Result<String, (Code, String)> {
        let mut client = AuthorizationClient::new(self.channel());
        let mut request = Request::new(auth::CheckRequest::default());
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        request.set_timeout(Duration::from_secs(10));
        let answer = self.0.block_on(client.check(request)).map_err(|why| (why.code(), why.message().to_owned()))?;
        Ok(answer.into_inner().status.unwrap().message)
    }
}

/// A stream that is open.
struct Stream {
    send: tokio::sync::mpsc::Sender<quota::RateLimitQuotaUsageReports>,
    answers: tonic::Streaming<quota::RateLimitQuotaResponse>,
}

impl Stream {
    fn open(runtime: &Runtime) -> Self {
        let (send, reports) = tokio::sync::mpsc::channel(1);
        let mut client = RateLimitQuotaServiceClient::new(runtime.channel());
        let answers = runtime.0.block_on(async {
            send.send(quota::RateLimitQuotaUsageReports::default()).await.unwrap();
            let mut answers = client.stream_rate_limit_quotas(ReceiverStream::new(reports)).await.unwrap().into_inner();
            answers.message().await.unwrap().unwrap();
            answers
        });
        Self { send, answers }
    }

    fn is_answered(&mut self, runtime: &Runtime) {
        runtime.0.block_on(async {
            self.send.send(quota::RateLimitQuotaUsageReports::default()).await.unwrap();
            self.answers.message().await.unwrap().unwrap();
        });
    }
}

fn code(answer: &Result<String, (Code, String)>) -> Code {
    answer.as_ref().err().map_or(Code::Ok, |(code, _)| *code)
}

/// What is said about an object, in one text.
fn said(running: &Waykeeper, kind: &str, name: &str) -> String {
    let status = running.status();
    let objects = status["objects"].as_array().unwrap();
    objects.iter().find(|object| object["kind"] == kind && object["name"] == name).unwrap().to_string()
}

fn until(runtime: &Runtime, what: &str, headers: &[(&'static str, &'static str)], code: Code) -> String {
    eventually(what, Duration::from_secs(10), || match (runtime.call(headers), code) {
        (Ok(text), Code::Ok) => Ok(text),
        (Err((found, why)), wanted) if found == wanted => Ok(why),
        (other, _) => Err(format!("{other:?}")),
    })
}

#[test]
fn calls_go_by_service_method_and_headers_and_are_refused_in_the_form_of_grpc() {
    let _turn = turn();
    let folder = Folder::with_waypoint();
    folder.apply("town.yaml", TOWN);
    folder.apply("route.yaml", &documented("GRPCRoute"));
    folder.apply("policy.yaml", &documented("RouteOption"));
    let runtime = Runtime::with_applications();
    let running = Waykeeper::up(&folder, &[]);

    // Whoever calls without a key is told so as gRPC tells it.
    assert_eq!(code(&runtime.call(&[])), Code::Unauthenticated, "{:?}", runtime.call(&[]));
    assert_eq!(code(&runtime.call(&[("version", "two")])), Code::Unauthenticated);
    assert_eq!(code(&runtime.call(&[("api-key", "bad")])), Code::Unauthenticated);
    let answer = runtime.call(&[("api-key", "good")]).unwrap();
    assert!(answer.starts_with("one ") && answer.contains(r#""x-rule": "buy""#), "{answer}");
    assert!(answer.contains("x-user-id"), "{answer}");
    assert!(!answer.contains("x-envoy-expected-rq-timeout-ms"), "no time is set: {answer}");
    // More headers come first; the port says HTTP/1, and a call is HTTP/2 all the same.
    let answer = runtime.call(&[("api-key", "good"), ("version", "two")]).unwrap();
    assert!(answer.starts_with("two ") && !answer.contains("x-rule"), "{answer}");

    // What is no call is nobody's, not even by the path of one.
    let no_call = |path: &str, more: &str| {
        send(
            CART,
            format!("POST {path} HTTP/1.1\r\nHost: a\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
    };
    for more in ["", "api-key: good\r\n", "content-type: application/grpcx\r\n", "content-type: text/plain\r\n"] {
        assert_eq!(no_call("/envoy.service.auth.v3.Authorization/Check", more).status(), 404, "{more}");
    }

    // A stream stays while routes change, and is cut when a policy says how long it may take.
    let mut stream = Stream::open(&runtime);
    folder.apply("route.yaml", &documented("GRPCRoute").replace("value: two", "value: three"));
    until(&runtime, "the edit is in force", &[("api-key", "good"), ("version", "three")], Code::Ok);
    eventually("the edit is in force", Duration::from_secs(10), || {
        let answer = runtime.call(&[("api-key", "good"), ("version", "three")]).unwrap_or_default();
        if answer.starts_with("two ") { Ok(()) } else { Err(answer) }
    });
    stream.is_answered(&runtime);

    // A method that no rule names, a backend that is not there, a filter that is not served.
    let other = documented("GRPCRoute").replace("method: Check", "method: Other");
    folder.apply("policy.yaml", "# nothing\n");
    folder.apply("route.yaml", &other);
    let why = until(&runtime, "no rule takes it", &[("api-key", "good")], Code::Unimplemented);
    assert!(why.contains("no route"), "{why}");
    folder
        .apply("route.yaml", &documented("GRPCRoute").replace("{name: cart, port: 9000}", "{name: gone, port: 9000}"));
    until(&runtime, "its backend is gone", &[], Code::Unavailable);
    assert!(said(&running, "GRPCRoute", "cart").contains("BackendNotFound"));
    stream.is_answered(&runtime);
    drop(stream);
    drop(running);
}

/// An HTTPRoute of the same name for the same Service.
const HTTP: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: t}
spec:
  parentRefs: [{group: '', kind: Service, name: cart}]
  rules: [{backendRefs: [{name: cart, port: 9000}]}]
";

#[test]
fn an_http_route_beside_it_is_set_aside_and_what_guards_that_is_asked_for_all_the_same() {
    let _turn = turn();
    let folder = Folder::with_waypoint();
    folder.apply("town.yaml", TOWN);
    folder.apply("route.yaml", &documented("GRPCRoute"));
    folder.apply("http.yaml", HTTP);
    let runtime = Runtime::with_applications();
    let running = Waykeeper::up(&folder, &[]);
    assert!(runtime.call(&[]).unwrap().starts_with("one "));
    let get = || send(CART, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").status();
    assert_eq!(get(), 404, "the other route does not count");
    assert!(said(&running, "HTTPRoute", "cart").contains("\"Conflicted\""), "{}", said(&running, "HTTPRoute", "cart"));

    // A key for the HTTPRoute closes what took its place, until that asks for it as well.
    let of = |kind: &str| {
        format!(
            "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: {}, namespace: t}}\nspec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: {kind}, name: cart}}]\n  options: {{extauth: {{configRef: {{name: keys}}}}}}\n",
            kind.to_lowercase()
        )
    };
    folder.apply("policy.yaml", &of("HTTPRoute"));
    let why = until(&runtime, "the guard is missed", &[("api-key", "good")], Code::Unavailable);
    assert!(why.contains("in place of HTTPRoute t/cart, which asks for AuthConfig t/keys"), "{why}");
    assert!(said(&running, "GRPCRoute", "cart").contains("\"UnsupportedValue\""));
    assert!(said(&running, "RouteOption", "httproute").contains("Conflicted"));
    folder.apply("policy.yaml", &format!("{}---\n{}", of("HTTPRoute"), of("GRPCRoute")));
    until(&runtime, "the guard is met", &[("api-key", "good")], Code::Ok);
    assert_eq!(code(&runtime.call(&[])), Code::Unauthenticated);

    // One that cannot be read keeps its last good version; one that never could refuses the Service.
    folder.apply("route.yaml", &documented("GRPCRoute").replace("method: Check", "method: 'Check it'"));
    eventually("the mistake is told", Duration::from_secs(10), || {
        let said = said(&running, "GRPCRoute", "cart");
        if said.contains("Check it") { Ok(()) } else { Err(said) }
    });
    until(&runtime, "the last good version goes on", &[("api-key", "good")], Code::Ok);
    drop(running);
    let running = Waykeeper::up(&folder, &[]);
    let why = until(&runtime, "it was never good", &[("api-key", "good")], Code::Unknown);
    assert!(why.contains("GRPCRoute t/cart is not valid"), "{why}");
    assert_eq!(get(), 500);
    drop(running);
}
