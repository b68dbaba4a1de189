//! What a person's commands ask of an API server: one thing at a time, and in its own words what it refuses.
//!
//! Servers follow lists and show nothing of what they read ([`crate::follow_either`]); here answers are shown. No
//! command asks for Secrets.

use std::path::Path;

use anyhow::{Context as _, bail};
use http::header::CONTENT_TYPE;
use http::{Request, request::Builder};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use crate::pump::escaped;
use crate::server::Server;

/// By this name the API server knows which fields commands have written.
const MANAGER: &str = "waykeeper";
/// Of what the API server says so much is shown.
const LONGEST_WORDS: usize = 1_000;

/// Why something was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was refused, in the API server's words.
    #[error("{message}")]
    Said {
        /// As an HTTP status.
        code: u16,
        /// Why.
        message: String,
    },
    /// There was no answer, or none that can be read.
    #[error("{0}")]
    Unanswered(String),
}

impl Refusal {
    /// Whether what was asked for is not there.
    pub fn is_absence(&self) -> bool {
        matches!(self, Refusal::Said { code: 404, .. })
    }

    /// Whether somebody else was faster, or owns what was to be written.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Refusal::Said { code: 409, .. })
    }
}

/// An API server, and as whom it is asked.
#[derive(Debug, Clone)]
pub struct Client {
    server: Server,
    url: String,
    namespace: String,
}

impl Client {
    /// The one that kubectl would ask: of the file `kubeconfig`, else of `$KUBECONFIG`, else of `~/.kube/config`, else
    /// of the cluster in which this process is a pod.
    ///
    /// # Errors
    /// When none of these is there, or the one that is cannot be used.
    pub async fn find(kubeconfig: Option<&Path>, context: Option<&str>) -> anyhow::Result<Self> {
        let config = match read(kubeconfig)? {
            Some(file) => {
                let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
                kube::Config::from_custom_kubeconfig(file, &options).await.context("using the kubeconfig")?
            }
            None if context.is_some() => bail!("there is no kubeconfig to find the context in"),
            None => kube::Config::incluster().context("no kubeconfig is there, and this is no pod of a cluster")?,
        };
        let (url, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
        Ok(Self { server: Server::with(config)?, url, namespace })
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The namespace that is meant where none is named.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What is at `path`.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.ask(Request::get(path), None).await
    }

    /// The text at `path`.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn text(&self, path: &str) -> Result<String, Refusal> {
        let request = Request::get(path).body(Body::empty());
        let request = request.map_err(|error| Refusal::Unanswered(error.to_string()))?;
        let answer = self.server.exchange(request).await;
        let (code, body) = answer.map_err(|failure| Refusal::Unanswered(failure.to_string()))?;
        match code {
            200..300 => Ok(String::from_utf8_lossy(&body).into_owned()),
            _ => Err(read_answer(code, &body).err().unwrap_or_else(|| Refusal::Unanswered(code.to_string()))),
        }
    }

    /// All objects of the list at `path`; `query` narrows it, in the form `labelSelector=…`.
    ///
    /// # Errors
    /// When a page does not come.
    pub async fn list(&self, path: &str, query: &str) -> Result<Vec<Value>, Refusal> {
        let mut found = Vec::new();
        let mut more = String::new();
        loop {
            let mut page = self.get(&format!("{path}?limit=500&{query}{more}")).await?;
            let Value::Array(items) = page["items"].take() else {
                return Err(Refusal::Unanswered(format!("{path} is no list")));
            };
            found.extend(items);
            match page["metadata"]["continue"].as_str().filter(|more| !more.is_empty()) {
                Some(next) => more = format!("&continue={}", escaped(next)),
                None => return Ok(found),
            }
        }
    }

