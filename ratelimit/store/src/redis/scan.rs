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
use super::naming::{Holds, Named, Naming};
use super::sentinel::Sentinels;
use super::slots;
use crate::{Found, StoreError};
use limit::CounterId;

/// How long looking may take.
const MOST_TIME: Duration = Duration::from_secs(2);
/// Keys, or fields of one, looked at in one step.
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
    /// How keys are read.
    pub(super) naming: Naming,
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
    pub(super) async fn scan(&self, config: &str, most: usize) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        for place in self.places().await? {
            let more = most.saturating_sub(found.len());
            found.extend(
                in_time(async {
                    let mut connection = self.connect(&place).await?;
                    scan(&mut connection, &self.naming, config, more).await
                })
                .await?,
            );
        }
        Ok(found)
    }

    /// Deletes counters, each given by its key or by its page and name; how many there were.
    pub(super) async fn forget(&self, counters: &[(&str, Option<CounterId>)]) -> Result<usize, StoreError> {
        let mut known = 0;
        let mut by_place: BTreeMap<Place, Vec<(&str, Option<CounterId>)>> = BTreeMap::new();
        let places = self.places().await?;
        for (key, field) in counters {
            let owner = match &self.masters {
                Masters::Cluster(map) => map.load().place(slots::slot(key)).cloned(),
                _ => places.first().cloned(),
            };
            by_place.entry(owner.ok_or(StoreError::Down)?).or_default().push((key, *field));
        }
        for (place, counters) in by_place {
            known += in_time(async {
                let mut connection = self.connect(&place).await?;
                let mut known = 0;
                for some in counters.chunks(STEP) {
                    let mut pipe = redis::pipe();
                    for (key, field) in some {
                        match field {
                            Some(field) => pipe.cmd("HDEL").arg(key).arg(field.to_string()),
                            None => pipe.cmd("UNLINK").arg(key),
                        };
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
        let config = redis::AsyncConnectionConfig::new();
        let opened = self.access.connect(place, &config).await;
        opened.map_err(|why| redis::RedisError::from((redis::ErrorKind::Io, "no connection", why)))
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
        Ok(Err(error)) => Err(StoreError::Refused(super::connect::why(&error))),
        Err(_) => Err(StoreError::Late),
    }
}

/// The next cursor, and what was found on the way.
type Step<T> = (u64, Vec<T>);
/// A counter's digest and its count, as texts.
type Field = (String, String);

async fn scan(
    connection: &mut impl ConnectionLike,
    naming: &Naming,
    config: &str,
    most: usize,
) -> RedisResult<Vec<Found>> {
    let mut found = Vec::new();
    let (mut cursor, mut steps) = (0u64, 0);
    let pattern = format!("{}*", plain(&naming.begin(config)));
    while steps < MOST_STEPS && found.len() < most {
        steps += 1;
        let mut step = redis::cmd("SCAN");
        step.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP);
        let (next, keys): Step<String> = step.query_async(connection).await?;
        let named: Vec<_> = keys.iter().filter_map(|key| Some((key, naming.read(key)?))).collect();
        for ((key, named), (ttl, first)) in named.iter().zip(begun(connection, &named).await?) {
            // A counter outlives what it says by what it was given on top.
            let ttl = Duration::from_millis(u64::try_from(ttl).unwrap_or(0));
            let left = ttl.saturating_sub(naming.beyond_what(named));
            if left.is_zero() {
                continue;
            }
            let Named { config, holds } = *named;
            let one = |counter, start, count| Found {
                config: config.into(),
                counter,
                start,
                count,
                left,
                key: key.as_str().into(),
            };
            let window = match holds {
                Holds::Kept(counter) => {
                    // What it holds is no number.
                    found.push(one(counter, None, None));
                    continue;
                }
                Holds::Page(_, window) => window,
            };
            let (mut next, mut fields) = first;
            loop {
                found.extend(fields.iter().filter_map(|(digest, count)| {
                    let count = count.parse().ok().filter(|count| *count > 0)?;
                    Some(one(CounterId::read(digest)?, Some(window.start), Some(count)))
                }));
                if next == 0 || found.len() >= most || steps >= MOST_STEPS {
                    break;
                }
                steps += 1;
                (next, fields) = page(key, next).query_async(connection).await?;
            }
        }
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    found.truncate(most);
    Ok(found)
}

/// For each key how many milliseconds it has left, and of pages the first fields.
async fn begun(
    connection: &mut impl ConnectionLike,
    named: &[(&String, Named<'_>)],
) -> RedisResult<Vec<(i64, Step<Field>)>> {
    let mut ends = redis::pipe();
    let mut pages = redis::pipe();
    for (key, named) in named {
        ends.cmd("PTTL").arg(key);
        if let Holds::Page(..) = named.holds {
            pages.add_command(page(key, 0));
        }
    }
    // A pipeline of nothing is an error.
    let ends: Vec<i64> = if named.is_empty() { Vec::new() } else { ends.query_async(connection).await? };
    let pages: Vec<Step<Field>> = if pages.is_empty() { Vec::new() } else { pages.query_async(connection).await? };
    let mut pages = pages.into_iter();
    let held = named.iter().map(|(_, named)| match named.holds {
        Holds::Page(..) => pages.next().unwrap_or_default(),
        Holds::Kept(_) => Step::default(),
    });
    Ok(ends.into_iter().zip(held).collect())
}

/// Asks for the next fields of the page `key`.
fn page(key: &str, cursor: u64) -> redis::Cmd {
    let mut step = redis::cmd("HSCAN");
    step.arg(key).arg(cursor).arg("COUNT").arg(STEP);
    step
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
    fn a_prefix_stands_for_itself() {
        assert_eq!(plain("a*b[c]?\\"), "a\\*b\\[c\\]\\?\\\\");
    }
}
