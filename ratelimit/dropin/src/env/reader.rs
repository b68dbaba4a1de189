//! Reads variables one by one, collecting what is wrong with them. Values are never quoted: some are secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use api::proto_json::ProtoDuration;

use super::Place;

/// What is left of the environment, and what was wrong so far.
#[derive(Debug)]
pub struct Reader<'a> {
    vars: &'a BTreeMap<String, String>,
    asked: BTreeSet<String>,
    mistakes: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Nothing read yet.
    pub fn new(vars: &'a BTreeMap<String, String>) -> Self {
        Self { vars, asked: BTreeSet::new(), mistakes: Vec::new() }
    }

    /// Says that `name` is wrong, in words that go on from the name.
    pub fn mistake(&mut self, name: &str, text: &str) {
        self.mistakes.push(format!("{name} {text}"));
    }

    /// Says what is wrong in a whole sentence.
    pub fn complain(&mut self, mistake: String) {
        self.mistakes.push(mistake);
    }

    /// The value, unless it is not set or empty.
    pub fn optional(&mut self, name: &str) -> Option<String> {
        self.asked.insert(name.to_owned());
        self.vars.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// A text.
    pub fn text(&mut self, name: &str, default: &str) -> String {
        self.optional(name).unwrap_or_else(|| default.to_owned())
    }

    /// A path.
    pub fn path(&mut self, name: &str) -> Option<PathBuf> {
        self.optional(name).map(PathBuf::from)
    }

    /// Two paths that only make sense together.
    pub fn pair(&mut self, one: &str, other: &str) -> Option<(PathBuf, PathBuf)> {
        match (self.path(one), self.path(other)) {
            (Some(first), Some(second)) => Some((first, second)),
            (None, None) => None,
            (Some(_), None) => {
                self.mistake(one, &format!("has no effect without {other}: set both"));
                None
            }
            (None, Some(_)) => {
                self.mistake(other, &format!("has no effect without {one}: set both"));
                None
            }
        }
    }

    /// A number.
    pub fn number<T: FromStr>(&mut self, name: &str, default: T) -> T {
        self.optional_number(name).unwrap_or(default)
    }

    /// A number that may be absent.
    pub(crate) fn optional_number<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let text = self.optional(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.mistake(name, "is not a number that fits here");
        }
        number
    }

    /// A boolean, in Go's words.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.optional(name).as_deref() {
            None => default,
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => true,
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => false,
            Some(_) => {
                self.mistake(name, "is neither true nor false");
                default
            }
        }
    }

    /// A length of time in Go's words: `24h`, `1m30s`, `500ms`.
    pub fn duration(&mut self, name: &str, default: Duration) -> Duration {
        let Some(text) = self.optional(name) else { return default };
        duration(&text).unwrap_or_else(|| {
            self.mistake(name, "is not a length of time: write for example 90s, 1m30s or 24h");
            default
        })
    }

    /// `a,b,c`
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let text = self.text(name, "");
        text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
    }

    /// `key<between>value,…`
    pub fn map(&mut self, name: &str, between: char) -> BTreeMap<String, String> {
        let pairs: Vec<_> = self
            .list(name)
            .into_iter()
            .map(|one| one.split_once(between).map(|(key, value)| (key.trim().to_owned(), value.to_owned())))
            .collect();
        if pairs.contains(&None) {
            self.mistake(name, &format!("is not a list of pairs: write key{between}value,key{between}value"));
        }
        pairs.into_iter().flatten().collect()
    }

    /// `host:port`, the host may be left out.
    pub fn address(&mut self, name: &str, default: &str) -> Place {
        let text = self.text(name, default);
        let parsed = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let Some((host, port)) = parsed else {
            self.mistake(name, "is not an address: write host:port or :port");
            return Place::Tcp("0.0.0.0".to_owned(), 0);
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Place::Tcp(if host.is_empty() { "0.0.0.0" } else { host }.to_owned(), port)
    }

    /// Variables that are set and have no effect: those of `without_effect`, and those of `families` nobody asked for.
    pub fn ignored(&self, without_effect: &[(&str, &'static str)], families: &[&str]) -> Vec<(String, &'static str)> {
        let set = self.vars.keys().filter(|name| !self.asked.contains(*name));
        set.filter_map(|name| {
            let known = without_effect.iter().find(|(known, _)| known == name).map(|(_, why)| *why);
            let family = || families.iter().any(|family| name.starts_with(family)) && !is_link(name);
            known.or_else(|| family().then_some("nobody knows it; is it misspelt?")).map(|why| (name.clone(), why))
        })
        .collect()
    }

    /// `settings`, unless there were mistakes.
    ///
    /// # Errors
    /// The mistakes.
    pub fn finish<T>(self, settings: T) -> Result<T, Vec<String>> {
        if self.mistakes.is_empty() { Ok(settings) } else { Err(self.mistakes) }
    }
}

/// Kubernetes sets these for every Service there is.
fn is_link(name: &str) -> bool {
    name.ends_with("_PORT") || name.contains("_SERVICE_") || name.contains("_PORT_")
}

/// A length of time in Go's words: as in manifests, and `0` and a sign besides.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    text.strip_prefix('+').unwrap_or(text).parse().ok().map(|ProtoDuration(duration)| duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_go_writes_them() {
        for (text, millis) in
            [("24h", 86_400_000), ("1m30s", 90_000), ("1.5s", 1500), ("500ms", 500), ("+1s", 1000), ("0", 0)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "5", "1 day", "h", "-1s", "1d", "++1s", "+", "1e300h"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
