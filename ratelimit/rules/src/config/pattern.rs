//! Conditions on a value, compiled.

use std::net::IpAddr;

use api::gloo::rate_limit_config::{ValueMatch, whole};
use ipnet::IpNet;
use regex::Regex;

/// Which values are meant.
#[derive(Debug)]
pub enum Pattern {
    /// Addresses in one of these networks.
    Networks(Box<[IpNet]>),
    /// One of these.
    OneOf(Box<[Box<str>]>),
    /// Those that begin so.
    Prefix(Box<str>),
    /// Those that end so.
    Suffix(Box<str>),
    /// Those that match as a whole.
    Regex(Regex),
}

impl Pattern {
    /// Compiles what is written; none for what validation refuses.
    pub fn new(written: &ValueMatch) -> Option<Pattern> {
        Some(if !written.cidrs.is_empty() {
            Pattern::Networks(written.cidrs.iter().map(|cidr| cidr.parse().ok()).collect::<Option<_>>()?)
        } else if !written.values.is_empty() {
            Pattern::OneOf(written.values.iter().map(|value| value.as_str().into()).collect())
        } else if !written.prefix.is_empty() {
            Pattern::Prefix(written.prefix.as_str().into())
        } else if !written.suffix.is_empty() {
            Pattern::Suffix(written.suffix.as_str().into())
        } else {
            Pattern::Regex(whole(&written.regex).ok()?)
        })
    }

    /// Whether `value` is meant.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Pattern::Networks(networks) => {
                // An IPv4 address may come dressed as an IPv6 one.
                let address = value.parse::<IpAddr>().map(|address| address.to_canonical());
                address.is_ok_and(|address| networks.iter().any(|network| network.contains(&address)))
            }
            Pattern::OneOf(values) => values.iter().any(|one| **one == *value),
            Pattern::Prefix(prefix) => value.starts_with(&**prefix),
            Pattern::Suffix(suffix) => value.ends_with(&**suffix),
            Pattern::Regex(regex) => regex.is_match(value),
        }
    }
}
