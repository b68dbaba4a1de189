//! The counters in use, listed and reset.
//!
//! A store knows digests. The names come from the [`Book`] of those hit lately,
//! and from the rules that count no value; what else Redis holds, counted by
//! other servers, is listed without what its digest stands for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::book::Book;
use crate::meters;
use limit::{Change, CountPolicy, CounterId, Counts, Hit, Limit, Moment, UnixSecs};
use rules::config::index::{Entry, Index, Level};
use rules::config::rule::Rule;
use rules::explain::{counter_name, limit_in_words};
use store::{CounterStore as _, Found, Store, StoreError};

/// Counters in one answer.
pub(crate) const MOST_LISTED: usize = 1_000;
/// Counters whose standing is asked for at a time.
const MOST_LOOKED: usize = 10_000;
/// How often a reset looks for more.
const MOST_ROUNDS: usize = 200;
/// Hits sent to the store at once.
const AT_ONCE: usize = 256;

/// Counters in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// `memory` or `redis`.
    pub store: String,
    /// By name.
    pub counters: Vec<Listed>,
    /// Whether there are more than are listed.
    pub more: bool,
}

/// A counter in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The id of its RateLimitConfig.
    pub config: String,
    /// What it counts, in short form; nothing where only the store knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<String>,
    /// Its name in the store.
    pub digest: String,
    /// How much is used, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// What it allows, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What is left of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// In how many seconds it starts over.
    pub resets_in_seconds: u64,
}

/// A counter in use that has a name.
struct Known {
    config: Box<str>,
    counter: CounterId,
    rule: CounterId,
    name: Box<str>,
    limit: Limit,
    used: u64,
}

/// Where a counter of a rule stands.
#[derive(Debug)]
pub struct Standing {
    /// What metrics call the rule.
    pub descriptor: Box<str>,
    /// What it counts, in short form, where that is known.
    pub counter: Option<Box<str>>,
    /// What it allows.
    pub limit: Limit,
    /// How much of that is used.
    pub used: u64,
}

/// What is counted: by name, and what else the store holds.
#[derive(Default)]
struct InUse {
    known: Vec<Known>,
    found: Vec<Found>,
}

/// The counters in use whose names begin with `prefix`.
///
/// # Errors
/// When the store does not answer.
pub async fn list(
    store: &Store,
    book: &Book,
    index: &Index,
    prefix: &str,
    now: Moment,
) -> Result<Counters, StoreError> {
    let InUse { known, found } = in_use(store, book, index, prefix, now).await?;
    let known = known.into_iter().map(|one| Listed {
        config: one.config.into(),
        counter: Some(one.name.into()),
        digest: one.counter.to_string(),
        used: Some(one.used),
        limit: Some(limit_in_words(one.limit)),
        left: Some(one.limit.amount().saturating_sub(one.used)),
        resets_in_seconds: one.limit.reset(one.used, one.limit.window(now.secs()), now.secs()).as_secs(),
    });
    let found = found.into_iter().map(|one| Listed {
        config: one.config.into(),
        counter: None,
        digest: one.counter.to_string(),
        used: one.count,
        limit: None,
        left: None,
        resets_in_seconds: one.left.as_secs(),
    });
    let mut counters: Vec<Listed> = known.chain(found).collect();
    let more = counters.len() > MOST_LISTED;
    counters.truncate(MOST_LISTED);
    Ok(Counters { store: store.kind().to_owned(), counters, more })
}

/// Empties the counters in use whose names begin with `prefix`, and says how many there were.
///
/// # Errors
/// When the store does not answer; some may be reset then.
pub async fn reset(store: &Store, book: &Book, index: &Index, prefix: &str, now: Moment) -> Result<usize, StoreError> {
    let mut forgotten = 0;
    // The store shows so many at a time; others may hit new ones meanwhile.
    for _ in 0..MOST_ROUNDS {
        let InUse { known, found } = in_use(store, book, index, prefix, now).await?;
        let hits: Vec<Hit<'_>> = known.iter().map(|one| one.look(now.secs())).collect();
        let now_forgotten = store.forget(&hits).await? + store.forget_found(&found).await?;
        forgotten += now_forgotten;
        if found.len() <= MOST_LISTED || now_forgotten == 0 {
            break;
        }
    }
    Ok(forgotten)
}

