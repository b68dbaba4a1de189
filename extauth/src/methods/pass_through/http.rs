//! Another server decides over HTTP: a POST with the headers that are listed, 200 lets pass, anything else denies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use api::gloo::auth_config::{PassThroughHttp, Target};
use api::proto_json::ProtoDuration;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use outbound::Outcome as Asking;
use outbound::Server;
use outbound::http::{Client, Speaks};
use serde_json::{Map, Value as Json};

use super::{
    Asked, Before, Granting, Heard, How, MOST_CALLS, MOST_HEADERS, failed, granted, to_client, told, unusable,
};
use crate::headers::Value;
use crate::methods::Context;
use crate::state::{State, object};
use crate::step::{Ask, Denial, Fault, Header, Outcome, SET_COOKIE};

#[derive(Debug)]
pub(super) struct Http {
    uri: Uri,
    /// How long an answer may take, if that is written.
    patience: Option<Duration>,
    /// Headers of the request that are shown.
    shown: Vec<HeaderName>,
    added: HeaderMap,
    tells_state: bool,
    tells_metadata: bool,
    takes: Arc<Takes>,
}

/// What of an answer is used: names of headers, in lower case.
#[derive(Debug, Default)]
struct Takes {
    append: Vec<String>,
    overwrite: Vec<String>,
    on_denied: Vec<String>,
    on_success: Vec<String>,
    state: bool,
}

impl Http {
    pub(super) fn of(http: &PassThroughHttp, context: &Context) -> Option<(How, Target, Client, Server)> {
        let target = Target::of_url(http.url.as_deref()?).ok()?;
        let pool = http.connection_pool.as_ref();
        let most_calls = pool.and_then(|pool| pool.max_connections).and_then(|most| usize::try_from(most).ok());
        let most_calls = most_calls.filter(|most| *most > 0).unwrap_or(MOST_CALLS);
        let idle = pool.and_then(|pool| pool.idle_timeout).map(|ProtoDuration(idle)| idle);
        let idle = idle.filter(|idle| !idle.is_zero());
        let (client, server) =
            super::reach(&target, Speaks::Http1, http.connection_timeout, idle, most_calls, context)?;
        let scheme = if target.tls { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(target.authority()).path_and_query(&*target.path);
        let request = http.request.clone().unwrap_or_default();
        let mut added = HeaderMap::new();
        for (name, value) in &request.headers_to_add {
            let mut value = HeaderValue::from_bytes(value.expose()).ok()?;
            value.set_sensitive(true);
            added.insert(HeaderName::try_from(name).ok()?, value);
        }
        let shown =
            request.allowed_headers.iter().map(|name| HeaderName::try_from(name).ok()).collect::<Option<_>>()?;
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let response = http.response.clone().unwrap_or_default();
        let takes = Takes {
            append: lower(&response.allowed_upstream_headers),
            overwrite: lower(&response.allowed_upstream_headers_to_overwrite),
            on_denied: lower(&response.allowed_client_headers_on_denied),
            on_success: lower(&response.allowed_client_headers_on_success),
            state: response.read_state_from_response,
        };
        let http = Http {
            uri: uri.build().ok()?,
            patience: http.response_header_timeout.map(|ProtoDuration(patience)| patience),
            shown,
            added,
            tells_state: request.pass_through_state,
            tells_metadata: request.pass_through_filter_metadata,
            takes: Arc::new(takes),
        };
        Some((How::Http(http), target, client, server))
    }

    pub(super) fn ask(
        &self,
        ask: &Ask<'_>,
        before: Before,
        asked: Arc<Asked>,
        deadline: Instant,
    ) -> Option<BoxFuture<'static, Heard>> {
        let request = self.request(ask, &before, asked.config.as_ref())?;
        let now = tokio::time::Instant::now().into_std();
        let deadline = self.patience.map_or(deadline, |patience| deadline.min(now + patience));
        let takes = self.takes.clone();
        Some(Box::pin(async move {
            match asked.server.ask(deadline, asked.client.call(request, deadline)).await {
                Asking::Answered(answer) => takes.heard(&answer, &before),
                Asking::Unavailable(unavailable) => failed(&unavailable),
            }
        }))
    }

