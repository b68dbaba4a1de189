//! What the authorization service is told of a request: the headers that the AuthConfig reads and few others,
//! of every request to a route that asks for authorization, once.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use tempfile::TempDir;
use tonic::{Request, Response, Status};
use waykeeper_tests::alone::{free, waypoint};
use waykeeper_tests::parts::Application;
use waykeeper_tests::raw::{proxy_header, send_raw};
use waykeeper_tests::{Backends, Folder, eventually, turn};

/// An authorization service that lets pass who has a header whose name begins with `key`, and keeps what it was asked.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Asked>>>);

#[derive(Debug, Clone)]
struct Asked {
    config: String,
    /// What the question says it brings.
    brings: Option<String>,
    headers: BTreeSet<String>,
}

#[tonic::async_trait]
impl Authorization for Recorder {
    async fn check(&self, request: Request<pb::CheckRequest>) -> Result<Response<pb::CheckResponse>, Status> {
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let said = |name: &str| attributes.context_extensions.get(name).cloned();
        let (config, brings) = (said("config_id").unwrap_or_default(), said("headers"));
        let headers = attributes.request.and_then(|request| request.http).unwrap_or_default().headers;
        let passes = headers.keys().any(|name| name.starts_with("key"));
        self.0.lock().unwrap().push(Asked { config, brings, headers: headers.into_keys().collect() });
        let (code, http) = match passes {
            true => (0, HttpResponse::OkResponse(pb::OkHttpResponse::default())),
            false => (16, HttpResponse::DeniedResponse(pb::DeniedHttpResponse::default())),
        };
        let status = Some(proto::google::rpc::Status { code, ..Default::default() });
        Ok(Response::new(pb::CheckResponse { status, http_response: Some(http), ..Default::default() }))
    }
}

impl Recorder {
    fn start(runtime: &tokio::runtime::Runtime) -> (Recorder, SocketAddr) {
        let recorder = Recorder::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(AuthorizationServer::new(recorder.clone()));
        runtime.spawn(server.serve_with_incoming(incoming));
        (recorder, address)
    }

    /// What was asked since this was called last.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// An AuthConfig whose steps are `apiKeyAuth`s in these headers.
fn auth_config(name: &str, headers: &[&str]) -> String {
    let steps: Vec<String> = headers
        .iter()
        .map(|header| format!("{{apiKeyAuth: {{headerName: {header}, labelSelector: {{team: infrastructure}}}}}}"))
        .collect();
    format!(
        "apiVersion: enterprise.gloo.solo.io/v1\nkind: AuthConfig\nmetadata: {{name: {name}, namespace: httpbin}}\nspec: {{configs: [{}]}}\n---\n",
        steps.join(", ")
    )
}

/// A rule for `path` that does `what`, and asks for authorization by the RouteOption `option` if it names one.
fn rule(path: &str, what: &str, option: Option<&str>) -> String {
    let asking = option.map(|name| {
        format!("{{type: ExtensionRef, extensionRef: {{group: gateway.solo.io, kind: RouteOption, name: {name}}}}}, ")
    });
    let what = match what {
        "redirect" => "{type: RequestRedirect, requestRedirect: {hostname: elsewhere.example}}]".to_owned(),
        "rewrite" => "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /anything}}}]\n    backendRefs: [{name: httpbin2, port: 8000}]".to_owned(),
        _ => "]\n    backendRefs: [{name: httpbin2, port: 8000}]".to_owned(),
    };
    format!(
        "  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n    filters: [{}{what}\n",
        asking.unwrap_or_default()
    )
}

fn route(rules: &[String]) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: all, namespace: httpbin}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: httpbin2}}]\n  rules:\n{}",
        rules.concat()
    )
}

fn option(name: &str, config: &str) -> String {
    format!(
        "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: {name}, namespace: httpbin}}\nspec: {{options: {{extauth: {{configRef: {{name: {config}}}}}}}}}\n---\n"
    )
}

