//! From a decision to the `CheckResponse` that Envoy acts on.

use std::collections::HashMap;

use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::protobuf::{BoolValue, Struct, Value, value};
use proto::google::rpc;

use crate::chain::{Denial, State};
use crate::headers::Mutation;
use crate::meters::Status;
use crate::request::Request;

/// The request may pass, with the headers that `state` says.
pub fn allow(state: &State, request: Request<'_>) -> pb::CheckResponse {
    let mut ok = pb::OkHttpResponse::default();
    for (name, mutation) in state.mutations.iter() {
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
    let dynamic_metadata = state.user.as_ref().map(|user| {
        let user = Value { kind: Some(value::Kind::StringValue(user.expose().to_owned())) };
        Struct { fields: HashMap::from([("userId".to_owned(), user)]) }
    });
    pb::CheckResponse {
        status: Some(rpc::Status { code: tonic::Code::Ok as i32, ..Default::default() }),
        dynamic_metadata,
        http_response: Some(HttpResponse::OkResponse(ok)),
    }
}

/// The client gets this answer instead.
pub fn deny(denial: Denial) -> pb::CheckResponse {
    let headers = denial.challenge.map(|challenge| header("www-authenticate", challenge, false));
    let code = match denial.status {
        401 => tonic::Code::Unauthenticated,
        _ => tonic::Code::PermissionDenied,
    };
    pb::CheckResponse {
        status: Some(rpc::Status { code: code as i32, ..Default::default() }),
        dynamic_metadata: None,
        http_response: Some(HttpResponse::DeniedResponse(pb::DeniedHttpResponse {
            status: Some(HttpStatus { code: i32::from(denial.status) }),
            headers: headers.into_iter().collect(),
            body: String::new(),
        })),
    }
}

/// What a decision counts as.
pub fn status(decision: &Result<State, Denial>) -> Status {
    match decision {
        Ok(_) => Status::Ok,
        Err(denial) if denial.status == 401 => Status::Unauthenticated,
        Err(_) => Status::PermissionDenied,
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
