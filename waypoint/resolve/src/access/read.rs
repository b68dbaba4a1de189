//! How the values of a policy are read.

use std::collections::BTreeSet;

use api::istio::authorization_policy::{self as istio, Listed, Part, Pattern, pattern, pattern::Piece};
use ir::access::{Address, Callers, Claimed, Condition, Part as Of, Rule, Text};
use ir::path::spellings;
use ir::{Settings, ValueMatch};

use super::Read;
use crate::lists::in_a_list;

const SPIFFE: &str = "spiffe://";
/// The trust domain by which policies mean that of their mesh, whatever it is called.
const LOCAL: &str = "cluster.local";
/// Headers of which there is one, with commas in its value.
const WHOLE: [&str; 8] =
    ["cookie", "date", "expires", "if-modified-since", "if-unmodified-since", "last-modified", "referer", "user-agent"];

/// How values are read.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Whether only what certainly means a value is one of it, or else whatever may mean it.
    pub certain: bool,
    /// What of requests there is to look at.
    pub read: Read,
    /// The Service's port.
    pub port: u16,
    /// The policy's namespace.
    pub home: &'a str,
    /// The mesh's.
    pub settings: &'a Settings,
}

impl Reading<'_> {
    /// The rule `written`; none if it is for nobody.
    pub fn rule(&self, name: String, written: &istio::Rule) -> Option<Rule> {
        let mut that = Vec::new();
        if let Some(to) = &written.to {
            let operations =
                to.iter().map(|to| Condition::all(to.operation.lists().iter().map(|list| self.list(list))));
            that.push(Condition::any(operations));
        }
        for condition in written.when.iter().flatten() {
            // Admission knows no others.
            let part = condition.part().ok();
            that.push(part.map_or_else(|| self.unknown(), |part| self.list(&condition.listed(part))));
        }
        let callers = match &written.from {
            None => vec![Callers { named: None, that: Condition::always() }],
            Some(from) => from.iter().flat_map(|from| self.source(&from.source)).collect(),
        };
        let that = Condition::all(that);
        (that.constant() != Some(false) && !callers.is_empty()).then_some(Rule { name, that, callers })
    }

    /// Callers with one of its identities, and those of which an identity is like one of them.
    fn source(&self, source: &istio::Source) -> Vec<Callers> {
        let mut rest = Vec::new();
        for list in source.lists() {
            match list.part {
                Part::Principal => rest.push(self.list(&Listed { values: &[], ..list })),
                _ => rest.push(self.list(&list)),
            }
        }
        let rest = Condition::all(rest);
        if source.principals.is_empty() {
            return some(Callers { named: None, that: rest });
        }
        let (mut named, mut like) = (BTreeSet::new(), Vec::new());
        for value in &source.principals {
            match Pattern::of(value) {
                Pattern::Exact(_) => {
                    named.extend(self.of_mesh(value).into_iter().map(|value| format!("{SPIFFE}{value}")))
                }
                _ => like.push(self.value(&Part::Principal, value)),
            }
        }
        let like = some(Callers { named: None, that: Condition::all([Condition::any(like), rest.clone()]) });
        let named = if named.is_empty() { vec![] } else { some(Callers { named: Some(named), that: rest }) };
        named.into_iter().chain(like).collect()
    }

    /// One of its values, and none of those that it must not be.
    fn list(&self, list: &Listed<'_>) -> Condition {
        let is = |reading: &Self, values: &[String]| match address(&list.part) {
            Some(address) => in_networks(address, values),
            None => Condition::any(values.iter().map(|value| reading.value(&list.part, value))),
        };
        let mut both = Vec::new();
        if !list.values.is_empty() {
            both.push(is(self, list.values));
        }
        if !list.not_values.is_empty() {
            both.push(is(&Self { certain: !self.certain, ..*self }, list.not_values).inverted());
        }
        Condition::all(both)
    }

    /// What cannot be known.
    fn unknown(&self) -> Condition {
        if self.certain { Condition::never() } else { Condition::always() }
    }

    /// Whether a part is `value`.
    fn value(&self, part: &Part, value: &str) -> Condition {
        let only_http = matches!(part, Part::Host | Part::Method | Part::Path | Part::Header(_));
        if only_http && !self.read.http {
            return self.unknown();
        }
        let pattern = Pattern::of(value);
        match part {
            Part::Port => match value.parse() == Ok(self.port) {
                true => Condition::always(),
                false => Condition::never(),
            },
            Part::Principal => self.principal(value, pattern),
            Part::Namespace => {
                let namespace = self.within(pattern, "[^/]");
                self.regex(
                    Of::Caller,
                    match self.certain {
                        true => format!("{SPIFFE}[^/]+/ns/{namespace}/sa/[^/]+"),
                        false => format!(".*/ns/{namespace}/.*"),
                    },
                )
            }
            Part::ServiceAccount => {
                let (namespace, account) = value.split_once('/').unwrap_or((self.home, value));
                let (namespace, account) = (regex::escape(namespace), regex::escape(account));
                self.regex(
                    Of::Caller,
                    match self.certain {
                        true => format!("{SPIFFE}[^/]+/ns/{namespace}/sa/{account}"),
                        false => format!(".*/ns/{namespace}/(?:.+/)?sa/{account}(?:/.+)?"),
                    },
                )
            }
            Part::TrustDomain => Condition::any(self.of_mesh(value).into_iter().map(|value| {
                let domain = self.within(Pattern::of(&value), "[^/]");
                self.regex(Of::Caller, format!("{SPIFFE}{domain}/.*"))
            })),
            Part::Host => self.host(pattern),
            Part::Method => self.text(Of::Method, pattern),
            Part::Path => self.path(value, pattern),
            Part::Header(name) => self.header(name, pattern),
            Part::RequestPrincipal | Part::Claim(_) if !self.read.tokens => self.unknown(),
            Part::RequestPrincipal if self.certain => certain_principal(value, pattern),
            Part::RequestPrincipal => possible_principal(value, pattern),
            Part::Claim(path) => self.claim(path, pattern),
            // Of TLS nothing is seen here. Addresses are looked at in `list`.
            Part::ServerName | Part::SourceAddress | Part::RemoteAddress | Part::DestinationAddress => self.unknown(),
        }
    }

    /// `value` with the mesh's own trust domain, if it names that by its other name. Whoever refuses takes both.
    fn of_mesh(&self, value: &str) -> Vec<String> {
        let own = &self.settings.trust_domain;
        let rest = value.strip_prefix(LOCAL).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        // As Istio has it, only an identity as a whole is of a trust domain.
        let whole = value.split('/').count() == 5 || rest == Some("");
        match rest {
            Some(rest) if own != LOCAL && (whole || !self.certain) => {
                let own = format!("{own}{rest}");
                if self.certain { vec![own] } else { vec![own, value.to_owned()] }
            }
            _ => vec![value.to_owned()],
        }
    }

    /// An identity is there only if it is one: whatever else a tunnel wrote is nobody's.
    fn principal(&self, value: &str, pattern: Pattern<'_>) -> Condition {
        match pattern {
            Pattern::Present if self.certain => self.regex(Of::Caller, format!("{SPIFFE}.+")),
            Pattern::Present => self.regex(Of::Caller, ".+".to_owned()),
            Pattern::Suffix(end) => {
                let before = if self.certain { SPIFFE } else { "" };
                self.regex(Of::Caller, format!("{before}.*{}", regex::escape(end)))
            }
            Pattern::Prefix(_) | Pattern::Exact(_) => Condition::any(self.of_mesh(value).into_iter().map(|value| {
                let text = match Pattern::of(&value) {
                    Pattern::Prefix(beginning) => Text::Prefix(format!("{SPIFFE}{beginning}")),
                    _ => Text::Exact(format!("{SPIFFE}{value}")),
                };
                Condition::Text(Of::Caller, text)
            })),
        }
    }

    /// Where an application may take a host for this one, a dot at its end and a port are no difference.
    fn host(&self, pattern: Pattern<'_>) -> Condition {
        let escaped = |text: &str| match self.certain {
            true => regex::escape(text),
            false => match text.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())) {
                Some((name, "80")) => format!("{}\\.?(?::80)?", regex::escape(name)),
                Some((name, port)) => format!("{}\\.?:{port}", regex::escape(name)),
                None => format!("{}\\.?(?::[0-9]*)?", regex::escape(text)),
            },
        };
        let regex = match pattern {
            Pattern::Present => return Condition::always(),
            Pattern::Exact(host) => escaped(host),
            Pattern::Suffix(end) => format!(".*{}", escaped(end)),
            Pattern::Prefix(beginning) => format!("{}.*", regex::escape(beginning)),
        };
        self.regex(Of::Host, format!("(?i){regex}"))
    }

    /// A path is the same however it is spelt. Expressions for paths take no `?`: behind it is the query.
    fn path(&self, value: &str, pattern: Pattern<'_>) -> Condition {
        let spelt = |text: &str| spellings(text).unwrap_or_else(|| regex::escape(text));
        // Braces that are no template are refused at admission.
        if let Ok(Some(pieces)) = pattern::template(value) {
            let pieces = pieces.into_iter().map(|piece| match piece {
                Piece::Text(text) => spelt(text),
                Piece::Segment => "[^/?]+".to_owned(),
                Piece::Segments => "[^?]*".to_owned(),
            });
            return self.regex(Of::Path, pieces.collect());
        }
        match pattern {
            Pattern::Present => Condition::always(),
            Pattern::Exact(path) => match spellings(path) {
                None => Condition::Text(Of::Path, Text::Exact(path.to_owned())),
                Some(regex) => self.regex(Of::Path, regex),
            },
            Pattern::Prefix(beginning) => match spellings(beginning) {
                None => Condition::Text(Of::Path, Text::Prefix(beginning.to_owned())),
                Some(regex) => self.regex(Of::Path, format!("{regex}[^?]*")),
            },
            Pattern::Suffix(end) => self.regex(Of::Path, format!("[^?]*{}", spelt(end))),
        }
    }

    /// Lines of one header are a list to many readers, and any member of it may be what the application takes.
    fn header(&self, name: &str, pattern: Pattern<'_>) -> Condition {
        let of = Of::Header(name.to_owned());
        if pattern == Pattern::Present {
            return self.regex(of, ".*".to_owned());
        }
        if self.certain && WHOLE.contains(&name) {
            return self.text(of, pattern);
        }
        let text = regex::escape(pattern.text());
        match (pattern, self.certain) {
            (Pattern::Exact(value), true) => Condition::Text(of, Text::Exact(value.to_owned())),
            (Pattern::Exact(value), false) => self.regex(of, in_a_list(&ValueMatch::Exact(value.to_owned()))),
            (Pattern::Prefix(_), true) => self.regex(of, format!("{text}[^,]*")),
            (Pattern::Prefix(_), false) => self.regex(of, format!("(?:.*,)?[ \\t]*{text}.*")),
            (_, true) => self.regex(of, format!("[^,]*{text}")),
            (_, false) => self.regex(of, format!(".*{text}[ \\t]*(?:,.*)?")),
        }
    }

    /// A claim that is a text, as Istio has it. One that is to be refused is refused as a number or a truth as well.
    fn claim(&self, path: &[String], pattern: Pattern<'_>) -> Condition {
        let is = |claimed| Condition::Claim(path.to_vec(), claimed);
        let text = is(claimed(pattern));
        match pattern {
            _ if self.certain => text,
            Pattern::Present => is(Claimed::Something),
            Pattern::Exact(value) => {
                let number = value.parse().ok().map(Claimed::Number);
                let truth = value.parse().ok().map(Claimed::Bool);
                Condition::any([text].into_iter().chain(number.into_iter().chain(truth).map(is)))
            }
            Pattern::Prefix(_) | Pattern::Suffix(_) => text,
        }
    }

    /// A part that is there, as it is.
    fn text(&self, of: Of, pattern: Pattern<'_>) -> Condition {
        let text = match pattern {
            Pattern::Present => return Condition::always(),
            Pattern::Exact(value) => Text::Exact(value.to_owned()),
            Pattern::Prefix(beginning) => Text::Prefix(beginning.to_owned()),
            Pattern::Suffix(end) => return self.regex(of, format!(".*{}", regex::escape(end))),
        };
        Condition::Text(of, text)
    }

    /// An expression for `pattern` in a text of such characters.
    fn within(&self, pattern: Pattern<'_>, character: &str) -> String {
        match pattern {
            Pattern::Present => format!("{character}+"),
            Pattern::Exact(text) => regex::escape(text),
            Pattern::Prefix(beginning) => format!("{}{character}*", regex::escape(beginning)),
            Pattern::Suffix(end) => format!("{character}*{}", regex::escape(end)),
        }
    }

    /// What Envoy would not compile cannot be known.
    fn regex(&self, of: Of, regex: String) -> Condition {
        match api::envoy::regex::check(&regex) {
            Ok(instructions) if instructions < MOST => Condition::Text(of, Text::Regex(regex)),
            _ => self.unknown(),
        }
    }
}

