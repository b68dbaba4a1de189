//! Each server as a process of its own, on one folder, and an Envoy that is
//! configured over mutual TLS: the shape of compose and of a cluster.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use waykeeper_tests::alone::{free, ready, start, waypoint};
use waykeeper_tests::parts::{Application, binary};
use waykeeper_tests::raw::{grpc, proxy_header, send_raw};
use waykeeper_tests::{Backends, Curl, Folder, eventually, turn};

/// One request through the waypoint to httpbin2, with a header of its own.
fn ask(header: &str) -> String {
    let request = format!("GET /get HTTP/1.1\r\nHost: httpbin2\r\n{header}Connection: close\r\n\r\n");
    send_raw("127.0.0.1:15088", &[proxy_header([127, 0, 20, 2], 8000, &[]), request.into_bytes()].concat())
}

#[test]
fn the_servers_alone_do_what_they_do_together() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let (folder, dir) = (Folder::example(), TempDir::new().unwrap());
    folder.apply_walkthrough("apikeys");
    let path = folder.path().to_str().unwrap();
    let log = |name: &str| dir.path().join(name);
    let (auth, auth_admin, limit, limit_admin) = (free(), free(), free(), free());

    let mut servers = vec![
        start(&binary("extauth"), &[path, "--grpc", &auth, "--admin", &auth_admin], &log("extauth")),
        start(&binary("ratelimit"), &[path, "--grpc", &limit, "--admin", &limit_admin], &log("ratelimit")),
    ];
    ready(&auth_admin, &log("extauth"));
    ready(&limit_admin, &log("ratelimit"));
    servers.extend(waypoint(path, &auth, &limit, dir.path()));

    eventually("401 through the whole chain", Duration::from_secs(10), || {
        let answer = std::net::TcpStream::connect("127.0.0.1:15088").map(|_| ask("")).unwrap_or_default();
        if answer.starts_with("HTTP/1.1 401") { Ok(()) } else { Err(answer) }
    });
    let answer = ask("api-key: mykey\r\n");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"X-Organization\""), "{answer}");

    // Health and reflection, as any gRPC client asks for them.
    for (address, service) in
        [(&auth, "envoy.service.auth.v3.Authorization"), (&limit, "envoy.service.ratelimit.v3.RateLimitService")]
    {
        let name = service.as_bytes();
        let request = [&[0x0a, u8::try_from(name.len()).unwrap()], name].concat();
        let serving = [0, 0, 0, 0, 2, 8, 1];
        assert_eq!(grpc(address, "grpc.health.v1.Health/Check", &request), serving, "{service} is SERVING");
        assert_eq!(grpc(address, "grpc.health.v1.Health/Check", &[]), serving);
        let listed = grpc(address, "grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[0x3a, 1, b'*']);
        assert!(String::from_utf8_lossy(&listed).contains(service), "{listed:?}");
    }

    // A rolling restart under load: every request is answered, and whole.
    let stop = Arc::new(AtomicBool::new(false));
    let load = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let mut allowed = 0;
            while !stop.load(Ordering::SeqCst) {
                let answer = ask("api-key: mykey\r\n");
                assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 403"), "{answer:?}");
                allowed += usize::from(answer.starts_with("HTTP/1.1 200"));
            }
            allowed
        }
    });
    for (at, program, grpc, admin) in [(0, "extauth", &auth, &auth_admin), (1, "ratelimit", &limit, &limit_admin)] {
        servers[at].terminate(Duration::from_secs(10));
        servers[at] = start(&binary(program), &[path, "--grpc", grpc, "--admin", admin], &log(program));
        ready(admin, &log(program));
    }
    stop.store(true, Ordering::SeqCst);
    assert!(load.join().unwrap() > 0);

    // extauth away: closed. Nothing passes because something broke.
    drop(servers.remove(0));
    let answer = ask("api-key: mykey\r\n");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    servers.insert(0, start(&binary("extauth"), &[path, "--grpc", &auth, "--admin", &auth_admin], &log("extauth")));
    ready(&auth_admin, &log("extauth"));
    eventually("open again with a key", Duration::from_secs(10), || {
        let answer = ask("api-key: mykey\r\n");
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
    });

    // The control plane away: what was served goes on being served.
    drop(servers.remove(2));
    assert!(ask("").starts_with("HTTP/1.1 401"));
}

