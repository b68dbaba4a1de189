//! Asking the API server: one request after another, each with an end in time and in bytes.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Buf as _;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::machine::Failure;
use crate::wire::{Lines, Refusal};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take to begin, and the next piece of it to come.
const ANSWER: Duration = Duration::from_secs(30);
/// How long an answer may take as a whole, a watch's lines aside.
const WHOLE: Duration = Duration::from_secs(120);
/// A watch that goes on for so long after the end it was told to have is given up.
const OVERDUE: Duration = Duration::from_secs(15);
/// The largest page of a list, in bytes.
const LARGEST_PAGE: usize = 64 << 20;
/// The longest line of a watch.
const LONGEST_LINE: usize = 8 << 20;
/// Of what a refusal says so much is read.
const LARGEST_REFUSAL: usize = 64 << 10;
/// Of an error of the connection so much is shown.
const LONGEST_WORDS: usize = 200;

/// How to reach the API server, and as whom.
#[derive(Clone)]
pub struct Server(kube::Client);

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    /// The one that `kubeconfig` names, or that of the cluster in which this process is a pod.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be used.
    pub async fn new(kubeconfig: Option<&Path>) -> anyhow::Result<Self> {
        let config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
                let options = KubeConfigOptions::default();
                let config = kube::Config::from_custom_kubeconfig(file, &options).await;
                config.with_context(|| format!("using {}", path.display()))?
            }
            None => kube::Config::incluster().context(
                "this is no pod of a cluster, or it has no ServiceAccount's token; from elsewhere name a kubeconfig",
            )?,
        };
        Self::with(config)
    }

    /// The one of these settings.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn with(mut config: kube::Config) -> anyhow::Result<Self> {
        config.connect_timeout = Some(CONNECT);
        // The machine waits by itself, and longer each time.
        config.default_retry = false;
        let builder = ClientBuilder::try_from(config).context("using the settings of the API server")?;
        Ok(Self(builder.build()))
    }

    /// What is at `path`, as a whole.
    ///
    /// # Errors
    /// When it does not come, is too large or is refused.
    pub async fn get(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let asked = async {
            let body = self.ask(path).await?.into_body();
            whole(body, LARGEST_PAGE).await
        };
        timeout(WHOLE, asked).await.map_err(|_| Failure::TimedOut)?
    }

    /// The lines of what is at `path`, which ends after `lifetime` by itself.
    ///
    /// # Errors
    /// When it does not begin.
    pub async fn watch(&self, path: &str, lifetime: Duration) -> Result<Watch, Failure> {
        let body = self.ask(path).await?.into_body();
        Ok(Watch { body, lines: Lines::new(LONGEST_LINE), patience: lifetime + OVERDUE })
    }

    /// Merges `patch` into what is at `path`.
    ///
    /// # Errors
    /// When it is refused, or nobody knows whether it was done.
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<(), Failure> {
        self.change(Request::patch(path).header(CONTENT_TYPE, "application/merge-patch+json"), patch).await
    }

    /// Makes `object` in the list at `path`.
    ///
    /// # Errors
    /// As [`patch`](Self::patch).
    pub async fn post(&self, path: &str, object: &Value) -> Result<(), Failure> {
        self.change(Request::post(path).header(CONTENT_TYPE, "application/json"), object).await
    }

    /// Takes away what is at `path`, as `options` say.
    ///
    /// # Errors
    /// As [`patch`](Self::patch).
    pub async fn delete(&self, path: &str, options: &Value) -> Result<(), Failure> {
        self.change(Request::delete(path).header(CONTENT_TYPE, "application/json"), options).await
    }

    /// Shows `question` to what is at `path`, which keeps nothing, and gives its answer.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn ask_about(&self, path: &str, question: &Value) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let asked = async {
            let request = Request::post(path).header(CONTENT_TYPE, "application/json");
            whole(self.tell(request, question).await?.into_body(), LARGEST_PAGE).await
        };
        timeout(WHOLE, asked).await.map_err(|_| Failure::TimedOut)?
    }

    async fn change(&self, request: http::request::Builder, body: &Value) -> Result<(), Failure> {
        self.tell(request, body).await.map(drop)
    }

    async fn tell(&self, request: http::request::Builder, body: &Value) -> Result<Response<Body>, Failure> {
        let request = request.body(Body::from(body.to_string().into_bytes()));
        self.send(request.map_err(|_| Failure::Unreadable("a path that is none"))?).await
    }

    async fn ask(&self, path: &str) -> Result<Response<Body>, Failure> {
        let request = Request::get(path).body(Body::empty()).map_err(|_| Failure::Unreadable("a path that is none"))?;
        self.send(request).await
    }

    /// Sends `request`: the status of the answer, whatever it is, and all of it that is not larger than is read.
    ///
    /// # Errors
    /// When no answer comes, or it is too large.
    pub async fn exchange(&self, request: Request<Body>) -> Result<(u16, Zeroizing<Vec<u8>>), Failure> {
        let asked = async {
            let answer = self.begin(request).await?;
            let code = answer.status().as_u16();
            whole(answer.into_body(), LARGEST_PAGE).await.map(|body| (code, body))
        };
        timeout(WHOLE, asked).await.map_err(|_| Failure::TimedOut)?
    }

    /// Sends `request`; the answer begins, whatever its status is.
    async fn begin(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        // Never by the client's own decoding, which logs what it cannot read: there may be Secrets in it.
        let answer = timeout(ANSWER, self.0.send(request)).await.map_err(|_| Failure::TimedOut)?;
        answer.map_err(|error| match error {
            kube::Error::Auth(_) => Failure::Unreachable("its credentials cannot be had".to_owned()),
            error => Failure::Unreachable(words(&error)),
        })
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let answer = self.begin(request).await?;
        let code = answer.status().as_u16();
        if answer.status().is_success() {
            return Ok(answer);
        }
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let said = timeout(ANSWER, whole(answer.into_body(), LARGEST_REFUSAL)).await;
        let refusal = said.ok().and_then(Result::ok).map(|body| Refusal::read(&body)).unwrap_or_default();
        Err(refusal.failure(code, retry_after.map(Duration::from_secs)))
    }
}