/// So large may an expression be that the query of a path can be put behind it.
const MOST: usize = api::envoy::regex::MOST_INSTRUCTIONS - 20;

fn claimed(pattern: Pattern<'_>) -> Claimed {
    Claimed::Text(match pattern {
        Pattern::Present => Text::Regex("(?s).+".to_owned()),
        Pattern::Exact(value) => Text::Exact(value.to_owned()),
        Pattern::Prefix(beginning) => Text::Prefix(beginning.to_owned()),
        Pattern::Suffix(end) => Text::Regex(format!("(?s).*{}", regex::escape(end))),
    })
}

fn issued(issuer: Pattern<'_>, subject: Pattern<'_>) -> Condition {
    let of = |name: &str, pattern| Condition::Claim(vec![name.to_owned()], claimed(pattern));
    Condition::all([of("iss", issuer), of("sub", subject)])
}

/// Issuer and subject are parted by the last slash, as Istio does it.
fn certain_principal(value: &str, pattern: Pattern<'_>) -> Condition {
    let (issuer, subject) = match (value.rsplit_once('/'), pattern) {
        (_, Pattern::Present) => (Pattern::Present, Pattern::Present),
        (Some((issuer, subject)), Pattern::Exact(_)) => (Pattern::Exact(issuer), Pattern::Exact(subject)),
        (Some((issuer, subject)), _) => (Pattern::of(issuer), Pattern::of(subject)),
        (None, Pattern::Prefix(beginning)) => (Pattern::Prefix(beginning), Pattern::Present),
        (None, Pattern::Suffix(end)) => (Pattern::Present, Pattern::Suffix(end)),
        // Admission knows none.
        (None, Pattern::Exact(_)) => return Condition::never(),
    };
    // Nobody is called so.
    let empty = |pattern| matches!(pattern, Pattern::Exact(""));
    if empty(issuer) || empty(subject) { Condition::never() } else { issued(issuer, subject) }
}

