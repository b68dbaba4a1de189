//! An expression looks at what is sent, an application at what that means: of an escape an expression sees three characters,
//! or none that it knows.

use std::collections::BTreeSet;

/// An expression for escapes of which decoders make different things: what is none, control characters, the beginning of a
/// character in more bytes than it has, and what is escaped twice.
pub const NO_CHARACTER: &str =
    "%[0-9a-fA-F]?(?:[^0-9a-fA-F]|$)|%(?:[01][0-9a-fA-F]|7[fF])|%(?:[cC][01]|[eE]0%[89]|[fF]0%8)|%25[0-9a-fA-F]{2}";

/// Every escape.
const ANY: &str = "%[0-9a-fA-F]{2}";

/// An expression for the escapes that one of `regexes` takes for something else than the character they stand for; none if
/// there are none. `reserved` are the characters that may be escaped or not.
pub fn missed<'r>(regexes: impl Iterator<Item = &'r str> + Clone, reserved: &str) -> Option<String> {
    if regexes.clone().any(|regex| takes_one_of_many(regex, reserved)) {
        return Some(ANY.to_owned());
    }
    let written: BTreeSet<char> = regexes.flat_map(|regex| characters(regex, reserved)).collect();
    let escapes: Vec<String> = written.into_iter().map(ir::path::escaped).collect();
    (!escapes.is_empty()).then(|| escapes.join("|"))
}

/// The same for the value of a parameter, where a plus is a blank.
pub fn missed_in_query<'r>(regexes: impl Iterator<Item = &'r str> + Clone, reserved: &str) -> Option<String> {
    let escapes = missed(regexes, reserved)?;
    let blank = escapes == ANY || escapes.contains(&ir::path::escaped(' '));
    Some(if blank { format!("\\+|{escapes}") } else { escapes })
}

/// The characters of `reserved` that stand in `regex` for themselves.
fn characters(regex: &str, reserved: &str) -> Vec<char> {
    // These are no characters of a text unless a backslash says so.
    let meta = |at: usize, c: char| "$()*+?[]^{|}".contains(c) && !regex[..at].ends_with('\\');
    regex.char_indices().filter(|(at, c)| reserved.contains(*c) && !meta(*at, *c)).map(|(_, c)| c).collect()
}

/// Whether somewhere one character is taken, neither more nor none, that may have to be escaped: `.`, or a class that is not
/// repeated as often as there is. What takes any number of characters takes those of an escape.
fn takes_one_of_many(regex: &str, reserved: &str) -> bool {
    let mut rest = regex;
    while let Some(c) = rest.chars().next() {
        let (atom, is_wide) = match c {
            '\\' => match rest[1..].chars().next() {
                // What follows stands for itself, as far as it goes.
                Some('Q') => return true,
                Some(letter) => (1 + letter.len_utf8(), "WDSPps".contains(letter)),
                None => (1, false),
            },
            '[' => {
                let Some(end) = end_of_class(rest) else { return true };
                let members = &rest[1..end];
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c) && !reserved.contains(c);
                let ranges = members.as_bytes().windows(3).any(|part| {
                    part[1] == b'-' && !(part[0].is_ascii_alphanumeric() && part[2].is_ascii_alphanumeric())
                });
                (end + 1, ranges || !members.chars().all(is_plain))
            }
            '.' => (1, true),
            other => (other.len_utf8(), false),
        };
        rest = &rest[atom..];
        if is_wide && !rest.starts_with(['*', '+']) {
            return true;
        }
    }
    false
}

/// Where the bracket is that ends the class with which `regex` begins.
fn end_of_class(regex: &str) -> Option<usize> {
    let begin = if regex.starts_with("[^") { 2 } else { 1 };
    let mut escaped = false;
    for (at, c) in regex.char_indices().skip(begin) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            // The first bracket is a member.
            ']' if at > begin => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(regex: &str) -> Option<String> {
        missed([regex].into_iter(), ir::path::RESERVED)
    }

    #[test]
    fn what_is_taken_character_by_character_has_one_spelling() {
        for plain in
            ["/a", "/a.*", "/a(.+)", "/[a-z0-9_]x", r"/\d+/\w", "/a[^/]*", r"/a\.b", "/[^/]+/admin", "/x*", "/é"]
        {
            assert_eq!(of(plain), None, "{plain}");
        }
        for (regex, escapes) in
            [("/u@.*", "%40"), (r"/a\+b", "%2[bB]"), (r"/\(x,y\)", "%28|%29|%2[cC]"), ("/[^@]+", "%40")]
        {
            assert_eq!(of(regex).as_deref(), Some(escapes), "{regex}");
        }
        for one in [
            "/a.b",
            "/a.?",
            "/a.{2}",
            "/(.)*",
            "/[^a]x",
            "/[@a]",
            "/[!-~]",
            r"/\Wx",
            r"/\S",
            r"/[\w]x",
            r"/\Qa.b\E",
            "/[]x]",
            "/a[",
            "/a.",
            "/[é]",
        ] {
            assert_eq!(of(one).as_deref(), Some(ANY), "{one}");
        }
    }
}
