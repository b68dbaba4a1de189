//! How a client of OAuth 2.0 proves who asks.

use api::Redacted;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

/// RFC 6749, 2.3.1: name and secret are written as in a form, and then as HTTP has it.
pub fn basic(id: &str, secret: &Redacted) -> Option<HeaderValue> {
    let encode = |bytes: &[u8]| Zeroizing::new(form_urlencoded::byte_serialize(bytes).collect::<String>());
    let both = Zeroizing::new(format!("{}:{}", *encode(id.as_bytes()), *encode(secret.expose())));
    let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*both)));
    let mut authorization = HeaderValue::from_str(&basic).ok()?;
    authorization.set_sensitive(true);
    Some(authorization)
}
