//! What a header may be called, and which headers are not for policies to touch.
//!
//! One rule for everything that names a header: filters of HTTPRoutes,
//! `headerManipulation`, AuthConfigs and settings.

/// What a policy does with a header that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderUse {
    /// Reads it from the request.
    Read,
    /// Sets, adds or removes it on a request, or sets it on a response.
    Write,
    /// Removes it from a response.
    Hide,
}

/// Headers that say where a message ends or what becomes of its connection:
/// written by anyone but Envoy, one request becomes two. `proxy-…` belongs to them.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// What the names begin with that the proxy uses by itself, between one filter and the next.
pub(crate) const RESERVED_PREFIX: &str = "x-waykeeper-";

/// Whether `name`, in any spelling that an application may fold, is one of the proxy's own.
///
/// Nobody reads, matches, writes, hides or exposes these: a route that could would see, or
/// forge, what is meant for a filter.
pub fn reserved(name: &str) -> Result<(), String> {
    if plain(name).starts_with(RESERVED_PREFIX) {
        Err(format!(
            "{name:?} is the proxy's own: names that begin with {RESERVED_PREFIX} are not for policies; choose another header"
        ))
    } else {
        Ok(())
    }
}

/// Headers that Envoy takes out of requests before it chooses a rule, besides its own.
const GONE: [&str; 7] =
    ["connection", "expect", "keep-alive", "proxy-connection", "te", "transfer-encoding", "x-forwarded-client-cert"];

/// Whether rules can tell requests apart by the header `name`.
pub(crate) fn tells_apart(name: &str) -> Result<(), String> {
    reserved(name)?;
    let lower = name.to_ascii_lowercase();
    if GONE.contains(&lower.as_str()) || lower.starts_with("x-envoy-") {
        return Err(format!(
            "{name:?} is taken out of requests before a rule is chosen, so that this one would never apply; match on another header"
        ));
    }
    Ok(())
}

/// Some applications take `_` for `-`.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// RFC 9110 token: what a header may be called.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 256 && name.bytes().all(is_token)
}

/// RFC 9110 token characters.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What is wrong with `name` as the name of a header, and what to write instead.
pub fn check(name: &str, header_use: HeaderUse) -> Result<(), String> {
    let verb = match header_use {
        HeaderUse::Read => "read",
        HeaderUse::Write => "change",
        HeaderUse::Hide => "remove",
    };
    let plain = plain(name);
    reserved(name)?;
    if name.is_empty() {
        Err("empty; write the name of a header".to_owned())
    } else if name.len() > 256 {
        Err("a header name has at most 256 characters".to_owned())
    } else if name.starts_with(':') {
        Err(format!(
            "{name:?} is a pseudo-header, which is not for policies to {verb}; for path and host use a rewrite"
        ))
    } else if !is_name(name) {
        Err(format!("{name:?} is not a header name; use letters, digits and - _ . ~ ! # $ % & ' * + ^ ` |"))
    } else if plain == "host" {
        Err(format!("{name:?} is not for policies to {verb} as a header; use hostRewrite or a URLRewrite filter"))
    } else if FRAMING.contains(&plain.as_str()) || plain.starts_with("proxy-") {
        Err(format!("{name:?} belongs to the connection and is not for policies to {verb}; choose another header"))
    } else if plain.starts_with("x-envoy-") && header_use != HeaderUse::Hide {
        Err(format!("{name:?} belongs to the proxy and is not for policies to {verb}; choose another header"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [HeaderUse; 3] = [HeaderUse::Read, HeaderUse::Write, HeaderUse::Hide];

    #[test]
    fn ordinary_headers_pass() {
        for name in
            ["api-key", "X-Organization", "authorization", "x_y", "X-User-Id", "forwarded", "hostname", "Trailer-Park"]
        {
            for header_use in ALL {
                assert_eq!(check(name, header_use), Ok(()), "{name}");
            }
        }
    }

    #[test]
    fn nobody_touches_what_frames_a_message() {
        for name in [
            "",
            ":path",
            ":authority",
            "Host",
            "Content-Length",
            "content_length",
            "TRANSFER-ENCODING",
            "Transfer_Encoding",
            "a b",
            "a:b",
            "a\r\nb",
            "é",
            "upgrade",
            "TE",
            "Trailer",
            "Keep-Alive",
            "Connection",
            "Proxy-Connection",
            "proxy-authorization",
        ] {
            for header_use in ALL {
                assert!(check(name, header_use).is_err(), "{name}");
            }
        }
        assert_eq!(check(&"a".repeat(256), HeaderUse::Read), Ok(()));
        assert!(check(&"a".repeat(257), HeaderUse::Read).is_err());
    }

    #[test]
    fn the_proxys_own_headers_may_be_hidden_from_the_client_and_nothing_else() {
        for name in ["x-envoy-foo", "X-Envoy-Upstream-Service-Time"] {
            assert!(check(name, HeaderUse::Write).is_err() && check(name, HeaderUse::Read).is_err(), "{name}");
            assert_eq!(check(name, HeaderUse::Hide), Ok(()), "{name}");
        }
    }

    #[test]
    fn rules_tell_requests_apart_by_what_is_still_there() {
        for name in ["Connection", "te", "Expect", "x-forwarded-client-cert", "X-Envoy-Foo", "x-waykeeper-vip"] {
            assert!(
                tells_apart(name).unwrap_err().contains("match on another header") || reserved(name).is_err(),
                "{name}"
            );
        }
        for name in ["host", "upgrade", "x-forwarded-for", "content-length", "x-role"] {
            assert_eq!(tells_apart(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_of_the_proxys_own_are_for_nobody() {
        for name in ["x-waykeeper-forwarded-for", "X-Waykeeper-Key", "x_waykeeper_key", "X-WAYKEEPER-"] {
            assert!(reserved(name).unwrap_err().contains("choose another header"), "{name}");
            for header_use in ALL {
                assert!(check(name, header_use).is_err(), "{name}");
            }
        }
        for name in ["x-waykeeper", "x-waykeepers-own", "my-x-waykeeper-key"] {
            assert_eq!(reserved(name), Ok(()), "{name}");
        }
    }
}
