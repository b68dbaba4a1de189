//! Text that Envoy writes into requests and responses, or compares with them.

/// Envoy's own bound on a header's value.
const MOST_BYTES: usize = 16_384;
/// Gateway API's bound on paths.
const MOST_PATH: usize = 1024;

/// The value of a header: visible characters, spaces and tabs. Line breaks would begin another header.
pub fn value(value: &str) -> Result<(), String> {
    if value.len() > MOST_BYTES {
        Err(format!("{} bytes long; at most {MOST_BYTES} are allowed", value.len()))
    } else if let Some(at) = value.bytes().position(|b| b < 0x20 && b != b'\t' || b == 0x7f) {
        let byte = value.as_bytes()[at];
        Err(format!("holds the control character \\x{byte:02x} at byte {at}; remove it"))
    } else {
        Ok(())
    }
}

/// A path to compare with, as Gateway API defines it: absolute and in its simplest form,
/// because requests are brought to that form before they are matched.
pub fn match_path(path: &str) -> Result<(), String> {
    if path.len() > MOST_PATH {
        return Err(format!("{} bytes long; at most {MOST_PATH} are allowed", path.len()));
    }
    if !path.starts_with('/') {
        return Err("a path begins with '/'".to_owned());
    }
    for (part, why) in [("//", "an empty segment"), ("/./", "a segment '.'"), ("/../", "a segment '..'")] {
        if path.contains(part) {
            return Err(format!("holds {why}, which no path has once it is normalised; remove it"));
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        return Err("ends in a segment '.' or '..', which no path has once it is normalised; remove it".to_owned());
    }
    if path.to_ascii_lowercase().contains("%2f") {
        return Err("holds an escaped slash (%2F); write the path without it".to_owned());
    }
    characters(path)
}

/// Characters of RFC 3986's `pchar` and '/'; a percent sign begins an escape.
fn characters(path: &str) -> Result<(), String> {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                if !(bytes.next().is_some_and(|b| b.is_ascii_hexdigit())
                    && bytes.next().is_some_and(|b| b.is_ascii_hexdigit()))
                {
                    return Err(
                        "holds a '%' without two hexadecimal digits behind it; write %25 for a percent sign".to_owned()
                    );
                }
            }
            b'?' | b'#' => return Err(format!("a path has no {:?}; match a query with queryParams", char::from(byte))),
            byte if byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte) => {}
            _ => {
                return Err(
                    "holds a character that cannot stand in a URL's path; write it as an escape, e.g. %20 for a space"
                        .to_owned(),
                );
            }
        }
    }
    Ok(())
}

/// A path to write into a request or a Location header. An empty one is the root.
pub fn new_path(path: &str) -> Result<(), String> {
    if path.len() > MOST_PATH {
        return Err(format!("{} bytes long; at most {MOST_PATH} are allowed", path.len()));
    }
    if !path.is_empty() && !path.starts_with('/') {
        return Err("a path begins with '/'".to_owned());
    }
    if path.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err("holds a space or a control character; write an escape, e.g. %20 for a space".to_owned());
    }
    if path.contains('#') {
        return Err("a path has no '#'".to_owned());
    }
    Ok(())
}

/// A host to write into a request or a Location header: a name or address, and a port if need be.
pub fn new_host(host: &str) -> Result<(), String> {
    let wrong = || format!("{host:?} is not a host; write a name such as api.example.com, with a port if need be");
    if host.is_empty() || host.len() > 253 + 6 {
        return Err(wrong());
    }
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if port
        .is_some_and(|port| port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err())
    {
        return Err(wrong());
    }
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let right = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    if right { Ok(()) } else { Err(wrong()) }
}

/// A host name as Gateway API writes it: labels of lower-case letters, digits and '-'; no address.
pub fn hostname(name: &str) -> Result<(), String> {
    let labels = |name: &str| {
        name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
    };
    if name.is_empty() || name.len() > 253 || !labels(name) {
        Err(format!("{name:?} is not a host name; write lower-case letters, digits, '-' and '.'"))
    } else if name.parse::<std::net::Ipv4Addr>().is_ok() {
        Err(format!("{name:?} is an address; write a host name"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_no_line_breaks() {
        assert!(value("a\tb ü").is_ok() && value("").is_ok());
        for wrong in ["a\nb", "a\rb", "a\0b", "a\u{7f}"] {
            assert!(value(wrong).is_err(), "{wrong:?}");
        }
        assert!(value(&"a".repeat(16_385)).is_err());
    }

    #[test]
    fn paths_to_match_are_in_their_simplest_form() {
        for right in ["/", "/a", "/a/", "/a.b/..c/%20", "/a:b@c;d=e,f", "/..a"] {
            assert_eq!(match_path(right), Ok(()), "{right}");
        }
        for wrong in [
            "", "a", "//", "/a//b", "/./", "/a/.", "/a/..", "/../a", "/a%2fb", "/a%2Fb", "/a?b", "/a#b", "/a b", "/ü",
            "/a%2", "/a%zz", "/a\nb", "/{a}", "/a\\b",
        ] {
            assert!(match_path(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_longest_is_taken_and_one_more_is_not() {
        let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
        assert!(new_path(&path(MOST_PATH)).is_ok() && match_path(&path(MOST_PATH)).is_ok());
        assert!(new_path(&path(MOST_PATH + 1)).is_err() && match_path(&path(MOST_PATH + 1)).is_err());
        assert!(new_host(&format!("{}:65535", "a".repeat(253))).is_ok());
        assert!(new_host(&format!("{}:65535", "a".repeat(254))).is_err());
        assert!(hostname(&"a".repeat(253)).is_ok() && hostname(&"a".repeat(254)).is_err());
        for right in ["a", "a-b.c-d", "1.example", "a--b"] {
            assert_eq!(hostname(right), Ok(()), "{right}");
        }
        for wrong in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "A", "a_b", "a b", "*.a", "1.2.3.4"] {
            assert!(hostname(wrong).is_err(), "{wrong}");
        }
        assert!(value(&"a".repeat(16_384)).is_ok());
    }

    #[test]
    fn what_is_written_into_a_request_stays_in_its_line() {
        for right in ["", "/", "/a?b=c", "/a%2Fb"] {
            assert_eq!(new_path(right), Ok(()), "{right}");
        }
        for wrong in ["a", "/a\nb", "/a b", "/a\r\nx: y", "/#", "/a\u{7f}"] {
            assert!(new_path(wrong).is_err(), "{wrong:?}");
        }
        for right in ["a", "a.b:80", "A_b.c", "[::1]:8080", "[::1]", "127.0.0.1:1"] {
            assert_eq!(new_host(right), Ok(()), "{right}");
        }
        for wrong in
            ["", "a\nb", "a b", "a/b", "a:b", "a:99999", "::1", "[x]", ":80", "a@b", "a:", "ü", "a:+80", "a:000080"]
        {
            assert!(new_host(wrong).is_err(), "{wrong:?}");
        }
        assert!(hostname("a.example").is_ok());
        for wrong in ["", "A", "*.a", "a.", ".a", "a_b", "1.2.3.4", "-a"] {
            assert!(hostname(wrong).is_err(), "{wrong:?}");
        }
    }
}
