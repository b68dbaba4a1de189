//! Another server decides over gRPC: it is asked as Envoy asks (`envoy.service.auth.v3.Authorization/Check`), with what
//! earlier steps know among the metadata.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::http::Uri;
use api::gloo::auth_config::{PassThroughGrpc, RetryPolicy, Target};
use api::header::{self, HeaderUse};
use api::proto_json::ProtoDuration;
use futures_util::future::BoxFuture;
use outbound::grpc::Said;
use outbound::http::{Client, Speaks};
use outbound::{Outcome as Asking, Server, Why};
use prost::Message as _;
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::envoy::config::core::v3::{HeaderMap, HeaderValue, HeaderValueOption};
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::r#type::v3::StatusCode;
use proto::google::protobuf::Struct;

use super::{ASKED, Asked, Before, Granting, Heard, How, MOST_HEADERS, failed, granted, to_client, told, unusable};
use crate::headers::{Mutation, Mutations, Value};
use crate::methods::Context;
use crate::state::{State, struct_of};
use crate::step::{Ask, Denial, Header, Outcome, SET_COOKIE};

/// Where in the metadata of a question stands what earlier steps have told, and in that of an answer what it tells.
const STATE: &str = "solo.auth.passthrough";
/// Where stands what the AuthConfig has for the server.
const CONFIG: &str = "solo.auth.passthrough.config";

const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Streams to one server at a time.
const MOST_CALLS: usize = 256;

#[derive(Debug)]
pub(super) struct Grpc {
    uri: Uri,
    /// Headers that an answer may set, in lower case.
    sets: Arc<BTreeSet<String>>,
    retries: Retries,
    /// Whether there has been a connection: until then it is not tried again.
    connected: Arc<AtomicBool>,
}

/// How often it is asked again, and how far apart.
#[derive(Debug, Clone, Copy)]
struct Retries {
    most: u32,
    first: Duration,
    longest: Duration,
}

impl Retries {
    fn of(policy: Option<&RetryPolicy>) -> Self {
        let back_off = policy.and_then(|policy| policy.retry_back_off.as_ref());
        let first = back_off.and_then(|back_off| back_off.base_interval).map_or(Duration::from_secs(1), |d| d.0);
        let longest = back_off.and_then(|back_off| back_off.max_interval).map_or(first * 10, |ProtoDuration(d)| d);
        Self { most: policy.map_or(0, |policy| policy.num_retries.unwrap_or(1)), first, longest }
    }

    /// How long to wait before the retry of this number, the first being 0: not as long as all others do.
    fn pause(self, number: u32) -> Duration {
        let full = self.first.saturating_mul(1 << number.min(16)).min(self.longest);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }
}

impl Grpc {
    pub(super) fn of(grpc: &PassThroughGrpc, context: &Context) -> Option<(How, Target, Client, Server)> {
        let target = Target::of_address(grpc.address.as_deref()?, grpc.tls_config.is_some()).ok()?;
        let (client, server) =
            super::reach(&target, Speaks::Http2, grpc.connection_timeout, None, MOST_CALLS, context)?;
        let scheme = if target.tls { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(target.authority()).path_and_query(METHOD).build().ok()?;
        let sets = grpc.allowed_upstream_headers.iter().map(|name| name.to_ascii_lowercase()).collect();
        let retries = Retries::of(grpc.retry_policy.as_ref());
        Some((
            How::Grpc(Grpc { uri, sets: Arc::new(sets), retries, connected: Arc::default() }),
            target,
            client,
            server,
        ))
    }

    pub(super) fn ask(
        &self,
        ask: &Ask<'_>,
        before: Before,
        asked: Arc<Asked>,
        deadline: Instant,
    ) -> Option<BoxFuture<'static, Heard>> {
        let question = question(ask, &before, asked.config.as_ref().map(struct_of))?.encode_to_vec();
        let (uri, sets, retries, connected) =
            (self.uri.clone(), self.sets.clone(), self.retries, self.connected.clone());
        Some(Box::pin(async move {
            let mut number = 0;
            loop {
                let said = asked.server.ask(deadline, asked.client.unary(uri.clone(), &question, deadline)).await;
                if !matches!(&said, Asking::Unavailable(unavailable) if unavailable.why != Why::Broken) {
                    connected.store(true, Ordering::Relaxed);
                }
                let again = match &said {
                    Asking::Answered(Said::Status(status)) => *status == UNAVAILABLE,
                    Asking::Answered(Said::Message(_)) => false,
                    Asking::Unavailable(unavailable) => matches!(unavailable.why, Why::Broken | Why::Unreachable),
                };
                let pause = retries.pause(number);
                let now = tokio::time::Instant::now();
                let in_time = now.into_std() + pause < deadline;
                if again && number < retries.most && connected.load(Ordering::Relaxed) && in_time {
                    tokio::time::sleep_until(now + pause).await;
                    number += 1;
                    continue;
                }
                return match said {
                    Asking::Answered(said) => heard(said, &asked.name, &sets, &before),
                    Asking::Unavailable(unavailable) => failed(&unavailable),
                };
            }
        }))
    }
}

