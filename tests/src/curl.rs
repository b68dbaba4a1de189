//! The real curl, and what it printed.

use std::process::Command;

use serde_json::Value;

/// A request in the making: `Curl::to("http://httpbin2:8000/get").header(…).send()`.
#[derive(Debug, Clone)]
pub struct Curl {
    url: String,
    args: Vec<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status line without the line end, e.g. `HTTP/1.1 200 OK`.
    pub status_line: String,
    /// The status; 0 when there was no HTTP answer.
    pub status: u16,
    /// Header names, lower-cased, and values, in the order they came in.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// curl's own exit code and message, for connections that failed.
    pub error: Option<String>,
}

/// Names of the example's services and their addresses.
pub const NAMES: [(&str, &str); 2] = [("httpbin2:8000", "127.0.20.2"), ("httpbin3:8000", "127.0.20.3")];

impl Curl {
    /// A GET of `url`, in which the example's services go by their names.
    pub fn to(url: &str) -> Self {
        let mut args: Vec<String> = ["-sS", "-i", "--max-time", "10", "--noproxy", "*"].map(String::from).to_vec();
        for (name, address) in NAMES {
            args.push("--resolve".into());
            args.push(format!("{name}:{address}"));
        }
        Self { url: url.into(), args }
    }

    /// Adds a header, as `-H` takes it.
    pub fn header(mut self, header: &str) -> Self {
        self.args.extend(["-H".into(), header.into()]);
        self
    }

    /// Adds arguments of curl.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// Sends it and reads what curl printed.
    pub fn send(&self) -> Reply {
        let output = Command::new("curl")
            .args(&self.args)
            .arg(&self.url)
            .output()
            .expect("curl is missing: apt-get install curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = (!output.status.success())
            .then(|| format!("curl {:?}: {}", output.status.code(), String::from_utf8_lossy(&output.stderr).trim()));
        Reply { error, ..Reply::read(&text) }
    }
}

impl Reply {
    /// What `curl -i` printed, read.
    pub fn read(text: &str) -> Reply {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default().to_owned();
        let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Reply { status_line, status, headers, body: body.to_owned(), error: None }
    }

    /// The first value of a response header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The names of all response headers, sorted.
    pub fn header_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.headers.iter().map(|(n, _)| n.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    /// Names of the request headers the application saw and echoed, sorted.
    pub fn seen_names(&self) -> Vec<String> {
        let json = self.json();
        let mut names: Vec<String> = json["headers"].as_object().expect("headers").keys().cloned().collect();
        names.sort();
        names
    }

    /// The one value of a request header the application saw.
    pub fn seen(&self, name: &str) -> Option<String> {
        let json = self.json();
        let values = json["headers"].get(name)?.as_array().expect("a list").clone();
        assert_eq!(values.len(), 1, "{name} came more than once: {values:?}");
        values[0].as_str().map(str::to_owned)
    }
}
