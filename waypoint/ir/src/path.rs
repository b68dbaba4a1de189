//! How a path may be spelt.
//!
//! Envoy decodes escapes of letters, digits and `-._~` before it looks at a path, escapes what may not stand in one
//! ([`ESCAPED`]), and leaves everything else as it came: `/a%40b` stays `/a%40b`, though it is the path `/a@b` to every
//! application.

/// Characters that may stand in a path as they are or escaped, to the same effect. (Brackets may not, but Envoy and
/// browsers leave them as they come.)
pub const RESERVED: &str = "!$&'()*+,;=:@[]";

/// Characters that Envoy escapes before it looks at a path.
pub const ESCAPED: &str = "\"<>^`{|}";

/// An expression for the escape of `byte`, in whichever case.
pub fn escape(byte: u8) -> String {
    let digit = |digit: u8| match char::from_digit(u32::from(digit), 16) {
        Some(letter @ 'a'..='f') => format!("[{letter}{}]", letter.to_ascii_uppercase()),
        Some(number) => number.to_string(),
        None => String::new(),
    };
    format!("%{}{}", digit(byte >> 4), digit(byte & 15))
}

/// An expression for every spelling of the path `text` that Envoy leaves apart; none if there is only one.
pub fn spellings(text: &str) -> Option<String> {
    let (mut out, mut several) = (String::new(), false);
    for Spelled { byte, escaped } in spelled(text) {
        let plain = char::from(byte);
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            // Escaped or not, this is how Envoy has it.
            several |= escaped;
            out += &regex_literal(plain);
        } else if RESERVED.contains(plain) {
            several = true;
            out += &format!("(?:{}|{})", regex_literal(plain), escape(byte));
        } else if byte.is_ascii() && !escaped && !ESCAPED.contains(plain) {
            out += &regex_literal(plain);
        } else {
            // What is not ASCII is never sent unescaped: Envoy refuses it.
            several = true;
            out += &escape(byte);
        }
    }
    several.then_some(out)
}

/// An expression for every spelling of `text` as a value in a query; none if there is only one.
pub fn parameter_spellings(text: &str) -> Option<String> {
    let (mut out, mut several) = (String::new(), false);
    for Spelled { byte, .. } in spelled(text) {
        let plain = char::from(byte);
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out += &regex_literal(plain);
            continue;
        }
        several = true;
        out += &match plain {
            ' ' => format!("(?:\\+|{})", escape(byte)),
            _ if byte.is_ascii() => format!("(?:{}|{})", regex_literal(plain), escape(byte)),
            _ => escape(byte),
        };
    }
    several.then_some(out)
}

/// One way to write the path `text`, the same for all texts that mean the same requests to Envoy and applications.
pub fn canonical(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for Spelled { byte, escaped } in spelled(text) {
        let plain = char::from(byte);
        let as_it_is = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || RESERVED.contains(plain);
        if as_it_is || !escaped && byte.is_ascii() && !ESCAPED.contains(plain) {
            out.push(plain);
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// A byte of a path, as it is or escaped.
struct Spelled {
    byte: u8,
    escaped: bool,
}

/// The bytes of `text`, escapes taken for what they mean.
fn spelled(text: &str) -> impl Iterator<Item = Spelled> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (byte, behind) = rest.split_first()?;
        let escape = match behind {
            [high, low, behind @ ..] if *byte == b'%' => digit(*high).zip(digit(*low)).zip(Some(behind)),
            _ => None,
        };
        let (spelled, behind) = match escape {
            Some(((high, low), behind)) => (Spelled { byte: (high << 4 | low) as u8, escaped: true }, behind),
            None => (Spelled { byte: *byte, escaped: false }, behind),
        };
        rest = behind;
        Some(spelled)
    })
}

fn regex_literal(c: char) -> String {
    if c.is_ascii_alphanumeric() || "/_~%".contains(c) { c.to_string() } else { format!("\\{c}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn paths_of_letters_have_one_spelling() {
        for path in ["/", "/a/b-c_d.e~f", "/%zz", "/a%", "/%-1"] {
            assert_eq!(spellings(path), None, "{path}");
        }
    }

    #[test]
    fn others_have_one_for_each_way_to_write_them() {
        for (path, regex) in [
            ("/a@b", "/a(?:\\@|%40)b"),
            ("/%61", "/a"),
            ("/caf%C3%a9", "/caf%[cC]3%[aA]9"),
            ("/a%2Bb.c", "/a(?:\\+|%2[bB])b\\.c"),
            ("/é", "/%[cC]3%[aA]9"),
            ("/a[b", "/a(?:\\[|%5[bB])b"),
            ("/a%5Bb", "/a(?:\\[|%5[bB])b"),
            ("/a{b", "/a%7[bB]b"),
            ("/a%7cb", "/a%7[cC]b"),
        ] {
            assert_eq!(spellings(path).as_deref(), Some(regex), "{path}");
        }
    }

    #[test]
    fn values_of_a_query_have_one_for_each_way_to_write_them() {
        assert_eq!(parameter_spellings("admin-1"), None);
        for (value, regex) in [
            ("a b", "a(?:\\+|%20)b"),
            ("a%20b", "a(?:\\+|%20)b"),
            ("a/b", "a(?:/|%2[fF])b"),
            ("a+b", "a(?:\\+|%2[bB])b"),
            ("é", "%[cC]3%[aA]9"),
        ] {
            assert_eq!(parameter_spellings(value).as_deref(), Some(regex), "{value}");
        }
    }

    #[test]
    fn what_means_the_same_is_written_in_one_way() {
        for (path, one) in [
            ("/a@b", "/a@b"),
            ("/a%40b", "/a@b"),
            ("/%61%2D", "/a-"),
            ("/a%2fb%2F", "/a%2Fb%2F"),
            ("/a%5b]", "/a[]"),
            ("/a{%7c", "/a%7B%7C"),
            ("/é", "/%C3%A9"),
            ("/%c3%A9", "/%C3%A9"),
            ("/%zz", "/%zz"),
            ("/a%", "/a%"),
            ("/%2561", "/%2561"),
            ("/%+f", "/%+f"),
            ("/a b", "/a b"),
        ] {
            assert_eq!(canonical(path), one, "{path}");
            assert_eq!(canonical(one), one, "{path}");
            let spelled = |path: &str| spellings(path).unwrap_or_else(|| path.chars().map(regex_literal).collect());
            assert_eq!(spelled(path), spelled(one), "{path}");
        }
    }
}
