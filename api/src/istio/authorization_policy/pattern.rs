//! How values of an AuthorizationPolicy are written: a text, one with `*` at its beginning or end, or a template of a path.

/// Which texts a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern<'a> {
    /// This one.
    Exact(&'a str),
    /// Those that begin so: `x*`.
    Prefix(&'a str),
    /// Those that end so: `*x`.
    Suffix(&'a str),
    /// Every text that is there: `*`.
    Present,
}

impl<'a> Pattern<'a> {
    /// What `value` means.
    pub fn of(value: &'a str) -> Self {
        match (value.strip_prefix('*'), value.strip_suffix('*')) {
            (Some(""), _) => Pattern::Present,
            (Some(end), _) => Pattern::Suffix(end),
            (None, Some(beginning)) => Pattern::Prefix(beginning),
            (None, None) => Pattern::Exact(value),
        }
    }

    /// What of it is compared letter by letter.
    pub fn text(&self) -> &'a str {
        match self {
            Pattern::Exact(text) | Pattern::Prefix(text) | Pattern::Suffix(text) => text,
            Pattern::Present => "",
        }
    }

    /// What is wrong with `value` as a text with `*`.
    pub fn check(value: &str) -> Result<(), String> {
        if value.is_empty() {
            Err("empty; write a value, or take the list out".to_owned())
        } else if value.len() > MOST_BYTES {
            Err(format!("{} bytes long; at most {MOST_BYTES} are allowed", value.len()))
        } else if Pattern::of(value).text().contains('*') {
            Err(format!("{value:?}: a * stands for something at the beginning or at the end only, not at both"))
        } else if value.chars().any(|c| c.is_control()) {
            Err("holds a control character; remove it".to_owned())
        } else {
            Ok(())
        }
    }
}

/// Bytes of one value.
pub const MOST_BYTES: usize = 1024;

/// A piece of a path's template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// This text.
    Text(&'a str),
    /// One segment: `{*}`.
    Segment,
    /// Any number of segments: `{**}`.
    Segments,
}

/// The pieces of the path `value`, if it is a template; or what is wrong with it.
pub fn template(value: &str) -> Result<Option<Vec<Piece<'_>>>, String> {
    if !value.contains(['{', '}']) {
        return Ok(None);
    }
    let wrong = |why: &str| Err(format!("{value:?} is no template of a path: {why}"));
    if !value.starts_with('/') {
        return wrong("it begins with '/'");
    }
    let mut pieces = Vec::new();
    for segment in value[1..].split('/') {
        pieces.push(Piece::Text("/"));
        match segment {
            _ if pieces.contains(&Piece::Segments) && segment == "{**}" => return wrong("{**} stands once"),
            "{*}" if pieces.contains(&Piece::Segments) => return wrong("no {*} stands behind {**}"),
            "{*}" => pieces.push(Piece::Segment),
            "{**}" => pieces.push(Piece::Segments),
            _ if segment.contains(['{', '}', '*']) => {
                return wrong("write {*} or {**} for a segment as a whole, and no other braces or *");
            }
            text => pieces.push(Piece::Text(text)),
        }
    }
    Ok(Some(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_at_one_end_stands_for_something() {
        for (value, pattern) in [
            ("*", Pattern::Present),
            ("a*", Pattern::Prefix("a")),
            ("*a", Pattern::Suffix("a")),
            ("a", Pattern::Exact("a")),
        ] {
            assert_eq!((Pattern::of(value), Pattern::check(value)), (pattern, Ok(())), "{value}");
        }
        for wrong in ["", "*a*", "a*b", "**", "a**", "a\nb", &"a".repeat(MOST_BYTES + 1)] {
            assert!(Pattern::check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn templates_are_made_of_segments() {
        use Piece::{Segment, Segments, Text};
        assert_eq!(template("/a*"), Ok(None));
        let pieces = vec![Text("/"), Text("a"), Text("/"), Segment, Text("/"), Text("b"), Text("/"), Segments];
        assert_eq!(template("/a/{*}/b/{**}"), Ok(Some(pieces)));
        assert_eq!(
            template("/{**}/b/"),
            Ok(Some(vec![Text("/"), Segments, Text("/"), Text("b"), Text("/"), Text("")]))
        );
        for wrong in ["a/{*}", "/a{*}", "/{a}", "/{*}*", "/{**}/{**}", "/{**}/{*}", "/{", "/}", "/{*}/a*"] {
            assert!(template(wrong).is_err(), "{wrong}");
        }
    }
}
