//! A limit that authorization names, in dynamic metadata, through the real waypoint, Envoy and rate-limit service.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::google::protobuf::{Struct, Value, value::Kind};
use tempfile::TempDir;
use tonic::{Request, Response, Status};
use waykeeper_tests::alone::{free, ratelimit, waypoint};
use waykeeper_tests::parts::Application;
use waykeeper_tests::raw::{proxy_header, send_raw};
use waykeeper_tests::{Backends, Folder, eventually, turn};

/// An authorization service that lets all pass and says `rateLimit` of the step `plans`, as the header `plan` has it:
/// `5 DAY`, or something that is no limit.
struct Plans;

fn structure(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Value { kind: Some(Kind::StructValue(Struct { fields })) }
}

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

#[tonic::async_trait]
impl Authorization for Plans {
    async fn check(&self, request: Request<pb::CheckRequest>) -> Result<Response<pb::CheckResponse>, Status> {
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let headers = attributes.request.and_then(|request| request.http).unwrap_or_default().headers;
        let limit = match headers.get("plan").map(|plan| plan.split_once(' ').unwrap_or((plan, ""))) {
            Some((number, unit)) => {
                let number =
                    number.parse().map_or_else(|_| text(number), |n| Value { kind: Some(Kind::NumberValue(n)) });
                structure([("rateLimit", structure([("requests_per_unit", number), ("unit", text(unit))]))])
            }
            None => structure([]),
        };
        let metadata = structure([("plans", limit)]);
        let Some(Kind::StructValue(metadata)) = metadata.kind else { return Err(Status::internal("no struct")) };
        Ok(Response::new(pb::CheckResponse {
            status: Some(proto::google::rpc::Status::default()),
            dynamic_metadata: Some(metadata),
            http_response: Some(HttpResponse::OkResponse(pb::OkHttpResponse::default())),
        }))
    }
}

fn plans(runtime: &tokio::runtime::Runtime) -> SocketAddr {
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(AuthorizationServer::new(Plans));
    runtime.spawn(server.serve_with_incoming(incoming));
    address
}

/// So many a day for each user, unless the plan says otherwise.
fn rules(style: &str, own: usize) -> String {
    let (rules, actions) = match style {
        "tree" => ("descriptors: [{key: user, ", "actions"),
        _ => ("setDescriptors: [{simpleDescriptors: [{key: user}], ", "setActions"),
    };
    format!(
        "apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {{name: {style}, namespace: httpbin}}\n\
         spec:\n  raw:\n    {rules}rateLimit: {{requestsPerUnit: {own}, unit: DAY}}}}]\n    rateLimits:\n    \
         - {actions}: [{{requestHeaders: {{headerName: user, descriptorKey: user}}}}]\n      limit:\n        \
         dynamicMetadata: {{metadataKey: {{key: envoy.filters.http.ext_authz, path: [{{key: plans}}, {{key: rateLimit}}]}}}}\n"
    )
}

fn options(style: &str) -> String {
    format!(
        "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: routeoption-httpbin2, namespace: httpbin}}\n\
         spec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: httpbin2}}]\n  options:\n    \
         extauth: {{configRef: {{name: apikeys, namespace: httpbin}}}}\n    \
         rateLimitConfigs: {{refs: [{{name: {style}}}]}}\n"
    )
}

fn ask(user: &str, plan: &str) -> String {
    let plan = if plan.is_empty() { String::new() } else { format!("plan: {plan}\r\n") };
    let request = format!("GET /get HTTP/1.1\r\nHost: httpbin2\r\nuser: {user}\r\n{plan}Connection: close\r\n\r\n");
    send_raw("127.0.0.1:15088", &[proxy_header([127, 0, 20, 2], 8000, &[]), request.into_bytes()].concat())
}

/// How many of eight requests pass; the others are refused for their number.
fn pass(user: &str, plan: &str) -> usize {
    let passes = |answer: String| {
        assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 429"), "{answer}");
        answer.starts_with("HTTP/1.1 200")
    };
    (0..8).filter(|_| passes(ask(user, plan))).count()
}

/// Waits until the rule that allows `own` is the one that governs.
fn served(own: usize) {
    let mut user = 0;
    eventually("the rule", Duration::from_secs(10), || {
        std::net::TcpStream::connect("127.0.0.1:15088").map_err(|e| e.to_string())?;
        user += 1;
        let answers: Vec<String> = (0..=own).map(|_| ask(&format!("new-{own}-{user}"), "")).collect();
        let passed = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 200")).count();
        if passed == own && answers[own].starts_with("HTTP/1.1 429") { Ok(()) } else { Err(format!("{answers:?}")) }
    });
}

#[test]
fn a_limit_that_authorization_names_holds_instead_of_the_rules_and_one_that_is_none_changes_nothing() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (folder, dir) = (Folder::example(), TempDir::new().unwrap());
    folder.apply_walkthrough("apikeys");
    // Envoy sends the headers that the AuthConfig reads.
    let keys = "apikeys-01-authconfig-and-secret.yaml";
    let written = std::fs::read_to_string(folder.path().join(keys)).unwrap();
    folder.apply(keys, &written.replace("headerName: api-key", "headerName: plan"));
    for (style, own) in [("tree", 2), ("set", 3)] {
        folder.apply(&format!("{style}.yaml"), &rules(style, own));
    }
    folder.apply("apikeys-02-routeoption-httpbin2.yaml", &options("tree"));
    let (auth, limits) = (plans(&runtime).to_string(), free());
    let _limits = ratelimit(folder.path(), &limits, &[], &dir.path().join("ratelimit"));
    let _servers = waypoint(folder.path().to_str().unwrap(), &auth, &limits, dir.path());

    for (style, own) in [("tree", 2), ("set", 3)] {
        folder.apply("apikeys-02-routeoption-httpbin2.yaml", &options(style));
        served(own);
        let of = |user: &str| format!("{user}-{style}");
        assert_eq!(pass(&of("ann"), ""), own, "{style}: the rule's own");
        assert_eq!(pass(&of("bob"), "5 DAY"), 5);
        assert_eq!(pass(&of("cid"), "1 DAY"), 1);
        assert_eq!(pass(&of("dan"), "3 MONTH"), 3);
        assert_eq!(pass(&of("eve"), "0 HOUR"), 0);
        // Envoy passes on nothing that is no limit, and the rule's own holds.
        for (n, wrong) in ["5 FORTNIGHT", "many DAY", "5"].into_iter().enumerate() {
            assert_eq!(pass(&of(&format!("wrong-{n}")), wrong), own, "{wrong}");
        }
        // One who was told another limit has used what was used.
        assert_eq!(pass(&of("bob"), "7 DAY"), 0, "{style}: eight have been counted");
        assert_eq!(pass(&of("ann"), "12 DAY"), 4, "{style}: eight of twelve have been counted");
    }
}