/// Envoy's question, as the steps before this one leave the request.
fn question(ask: &Ask<'_>, before: &Before, config: Option<Struct>) -> Option<pb::CheckRequest> {
    let mut attributes = ask.request.attributes()?.clone();
    if let Some(http) = attributes.request.as_mut().and_then(|request| request.http.as_mut()) {
        let hidden = ask.hidden(&before.changes);
        match &mut http.header_map {
            Some(raw) => rewrite_raw(raw, &hidden, &before.changes),
            None => {
                http.headers.retain(|name, _| !hidden.contains(name));
                for (name, mutation) in before.changes.iter() {
                    let sent = http.headers.remove(&**name);
                    let value = match (mutation, sent) {
                        (Mutation::Remove, _) => continue,
                        (Mutation::Append(value), Some(sent)) => format!("{sent},{}", value.expose()),
                        (Mutation::Append(value) | Mutation::Overwrite(value), _) => value.expose().to_owned(),
                    };
                    http.headers.insert(name.to_string(), value);
                }
            }
        }
    }
    attributes.context_extensions.insert(ASKED.to_owned(), "true".to_owned());
    let told = ask.granted.and_then(|granted| granted.state()).map(State::to_wire).unwrap_or_default();
    let metadata = &mut attributes.metadata_context.get_or_insert_default().filter_metadata;
    metadata.insert(STATE.to_owned(), told);
    match config {
        Some(config) => drop(metadata.insert(CONFIG.to_owned(), config)),
        None => drop(metadata.remove(CONFIG)),
    }
    Some(pb::CheckRequest { attributes: Some(attributes) })
}

/// The same where headers are a list.
fn rewrite_raw(raw: &mut HeaderMap, hidden: &BTreeSet<String>, changes: &Mutations) {
    let replaced = |name: &str| {
        let mut changed = changes.iter().filter(|(changed, _)| ***changed == *name);
        changed.any(|(_, mutation)| !matches!(mutation, Mutation::Append(_)))
    };
    raw.headers.retain(|header| !hidden.contains(&header.key) && !replaced(&header.key));
    for (name, mutation) in changes.iter() {
        if let Mutation::Append(value) | Mutation::Overwrite(value) = mutation {
            let raw_value = value.expose().as_bytes().to_vec();
            raw.headers.push(HeaderValue { key: name.to_string(), raw_value, ..Default::default() });
        }
    }
}

const UNAVAILABLE: u16 = 14;

/// What the server said, and what that means.
fn heard(said: Said, name: &str, sets: &BTreeSet<String>, before: &Before) -> Heard {
    let message = match said {
        Said::Message(message) => message,
        // A denial in the form of a failure.
        Said::Status(7 | 16) => return Heard::Decided(Outcome::Deny(Denial::plain(403, DENIED))),
        // Unknown, too late, internal, unavailable: what would be a 5xx over HTTP.
        Said::Status(status @ (2 | 4 | 13 | UNAVAILABLE)) => {
            return Heard::Failed(crate::step::Fault::Unavailable, format!("failed with gRPC status {status}").into());
        }
        Said::Status(status) => return unusable(format!("answered with gRPC status {status}")),
    };
    let Ok(response) = pb::CheckResponse::decode(message) else { return unusable("its answer is no CheckResponse") };
    let passes = response.status.as_ref().map(|status| status.code == 0);
    match (passes, &response.http_response) {
        (Some(true), None) => allowed(&pb::OkHttpResponse::default(), &response, name, sets, before),
        (Some(true) | None, Some(HttpResponse::OkResponse(ok))) => allowed(ok, &response, name, sets, before),
        (Some(false) | None, Some(HttpResponse::DeniedResponse(denied))) => {
            Heard::Decided(Outcome::Deny(denial(denied)))
        }
        (Some(false), _) => Heard::Decided(Outcome::Deny(Denial::plain(403, DENIED))),
        // It says yes and no, or nothing at all.
        (Some(true), Some(_)) | (None, _) => unusable("its answer contradicts itself or says nothing"),
    }
}

