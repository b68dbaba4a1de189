//! From a decision to the `CheckResponse` that Envoy acts on.

use std::collections::HashMap;

use api::contract::USER_METADATA;
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::protobuf::{BoolValue, Struct, Value, value};
use proto::google::rpc;

use crate::chain::{Allowed, Decision};
use crate::headers::{Mutation, Mutations};
use crate::meters::Status;
use crate::request::Request;
use crate::step::Denial;

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
    let dynamic_metadata = user.map(|user| {
        let user = Value { kind: Some(value::Kind::StringValue(user.expose().to_owned())) };
        Struct { fields: HashMap::from([(USER_METADATA.to_owned(), user)]) }
    });
    pb::CheckResponse {
        status: Some(rpc::Status { code: tonic::Code::Ok as i32, ..Default::default() }),
        dynamic_metadata,
        http_response: Some(HttpResponse::OkResponse(ok)),
    }
}

/// The client gets this answer instead.
pub fn deny(denial: &Denial) -> pb::CheckResponse {
    let code = match denial.status {
        401 => tonic::Code::Unauthenticated,
        _ => tonic::Code::PermissionDenied,
    };
    let repeated = |index: usize, name: &str| denial.headers[..index].iter().any(|(earlier, _)| earlier == name);
    let headers = denial.headers.iter().enumerate();
    pb::CheckResponse {
        status: Some(rpc::Status { code: code as i32, ..Default::default() }),
        dynamic_metadata: None,
        http_response: Some(HttpResponse::DeniedResponse(pb::DeniedHttpResponse {
            status: Some(HttpStatus { code: i32::from(denial.status) }),
            headers: headers.map(|(index, (name, value))| header(name, value, repeated(index, name))).collect(),
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
