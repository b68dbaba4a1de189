//! Names, references and ports as the schemas of Gateway API have them.

use std::collections::BTreeSet;

use crate::envoy::{Checks, text};
use crate::header;

/// Finds values that were there before.
#[derive(Debug, Default)]
pub struct Duplicates(BTreeSet<String>);

impl Duplicates {
    /// Notes `value`; `what` says what a second one is.
    pub fn note(&mut self, field: &str, value: String, what: &str, checks: &mut Checks) {
        if self.0.contains(&value) {
            checks.error(field, format!("{value:?}: {what}"));
        } else {
            self.0.insert(value);
        }
    }
}

/// Group, kind, name and namespace of a reference; what is left out has a default.
pub fn reference(
    field: &str,
    group: Option<&str>,
    kind: Option<&str>,
    name: Option<&str>,
    namespace: Option<&str>,
    checks: &mut Checks,
) {
    if let Some(group) = group.filter(|group| !group.is_empty())
        && text::hostname(group).is_err()
    {
        checks
            .error(&format!("{field}.group"), format!("{group:?} is not an API group, e.g. gateway.networking.k8s.io"));
    }
    if let Some(kind) = kind {
        let right = kind.len() <= 63
            && kind.starts_with(|c: char| c.is_ascii_alphabetic())
            && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !kind.ends_with('-');
        if !right {
            checks.error(&format!("{field}.kind"), format!("{kind:?} is not a kind, e.g. Service"));
        }
    }
    if let Some(name) = name {
        if name.is_empty() {
            checks.error(&format!("{field}.name"), "empty; write the name of an object");
        } else if name.len() > 253 {
            checks.error(&format!("{field}.name"), "longer than 253 characters");
        }
    }
    if let Some(namespace) = namespace
        && (text::hostname(namespace).is_err() || namespace.contains('.') || namespace.len() > 63)
    {
        checks.error(&format!("{field}.namespace"), format!("{namespace:?} is not the name of a namespace"));
    }
}

/// The name of a listener or rule.
pub fn section(field: &str, name: &str, checks: &mut Checks) {
    if text::hostname(name).is_err() {
        checks.error(field, format!("{name:?} is not a name; write lower-case letters, digits, '-' and '.'"));
    }
}

/// A host name without wildcard.
pub fn hostname(field: &str, name: &str, checks: &mut Checks) {
    if let Err(why) = text::hostname(name) {
        checks.error(field, why);
    }
}

/// A host name, or `*.` and a host name.
pub fn wildcard_hostname(field: &str, name: &str, checks: &mut Checks) {
    hostname(field, name.strip_prefix("*.").unwrap_or(name), checks);
}

/// A port.
pub fn port(field: &str, port: Option<i32>, checks: &mut Checks) {
    if port.is_some_and(|port| !(1..=65_535).contains(&port)) {
        checks.error(field, "not a port; write 1 to 65535");
    }
}

/// The characters of a header's name, which Gateway API asks of query parameters too.
pub fn token(field: &str, name: &str, checks: &mut Checks) {
    if !header::is_name(name) {
        checks.error(field, format!("{name:?} is not a name; use letters, digits and - _ . ~ ! # $ % & ' * + ^ ` |"));
    }
}

/// Whether `text` may be the name of a label, behind its domain, or a value that is not empty.
fn is_label(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// The key of a label: another one no object has.
pub fn label_key(field: &str, key: &str, checks: &mut Checks) {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    if !is_label(name) || domain.is_some_and(|domain| text::hostname(domain).is_err()) {
        checks.error(field, format!("{key:?} is not the key of a label; write for example team or example.com/team"));
    }
}

/// The value of a label: another one no object has.
pub fn label_value(field: &str, value: &str, checks: &mut Checks) {
    if !value.is_empty() && !is_label(value) {
        checks.error(field, format!("{value:?} is not the value of a label; write at most 63 letters, digits, - _ ."));
    }
}