/// Where the counters noted in `book` stand, and those of rules that count no value, if they are in use.
///
/// # Errors
/// When the store does not answer.
pub async fn standings(store: &Store, book: &Book, index: &Index, now: Moment) -> Result<Vec<Standing>, StoreError> {
    let mut known: BTreeMap<CounterId, (Box<str>, Known)> = BTreeMap::new();
    for rule in rules(index) {
        if let Some(counter) = rule.single() {
            let (config, name) = (rule.config.clone(), counter_name(rule, &[]).into());
            let one = Known { config, counter, rule: counter, name, limit: rule.limit, used: 0 };
            known.insert(counter, (meters::descriptor(rule).into(), one));
        }
    }
    for (counter, named) in book.all() {
        let Some(descriptor) = named.descriptor else { continue };
        let name = named.name.unwrap_or_default();
        let one = Known { config: named.config, counter, rule: named.rule, name, limit: named.limit, used: 0 };
        known.insert(counter, (descriptor, one));
    }
    let known: Vec<(Box<str>, Known)> = known.into_values().take(MOST_LOOKED).collect();
    let looks: Vec<Hit<'_>> = known.iter().map(|(_, one)| one.look(now.secs())).collect();
    let used = all(store, &looks, now).await?;
    let standing = |((descriptor, one), used): ((Box<str>, Known), u64)| Standing {
        descriptor,
        counter: Some(one.name).filter(|name| !name.is_empty()),
        limit: one.limit,
        used,
    };
    Ok(known.into_iter().zip(used).filter(|(_, used)| *used > 0).map(standing).collect())
}

async fn in_use(store: &Store, book: &Book, index: &Index, prefix: &str, now: Moment) -> Result<InUse, StoreError> {
    let mut known: BTreeMap<CounterId, Known> = BTreeMap::new();
    for (counter, named) in book.names(prefix) {
        let name = named.name.unwrap_or_default();
        let one = Known { config: named.config, counter, rule: named.rule, name, limit: named.limit, used: 0 };
        known.insert(counter, one);
    }
    for rule in rules(index) {
        if let Some(counter) = rule.single() {
            let name = counter_name(rule, &[]);
            if name.starts_with(prefix) {
                let config = rule.config.clone();
                let one = Known { config, counter, rule: counter, name: name.into(), limit: rule.limit, used: 0 };
                known.insert(counter, one);
            }
        }
    }
    let looks: Vec<Hit<'_>> = known.values().map(|one| one.look(now.secs())).collect();
    let used = all(store, &looks, now).await?;
    for (one, used) in known.values_mut().zip(used) {
        one.used = used;
    }
    let mut found = store.found(prefix, MOST_LISTED + 1).await?;
    found.retain(|found| {
        let named = known.get(&found.counter);
        named.is_none_or(|one| found.start.is_some_and(|start| start != one.limit.window(now.secs()).start))
    });
    // Redis may show one twice while it moves them.
    found.sort_by(|one, other| (&one.key, one.counter).cmp(&(&other.key, other.counter)));
    found.dedup_by(|one, other| (&one.key, one.counter) == (&other.key, other.counter));
    let mut known: Vec<Known> = known.into_values().filter(|one| one.used > 0).collect();
    known.sort_by(|one, other| (&one.name, one.counter).cmp(&(&other.name, other.counter)));
    Ok(InUse { known, found })
}

impl Known {
    fn look(&self, now: UnixSecs) -> Hit<'_> {
        Hit {
            config: &self.config,
            counter: self.counter,
            rule: self.rule,
            limit: self.limit,
            window: self.limit.window(now),
            change: Change::Add(0),
            policy: CountPolicy::Always,
            shadow: false,
        }
    }
}

async fn all(store: &Store, hits: &[Hit<'_>], now: Moment) -> Result<Vec<u64>, StoreError> {
    let mut counts = Vec::with_capacity(hits.len());
    for some in hits.chunks(AT_ONCE) {
        let read: Counts = store.hit(some, now).await?;
        counts.extend(read);
    }
    Ok(counts)
}

/// All rules being served.
fn rules(index: &Index) -> Vec<&Rule> {
    fn below<'i>(level: &'i Level, rules: &mut Vec<&'i Rule>) {
        for node in level.0.values().flat_map(|values| values.nodes()) {
            rules.extend(&node.rules);
            below(&node.children, rules);
        }
    }
    let mut rules = Vec::new();
    for (_, entry) in index.entries() {
        if let Entry::Serving(config) = entry {
            below(&config.tree, &mut rules);
            rules.extend(config.sets.rules.iter().flat_map(|set| &set.rules));
        }
    }
    rules
}
