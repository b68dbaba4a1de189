//! From a decision to the `CheckResponse` that Envoy acts on.

use std::sync::Arc;

use api::contract::USER_METADATA;
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::protobuf::{BoolValue, Struct, Value, value};
use proto::google::rpc;

use crate::chain::{Allowed, Decision};
use crate::headers::{Mutation, Mutations, Value as Text};
use crate::meters::Status;
use crate::request::Request;
use crate::step::{Denial, SET_COOKIE};

/// What Envoy is told about `request`.
pub fn answer(decision: &Decision, request: Request<'_>) -> pb::CheckResponse {
    match decision {
        Decision::Allow(allowed) => allow(allowed, request),
        Decision::Deny(denial) => deny(denial),
    }
}

/// The request may pass, with the headers that `allowed` says.
fn allow(allowed: &Allowed, request: Request<'_>) -> pb::CheckResponse {
    let granted = allowed.grant.as_ref().map(|grant| &grant.headers);
    let user = allowed.grant.as_ref().and_then(|grant| grant.user.as_ref());
    let mut ok = pb::OkHttpResponse::default();
    if let Some(user) = user {
        ok.headers.push(header(&allowed.user_header, user.expose(), false));
    }
    let others = granted.into_iter().flat_map(Mutations::iter).filter(|(name, _)| **name != allowed.user_header);
    for (name, mutation) in others {
        match mutation {
            Mutation::Overwrite(value) => ok.headers.push(header(name, value.expose(), false)),
            // Envoy appends only where there is something to append to.
            Mutation::Append(value) => {
                let exists = request.header(name).is_some();
                ok.headers.push(header(name, value.expose(), exists));
            }
            Mutation::Remove => ok.headers_to_remove.push(name.to_string()),
        }
    }
    let set = |name: &str| match *name == *allowed.user_header {
        true => user.is_some(),
        false => granted.is_some_and(|granted| granted.touches(name)),
    };
    for seal in std::iter::once(&*allowed.seal).chain(&allowed.user_seal) {
        ok.headers_to_remove.extend(seal.removed(set, request.header_names()).map(str::to_owned));
    }
    let more = allowed.grant.as_ref().and_then(|grant| grant.more.as_deref());
    ok.response_headers_to_add = more.map(|more| response(&more.response)).unwrap_or_default();
    let mut metadata = more.map_or_else(Struct::default, |more| more.metadata.to_wire());
    if let Some(user) = user {
        let user = Value { kind: Some(value::Kind::StringValue(user.expose().to_owned())) };
        metadata.fields.insert(USER_METADATA.to_owned(), user);
    }
    let dynamic_metadata = (!metadata.fields.is_empty()).then_some(metadata);
    pb::CheckResponse {
        status: Some(rpc::Status { code: tonic::Code::Ok as i32, ..Default::default() }),
        dynamic_metadata,
        http_response: Some(HttpResponse::OkResponse(ok)),
    }
}

/// Headers for the response that the application gives. Envoy first adds and then replaces, so that of one name there is
/// either.
fn response(headers: &[(Arc<str>, Text)]) -> Vec<HeaderValueOption> {
    headers.iter().map(|(name, value)| header(name, value.expose(), **name == *SET_COOKIE)).collect()
}

/// The client gets this answer instead.
pub fn deny(denial: &Denial) -> pb::CheckResponse {
    let code = match denial.status {
        401 => tonic::Code::Unauthenticated,
        _ => tonic::Code::PermissionDenied,
    };
    // Of a denial Envoy takes only what replaces, and of one name all of it.
    let headers = denial.headers.iter().map(|(name, value)| header(name, value, false));
    pb::CheckResponse {
        status: Some(rpc::Status { code: code as i32, ..Default::default() }),
        dynamic_metadata: None,
        http_response: Some(HttpResponse::DeniedResponse(pb::DeniedHttpResponse {
            status: Some(HttpStatus { code: i32::from(denial.status) }),
            headers: headers.collect(),
            body: denial.body.clone().into_owned(),
        })),
    }
}

/// What a decision counts as.
pub fn status(decision: &Decision) -> Status {
    match decision {
        Decision::Allow(_) => Status::Ok,
        Decision::Deny(denial) if denial.status == 401 => Status::Unauthenticated,
        Decision::Deny(_) => Status::PermissionDenied,
    }
}