/// All of `body`.
async fn whole(mut body: Body, most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut all = Zeroizing::new(Vec::new());
    while let Some(piece) = piece(&mut body, ANSWER).await? {
        if all.len() + piece.len() > most {
            return Err(Failure::TooLarge);
        }
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

/// The next piece of `body`; none at its end.
async fn piece(body: &mut Body, patience: Duration) -> Result<Option<bytes::Bytes>, Failure> {
    loop {
        let frame = timeout(patience, body.frame()).await.map_err(|_| Failure::TimedOut)?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(Failure::Unreachable(words(&error))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => return Ok(Some(data.copy_to_bytes(data.remaining()))),
                Err(_) => continue,
            },
        }
    }
}

/// A watch that has begun.
#[derive(Debug)]
pub struct Watch {
    body: Body,
    lines: Lines,
    patience: Duration,
}

impl Watch {
    /// The next line; none when the server has ended the watch.
    ///
    /// # Errors
    /// When it is too long, or the connection is lost.
    pub async fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        loop {
            if let Some(line) = self.lines.next_line()? {
                return Ok(Some(line));
            }
            match piece(&mut self.body, self.patience).await? {
                Some(piece) => self.lines.take(&piece),
                // A line without an end was cut: what it said is said again after where we are.
                None => return Ok(None),
            }
        }
    }
}

/// What an error of the connection says: of the client's making, and of what a certificate says of itself. How a
/// kubeconfig's credentials are had is not told: programs that print tokens are among the ways.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text.chars().filter(|c| !c.is_control()).take(LONGEST_WORDS).collect()
}
