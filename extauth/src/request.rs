//! What a `CheckRequest` says, read in one place. Wire types stop here.

use std::borrow::Cow;
use std::fmt;

use api::contract::check;
use proto::envoy::config::core::v3::HeaderValue;
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::attribute_context::HttpRequest;

/// A request that Envoy asks about.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    attributes: Option<&'a pb::AttributeContext>,
    http: Option<&'a HttpRequest>,
}

impl<'a> Request<'a> {
    /// Reads `check`; whatever is missing in it is absent.
    pub fn new(check: &'a pb::CheckRequest) -> Self {
        let attributes = check.attributes.as_ref();
        let http = attributes.and_then(|a| a.request.as_ref()).and_then(|r| r.http.as_ref());
        Self { attributes, http }
    }

    /// All that Envoy says, for a server that is asked in the course of it.
    pub(crate) fn attributes(&self) -> Option<&'a pb::AttributeContext> {
        self.attributes
    }

    /// Which AuthConfig decides: `<namespace>.<name>`. Set by the route, never by the client.
    pub fn config_id(&self) -> Option<&'a str> {
        self.attributes?.context_extensions.get(check::CONFIG_ID).map(String::as_str)
    }

    /// The header that is to tell upstream who the user is, if the route names one.
    pub fn user_header(&self) -> Option<&'a str> {
        self.attributes?.context_extensions.get(check::USER_HEADER).map(String::as_str)
    }

    /// Which headers the question brings, if it does not bring all: what the AuthConfig reads, as text.
    pub fn brings(&self) -> Option<&'a str> {
        self.attributes?.context_extensions.get(check::HEADERS).map(String::as_str)
    }

    /// The value of the header `name`, given in lower case as Envoy spells it.
    ///
    /// Repeated headers are joined with a comma, which Envoy does itself
    /// unless it is told to send raw headers.
    pub fn header(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let http = self.http?;
        let Some(raw) = &http.header_map else {
            return http.headers.get(name).map(|value| Cow::Borrowed(value.as_bytes()));
        };
        let mut values = raw.headers.iter().filter(|header| header.key == name).map(bytes);
        let first = values.next()?;
        match values.next() {
            None => Some(Cow::Borrowed(first)),
            Some(second) => {
                let mut joined = [first, b",", second].concat();
                for value in values {
                    joined.push(b',');
                    joined.extend_from_slice(value);
                }
                Some(Cow::Owned(joined))
            }
        }
    }

    /// The names of all headers, in lower case as Envoy spells them.
    pub(crate) fn header_names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let raw = self.http.and_then(|http| http.header_map.as_ref());
        let plain = self.http.filter(|_| raw.is_none());
        let raw = raw.into_iter().flat_map(|raw| raw.headers.iter().map(|header| header.key.as_str()));
        raw.chain(plain.into_iter().flat_map(|http| http.headers.keys().map(String::as_str)))
    }

    /// The request's id, for logs.
    pub fn id(&self) -> &'a str {
        clipped(self.header_text("x-request-id").unwrap_or_default())
    }

    /// Method, for logs.
    pub fn method(&self) -> &'a str {
        clipped(self.http.map(|http| http.method.as_str()).unwrap_or_default())
    }

    /// Host, for logs.
    pub fn host(&self) -> &'a str {
        clipped(self.http.map(|http| http.host.as_str()).unwrap_or_default())
    }

    /// Path without the query, which may hold tokens, for logs.
    pub fn path(&self) -> &'a str {
        let path = self.http.map(|http| http.path.as_str()).unwrap_or_default();
        clipped(path.split(['?', '#']).next().unwrap_or_default())
    }

    /// The path and the query, as the client sent them, up to a fragment.
    pub(crate) fn target(&self) -> &'a str {
        let path = self.http.map(|http| http.path.as_str()).unwrap_or_default();
        path.split('#').next().unwrap_or_default()
    }

    /// The host that the request names, with its port.
    pub(crate) fn authority(&self) -> &'a str {
        self.http.map(|http| http.host.as_str()).unwrap_or_default()
    }

    /// What stands behind the first question mark of the path.
    pub(crate) fn query(&self) -> Option<&'a str> {
        let (_, query) = self.http?.path.split('#').next()?.split_once('?')?;
        Some(query)
    }

    /// The value of a header that is text and comes once, given in lower case.
    pub(crate) fn header_text(&self, name: &str) -> Option<&'a str> {
        self.http?.headers.get(name).map(String::as_str)
    }
}

fn bytes(header: &HeaderValue) -> &[u8] {
    if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value }
}

/// Its headers are not printed: there are keys and passwords among them.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("config_id", &self.config_id()).finish_non_exhaustive()
    }
}

/// As much of `text` as a log line needs.
fn clipped(text: &str) -> &str {
    let mut end = text.len().min(200);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proto::envoy::config::core::v3::HeaderMap;
    use proto::envoy::service::auth::v3::attribute_context;

    use super::*;

    fn check(http: HttpRequest) -> pb::CheckRequest {
        let request = attribute_context::Request { http: Some(http), ..Default::default() };
        pb::CheckRequest { attributes: Some(pb::AttributeContext { request: Some(request), ..Default::default() }) }
    }

    #[test]
    fn raw_headers_are_joined_as_envoy_joins_them() {
        let raw =
            |key: &str, value: &[u8]| HeaderValue { key: key.into(), raw_value: value.into(), ..Default::default() };
        let headers = vec![raw("a", b"1"), raw("b", b"x"), raw("a", b"\xff"), raw("a", b"3")];
        let check = check(HttpRequest { header_map: Some(HeaderMap { headers }), ..Default::default() });
        let request = Request::new(&check);
        assert_eq!(request.header("a").as_deref(), Some(&b"1,\xff,3"[..]));
        assert_eq!(request.header("b").as_deref(), Some(&b"x"[..]));
        assert_eq!(request.header("c"), None);
    }

    #[test]
    fn a_header_is_read_whichever_field_its_value_is_in() {
        let of = |value: &str, raw: &[u8]| HeaderValue { key: "a".into(), value: value.into(), raw_value: raw.into() };
        for (header, expected) in [(of("key", b""), "key"), (of("", b"key"), "key"), (of("other", b"key"), "key")] {
            let map = HeaderMap { headers: vec![header] };
            let check = check(HttpRequest { header_map: Some(map), ..Default::default() });
            assert_eq!(Request::new(&check).header("a").as_deref(), Some(expected.as_bytes()));
        }
    }

    #[test]
    fn the_query_does_not_reach_the_log() {
        let path = format!("/get{}?access_token=canary#x", "ü".repeat(300));
        let check = check(HttpRequest { path, ..Default::default() });
        assert!(!Request::new(&check).path().contains("canary"));
    }
}
