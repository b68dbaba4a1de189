//! Which header names a policy may read or write.

/// What a header name is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderUse {
    /// The header is read from the request.
    Read,
    /// The header is set on the request before it goes upstream.
    Write,
}

/// Headers that say where a message ends or where it goes: set by anyone but
/// Envoy, they smuggle requests or change their route.
const FRAMING: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "upgrade"];

/// What is wrong with `name` as the name of a header, and what to write instead.
pub fn check_header_name(name: &str, header_use: HeaderUse) -> Result<(), String> {
    let verb = match header_use {
        HeaderUse::Read => "read",
        HeaderUse::Write => "set",
    };
    let lower = name.to_ascii_lowercase();
    if name.is_empty() {
        Err("a header name must not be empty".to_owned())
    } else if name.len() > 256 {
        Err("a header name has at most 256 characters".to_owned())
    } else if name.starts_with(':') {
        Err(format!("{name:?} is a pseudo-header, which is not for policies to {verb}; choose an ordinary header"))
    } else if !name.bytes().all(is_token) {
        Err(format!("{name:?} is not a header name; use letters, digits and - _ . ~ ! # $ % & ' * + ^ ` |"))
    } else if FRAMING.contains(&lower.as_str()) || lower.starts_with("x-envoy-") {
        Err(format!("{name:?} belongs to the proxy and is not for policies to {verb}; choose another header"))
    } else {
        Ok(())
    }
}

/// RFC 9110 token characters.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_headers_pass_and_the_proxys_own_do_not() {
        for name in ["api-key", "X-Organization", "authorization", "x_y"] {
            assert_eq!(check_header_name(name, HeaderUse::Write), Ok(()), "{name}");
        }
        for name in [
            "",
            ":path",
            ":authority",
            "Host",
            "Content-Length",
            "TRANSFER-ENCODING",
            "x-envoy-foo",
            "X-Envoy-Retry-On",
            "a b",
            "a:b",
            "a\r\nb",
            "é",
            "upgrade",
        ] {
            assert!(check_header_name(name, HeaderUse::Write).is_err(), "{name}");
            assert!(check_header_name(name, HeaderUse::Read).is_err(), "{name}");
        }
    }
}
