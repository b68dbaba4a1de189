//! `/status/{codes}`: the status asked for.

use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::Response;
use rand::Rng as _;

use crate::answer;

/// One status, or several as `200:0.9,500:0.1` of which one is drawn.
pub fn answer(codes: &str) -> Response {
    let choices: Result<Vec<_>, String> = codes.split(',').filter(|code| !code.is_empty()).map(choice).collect();
    match choices.as_deref() {
        Ok([]) => answer::error(StatusCode::BAD_REQUEST, &format!("invalid status code: {codes:?}")),
        Ok(choices) => with_status(draw(choices)),
        Err(why) => answer::error(StatusCode::BAD_REQUEST, why),
    }
}

fn choice(text: &str) -> Result<(StatusCode, f64), String> {
    let (code, weight) = text.split_once(':').unwrap_or((text, "1"));
    let number: u16 = code.parse().map_err(|_| format!("invalid status code: {code:?}"))?;
    if !(100..=599).contains(&number) {
        return Err(format!("invalid status code: {number} not in range [100, 599]"));
    }
    let weight = weight.parse::<f64>().ok().filter(|weight| weight.is_finite() && *weight >= 0.0);
    let status = StatusCode::from_u16(number).map_err(|error| error.to_string())?;
    Ok((status, weight.ok_or_else(|| format!("invalid weight: {text:?}"))?))
}

fn draw(choices: &[(StatusCode, f64)]) -> StatusCode {
    let total: f64 = choices.iter().map(|(_, weight)| weight).sum();
    let mut left = rand::rng().random::<f64>() * total;
    for (status, weight) in choices {
        if left < *weight {
            return *status;
        }
        left -= weight;
    }
    choices.last().map_or(StatusCode::OK, |(status, _)| *status)
}

fn with_status(status: StatusCode) -> Response {
    // An informational status is followed by a final one.
    let status = if status.is_informational() { StatusCode::OK } else { status };
    let (header, body) = special(status.as_u16());
    let mut response = answer::body(status, answer::TEXT, body);
    if let Some((name, value)) = header {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// What comes with some statuses: a header, and a body (in words of our own).
fn special(status: u16) -> (Option<(&'static str, &'static str)>, &'static str) {
    match status {
        300 => (Some(("location", "/image/jpeg")), "/image/jpeg\n/image/png\n/image/svg\n"),
        301 | 302 | 303 | 305 | 307 => (Some(("location", "/redirect/1")), ""),
        308 => (Some(("location", "/image/jpeg")), "/image/jpeg\n"),
        401 => (Some(("www-authenticate", "Basic realm=\"Fake Realm\"")), ""),
        402 => (Some(("x-more-info", "http://vimeo.com/22053820")), "payment required\n"),
        406 => {
            (Some(("content-type", "application/json; charset=utf-8")), "{\n  \"accept\": [\n    \"image/\"\n  ]\n}\n")
        }
        407 => (Some(("proxy-authenticate", "Basic realm=\"Fake Realm\"")), ""),
        418 => (Some(("x-more-info", "http://tools.ietf.org/html/rfc2324")), "I'm a teapot!"),
        _ => (None, ""),
    }
}