/// Wherever issuer and subject are parted: there may be slashes in both.
fn possible_principal(value: &str, pattern: Pattern<'_>) -> Condition {
    let text = pattern.text();
    let parted = text.match_indices('/').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let subjects = |pattern| Condition::Claim(vec!["sub".to_owned()], claimed(pattern));
    let issuers = |pattern| Condition::Claim(vec!["iss".to_owned()], claimed(pattern));
    match pattern {
        Pattern::Present => {
            Condition::any(["iss", "sub"].map(|of| Condition::Claim(vec![of.to_owned()], Claimed::Something)))
        }
        Pattern::Exact(_) => Condition::any(parted.map(|(iss, sub)| issued(Pattern::Exact(iss), Pattern::Exact(sub)))),
        Pattern::Prefix(beginning) => Condition::any(
            parted
                .map(|(iss, sub)| {
                    issued(Pattern::Exact(iss), if sub.is_empty() { Pattern::Present } else { Pattern::Prefix(sub) })
                })
                .chain([issuers(Pattern::Prefix(beginning))]),
        ),
        Pattern::Suffix(end) => Condition::any(
            parted
                .map(|(iss, sub)| {
                    issued(if iss.is_empty() { Pattern::Present } else { Pattern::Suffix(iss) }, Pattern::Exact(sub))
                })
                .chain([subjects(Pattern::Suffix(end)), certain_principal(value, pattern)]),
        ),
    }
}

fn some(callers: Callers) -> Vec<Callers> {
    if callers.that.constant() == Some(false) { Vec::new() } else { vec![callers] }
}

fn address(part: &Part) -> Option<Address> {
    match part {
        Part::SourceAddress => Some(Address::Source),
        Part::RemoteAddress => Some(Address::Remote),
        Part::DestinationAddress => Some(Address::Destination),
        _ => None,
    }
}

/// What is no network is refused at admission.
fn in_networks(address: Address, values: &[String]) -> Condition {
    Condition::Address(address, values.iter().filter_map(|value| istio::network(value).ok()).collect())
}

#[cfg(test)]
mod tests;
