//! What counters are called in Redis. Pure.
//!
//! A **fixed window** has pages: hashes, each with the counters of one RateLimitConfig and one window whose
//! digests begin with the same letter, `<prefix><config>:<letter>:<start>:<seconds>`, and in it
//! one field for each counter. What is **kept over windows** (sliding ones, buckets)
//! has a key for each counter: `<prefix><config>:<counter>`. The config is there
//! for people; a counter's digest alone tells it apart.
//!
//! Pages are there because a new field costs Redis half of what a new key with an end of its own does.
//! There are as many as one call can fill with several fields each, and so many that
//! the end of one with a million counters beside it does not keep Redis from answering.

use std::hash::Hasher as _;
use std::num::NonZeroU32;
use std::time::Duration;

use fnv::FnvHasher;

use super::{GRACE, Together};
use limit::{Algorithm, CounterId, Hit, UnixSecs, Window};

/// Bytes of a key beside prefix and config: braces, colons, the start and the length of a window, or a counter's digest.
const MOST_KEY: usize = 2 + 3 + 1 + 20 + 10;

/// How keys are made.
#[derive(Debug, Clone)]
pub(super) struct Naming {
    /// What all our keys begin with.
    pub(super) prefix: std::sync::Arc<str>,
    /// What is in one slot of a Cluster.
    pub(super) together: Together,
    /// By how much at most the ends of keys are spread.
    pub(super) spread: Duration,
}

/// What a key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named<'k> {
    /// The RateLimitConfig's id.
    pub(super) config: &'k str,
    /// What it holds.
    pub(super) holds: Holds,
}

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// The counters of this window whose digests begin with this letter, each a field named by its digest.
    Page(u8, Window),
    /// One counter that outlives its window.
    Kept(CounterId),
}

impl Naming {
    /// The key that holds the counter of `hit`.
    pub(super) fn key(&self, hit: &Hit<'_>) -> String {
        let mut key = String::with_capacity(self.prefix.len() + hit.config.len() + MOST_KEY);
        key.push_str(&self.prefix);
        match self.together {
            Together::Counter => key.push_str(hit.config),
            Together::Config => key.extend(["{", hit.config, "}"]),
        }
        key.push(':');
        if hit.limit.algorithm().starts_over() {
            let mut digits = itoa::Buffer::new();
            key.push(letter(hit.counter).into());
            key.push(':');
            key.push_str(digits.format(hit.window.start.0));
            key.push(':');
            key.push_str(digits.format(hit.window.length.get()));
        } else {
            hit.counter.write(&mut key);
        }
        key
    }

    /// What keys of configs whose ids begin with `config` begin with.
    pub(super) fn begin(&self, config: &str) -> String {
        match self.together {
            Together::Counter => format!("{}{config}", self.prefix),
            Together::Config => format!("{}{{{config}", self.prefix),
        }
    }

    /// By how much the key of `hit` outlives what it says: for servers whose clocks are
    /// behind, and so that not all keys end in the same instant.
    pub(super) fn beyond(&self, hit: &Hit<'_>) -> Duration {
        match hit.limit.algorithm() {
            Algorithm::FixedWindow => self.spread_by(hit.config, &[letter(hit.counter)]),
            _ => self.spread_by(hit.config, &hit.counter.0.to_be_bytes()),
        }
    }

    fn spread_by(&self, config: &str, part: &[u8]) -> Duration {
        let millis = u64::try_from(self.spread.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut hasher = FnvHasher::default();
        hasher.write(config.as_bytes());
        hasher.write(part);
        GRACE + Duration::from_millis(hasher.finish() % millis)
    }

    /// What `key` says, if it is ours.
    pub(super) fn read<'k>(&self, key: &'k str) -> Option<Named<'k>> {
        let (rest, last) = key.strip_prefix(&*self.prefix)?.rsplit_once(':')?;
        if let Some(counter) = CounterId::read(last) {
            return Some(Named { config: bare(rest), holds: Holds::Kept(counter) });
        }
        let (rest, start) = rest.rsplit_once(':')?;
        let (config, letter) = rest.rsplit_once(':')?;
        let window = Window { start: UnixSecs(start.parse().ok()?), length: last.parse::<NonZeroU32>().ok()? };
        let [letter] = letter.as_bytes() else { return None };
        Some(Named { config: bare(config), holds: Holds::Page(*letter, window) })
    }

    /// What [`Naming::beyond`] was for the hits that made the key.
    pub(super) fn beyond_what(&self, named: &Named<'_>) -> Duration {
        match named.holds {
            Holds::Page(letter, _) => self.spread_by(named.config, &[letter]),
            Holds::Kept(counter) => self.spread_by(named.config, &counter.0.to_be_bytes()),
        }
    }
}

