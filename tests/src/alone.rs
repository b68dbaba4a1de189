//! Servers as processes of their own, and an Envoy with a configuration of the test's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::curl::Curl;
use crate::parts::{Process, binary};
use crate::ports::free_port;
use crate::wait::eventually;

/// A loopback address nobody listens on.
pub fn free() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// Starts `program`; what it logs is in the file `log`, what it writes to its standard output in one beside it that
/// ends with `.out`.
pub fn start(program: &Path, args: &[&str], log: &Path) -> Process {
    let mut command = Command::new(program);
    let output = fs::File::create(log.with_extension("out")).unwrap();
    command.args(args).stdin(Stdio::null()).stdout(output).stderr(fs::File::create(log).unwrap());
    Process(command.spawn().unwrap_or_else(|e| panic!("starting {command:?}: {e}")))
}

/// Waits until the server with this admin address is ready.
pub fn ready(admin: &str, log: &Path) {
    eventually(admin, Duration::from_secs(10), || {
        let reply = Curl::to(&format!("http://{admin}/readyz")).send();
        if reply.status == 200 { Ok(()) } else { Err(format!("{reply:?}\n{}", fs::read_to_string(log).unwrap())) }
    });
}

/// The rate-limit service on `manifests`, ready; its log is `ratelimit` beside them or in `dir`.
pub fn ratelimit(manifests: &Path, grpc: &str, args: &[&str], log: &Path) -> Process {
    let admin = free();
    let own = [manifests.to_str().unwrap(), "--grpc", grpc, "--admin", &admin];
    let server = start(&binary("ratelimit"), &[&own, args].concat(), log);
    ready(&admin, log);
    server
}

/// The Envoy to run.
pub fn envoy() -> PathBuf {
    std::env::var_os("ENVOY").expect("ENVOY names the Envoy to run; `make test` sets it").into()
}

/// An Envoy that runs `bootstrap`, which a file in `dir` keeps, and listens on `listener`; its log is `envoy` there.
pub fn envoy_with(bootstrap: &Value, listener: &str, dir: &Path) -> Process {
    let port = listener.rsplit_once(':').unwrap().1;
    let (config, log) = (dir.join(format!("envoy-{port}.json")), dir.join(format!("envoy-{port}")));
    fs::write(&config, bootstrap.to_string()).unwrap();
    let process = run_envoy(&config, &log);
    eventually(listener, Duration::from_secs(10), || {
        let connected = std::net::TcpStream::connect(listener).map(drop);
        connected.map_err(|e| format!("{e}\n{}", fs::read_to_string(&log).unwrap()))
    });
    process
}

/// The waypoint on the manifests at `path` and the Envoy of the example's Gateway, asking these two
/// servers; the waypoint is ready, Envoy may not listen yet. Their files are in `dir`.
pub fn waypoint(path: &str, extauth: &str, ratelimit: &str, dir: &Path) -> [Process; 2] {
    waypoint_with(path, extauth, ratelimit, &[], dir)
}

/// The same, with `more` flags for the waypoint.
pub fn waypoint_with(path: &str, extauth: &str, ratelimit: &str, more: &[&str], dir: &Path) -> [Process; 2] {
    let (xds, admin, tls, log) = (free(), free(), dir.join("tls"), dir.join("waypoint"));
    let tls = tls.to_str().unwrap();
    let own = [path, "--grpc", &xds, "--admin", &admin, "--tls-dir", tls];
    let servers = ["--extauth", extauth, "--ratelimit", ratelimit];
    let control = start(&binary("waypoint"), &[&own[..], &servers, more].concat(), &log);
    ready(&admin, &log);
    [control, envoy_of("httpbin/gloo-waypoint", &xds, tls, &free(), dir)]
}

/// The Envoy of the Gateway `<namespace>/<name>`, with the bootstrap that `waypoint` makes for it: told what to do by
/// the waypoint at `xds`, which keeps its certificates in `tls`. Its admin port is at `admin`, its files are in `dir`.
pub fn envoy_of(gateway: &str, xds: &str, tls: &str, admin: &str, dir: &Path) -> Process {
    let bootstrap = Command::new(binary("waypoint"))
        .args(["bootstrap", "--gateway", gateway, "--grpc", xds, "--tls-dir", tls, "--envoy-admin", admin])
        .output()
        .unwrap();
    assert!(bootstrap.status.success(), "{}", String::from_utf8_lossy(&bootstrap.stderr));
    let config = dir.join("envoy.json");
    fs::write(&config, &bootstrap.stdout).unwrap();
    run_envoy(&config, &dir.join("envoy"))
}

fn run_envoy(config: &Path, log: &Path) -> Process {
    let run = ["--config-path", config.to_str().unwrap(), "--concurrency", "1", "--use-dynamic-base-id"];
    start(&envoy(), &run, log)
}
