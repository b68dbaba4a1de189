//! Both applications, running, and a way to ask them the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use sample_app::App;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

const LONG: Duration = Duration::from_secs(30);

/// Headers that depend on the moment or on how a server frames what it sends.
const FRAMING: [&str; 4] = ["date", "content-length", "transfer-encoding", "connection"];

/// A request, and how much of the answer must be alike.
#[derive(Debug, Clone)]
pub struct Call {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    compare: Compare,
}

#[derive(Debug, Clone, Copy)]
enum Compare {
    Everything,
    /// The body but for the words of an error.
    AnyDetail,
    /// All but the body.
    AnyBody,
    /// Of the body only its length: it is random.
    SameLength,
}

impl Call {
    pub fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { method, target, headers: Vec::new(), body: String::new(), compare: Compare::Everything }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    pub fn any_detail(mut self) -> Self {
        self.compare = Compare::AnyDetail;
        self
    }

    pub fn any_body(mut self) -> Self {
        self.compare = Compare::AnyBody;
        self
    }

    pub fn same_length(mut self) -> Self {
        self.compare = Compare::SameLength;
        self
    }
}

/// An answer, reduced to what must be alike.
#[derive(Debug, PartialEq)]
pub struct Answer {
    status: u16,
    headers: BTreeMap<String, Vec<String>>,
    body: String,
}

/// The sample application and go-httpbin.
pub struct Pair {
    ours: SocketAddr,
    theirs: SocketAddr,
    _go_httpbin: Child,
}

impl Pair {
    pub async fn start() -> Self {
        let app = App::bind(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
        let ours = app.local_addrs().unwrap()[0];
        tokio::spawn(app.serve(std::future::pending()));

        let theirs = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let child = Command::new(go_httpbin())
            .args(["-host", "127.0.0.1", "-port", &theirs.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + LONG;
        while TcpStream::connect(theirs).await.is_err() {
            assert!(Instant::now() < deadline, "go-httpbin does not answer on {theirs}");
            sleep(Duration::from_millis(5)).await;
        }
        Self { ours, theirs, _go_httpbin: child }
    }

    /// Our answer and theirs.
    pub async fn ask(&self, call: &Call) -> (Answer, Answer) {
        tokio::join!(ask(self.ours, call), ask(self.theirs, call))
    }
}

async fn ask(server: SocketAddr, call: &Call) -> Answer {
    timeout(LONG, answer_of(server, call)).await.unwrap()
}

async fn answer_of(server: SocketAddr, call: &Call) -> Answer {
    let stream = TcpStream::connect(server).await.unwrap();
    let us = stream.local_addr().unwrap().to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request =
        hyper::Request::builder().method(call.method.as_str()).uri(&call.target).header("host", "httpbin2:8000");
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(call.body.clone()))).unwrap();
    let response = sender.send_request(request).await.unwrap();

    let (parts, body) = response.into_parts();
    let mut headers = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in parts.headers.iter().filter(|(name, _)| !FRAMING.contains(&name.as_str())) {
        headers.entry(name.to_string()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    let body = match call.compare {
        Compare::Everything => String::from_utf8_lossy(&body).replace(&us, "PEER"),
        Compare::AnyDetail => without_detail(&body),
        Compare::AnyBody => String::new(),
        Compare::SameLength => format!("{} bytes", body.len()),
    };
    Answer { status: parts.status.as_u16(), headers, body }
}

fn without_detail(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.lines().filter(|line| !line.trim_start().starts_with("\"detail\": ")).collect::<Vec<_>>().join("\n")
}

/// The real go-httpbin; without it this test cannot say anything, so it fails.
fn go_httpbin() -> PathBuf {
    if let Some(path) = std::env::var_os("GO_HTTPBIN") {
        return path.into();
    }
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    if let Ok(output) = std::process::Command::new("go").args(["env", "GOPATH"]).output() {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join("bin"));
    }
    let found = folders.into_iter().map(|folder| folder.join("go-httpbin")).find(|path| path.is_file());
    found.expect("go-httpbin is missing: go install github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin@v2.14.0")
}
