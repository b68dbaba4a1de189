//! Bodies of a size: at once, in chunks, or slowly.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use rand::RngCore as _;

use super::bounded;
use crate::{MAX_BODY_SIZE, MAX_DURATION, answer, request};

/// More random bytes than this are not given.
const MOST: usize = 100 * 1024;

/// Bytes of a chunk unless asked otherwise.
const CHUNK: usize = 10 * 1024;

/// `/bytes/{n}`.
pub fn at_once(count: &str) -> Response {
    match parse_count(count) {
        Ok(0) => answer::body(StatusCode::OK, answer::BINARY, Body::empty()),
        Ok(count) => answer::body(StatusCode::OK, answer::BINARY, random(count)),
        Err(why) => answer::error(StatusCode::BAD_REQUEST, &why),
    }
}

/// `/stream-bytes/{n}?chunk_size=…`.
pub fn in_chunks(parts: &Parts, count: &str) -> Response {
    let count = match parse_count(count) {
        Ok(count) => count,
        Err(why) => return answer::error(StatusCode::BAD_REQUEST, &why),
    };
    let size = match request::arg(parts, "chunk_size").as_str() {
        "" => CHUNK,
        text => match text.parse() {
            Ok(size) => size,
            Err(error) => return answer::error(StatusCode::BAD_REQUEST, &format!("invalid chunk_size: {error}")),
        },
    };
    let all = random(count);
    let size = if size == 0 { count.max(1) } else { size };
    let chunks: Vec<_> = all.chunks(size).map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk))).collect();
    answer::body(StatusCode::OK, answer::BINARY, Body::from_stream(stream::iter(chunks)))
}

fn parse_count(text: &str) -> Result<usize, String> {
    let bad = |why: String| format!("invalid byte count: {why}");
    let count: i64 = text.parse().map_err(|error| bad(format!("{text:?}: {error}")))?;
    let count = usize::try_from(count).map_err(|_| bad(format!("{count} must be greater than 0")))?;
    Ok(count.min(MOST))
}

fn random(count: usize) -> Bytes {
    let mut bytes = vec![0; count];
    rand::rng().fill_bytes(&mut bytes);
    bytes.into()
}

/// `/drip?duration=…&delay=…&numbytes=…&code=…`: one byte after another.
pub async fn drip(parts: &Parts) -> Response {
    let Drip { duration, delay, count, status } = match Drip::read(parts) {
        Ok(drip) => drip,
        Err(why) => return answer::error(StatusCode::BAD_REQUEST, &why),
    };
    if duration + delay > MAX_DURATION {
        return answer::plain_error(StatusCode::BAD_REQUEST, "Too much time");
    }
    tokio::time::sleep(delay).await;
    // No pause follows the last byte.
    let pause = duration / u32::try_from(count.saturating_sub(1).max(1)).unwrap_or(u32::MAX);
    let drops = stream::unfold(0, move |sent| async move {
        if sent == count {
            return None;
        }
        if sent > 0 {
            tokio::time::sleep(pause).await;
        }
        Some((Ok::<_, Infallible>(Bytes::from_static(b"*")), sent + 1))
    });
    let mut response = answer::body(status, answer::BINARY, Body::from_stream(drops));
    response.headers_mut().insert(CONTENT_LENGTH, count.into());
    response
}

/// What was asked of `/drip`.
struct Drip {
    duration: Duration,
    delay: Duration,
    count: usize,
    status: StatusCode,
}

impl Drip {
    fn read(parts: &Parts) -> Result<Drip, String> {
        let time = |name: &str, default: u64| match request::arg(parts, name).as_str() {
            "" => Ok(Duration::from_secs(default)),
            text => bounded(text).map_err(|why| format!("invalid {name}: {why}")),
        };
        let count = match request::arg(parts, "numbytes").as_str() {
            "" => 10,
            text => text.parse::<usize>().map_err(|error| format!("invalid numbytes: {error}"))?,
        };
        if !(1..=MAX_BODY_SIZE).contains(&count) {
            return Err(format!("invalid numbytes: {count} not in range [1, {MAX_BODY_SIZE}]"));
        }
        let status = match request::arg(parts, "code").as_str() {
            "" => StatusCode::OK,
            text => text
                .parse::<u16>()
                .ok()
                .filter(|code| (200..=599).contains(code))
                .and_then(|code| StatusCode::from_u16(code).ok())
                .ok_or_else(|| format!("invalid status code: {text:?}"))?,
        };
        Ok(Drip { duration: time("duration", 2)?, delay: time("delay", 2)?, count, status })
    }
}