// `append` is deprecated in favour of `append_action`, but older Envoys read only the former and
// newer ones let it win: both are written and say the same.
#[allow(deprecated)]
fn header(name: &str, value: &str, append: bool) -> HeaderValueOption {
    let action = match append {
        true => HeaderAppendAction::AppendIfExistsOrAdd,
        false => HeaderAppendAction::OverwriteIfExistsOrAdd,
    };
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned(), raw_value: Vec::new() }),
        append: Some(BoolValue { value: append }),
        append_action: action as i32,
        keep_empty_value: false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::borrow::Cow;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proto::envoy::service::auth::v3::attribute_context::{self, HttpRequest};

    use super::*;
    use crate::headers::{Seal, Value};
    use crate::step::Grant;

    /// A request with these headers.
    fn check(headers: &[&str]) -> pb::CheckRequest {
        let headers = headers.iter().map(|name| ((*name).to_owned(), "sent".to_owned())).collect();
        let http = HttpRequest { headers, ..Default::default() };
        let request = attribute_context::Request { http: Some(http), ..Default::default() };
        pb::CheckRequest { attributes: Some(pb::AttributeContext { request: Some(request), ..Default::default() }) }
    }

    /// Name, value and whether it is added to what there is; both ways to say so agree, and an empty value is none.
    #[allow(deprecated)]
    fn told(options: &[HeaderValueOption]) -> BTreeSet<(&str, &str, bool)> {
        options
            .iter()
            .map(|option| {
                let header = option.header.as_ref().unwrap();
                let added = option.append.as_ref().unwrap().value;
                let action = if added {
                    HeaderAppendAction::AppendIfExistsOrAdd
                } else {
                    HeaderAppendAction::OverwriteIfExistsOrAdd
                };
                assert_eq!((option.append_action, option.keep_empty_value), (action as i32, false));
                (header.key.as_str(), header.value.as_str(), added)
            })
            .collect()
    }

    fn allowed(grant: Grant) -> Decision {
        let seal = Seal::new(["x-user-id", "x-one", "x-two", "x-none"].map(Arc::from));
        Decision::Allow(Allowed {
            grant: Some(Arc::new(grant)),
            user_header: "x-user-id".into(),
            seal: Arc::new(seal),
            user_seal: None,
        })
    }

    #[test]
    fn what_several_steps_grant_is_all_told_and_appended_only_to_what_was_sent() {
        let value = |text: &str| Value::new(text).unwrap();
        let mut headers = Mutations::default();
        headers.apply(&"x-one".into(), Mutation::Append(value("1")));
        headers.apply(&"x-two".into(), Mutation::Append(value("2")));
        headers.apply(&"x-three".into(), Mutation::Overwrite(value("3")));
        // Upstream learns of the user from the step that names one, never from another header of that name.
        headers.apply(&"x-user-id".into(), Mutation::Overwrite(value("somebody else")));
        let check = check(&["x-one", "x-three", "x_two", "x-none"]);
        let answer = answer(&allowed(Grant { headers, user: Some(value("me")), more: None }), Request::new(&check));
        let Some(HttpResponse::OkResponse(ok)) = answer.http_response else { panic!("{answer:?}") };
        let expected =
            [("x-user-id", "me", false), ("x-one", "1", true), ("x-two", "2", false), ("x-three", "3", false)];
        assert_eq!(told(&ok.headers), BTreeSet::from(expected));
        let removed: BTreeSet<&str> = ok.headers_to_remove.iter().map(String::as_str).collect();
        for name in ["x_user_id", "x_one", "x_two", "x-none", "x_none"] {
            assert!(removed.contains(name), "{name} gets through");
        }
        for (name, _, _) in expected {
            assert!(!removed.contains(name), "{name} is granted");
        }
        let user = answer.dynamic_metadata.unwrap().fields.remove(USER_METADATA).unwrap();
        assert_eq!(user.kind, Some(value::Kind::StringValue("me".into())));
    }

    #[test]
    fn a_header_that_a_denial_has_twice_is_told_twice_and_none_is_added_to() {
        let header = |name: &'static str, value: &'static str| (Cow::Borrowed(name), Cow::Borrowed(value));
        let headers = vec![header("a", "1"), header("b", "2"), header("a", "3"), header("c", "4"), header("b", "5")];
        let answer = deny(&Denial { headers: headers.into(), ..Denial::plain(401, "") });
        let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else { panic!("{answer:?}") };
        let expected = [("a", "1", false), ("b", "2", false), ("a", "3", false), ("c", "4", false), ("b", "5", false)];
        assert_eq!(told(&denied.headers), BTreeSet::from(expected));
        assert_eq!(denied.status.unwrap().code, 401);
    }
}