/// The number of the page a counter is on, below 64.
pub(super) fn page(counter: CounterId) -> u8 {
    (counter.0 >> 122) as u8
}

/// The first letter of the digest's text.
fn letter(counter: CounterId) -> u8 {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    LETTERS.get(usize::from(page(counter))).copied().unwrap_or(b'A')
}

/// A config's id without the braces around it, if there are any.
fn bare(config: &str) -> &str {
    config.strip_prefix('{').and_then(|config| config.strip_suffix('}')).unwrap_or(config)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use api::gloo::rate_limit_config::Unit;
    use proptest::prelude::*;

    use super::*;
    use limit::{Change, CountPolicy, Limit};

    fn naming(together: Together) -> Naming {
        Naming { prefix: "waykeeper:".into(), together, spread: Duration::from_secs(10) }
    }

    fn hit(counter: CounterId, limit: Limit) -> Hit<'static> {
        let window = limit.window(UnixSecs(1_000_000_030));
        let (config, change) = ("shop.limits", Change::Add(1));
        Hit { config, counter, rule: counter, limit, window, change, policy: CountPolicy::Always, shadow: false }
    }

    #[test]
    fn a_window_has_pages_and_what_is_kept_a_key_of_its_own() {
        let minute = Limit::new(1, Unit::Minute).unwrap();
        let window = minute.window(UnixSecs(1_000_000_030));
        for (together, fixed, kept) in [
            (
                Together::Counter,
                "waykeeper:shop.limits:_:1000000020:60",
                "waykeeper:shop.limits:_____________________w",
            ),
            (
                Together::Config,
                "waykeeper:{shop.limits}:_:1000000020:60",
                "waykeeper:{shop.limits}:_____________________w",
            ),
        ] {
            let naming = naming(together);
            let counter = CounterId(u128::MAX);
            assert_eq!(naming.key(&hit(counter, minute)), fixed);
            assert_eq!(naming.read(fixed), Some(Named { config: "shop.limits", holds: Holds::Page(b'_', window) }));
            let sliding = minute.by(Algorithm::SlidingWindow);
            assert_eq!(naming.key(&hit(counter, sliding)), kept);
            assert_eq!(naming.read(kept), Some(Named { config: "shop.limits", holds: Holds::Kept(counter) }));
            assert!(fixed.starts_with(&naming.begin("shop.")));
            for hit in [hit(counter, minute), hit(counter, sliding)] {
                let key = naming.key(&hit);
                assert_eq!(naming.beyond_what(&naming.read(&key).unwrap()), naming.beyond(&hit));
            }
        }
        let naming = naming(Together::Counter);
        for other in ["", "shop.limits", "A:1:60", "shop.limits:A:1:0", "shop.limits:AA:1:60", "shop.limits:A:x:60"] {
            assert_eq!(naming.read(&format!("waykeeper:{other}")), None, "{other}");
        }
        assert_eq!(naming.read("other:shop.limits:A:1000000020:60"), None);
    }

    proptest! {
        #[test]
        fn whatever_a_config_is_called_its_keys_say_so_and_no_text_is_too_strange(
            config in "[a-z:{}0-9*.]{0,30}", counter in any::<u128>(), sliding in any::<bool>(), text in ".{0,60}"
        ) {
            let naming = naming(Together::Counter);
            let minute = Limit::new(1, Unit::Minute).unwrap();
            let limit = if sliding { minute.by(Algorithm::SlidingWindow) } else { minute };
            let hit = Hit { config: &config, ..hit(CounterId(counter), limit) };
            let key = naming.key(&hit);
            let named = naming.read(&key).unwrap();
            prop_assert_eq!(named.config, bare(&config));
            prop_assert_eq!(matches!(named.holds, Holds::Kept(CounterId(id)) if id == counter), sliding);
            naming.read(&format!("waykeeper:{text}"));
        }

        #[test]
        fn a_page_is_named_by_the_first_letter_of_its_counters(counter in any::<u128>()) {
            let counter = CounterId(counter);
            prop_assert!(counter.to_string().starts_with(char::from(letter(counter))));
        }
    }
}