    /// The question; none if it cannot be put.
    fn request(&self, ask: &Ask<'_>, before: &Before, config: Option<&Map<String, Json>>) -> Option<Request<Bytes>> {
        let hidden = ask.hidden(&before.changes);
        let body = self.body(ask, config)?;
        let says = body.is_some();
        let mut request = Request::post(self.uri.clone()).body(Bytes::from(body.unwrap_or_default())).ok()?;
        for name in self.shown.iter().filter(|name| !hidden.contains(name.as_str())) {
            let sent = ask.request.header(name.as_str());
            if let Some(value) = before.changes.seen(name.as_str(), sent) {
                let mut value = HeaderValue::from_bytes(&value).ok()?;
                value.set_sensitive(true);
                request.headers_mut().insert(name, value);
            }
        }
        // What the body is, is not the client's to say if the body is ours.
        if says {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        } else {
            // There are servers that take no POST without it.
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        for (name, value) in &self.added {
            request.headers_mut().insert(name, value.clone());
        }
        Some(request)
    }

    /// What the question says beside headers; the inner none if there is nothing.
    fn body(&self, ask: &Ask<'_>, config: Option<&Map<String, Json>>) -> Option<Option<Vec<u8>>> {
        let mut body = Map::new();
        if self.tells_state {
            let told = ask.granted.and_then(|granted| granted.state()).map(State::expose).cloned();
            body.insert("state".to_owned(), told.unwrap_or_default().into());
        }
        if self.tells_metadata {
            let metadata = ask.request.attributes().and_then(|attributes| attributes.metadata_context.as_ref());
            let metadata = metadata.into_iter().flat_map(|metadata| &metadata.filter_metadata);
            let read = metadata.map(|(name, facts)| Some((name.clone(), Json::Object(object(facts)?))));
            body.insert("filterMetadata".to_owned(), Json::Object(read.collect::<Option<_>>()?));
        }
        if let Some(config) = config {
            body.insert("config".to_owned(), config.clone().into());
        }
        if body.is_empty() { Some(None) } else { serde_json::to_vec(&body).ok().map(Some) }
    }
}

impl Takes {
    fn heard(&self, answer: &Response<Bytes>, before: &Before) -> Heard {
        // There 200 says nothing: of what a server of gRPC does not know it says so with this status.
        let content = answer.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if content.to_ascii_lowercase().starts_with(b"application/grpc") || answer.headers().contains_key("grpc-status")
        {
            return unusable("it answers as a server of gRPC; write grpc.address");
        }
        match answer.status().as_u16() {
            200 => self.allowed(answer, before),
            status @ 500.. => Heard::Failed(Fault::Unavailable, format!("failed with status {status}").into()),
            _ => {
                let named = self.on_denied.iter().flat_map(|name| {
                    let values = answer.headers().get_all(name).iter();
                    values.filter_map(|value| to_client(name, value.as_bytes())).map(told)
                });
                let headers: Vec<Header> = named.take(MOST_HEADERS).collect();
                let denial = Denial { headers: headers.into(), ..Denial::plain(401, "another server denied") };
                Heard::Decided(Outcome::Deny(denial))
            }
        }
    }

