//! The names of counters in use, for people: a store knows digests only.
//!
//! Values come from clients and may be private. They are noted only while
//! somebody on this machine can ask for them, or where they are asked for on the
//! metrics page, cut to a length, in bounded number, and forgotten with the
//! counter's window. Without them only what rules call themselves is noted.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::meters;
use limit::{CounterId, Limit, UnixSecs};
use rules::explain::counter_name;
use rules::plan::{Plan, RuleRef};
use rules::request::Request;

/// Names kept at a time.
const MOST_NAMES: usize = 10_000;
/// Bytes of a name.
const MOST_BYTES: usize = 256;
/// How many seconds a full book is left alone.
const PAUSE: u64 = 5;

/// Names of counters, noted when a counter is first hit in a window.
#[derive(Default)]
pub struct Book {
    kept: AtomicBool,
    /// Whether values are noted as well.
    open: AtomicBool,
    full_until: AtomicU64,
    names: Mutex<HashMap<CounterId, Named, ahash::RandomState>>,
}

/// A counter that was hit.
#[derive(Clone)]
pub struct Named {
    /// The id of its RateLimitConfig.
    pub config: Box<str>,
    /// What it counts, in short form; nothing where values are not noted.
    pub name: Option<Box<str>>,
    /// What metrics call its rule; nothing for one made up for a request.
    pub descriptor: Option<Box<str>>,
    /// Its rule; see [`store::Hit::rule`].
    pub rule: CounterId,
    /// What it allows.
    pub limit: Limit,
    ends: UnixSecs,
}

// Names hold what clients sent: nothing prints them by accident.
impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("open", &self.open).finish_non_exhaustive()
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Book {
    /// From now on names are noted.
    pub fn open(&self) {
        self.keep(true);
    }

    /// From now on counters are noted; also with what clients sent, if `values`.
    pub fn keep(&self, values: bool) {
        self.open.fetch_or(values, Ordering::Relaxed);
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Notes the counters that the request was the first to hit.
    pub fn note(&self, request: &Request<'_>, plan: &Plan<'_>, counts: &[u64], now: UnixSecs) {
        if !self.kept.load(Ordering::Relaxed) || self.full_until.load(Ordering::Relaxed) > now.0 {
            return;
        }
        let open = self.open.load(Ordering::Relaxed);
        for (counted, count) in plan.counted.iter().zip(counts) {
            let added = counted.change.added();
            if added == 0 || *count > u64::from(added) {
                continue;
            }
            let Some(descriptor) = request.descriptors.get(counted.descriptor) else { continue };
            let named = Named {
                config: counted.rule.config.clone(),
                name: open.then(|| cut(counter_name(&counted.rule, descriptor.entries)).into_boxed_str()),
                descriptor: match &counted.rule {
                    RuleRef::Known(rule) => Some(meters::descriptor(rule).into()),
                    RuleRef::MadeUp(_) => None,
                },
                rule: counted.rule.id(),
                limit: counted.limit,
                ends: if counted.limit.algorithm().starts_over() {
                    counted.window.end()
                } else {
                    UnixSecs(counted.window.end().0.saturating_add(counted.window.length.get().into()))
                },
            };
            self.insert(counted.counter, named, now);
        }
    }

    fn insert(&self, counter: CounterId, named: Named, now: UnixSecs) {
        let mut names = self.names.lock();
        if names.len() >= MOST_NAMES {
            names.retain(|_, named| named.ends > now);
        }
        if names.len() >= MOST_NAMES {
            self.full_until.store(now.0.saturating_add(PAUSE), Ordering::Relaxed);
            return;
        }
        names.insert(counter, named);
    }

    /// The counters whose names begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Vec<(CounterId, Named)> {
        let begins = |named: &Named| named.name.as_ref().is_some_and(|name| name.starts_with(prefix));
        self.noted(begins)
    }

    /// All counters, also those without a name.
    pub fn all(&self) -> Vec<(CounterId, Named)> {
        self.noted(|_| true)
    }

    fn noted(&self, wanted: impl Fn(&Named) -> bool) -> Vec<(CounterId, Named)> {
        let names = self.names.lock();
        names.iter().filter(|(_, named)| wanted(named)).map(|(id, named)| (*id, named.clone())).collect()
    }
}

fn cut(mut name: String) -> String {
    if name.len() > MOST_BYTES {
        let end = (0..=MOST_BYTES).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        name.truncate(end);
        name.push('…');
    }
    name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use api::gloo::rate_limit_config::Unit;

    use super::*;

    fn named(name: &str, ends: u64) -> Named {
        Named {
            config: "ns.limits".into(),
            name: Some(name.into()),
            descriptor: None,
            rule: CounterId::NO_RULE,
            limit: Limit::new(1, Unit::Minute).unwrap(),
            ends: UnixSecs(ends),
        }
    }

    #[test]
    fn a_full_book_keeps_what_it_has_until_windows_end() {
        let book = Book::default();
        for number in 0..=MOST_NAMES as u128 {
            book.insert(CounterId(number), named(&format!("ns.limits: a={number}"), 60), UnixSecs(10));
        }
        assert_eq!(book.names("").len(), MOST_NAMES);
        assert_eq!(book.full_until.load(Ordering::Relaxed), 15, "and rests");
        book.insert(CounterId(u128::MAX), named("ns.limits: b=1", 120), UnixSecs(60));
        assert_eq!(book.names("").len(), 1);
        assert_eq!(book.names("ns.limits: b")[0].0, CounterId(u128::MAX));
        assert!(book.names("ns.other").is_empty());
    }

    #[test]
    fn names_are_cut_and_never_printed_by_accident() {
        assert_eq!(cut("ä".repeat(200)).chars().count(), 129);
        assert!(!format!("{:?}", named("ns.limits: key=private", 60)).contains("private"));
    }
}