/// Sends a request to `path` of httpbin2 with these lines; the status.
fn send(method: &str, path: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: httpbin2\r\nconnection: close\r\nuser-agent: u\r\ncookie: c\r\n{lines}\r\n"
    );
    let answer =
        send_raw("127.0.0.1:15088", &[proxy_header([127, 0, 20, 2], 8000, &[]), request.into_bytes()].concat());
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn every_request_to_a_guarded_route_is_asked_about_once_and_with_few_headers_where_few_are_read() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (recorder, auth) = Recorder::start(&runtime);
    let (folder, dir) = (Folder::example(), TempDir::new().unwrap());
    folder.apply("one.yaml", &auth_config("one", &["key-one"]));
    folder.apply("two.yaml", &auth_config("two", &["key-two", "x-second"]));
    let options = [("one", "one"), ("two", "two"), ("missing", "missing")].map(|(name, config)| option(name, config));
    folder.apply("options.yaml", &options.concat());
    let rules = [
        rule("/anything/one", "forward", Some("one")),
        rule("/anything/two", "forward", Some("two")),
        rule("/redirect", "redirect", Some("one")),
        rule("/rewrite", "rewrite", Some("two")),
        rule("/anything/missing", "forward", Some("missing")),
        rule("/anything", "forward", None),
        rule("/away", "redirect", None),
    ];
    folder.apply("routes.yaml", &route(&rules));
    let _servers = waypoint(folder.path().to_str().unwrap(), &auth.to_string(), &free(), dir.path());
    eventually("the waypoint", Duration::from_secs(20), || {
        std::net::TcpStream::connect("127.0.0.1:15088").map_err(|e| e.to_string())?;
        match send("GET", "/anything/x", &[]).as_str() {
            "200" => Ok(()),
            other => Err(other.to_owned()),
        }
    });

    let always = ["x-request-id"];
    let set = |names: &[&str]| names.iter().chain(&always).map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    recorder.asked();
    let check = |path: &str, config: &str, brings: Option<&str>, key: &str, passed: &str| {
        for method in ["GET", "POST", "HEAD", "OPTIONS", "PUT"] {
            let read = brings.map_or(vec![key], |brings| brings.split(',').collect());
            let also = ["x-second: 2".to_owned(), "x_user_id: root".to_owned()];
            let lines: Vec<String> = read.iter().map(|name| format!("{name}: k")).chain(also).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(send(method, path, &lines), passed, "{method} {path}");
            assert_eq!(send(method, path, &["x-other: k"]), "403", "{method} {path}");
            let asked = recorder.asked();
            assert_eq!(asked.len(), 2, "{method} {path}: {asked:?}");
            for asked in &asked {
                assert_eq!((asked.config.as_str(), asked.brings.as_deref()), (config, brings), "{asked:?}");
            }
            match brings {
                Some(brings) => {
                    let sent: Vec<&str> = brings.split(',').collect();
                    assert_eq!(asked[0].headers, set(&sent), "{method} {path}");
                    assert_eq!(asked[1].headers, set(&[]), "{method} {path}");
                }
                None => {
                    let all = ["user-agent", "cookie", "x-second", "x_user_id", ":path"];
                    assert!(all.iter().all(|name| asked[0].headers.contains(*name)), "{asked:?}");
                }
            }
        }
    };
    check("/anything/one", "httpbin.one", Some("key-one"), "key-one", "200");
    check("/anything/two", "httpbin.two", Some("key-two,x-second"), "key-two", "200");
    check("/redirect", "httpbin.one", Some("key-one"), "key-one", "302");
    check("/rewrite", "httpbin.two", Some("key-two,x-second"), "key-two", "200");
    check("/anything/missing", "httpbin.missing", None, "key-one", "200");
    for (path, status) in [("/anything/x", "200"), ("/away", "302"), ("/nowhere", "404")] {
        assert_eq!(send("GET", path, &[]), status, "{path}");
    }
    assert!(recorder.asked().is_empty());
    let upgrade = ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: eA=="];
    assert_eq!(send("GET", "/anything/one", &upgrade), "403");
    assert_eq!(recorder.asked().len(), 1);

    // Whatever is edited, the routes that ask go on asking, for what is read now.
    let reads = |path: &str, brings: Option<&str>| {
        eventually(&format!("{path} with {brings:?}"), Duration::from_secs(5), || {
            assert_eq!(send("GET", path, &[]), "403");
            let asked = recorder.asked();
            assert_eq!(asked.len(), 1, "{path}: {asked:?}");
            if asked[0].brings.as_deref() == brings { Ok(()) } else { Err(format!("{asked:?}")) }
        });
    };
    folder.apply("one.yaml", &auth_config("one", &["key-one", "key-more"]));
    reads("/anything/one", Some("key-more,key-one"));
    check("/redirect", "httpbin.one", Some("key-more,key-one"), "key-one", "302");
}
