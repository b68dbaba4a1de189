//! The admin port's part: `/explain`, `/counters`, `/counters/reset`.
//!
//! Asking is harmless. Resetting is a write: it is offered only where the admin
//! port is a loopback address or a Unix socket, and never to a page in a
//! browser, which could be any page.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, body::Bytes};
use runtime::Addr;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::counters;
use crate::book::Book;
use crate::clock::Clock;
use rules::config::Index;
use rules::explain::Question;
use rules::explain::ask::{Ask, Described};
use rules::request::Request;
use store::{CounterStore as _, Store, StoreError};

/// The most a question may have.
const MOST_BYTES: usize = 64 * 1024;

/// The rules and counters from which questions are answered.
#[derive(Clone)]
pub struct Counting {
    /// The rules being served.
    pub index: Arc<ArcSwap<Index>>,
    /// Where hits are added up.
    pub store: Arc<Store>,
    /// The names of counters.
    pub book: Arc<Book>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counting")
    }
}

/// What is to be reset: the counters of a request, or all whose names begin with a text.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reset {
    /// The domain of `descriptors`; the first that is served when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// A request: the counters it would move are reset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descriptors: Vec<Described>,
    /// The beginning of names as `/counters` gives them; empty for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct WasReset {
    /// How many counters were in use and are empty now.
    pub reset: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    #[serde(default)]
    prefix: String,
}

/// Why there is no answer.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({"error": self.1}))).into_response()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

/// Whether only people on this machine reach `admin`.
pub(crate) fn is_local(admin: &Addr) -> bool {
    match admin {
        Addr::Tcp(address) => address.ip().to_canonical().is_loopback(),
        Addr::Unix(_) => true,
    }
}

/// The pages for an admin port at `admin`; those that reset counters only if it is known that nobody but people on
/// this machine can reach it.
pub fn routes(counting: Counting, admin: Option<&Addr>) -> Router {
    let asking = Router::new().route("/explain", post(explain)).route("/counters", get(list));
    let all = if admin.is_some_and(is_local) {
        counting.book.open();
        asking.route("/counters/reset", post(reset))
    } else {
        asking.route("/counters/reset", post(not_here))
    };
    all.layer(DefaultBodyLimit::max(MOST_BYTES)).with_state(counting)
}

async fn explain(State(counting): State<Counting>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    let ask: Ask = read(&headers, &body)?;
    let index = counting.index.load_full();
    let message = ask.message(default_domain(&index));
    let request = Request::read(&message).map_err(|why| Refusal(StatusCode::BAD_REQUEST, why.to_string()))?;
    let now = counting.clock.now();
    let question = Question::new(&index, &request, now.secs());
    let readings = counting.store.hit(&question.looks(), now).await?;
    Ok(Json(question.answer(Some(&readings))).into_response())
}

async fn list(
    State(counting): State<Counting>,
    query: Result<Query<Listing>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Ok(Query(Listing { prefix })) = query else {
        return Err(Refusal(
            StatusCode::BAD_REQUEST,
            "write /counters or /counters?prefix=<namespace>.<name>".to_owned(),
        ));
    };
    let index = counting.index.load_full();
    Ok(Json(counters::list(&counting.store, &counting.book, &index, &prefix, counting.clock.now()).await?)
        .into_response())
}

async fn reset(State(counting): State<Counting>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Refusal(StatusCode::FORBIDDEN, "pages in a browser may not reset counters".to_owned()));
    }
    let wanted: Reset = read(&headers, &body)?;
    let now = counting.clock.now();
    let index = counting.index.load_full();
    let reset = match (wanted.prefix, wanted.descriptors) {
        (Some(prefix), descriptors) if descriptors.is_empty() => {
            counters::reset(&counting.store, &counting.book, &index, &prefix, now).await?
        }
        (None, descriptors) if !descriptors.is_empty() => {
            let message = Ask { domain: wanted.domain, descriptors, hits: None }.message(default_domain(&index));
            let request = Request::read(&message).map_err(|why| Refusal(StatusCode::BAD_REQUEST, why.to_string()))?;
            counting.store.forget(&Question::new(&index, &request, now.secs()).looks()).await?
        }
        _ => {
            let why = "write either {\"descriptors\": [\"ns.name: key=value\"]} or {\"prefix\": \"ns.name\"}";
            return Err(Refusal(StatusCode::BAD_REQUEST, why.to_owned()));
        }
    };
    tracing::info!(counters = reset, "counters were reset through the admin port");
    Ok(Json(WasReset { reset }).into_response())
}

async fn not_here() -> Refusal {
    let why = "counters are reset only through an admin address that is a loopback address or a Unix socket";
    Refusal(StatusCode::FORBIDDEN, why.to_owned())
}

/// A body of JSON that says it is; a browser asks its server before it sends such a thing elsewhere.
fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        let why = "send JSON, with the header content-type: application/json";
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, why.to_owned()));
    }
    serde_json::from_slice(body).map_err(|why| Refusal(StatusCode::BAD_REQUEST, why.to_string()))
}

/// The domain of those who name none.
pub fn default_domain(index: &Index) -> &str {
    let served = index.domains().iter().map(|domain| &**domain);
    served.into_iter().find(|domain| *domain != "*").unwrap_or(rules::config::DOMAINS[0])
}