    fn allowed(&self, answer: &Response<Bytes>, before: &Before) -> Heard {
        let mut granting = Granting::on(before);
        for (names, appends) in [(&self.append, true), (&self.overwrite, false)] {
            for name in names {
                match joined(answer.headers(), name) {
                    None => {}
                    Some(None) => {
                        return unusable(format!("its value of the header {name} is one that no header carries"));
                    }
                    Some(Some(text)) if text.is_empty() && appends => {}
                    Some(Some(text)) if text.is_empty() => granting.remove(name),
                    Some(Some(text)) => match (Value::new(&text), appends) {
                        (Some(value), true) => granting.add(name, value),
                        (Some(value), false) => granting.set(name, value),
                        (None, _) => {
                            return unusable(format!("its value of the header {name} is one that no header carries"));
                        }
                    },
                }
            }
        }
        for name in &self.on_success {
            if name == SET_COOKIE {
                for value in answer.headers().get_all(name) {
                    let Some((key, value)) = to_client(name, value.as_bytes()) else { continue };
                    granting.more.response.push((key.into(), value));
                }
            } else if let Some(Some(text)) = joined(answer.headers(), name)
                && let Some((key, value)) = to_client(name, text.as_bytes())
            {
                granting.more.response.push((key.into(), value));
            }
        }
        if self.state {
            match state(answer.body()) {
                Some(told) => granting.more.state = told,
                None => return unusable("its body is no JSON with a mapping called state"),
            }
        }
        granted(granting)
    }
}

/// All values of the header `name` as one; the inner none if they are no text.
fn joined(headers: &HeaderMap, name: &str) -> Option<Option<String>> {
    let mut values = headers.get_all(name).iter().map(|value| std::str::from_utf8(value.as_bytes()).ok()).peekable();
    values.peek()?;
    Some(values.collect::<Option<Vec<_>>>().map(|values| values.join(",")))
}

/// What a body tells later steps. One that tells nothing may leave it out.
fn state(body: &[u8]) -> Option<State> {
    let mut told: BTreeMap<String, Json> = serde_json::from_slice(body).ok()?;
    match told.remove("state") {
        None | Some(Json::Null) => Some(State::default()),
        Some(Json::Object(facts)) => Some(facts.into()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::headers::{Mutation, Mutations};

    /// What an answer with these headers does to a request of which an earlier step has set `x-earlier`.
    fn changes(takes: &Takes, headers: &[(&str, &str)]) -> Vec<(String, Mutation)> {
        let mut changes = Mutations::default();
        changes.apply(&"x-earlier".into(), Mutation::Overwrite(Value::new("before").unwrap()));
        let before = Before { changes, user_header: "x-user-id".into() };
        let mut answer = Response::builder().status(200);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        match takes.allowed(&answer.body(Bytes::new()).unwrap(), &before) {
            Heard::Decided(Outcome::Pass(grant)) => {
                grant.headers.iter().map(|(name, mutation)| (name.to_string(), mutation.clone())).collect()
            }
            _ => panic!("does not pass"),
        }
    }

    #[test]
    fn what_is_to_be_appended_is_and_what_is_to_be_overwritten_is_replaced_or_taken_out() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let value = |text: &str| Value::new(text).unwrap();
        let (append, overwrite) = (
            Takes { append: names(&["x-a", "x-earlier"]), ..Takes::default() },
            Takes { overwrite: names(&["x-a", "x-earlier"]), ..Takes::default() },
        );
        let earlier = |mutation: Mutation| vec![("x-earlier".to_owned(), mutation)];
        assert_eq!(changes(&append, &[("x-earlier", "now")]), earlier(Mutation::Append(value("now"))));
        assert_eq!(changes(&overwrite, &[("x-earlier", "now")]), earlier(Mutation::Overwrite(value("now"))));
        assert_eq!(changes(&append, &[("x-earlier", "")]), []);
        assert_eq!(changes(&overwrite, &[("x-earlier", "")]), earlier(Mutation::Remove));
        assert_eq!(changes(&overwrite, &[("x-other", "now")]), []);
        let two = [("x-a", "1"), ("x-a", "2")];
        assert_eq!(changes(&append, &two), [("x-a".to_owned(), Mutation::Overwrite(value("1,2")))]);
    }
}