/// Whoever runs the servers apart from one another finds out from each what became of the objects.
#[test]
fn each_server_says_on_its_status_page_why_an_object_is_refused_and_shows_no_secret() {
    let _turn = turn();
    let (folder, dir) = (Folder::example(), TempDir::new().unwrap());
    folder.apply_walkthrough("apikeys");
    folder.apply(
        "canary.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: canary, namespace: httpbin, labels: {team: infrastructure}}\n\
         type: extauth.solo.io/apikey\nstringData: {api-key: canary-4711, wrong key!: canary-4712}\n",
    );
    folder.apply(
        "refused.yaml",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: route, namespace: httpbin}\n\
         spec: {parentRefs: [{group: '', kind: Service, name: httpbin2}], rulez: []}\n---\n\
         apiVersion: enterprise.gloo.solo.io/v1\nkind: AuthConfig\nmetadata: {name: auth, namespace: httpbin}\n\
         spec: {configs: [{apiKeyAuthentication: {}}]}\n---\n\
         apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {name: limit, namespace: httpbin}\n\
         spec: {raw: {setDescriptors: 7}}\n",
    );
    let path = folder.path().to_str().unwrap();
    for (program, refused) in [("extauth", "auth"), ("ratelimit", "limit"), ("waypoint", "route")] {
        let (admin, log) = (free(), dir.path().join(program));
        let grpc = if program == "waypoint" { format!("unix:{}", dir.path().join("xds").display()) } else { free() };
        let _server = start(&binary(program), &[path, "--grpc", &grpc, "--admin", &admin], &log);
        let page = eventually(program, Duration::from_secs(10), || {
            let reply = Curl::to(&format!("http://{admin}/status")).send();
            let page: serde_json::Value = serde_json::from_str(&reply.body).unwrap_or_default();
            if page["objects"].as_array().is_some_and(|objects| !objects.is_empty()) {
                Ok(page)
            } else {
                Err(format!("{reply:?}"))
            }
        });
        let problems = page["problems"].as_array().unwrap();
        let said =
            problems.iter().find(|problem| problem["name"] == refused).unwrap_or_else(|| panic!("{program}: {page}"));
        assert!(said["file"].as_str().unwrap().ends_with("refused.yaml") && said["line"].is_u64(), "{program}: {said}");
        assert!(!said["message"].as_str().unwrap().is_empty(), "{program}: {said}");
        let canary = page["objects"].as_array().unwrap().iter().any(|object| object["name"] == "canary");
        assert!(canary, "{program} has read the Secret: {page}");
        assert!(!page.to_string().contains("canary-471"), "{program}: {page}");
        let own = Command::new(binary("waykeeper")).args(["status", "--admin", &admin]).output().unwrap();
        let own = String::from_utf8_lossy(&own.stdout).into_owned();
        assert!(own.contains(said["message"].as_str().unwrap()), "{program}: {own}");
        let listed = Command::new(binary("waykeeper")).args(["ps", "--admin", &admin]).output().unwrap();
        let why = String::from_utf8_lossy(&listed.stderr).into_owned();
        assert!(!listed.status.success() && why.contains("listens for no Services"), "{program}: {listed:?}");
    }
}

#[test]
fn xds_over_tcp_is_refused_without_mutual_tls() {
    let folder = Folder::example();
    let output = Command::new(binary("waypoint")).arg(folder.path()).args(["--grpc", &free()]).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("--tls-dir"), "{text}");
}