const DENIED: &str = "another server denied";

/// The request may pass, if all can be done that the answer asks for.
#[allow(deprecated)]
fn allowed(
    ok: &pb::OkHttpResponse,
    response: &pb::CheckResponse,
    name: &str,
    sets: &BTreeSet<String>,
    before: &Before,
) -> Heard {
    if !ok.query_parameters_to_set.is_empty() || !ok.query_parameters_to_remove.is_empty() {
        return unusable("its answer changes the query, which is not implemented");
    }
    let headers = [ok.headers.len(), ok.headers_to_remove.len(), ok.response_headers_to_add.len()];
    if headers.iter().sum::<usize>() > MOST_HEADERS {
        return unusable(format!("its answer changes more than {MOST_HEADERS} headers"));
    }
    let mut granting = Granting::on(before);
    for option in &ok.headers {
        let Some((key, value)) = option.header.as_ref().map(text) else { return unusable("a header without a name") };
        if !sets.contains(&key) {
            return unusable(format!(
                "its answer sets the header {:?}, which grpc.allowedUpstreamHeaders does not list",
                key.chars().take(100).collect::<String>()
            ));
        }
        let Some(value) = std::str::from_utf8(&value).ok().map(Value::new) else {
            return unusable(format!("its value of the header {key} is no text"));
        };
        match (value, appended(option)) {
            (Some(value), Some(true)) => granting.add(&key, value),
            (Some(value), Some(false)) => granting.set(&key, value),
            (None, Some(false)) if option.header.as_ref().is_some_and(is_empty) => granting.remove(&key),
            (None, Some(true)) if option.header.as_ref().is_some_and(is_empty) => {}
            (None, _) => return unusable(format!("its value of the header {key} is one that no header carries")),
            (_, None) => return unusable(format!("it sets the header {key} on a condition, which is not implemented")),
        }
    }
    for name in &ok.headers_to_remove {
        // As with Envoy, what frames a request stays.
        if header::check(name, HeaderUse::Write).is_ok() {
            granting.remove(&name.to_ascii_lowercase());
        }
    }
    for option in &ok.response_headers_to_add {
        let told = option.header.as_ref().map(text).and_then(|(key, value)| to_client(&key, &value));
        let Some((key, value)) = told else { return unusable("it sets a header of the response that it may not set") };
        granting.more.response.retain(|(known, _)| **known != *key || key == SET_COOKIE);
        granting.more.response.push((key.into(), value));
    }
    let metadata = ok.dynamic_metadata.as_ref().or(response.dynamic_metadata.as_ref());
    if let Some(metadata) = metadata {
        let Some(all) = State::of_wire(metadata) else { return unusable("its metadata have a number that is none") };
        let mut own = all.expose().clone();
        match own.remove(STATE) {
            None => {}
            Some(serde_json::Value::Object(told)) => granting.more.state = told.into(),
            Some(_) => return unusable("what it tells later steps is no mapping"),
        }
        if !own.is_empty() {
            granting.more.metadata.set(name, own.into());
        }
    }
    granted(granting)
}

/// Name in lower case and value.
fn text(header: &HeaderValue) -> (String, Cow<'_, [u8]>) {
    let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
    (header.key.to_ascii_lowercase(), Cow::Borrowed(value))
}

fn is_empty(header: &HeaderValue) -> bool {
    header.value.is_empty() && header.raw_value.is_empty()
}

