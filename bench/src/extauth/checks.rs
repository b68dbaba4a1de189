//! The questions: those that an Envoy asks about an ordinary request with an API key.

use prost::Message as _;
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use waykeeper_bench::load::{Calls, Verdict};

/// What a browser and Envoy put into a request beside the key.
const HEADERS: [(&str, &str); 12] = [
    (":method", "GET"),
    (":path", "/orders/4711?expand=lines"),
    (":authority", "shop.example.com"),
    (":scheme", "https"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "application/json, text/plain, */*"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "6f2c1f8e-7f0e-4b5e-9b41-0d6c3b8a5d2e"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
];

/// An endless row of checks, each of another key, in random order.
#[derive(Debug, Clone)]
pub struct Checks {
    /// Encoded, by turns.
    messages: std::sync::Arc<[Vec<u8>]>,
    random: u64,
}

impl Checks {
    /// One check for each pair of AuthConfig and key.
    pub fn new(asked: impl IntoIterator<Item = (String, String)>) -> Checks {
        Checks { messages: asked.into_iter().map(|(config, key)| encoded(&config, &key)).collect(), random: 1 }
    }
}

impl Calls for Checks {
    const PATH: &'static str = "/envoy.service.auth.v3.Authorization/Check";

    fn numbered(&self, number: usize) -> Checks {
        let random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1);
        Checks { random, ..self.clone() }
    }

    fn next(&mut self) -> &[u8] {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let at = (self.random >> 16) as usize % self.messages.len().max(1);
        self.messages.get(at).map(Vec::as_slice).unwrap_or_default()
    }

    /// Field 1 is the status: with nothing in it, OK; else its code, which is that of a denial.
    fn verdict(answer: &[u8]) -> Verdict {
        match answer {
            [10, 0, ..] => Verdict::Pass,
            [10, _, 8, 7 | 16, ..] => Verdict::Refuse,
            _ => Verdict::Neither,
        }
    }
}

fn encoded(config: &str, key: &str) -> Vec<u8> {
    let headers = HEADERS.into_iter().chain([("api-key", key)]);
    let http = HttpRequest {
        method: "GET".to_owned(),
        path: "/orders/4711?expand=lines".to_owned(),
        host: "shop.example.com".to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/2".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..HttpRequest::default()
    };
    let check = pb::CheckRequest {
        attributes: Some(pb::AttributeContext {
            request: Some(Request { http: Some(http), ..Request::default() }),
            context_extensions: [("config_id".to_owned(), config.to_owned())].into(),
            ..pb::AttributeContext::default()
        }),
    };
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(check.encoded_len()).unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(&check.encode_to_vec());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_their_first_bytes() {
        let answer = |code| {
            let status = proto::google::rpc::Status { code, ..Default::default() };
            pb::CheckResponse { status: Some(status), ..Default::default() }.encode_to_vec()
        };
        assert_eq!(Checks::verdict(&answer(0)), Verdict::Pass);
        for denied in [7, 16] {
            assert_eq!(Checks::verdict(&answer(denied)), Verdict::Refuse);
        }
        assert_eq!(Checks::verdict(&[]), Verdict::Neither);
    }
}