    /// Makes `object` in the list at `path`, and says what the API server made of it.
    ///
    /// # Errors
    /// When it is refused, or nobody knows whether it was done.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, Refusal> {
        self.ask(Request::post(path).header(CONTENT_TYPE, "application/json"), Some(object)).await
    }

    /// Sees to it that the object at `path` has the fields of `object`, as `kubectl apply --server-side` does: fields
    /// that others have written otherwise are a conflict.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn apply(&self, path: &str, object: &Value) -> Result<Value, Refusal> {
        let path = format!("{path}?fieldManager={MANAGER}");
        self.ask(Request::patch(path).header(CONTENT_TYPE, "application/apply-patch+yaml"), Some(object)).await
    }

    /// What [`apply`](Self::apply) would make of the object at `path`, done by `manager` and against all others. Nothing
    /// is kept.
    ///
    /// # Errors
    /// When it would be refused.
    pub async fn try_apply(&self, path: &str, object: &Value, manager: &str) -> Result<Value, Refusal> {
        let path = format!("{path}?dryRun=All&force=true&fieldManager={}", escaped(manager));
        self.ask(Request::patch(path).header(CONTENT_TYPE, "application/apply-patch+yaml"), Some(object)).await
    }

    /// What [`merge`](Self::merge) would make of the object at `path`. Nothing is kept.
    ///
    /// # Errors
    /// When it would be refused.
    pub async fn try_merge(&self, path: &str, patch: &Value) -> Result<Value, Refusal> {
        let path = format!("{path}?dryRun=All&fieldManager={MANAGER}");
        self.ask(Request::patch(path).header(CONTENT_TYPE, "application/merge-patch+json"), Some(patch)).await
    }

    /// Merges `patch` into the object at `path`.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<Value, Refusal> {
        let path = format!("{path}?fieldManager={MANAGER}");
        self.ask(Request::patch(path).header(CONTENT_TYPE, "application/merge-patch+json"), Some(patch)).await
    }

    /// Deletes the object at `path`, if it still is the one with this uid.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn delete(&self, path: &str, uid: &str) -> Result<(), Refusal> {
        let options = serde_json::json!({"preconditions": {"uid": uid}});
        let request = Request::delete(path).header(CONTENT_TYPE, "application/json");
        self.ask(request, Some(&options)).await.map(drop)
    }

    async fn ask(&self, request: Builder, body: Option<&Value>) -> Result<Value, Refusal> {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string().into_bytes()));
        let request = request.body(body).map_err(|error| Refusal::Unanswered(error.to_string()))?;
        let answer = self.server.exchange(request).await;
        let (code, body) = answer.map_err(|failure| Refusal::Unanswered(failure.to_string()))?;
        read_answer(code, &body)
    }
}

/// The kubeconfig that kubectl would read; none where it would be asked for the pod's own.
fn read(kubeconfig: Option<&Path>) -> anyhow::Result<Option<Kubeconfig>> {
    if let Some(path) = kubeconfig {
        return Kubeconfig::read_from(path).map(Some).with_context(|| format!("reading {}", path.display()));
    }
    if let Some(file) = Kubeconfig::from_env().context("reading the files of $KUBECONFIG")? {
        return Ok(Some(file));
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match home.map(|home| Path::new(&home).join(".kube/config")).filter(|path| path.exists()) {
        Some(path) => Kubeconfig::read_from(&path).map(Some).with_context(|| format!("reading {}", path.display())),
        None => Ok(None),
    }
}

/// What an answer with the status `code` says.
fn read_answer(code: u16, body: &[u8]) -> Result<Value, Refusal> {
    let read: Option<Value> = serde_json::from_slice(body).ok();
    if (200..300).contains(&code) {
        return read.ok_or_else(|| Refusal::Unanswered("what the API server answers is no JSON".to_owned()));
    }
    let said = read.as_ref().and_then(|read| read["message"].as_str()).filter(|said| !said.is_empty());
    let said = said.map_or_else(|| format!("the API server answered {code}"), str::to_owned);
    let message = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_WORDS).collect();
    Err(Refusal::Said { code, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_api_server() {
        let said = read_answer(404, br#"{"kind": "Status", "message": "services \"a\" not\nfound", "code": 404}"#);
        let Err(refusal) = said else { panic!("{said:?}") };
        assert_eq!(refusal.to_string(), "services \"a\" not found");
        assert!(refusal.is_absence() && !refusal.is_conflict());
        assert!(read_answer(409, b"{}").is_err_and(|refusal| refusal.is_conflict()));
        let nothing = read_answer(502, b"<html>");
        assert_eq!(nothing.unwrap_err().to_string(), "the API server answered 502");
        assert!(matches!(read_answer(200, b"<html>"), Err(Refusal::Unanswered(_))));
        assert_eq!(read_answer(201, b"{\"a\": 1}"), Ok(serde_json::json!({"a": 1})));
        let long = format!("{{\"message\": {:?}}}", "x".repeat(5_000));
        assert_eq!(read_answer(400, long.as_bytes()).unwrap_err().to_string().len(), LONGEST_WORDS);
    }
}
