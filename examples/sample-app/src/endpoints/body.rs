//! Echoing a request with its body.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use base64::Engine as _;
use serde_json::{Map, Value};

use crate::{MAX_BODY_SIZE, answer, go, request};

/// What was said of a body.
struct Read {
    data: String,
    form: Value,
    json: Value,
}

/// The request and its body, read by its type.
pub async fn echo(parts: &Parts, body: Body, peer: SocketAddr) -> Response {
    let bad = |why: &str| answer::error(StatusCode::BAD_REQUEST, &format!("error parsing request body: {why}"));
    let bytes = match axum::body::to_bytes(body, MAX_BODY_SIZE).await {
        Ok(bytes) => bytes,
        Err(_) => return bad("http: request body too large"),
    };
    let content_type = request::header(parts, "content-type").split(';').next().unwrap_or_default();
    if content_type == "multipart/form-data" && !bytes.is_empty() {
        return answer::error(StatusCode::NOT_IMPLEMENTED, "multipart forms are not read by the sample application");
    }
    match read(content_type, &bytes) {
        Ok(Read { data, form, json }) => {
            let mut fields = request::echo(parts, peer);
            fields.push(("data", data.into()));
            fields.push(("files", Value::Object(Map::new())));
            fields.push(("form", form));
            fields.push(("json", json));
            answer::json(StatusCode::OK, &fields)
        }
        Err(why) => bad(&why),
    }
}

fn read(content_type: &str, bytes: &[u8]) -> Result<Read, String> {
    let data = String::from_utf8_lossy(bytes).into_owned();
    let mut read = Read { data, form: Value::Object(Map::new()), json: Value::Null };
    if bytes.is_empty() {
        return Ok(read);
    }
    match content_type {
        "text/html" | "text/plain" => {}
        "application/x-www-form-urlencoded" => {
            let (values, unreadable) = go::query(&read.data);
            if unreadable > 0 {
                return Err("invalid URL escape or semicolon".to_owned());
            }
            read.form = go::values(&values);
        }
        "application/json" => {
            // Only the first value counts, as Go's decoder has it.
            match serde_json::Deserializer::from_slice(bytes).into_iter::<Value>().next() {
                Some(Ok(value)) => read.json = value,
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("EOF".to_owned()),
            }
        }
        other => {
            let content_type = if other.is_empty() { "application/octet-stream" } else { other };
            let encoded = base64::engine::general_purpose::URL_SAFE.encode(bytes);
            read.data = format!("data:{content_type};base64,{encoded}");
        }
    }
    Ok(read)
}
