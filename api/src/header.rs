//! What may stand in an HTTP header, so that no manifest makes Envoy refuse its configuration.

/// RFC 9110 token: what a header may be called.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Visible characters, spaces and tabs.
pub fn is_value(value: &str) -> bool {
    value.len() <= 16_384 && value.bytes().all(|b| b >= 0x20 && b != 0x7f || b == b'\t')
}

/// Whether policy may add or remove the header `name`; if not, why.
pub fn changeable(name: &str) -> Result<(), &'static str> {
    if name.starts_with(':') {
        Err("pseudo-headers cannot be changed; use a rewrite")
    } else if !is_name(name) {
        Err("not a header name; use letters, digits and '-'")
    } else if name.eq_ignore_ascii_case("host") {
        Err("Host cannot be changed as a header; use hostRewrite or a URLRewrite filter")
    } else {
        Ok(())
    }
}

/// Envoy's command operators without arguments, and those that take them.
const OPERATORS: &[&str] = &[
    "REQ",
    "RESP",
    "START_TIME",
    "PROTOCOL",
    "DYNAMIC_METADATA",
    "FILTER_STATE",
    "UPSTREAM_HOST",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "HOSTNAME",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_FLAGS",
    "ROUTE_NAME",
    "CONNECTION_ID",
    "STREAM_ID",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "DURATION",
    "VIRTUAL_CLUSTER_NAME",
];

/// Whether `value` is a format Envoy accepts: `%%`, or `%OPERATOR(…):length%` of a known operator.
pub fn formats(value: &str) -> Result<(), String> {
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            rest = after;
            continue;
        }
        let name_len = rest.find(|c: char| !(c.is_ascii_uppercase() || c == '_')).unwrap_or(rest.len());
        let (name, mut tail) = rest.split_at(name_len);
        if !OPERATORS.contains(&name) {
            return Err(format!("%{name}… is not a command operator we know; write %% for a percent sign"));
        }
        let takes_argument = matches!(name, "REQ" | "RESP" | "DYNAMIC_METADATA" | "FILTER_STATE");
        if let Some(inner) = tail.strip_prefix('(') {
            let close = inner.find(')').ok_or_else(|| format!("%{name}( is not closed"))?;
            if takes_argument && inner[..close].trim().is_empty() || inner[..close].contains('(') {
                return Err(format!("%{name}({})% names nothing", &inner[..close]));
            }
            tail = &inner[close + 1..];
        } else if takes_argument {
            return Err(format!("%{name}% needs an argument in parentheses"));
        }
        if let Some(length) = tail.strip_prefix(':') {
            let digits = length.find(|c: char| !c.is_ascii_digit()).unwrap_or(length.len());
            if !(1..=6).contains(&digits) {
                return Err(format!("%{name}: is followed by a length"));
            }
            tail = &length[digits..];
        }
        rest = tail.strip_prefix('%').ok_or_else(|| format!("%{name} is not closed by a percent sign"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_envoy_would_refuse_are_caught() {
        for right in ["plain", "100%%", "%REQ(x-a)%", "a %REQ(x-a?y):10% b", "%START_TIME(%s)%", "%PROTOCOL%"] {
            assert_eq!(formats(right), Ok(()), "{right}");
        }
        for wrong in ["100%", "%REQ%", "%REQ(x%", "%req(x)%", "%NO_SUCH%", "%REQ(x):%", "%REQ()%"] {
            assert!(formats(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_and_values() {
        assert!(changeable("X-User-Id").is_ok());
        for wrong in ["", "a b", ":path", "Host", "x:y", "ä"] {
            assert!(changeable(wrong).is_err(), "{wrong}");
        }
        assert!(is_value("a\tb ü"));
        assert!(!is_value("a\nb"));
    }
}
