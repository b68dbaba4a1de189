//! What counters Redis holds, for people who look; never part of answering a request.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::RedisResult;
use redis::aio::{ConnectionLike, MultiplexedConnection};

use super::access::{Access, Place};
use super::cluster::Map;
use super::sentinel::Sentinels;
use super::{GRACE, slots, spread};
use crate::config::rule::CounterId;
use crate::store::{Found, StoreError};
use crate::window::UnixSecs;

/// How long looking may take.
const MOST_TIME: Duration = Duration::from_secs(2);
/// Keys looked at in one step.
const STEP: usize = 500;
/// Steps at most: what lies beyond is not listed.
const MOST_STEPS: usize = 400;

/// Looks on connections of its own, so that no request waits for it.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    /// How masters are reached.
    pub(super) access: Access,
    /// Which they are.
    pub(super) masters: Masters,
    /// By how much at most the ends of keys are spread.
    pub(super) spread: Duration,
}

/// Who holds the counters.
#[derive(Debug, Clone)]
pub(super) enum Masters {
    /// Always this one.
    One(Place),
    /// Whom the Sentinels name.
    Named(Arc<Sentinels>),
    /// Each its slots.
    Cluster(Arc<ArcSwap<Map>>),
}

impl Scanner {
    /// Up to `most` counters that are in use, of configs whose ids begin with `config`.
    /// `begins` is what keys of such configs begin with, up to the id.
    pub(super) async fn scan(
        &self,
        prefix: &str,
        begins: &str,
        config: &str,
        most: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        for place in self.places().await? {
            let more = most.saturating_sub(found.len());
            found.extend(
                in_time(async {
                    let mut connection = self.connect(&place).await?;
                    scan(&mut connection, (prefix, begins, config), self.spread, more).await
                })
                .await?,
            );
        }
        Ok(found)
    }

    /// Deletes `keys`; how many there were.
    pub(super) async fn forget(&self, keys: &[String]) -> Result<usize, StoreError> {
        let mut known = 0;
        let mut by_place: BTreeMap<Place, Vec<&String>> = BTreeMap::new();
        let places = self.places().await?;
        for key in keys {
            let owner = match &self.masters {
                Masters::Cluster(map) => map.load().place(slots::slot(key)).cloned(),
                _ => places.first().cloned(),
            };
            by_place.entry(owner.ok_or(StoreError::Down)?).or_default().push(key);
        }
        for (place, keys) in by_place {
            known += in_time(async {
                let mut connection = self.connect(&place).await?;
                let mut known = 0;
                for some in keys.chunks(STEP) {
                    let mut pipe = redis::pipe();
                    for key in some {
                        pipe.cmd("UNLINK").arg(key);
                    }
                    known += pipe.query_async::<Vec<usize>>(&mut connection).await?.into_iter().sum::<usize>();
                }
                Ok(known)
            })
            .await?;
        }
        Ok(known)
    }

    async fn connect(&self, place: &Place) -> RedisResult<MultiplexedConnection> {
        // The words could quote a secret: see `in_time`.
        let client = self.access.client(place).map_err(|_| (redis::ErrorKind::InvalidClientConfig, "no client"))?;
        client.get_multiplexed_async_connection().await
    }

    async fn places(&self) -> Result<Vec<Place>, StoreError> {
        match &self.masters {
            Masters::One(place) => Ok(vec![place.clone()]),
            Masters::Cluster(map) => Ok(map.load().places()),
            Masters::Named(sentinels) => {
                let asked = tokio::time::timeout(MOST_TIME, sentinels.master_now()).await;
                Ok(vec![asked.map_err(|_| StoreError::Late)?.ok_or(StoreError::Down)?])
            }
        }
    }
}

async fn in_time<T>(work: impl Future<Output = RedisResult<T>>) -> Result<T, StoreError> {
    match tokio::time::timeout(MOST_TIME, work).await {
        Ok(Ok(found)) => Ok(found),
        // The library's words could quote a key.
        Ok(Err(error)) => Err(StoreError::Refused(error.code().unwrap_or("no connection").to_owned())),
        Err(_) => Err(StoreError::Late),
    }
}

