//! What regular expressions of paths take, as far as that can be told.

use std::cell::OnceCell;

use ir::PathMatch;
use ir::path::canonical;
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

/// The longest sample of an expression.
const LONGEST_SAMPLE: usize = 4096;

/// The most memory for one expression, in bytes: more than any needs that Envoy takes.
const MOST_MEMORY: usize = 1 << 20;

/// An expression that takes all paths that begin with this text, or all that are below it and itself.
#[derive(Debug)]
pub enum Wide<'a> {
    Beginning(&'a str),
    Below(&'a str),
}

impl<'a> Wide<'a> {
    pub fn of(regex: &'a str) -> Option<Self> {
        let (text, wide) = match (regex.strip_suffix("(/.*)?"), regex.strip_suffix(".*")) {
            (Some(text), _) => (text, Self::Below(text)),
            (None, Some(text)) => (text, Self::Beginning(text)),
            (None, None) => return None,
        };
        // Of what may be spelled in another way, an expression takes the one that is written.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_~".contains(c);
        text.chars().all(plain).then_some(wide)
    }

    /// Whether it takes all that `other` does.
    pub fn covers(&self, other: &PathMatch) -> bool {
        match other {
            // They are tried before any expression.
            PathMatch::Exact(_) => false,
            PathMatch::Prefix(path) if path == "/" => match self {
                Wide::Beginning(text) => "/".starts_with(text),
                Wide::Below(text) => text.is_empty(),
            },
            PathMatch::Prefix(path) => self.takes(path, true),
            PathMatch::Regex(regex) => self.takes(beginning(regex), false),
        }
    }

    /// Whether all paths are taken that begin with `path`, or, if it is `whole`, that and those below it.
    fn takes(&self, path: &str, whole: bool) -> bool {
        match self {
            Wide::Beginning(text) => path.starts_with(text),
            Wide::Below(text) => {
                path.strip_prefix(text).is_some_and(|rest| rest.starts_with('/') || whole && rest.is_empty())
            }
        }
    }
}

/// An expression that can be tried with paths.
#[derive(Debug)]
pub struct Expression<'a> {
    text: &'a str,
    /// Made when it is first tried; none where it cannot be.
    regex: OnceCell<Option<Regex>>,
}

impl<'a> Expression<'a> {
    pub fn of(text: &'a str) -> Self {
        Self { text, regex: OnceCell::new() }
    }

    /// Whether it may take all paths that a match takes of which these are some.
    pub fn may_cover(&self, samples: &Samples<'_>) -> bool {
        let (one, other) = (beginning(self.text), samples.beginning);
        let together = one.starts_with(other) || other.starts_with(one);
        let all = |regex: &Regex| samples.paths.iter().all(|path| regex.is_match(path));
        together && self.regex.get_or_init(|| whole(self.text)).as_ref().is_none_or(all)
    }
}

/// Some of the paths that a match takes.
#[derive(Debug)]
pub struct Samples<'a> {
    /// With this all begin that it takes.
    beginning: &'a str,
    paths: Vec<String>,
}

impl<'a> Samples<'a> {
    /// Of calls where it takes no other requests than those of `grpc`.
    pub fn of(path: &'a PathMatch, grpc: bool) -> Self {
        match path {
            PathMatch::Prefix(path) if grpc => {
                let service = if path == "/" { "/a.B" } else { path.as_str() };
                let calls = ["c", "Z_9"].map(|method| format!("{service}/{method}"));
                Self { beginning: "", paths: calls.into() }
            }
            PathMatch::Exact(path) => Self { beginning: "", paths: vec![canonical(path)] },
            PathMatch::Prefix(path) => {
                let path = canonical(path.trim_end_matches('/'));
                let below = ["", "/", "/~"].map(|below| format!("{path}{below}"));
                Self { beginning: "", paths: below.into_iter().filter(|path| !path.is_empty()).collect() }
            }
            PathMatch::Regex(regex) => Self { beginning: beginning(regex), paths: of_expression(regex) },
        }
    }
}

/// An expression that takes a text only if `regex` takes all of it.
fn whole(regex: &str) -> Option<Regex> {
    RegexBuilder::new(&format!("\\A(?:{regex})\\z")).size_limit(MOST_MEMORY).build().ok()
}

/// Two texts that `regex` takes: one short, one that repeats more and of which the choices are others.
fn of_expression(regex: &str) -> Vec<String> {
    let (Ok(parsed), Some(whole)) = (regex_syntax::parse(regex), whole(regex)) else { return Vec::new() };
    let written = [false, true].into_iter().filter_map(|more| {
        let mut sample = String::new();
        write(&parsed, more, &mut sample)?;
        Some(sample)
    });
    written.filter(|sample| whole.is_match(sample)).collect()
}

fn write(expression: &Hir, more: bool, sample: &mut String) -> Option<()> {
    if sample.len() > LONGEST_SAMPLE {
        return None;
    }
    match expression.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => sample.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => {
            let has = |c: &char| class.ranges().iter().any(|range| range.start() <= *c && *c <= range.end());
            let usual = if more { "~z9Z-/" } else { "a0A_./" };
            sample.push(usual.chars().find(has).or_else(|| class.ranges().first().map(|range| range.start()))?);
        }
        HirKind::Class(Class::Bytes(_)) => return None,
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(u32::MAX);
            for _ in 0..repetition.min.saturating_add(u32::from(more)).min(most) {
                write(&repetition.sub, more, sample)?;
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, more, sample)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, more, sample))?,
        HirKind::Alternation(choices) => write(if more { choices.last()? } else { choices.first()? }, more, sample)?,
    }
    Some(())
}

/// The text with which everything begins that `regex` takes.
fn beginning(regex: &str) -> &str {
    if regex.contains(['|', '\\']) {
        return "";
    }
    let meta = |c: char| "$()*+.?[]^{}".contains(c);
    let Some(end) = regex.find(meta) else { return regex };
    let last = regex[..end].char_indices().next_back();
    match last {
        // What follows may say that the last character is not there.
        Some((at, _)) if regex[end..].starts_with(['*', '?', '{']) => &regex[..at],
        _ => &regex[..end],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two texts that differ wherever the expression lets them: one that takes both may take everything.
    #[test]
    fn samples_of_an_expression_are_short_and_long_and_of_other_characters() {
        for (regex, samples) in [
            ("/a", &["/a", "/a"][..]),
            ("/a.*", &["/a", "/a~"]),
            ("/a.+", &["/aa", "/a~~"]),
            ("/[0-9]", &["/0", "/9"]),
            ("/[A-Z]{2}", &["/AA", "/ZZ"]),
            ("/[A-Z]{2,}", &["/AA", "/ZZZ"]),
            ("/[_.]", &["/_", "/."]),
            ("/[!]", &["/!", "/!"]),
            ("/(?:aa|bb|cc)", &["/aa", "/cc"]),
            ("/(a)?", &["/", "/a"]),
            ("^/a$", &["/a", "/a"]),
            ("/é", &["/é", "/é"]),
            // What cannot be written is not tried.
            ("/(", &[]),
            ("/a\\bb", &[]),
        ] {
            assert_eq!(of_expression(regex), samples, "{regex}");
        }
        let long = |count: usize| of_expression(&format!("/(?:{}){{{count}}}", "x".repeat(100))).len();
        assert_eq!((long(40), long(400)), (2, 0), "not longer than paths are");
    }
}