/// Whether a header is added to what there is; none if that depends on whether there is any.
///
/// Who writes neither field replaces: in messages of authorization `append` is false unless written.
#[allow(deprecated)]
fn appended(option: &HeaderValueOption) -> Option<bool> {
    match (&option.append, HeaderAppendAction::try_from(option.append_action).ok()?) {
        (Some(append), _) => Some(append.value),
        (None, HeaderAppendAction::AppendIfExistsOrAdd | HeaderAppendAction::OverwriteIfExistsOrAdd) => Some(false),
        (None, HeaderAppendAction::AddIfAbsent | HeaderAppendAction::OverwriteIfExists) => None,
    }
}

/// The server's own answer to the client, whole.
fn denial(denied: &pb::DeniedHttpResponse) -> Denial {
    let code = denied.status.as_ref().map_or(0, |status| status.code);
    // Another code Envoy would not take, and with it nothing of the answer.
    let known = StatusCode::try_from(code).is_ok_and(|code| code as i32 >= 200);
    let status = u16::try_from(code).ok().filter(|_| known).unwrap_or(403);
    // Of one name there may be several, as of cookies.
    let named = denied.headers.iter().filter_map(|option| option.header.as_ref().map(text));
    let allowed = named.filter_map(|(key, value)| to_client(&key, &value)).map(told);
    let headers: Vec<Header> = allowed.take(MOST_HEADERS).collect();
    Denial { status, headers: headers.into(), body: denied.body.clone().into(), reason: DENIED }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::google::rpc::Status;

    use super::*;

    const NAMES: [&str; 10] = [
        "x-team",
        "X-Team",
        "x_team",
        "x-other",
        "x-user-id",
        ":path",
        "Host",
        "content-length",
        "x-envoy-peer",
        "set-cookie",
    ];
    const VALUES: [&str; 5] = ["a", "", "a\r\nb: c", "ü", "\0"];

    /// Each pause is up to twice as long as the one before, and at least half of that; without a longest one, ten times the first.
    #[test]
    fn pauses_grow_up_to_the_longest() {
        let of = |text: &str| Retries::of(Some(&serde_json::from_str(text).expect("a policy")));
        let none = Retries::of(None);
        assert_eq!((none.most, none.first, none.longest), (0, Duration::from_secs(1), Duration::from_secs(10)));
        let some = of(r#"{"numRetries": 3, "retryBackOff": {"baseInterval": "0.2s"}}"#);
        assert_eq!((some.most, some.first, some.longest), (3, Duration::from_millis(200), Duration::from_secs(2)));
        let all = of(r#"{"retryBackOff": {"baseInterval": "0.2s", "maxInterval": "1s"}}"#);
        assert_eq!((all.most, all.longest), (1, Duration::from_secs(1)));
        for (number, full) in [(0, 200), (1, 400), (2, 800), (3, 1_000), (16, 1_000), (u32::MAX, 1_000)] {
            let (pause, full) = (all.pause(number), Duration::from_millis(full));
            assert!(pause >= full / 2 && pause <= full, "{number}: {pause:?}");
        }
    }

    fn option() -> impl Strategy<Value = HeaderValueOption> {
        let of = (0..NAMES.len(), 0..VALUES.len(), any::<bool>(), prop::option::of(any::<bool>()), 0..4_i32);
        of.prop_map(|(name, value, raw, append, append_action)| {
            let value = VALUES[value];
            let header = match raw {
                true => HeaderValue { key: NAMES[name].into(), raw_value: value.into(), ..Default::default() },
                false => HeaderValue { key: NAMES[name].into(), value: value.into(), ..Default::default() },
            };
            #[allow(deprecated)]
            HeaderValueOption {
                header: Some(header),
                append: append.map(|value| proto::google::protobuf::BoolValue { value }),
                append_action,
                ..Default::default()
            }
        })
    }

    fn options() -> impl Strategy<Value = Vec<HeaderValueOption>> {
        prop::collection::vec(option(), 0..3)
    }

    fn response() -> impl Strategy<Value = pb::CheckResponse> {
        let removed = prop::collection::vec((0..NAMES.len()).prop_map(|name| NAMES[name].to_owned()), 0..3);
        let ok = (options(), removed, options()).prop_map(|(headers, headers_to_remove, response_headers_to_add)| {
            HttpResponse::OkResponse(pb::OkHttpResponse {
                headers,
                headers_to_remove,
                response_headers_to_add,
                ..Default::default()
            })
        });
        let denied = (options(), 0..600_i32).prop_map(|(headers, code)| {
            let status = Some(proto::envoy::r#type::v3::HttpStatus { code });
            HttpResponse::DeniedResponse(pb::DeniedHttpResponse { headers, status, ..Default::default() })
        });
        let http_response = prop::option::of(prop_oneof![3 => ok, 1 => denied]);
        let code = prop::option::of(prop_oneof![3 => Just(0), 1 => 0..17_i32]);
        (code, http_response).prop_map(|(code, http_response)| pb::CheckResponse {
            status: code.map(|code| Status { code, ..Default::default() }),
            http_response,
            ..Default::default()
        })
    }

    #[test]
    fn a_header_is_told_as_text_or_as_bytes() {
        let of =
            |value: &str, raw: &str| HeaderValue { key: "X-Team".into(), value: value.into(), raw_value: raw.into() };
        for (header, expected) in [(of("a", ""), "a"), (of("", "b"), "b"), (of("a", "b"), "b"), (of("", ""), "")] {
            let (name, value) = text(&header);
            assert_eq!((&*name, &*value), ("x-team", expected.as_bytes()));
        }
        assert!(is_empty(&of("", "")) && !is_empty(&of("a", "")) && !is_empty(&of("", "b")));
    }

    proptest! {
        /// A request passes by a yes alone, with what is listed alone; and nothing that goes to a client frames a message.
        #[test]
        fn whatever_it_answers_only_what_is_listed_is_set(response in response(), lists_user in any::<bool>()) {
            let mut sets = BTreeSet::from(["x-team".to_owned()]);
            sets.extend(lists_user.then(|| "x-user-id".to_owned()));
            let before = Before { changes: Mutations::default(), user_header: "x-user-id".into() };
            let said = Said::Message(response.encode_to_vec().into());
            let for_client = |name: &str| header::check(name, HeaderUse::Write).is_ok();
            match heard(said, "step", &sets, &before) {
                Heard::Decided(Outcome::Pass(grant)) => {
                    prop_assert!(response.status.as_ref().is_none_or(|status| status.code == 0));
                    prop_assert!(!matches!(response.http_response, Some(HttpResponse::DeniedResponse(_))));
                    prop_assert!(response.status.is_some() || response.http_response.is_some());
                    for (name, mutation) in grant.headers.iter() {
                        let sets_it = !matches!(mutation, Mutation::Remove);
                        prop_assert!(!sets_it || (sets.contains(&**name) && &**name != "x-user-id"), "{name}");
                        prop_assert!(!matches!(mutation, Mutation::Append(_)) , "nobody has set it before");
                        prop_assert!(for_client(name), "{name}");
                    }
                    prop_assert!(grant.user.is_none() || lists_user);
                    let told = grant.more.iter().flat_map(|more| &more.response);
                    for (name, value) in told {
                        prop_assert!(for_client(name) && !value.expose().contains(['\r', '\n', '\0']), "{name}");
                    }
                }
                Heard::Decided(Outcome::Deny(denial)) => {
                    prop_assert!((200..600).contains(&denial.status), "{}", denial.status);
                    for (name, value) in denial.headers.iter() {
                        prop_assert!(for_client(name) && !value.contains(['\r', '\n', '\0']), "{name}");
                    }
                }
                Heard::Decided(Outcome::Fault(_)) | Heard::Failed(..) => prop_assert!(false, "it did answer"),
                Heard::Unusable(..) => {}
            }
        }

        #[test]
        fn bytes_that_are_no_answer_let_nobody_pass(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let before = Before { changes: Mutations::default(), user_header: "x-user-id".into() };
            let passes = matches!(
                heard(Said::Message(bytes.clone().into()), "step", &BTreeSet::new(), &before),
                Heard::Decided(Outcome::Pass(_))
            );
            let says = pb::CheckResponse::decode(&*bytes).ok();
            prop_assert!(!passes || says.is_some_and(|said| said.status.is_some() || said.http_response.is_some()));
        }
    }
}