async fn scan(
    connection: &mut impl ConnectionLike,
    (prefix, begins, config): (&str, &str, &str),
    most_spread: Duration,
    most: usize,
) -> RedisResult<Vec<Found>> {
    let mut found = Vec::new();
    let mut cursor = 0u64;
    let pattern = format!("{}{}*", plain(begins), plain(config));
    for _ in 0..MOST_STEPS {
        let mut step = redis::cmd("SCAN");
        step.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP);
        let (next, keys): (u64, Vec<String>) = step.query_async(connection).await?;
        let named: Vec<_> = keys.iter().filter_map(|key| Some((key, read(key.strip_prefix(prefix)?)?))).collect();
        if !named.is_empty() {
            let mut pipe = redis::pipe();
            for (key, (.., start)) in &named {
                pipe.cmd("PTTL").arg(key);
                // What is kept over windows is no number.
                match start {
                    Some(_) => pipe.cmd("GET").arg(key),
                    None => pipe.cmd("ECHO").arg(""),
                };
            }
            let held: Vec<(i64, Option<String>)> = pairs(pipe.query_async(connection).await?)?;
            for ((key, (config, counter, start)), (ttl, count)) in named.into_iter().zip(held) {
                // A counter outlives what it says by what it was given on top.
                let ttl = Duration::from_millis(u64::try_from(ttl).unwrap_or(0));
                let left = ttl.saturating_sub(GRACE + spread(counter, most_spread));
                let count = count.and_then(|count| count.parse().ok());
                if !left.is_zero() && (start.is_none() || count.is_some_and(|count: u64| count > 0)) {
                    found.push(Found { config: config.into(), counter, start, count, left, key: key.clone() });
                }
            }
        }
        cursor = next;
        if cursor == 0 || found.len() >= most {
            break;
        }
    }
    found.truncate(most);
    Ok(found)
}

fn pairs(held: Vec<redis::Value>) -> RedisResult<Vec<(i64, Option<String>)>> {
    held.chunks(2).map(|pair| Ok(redis::from_redis_value(redis::Value::Array(pair.to_vec()))?)).collect()
}

/// `<config>:<counter>:<start of the window>`, or without a start what is kept over windows.
/// Braces may stand around the config.
fn read(key: &str) -> Option<(&str, CounterId, Option<UnixSecs>)> {
    let (rest, last) = key.rsplit_once(':')?;
    if let Some(counter) = CounterId::read(last) {
        return Some((named(rest), counter, None));
    }
    let (config, counter) = rest.rsplit_once(':')?;
    Some((named(config), CounterId::read(counter)?, Some(UnixSecs(last.parse().ok()?))))
}

/// A config's id without the braces around it, if there are any.
fn named(config: &str) -> &str {
    config.strip_prefix('{').and_then(|config| config.strip_suffix('}')).unwrap_or(config)
}

/// A text that stands for itself in a pattern.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            plain.push('\\');
        }
        plain.push(c);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let key = format!("shop.limits:{}:1000000020", CounterId(7));
        assert_eq!(key, "shop.limits:AAAAAAAAAAAAAAAAAAAABw:1000000020");
        assert_eq!(read(&key), Some(("shop.limits", CounterId(7), Some(UnixSecs(1_000_000_020)))));
        assert_eq!(read(&format!("{{shop.limits}}:{}:1000000020", CounterId(7))), read(&key));
        let kept = format!("shop.limits:{}", CounterId(u128::MAX));
        assert_eq!(read(&kept), Some(("shop.limits", CounterId(u128::MAX), None)));
        for other in ["", "shop.limits", "shop.limits:7:60", "shop.limits:zz:60", "a:b:c"] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(plain("a*b[c]?\\"), "a\\*b\\[c\\]\\?\\\\");
    }
}
