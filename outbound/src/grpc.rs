//! One question and one answer over gRPC, both as bytes: what they mean is nobody's business here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, Uri};

use crate::http::Client;
use crate::{Outcome, Unavailable, Why};

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A message.
    Message(Bytes),
    /// A status of gRPC other than OK, and no message. What it says of itself in words is not kept.
    Status(u16),
}

/// The flag, and the length, before a message.
const PREFIX: usize = 5;

impl Client {
    /// Asks the method at `uri` with `message` and hears the whole answer by `deadline`.
    pub async fn unary(&self, uri: Uri, message: &[u8], deadline: Instant) -> Outcome<Said> {
        let who: Arc<str> = uri.authority().map_or("", |authority| authority.as_str()).into();
        let failed = |why| Outcome::Unavailable(Unavailable::new(&who, why, ""));
        let Ok(length) = u32::try_from(message.len()) else { return failed(Why::Fault) };
        let mut frame = BytesMut::with_capacity(PREFIX + message.len());
        frame.put_u8(0);
        frame.put_u32(length);
        frame.put_slice(message);
        let left = deadline.saturating_duration_since(tokio::time::Instant::now().into_std());
        let request = Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", timeout(left))
            .body(frame.freeze());
        let Ok(request) = request else { return failed(Why::Fault) };
        self.exchange(request, deadline).await.and_then(|(answer, after)| match said(&answer, &after) {
            Some(said) if gave_up(&said, deadline, tokio::time::Instant::now().into_std()) => failed(Why::TooLate),
            Some(said) => Outcome::Answered(said),
            None => failed(Why::Unreadable),
        })
    }
}

const CANCELLED: u16 = 1;
const DEADLINE_EXCEEDED: u16 = 4;

/// Whether what is heard `now` is only that the time is over which the server was told: it gives up when we do, and its
/// word for that may be read before our own clock is looked at.
fn gave_up(said: &Said, deadline: Instant, now: Instant) -> bool {
    matches!(said, Said::Status(CANCELLED | DEADLINE_EXCEEDED)) && now >= deadline
}

/// At most eight digits, in milliseconds. Rounded up: a server that gives up in time does not do so before we do.
fn timeout(left: Duration) -> String {
    format!("{}m", left.as_nanos().div_ceil(1_000_000).min(99_999_999))
}

/// What `answer` says with what came `after` it; none if that makes no sense.
fn said(answer: &Response<Bytes>, after: &HeaderMap) -> Option<Said> {
    let content = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
    if answer.status() != 200 || !content.is_some_and(|content| content.starts_with("application/grpc")) {
        // A proxy on the way, by what the protocol makes of its status; never an answer.
        return (answer.status() != 200).then(|| Said::Status(of_http(answer.status().as_u16())));
    }
    // Without a body the status stands among the headers.
    let status = after.get("grpc-status").or_else(|| answer.headers().get("grpc-status"))?;
    match status.to_str().ok()?.parse().ok()? {
        0_u16 => message(answer.body()).map(Said::Message),
        status => Some(Said::Status(status)),
    }
}

/// The one message in `body`, which is all there is, and not compressed.
fn message(body: &Bytes) -> Option<Bytes> {
    let length = u32::from_be_bytes(body.get(1..PREFIX)?.try_into().ok()?);
    let whole = usize::try_from(length).ok()? == body.len() - PREFIX;
    (body.first() == Some(&0) && whole).then(|| body.slice(PREFIX..))
}

/// What HTTP statuses without gRPC mean to gRPC.
fn of_http(status: u16) -> u16 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static [u8]) -> Response<Bytes> {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        answer.body(Bytes::from_static(body)).unwrap()
    }

    const GRPC: (&str, &str) = ("content-type", "application/grpc");

    #[test]
    fn only_a_whole_message_with_a_status_of_ok_is_one() {
        let ok = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        let seen = |body, after: &HeaderMap| said(&answer(200, &[GRPC], body), after);
        assert_eq!(seen(b"\0\0\0\0\x02hi", &ok), Some(Said::Message(Bytes::from_static(b"hi"))));
        assert_eq!(seen(b"\0\0\0\0\0", &ok), Some(Said::Message(Bytes::new())));
        for body in [
            &b""[..],
            b"\0",
            b"\0\0\0\0",
            b"\0\0\0\0\x02h",
            b"\0\0\0\0\x02hi!",
            b"\x01\0\0\0\x02hi",
            b"\0\xff\xff\xff\xff",
        ] {
            assert_eq!(seen(body, &ok), None, "{body:?}");
        }
        assert_eq!(seen(b"\0\0\0\0\x02hi", &HeaderMap::new()), None, "it broke off before its status");
        let other = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "-1".parse().unwrap())]);
        assert_eq!(seen(b"\0\0\0\0\x02hi", &other), None);
    }

    #[test]
    fn a_server_that_gives_up_when_its_time_is_over_has_not_answered() {
        let deadline = Instant::now();
        let (before, after) = (deadline - Duration::from_nanos(1), deadline + Duration::from_millis(3));
        for status in [1, 4] {
            let said = Said::Status(status);
            assert!(gave_up(&said, deadline, deadline) && gave_up(&said, deadline, after), "{status}");
            assert!(!gave_up(&said, deadline, before), "{status}: in time it means something else");
        }
        for said in [Said::Status(0), Said::Status(2), Said::Status(7), Said::Message(Bytes::new())] {
            assert!(!gave_up(&said, deadline, after), "{said:?}");
        }
    }

    #[test]
    fn statuses_are_read_wherever_they_stand_and_other_answers_are_none() {
        let none = HeaderMap::new();
        assert_eq!(said(&answer(200, &[GRPC, ("grpc-status", "14")], b""), &none), Some(Said::Status(14)));
        for (http, grpc) in [(404, 12), (503, 14), (401, 16), (403, 7), (500, 2), (302, 2)] {
            assert_eq!(said(&answer(http, &[], b""), &none), Some(Said::Status(grpc)), "{http}");
        }
        let html = answer(200, &[("content-type", "text/html"), ("grpc-status", "0")], b"\0\0\0\0\0");
        assert_eq!(said(&html, &none), None);
        assert_eq!((timeout(Duration::from_millis(150)), timeout(Duration::MAX)), ("150m".into(), "99999999m".into()));
        assert_eq!((timeout(Duration::ZERO), timeout(Duration::from_nanos(1))), ("0m".into(), "1m".into()));
        assert_eq!(timeout(Duration::from_micros(154_001)), "155m");
    }
}
