//! Many requests' hits as one script call. Pure, but for the call itself.
//!
//! Where all that is asked is to add to fixed windows, which is nearly always, hits
//! on the same key become one command; each request is then handed the
//! sum as of its own hit. That is exact: Redis runs the script as one step, so
//! the hits of a batch happen one after the other with nothing in between.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, RedisResult, Script, ServerErrorKind};

use super::naming::page;
use super::{Job, Op};
use crate::StoreError;
use limit::{Change, CountPolicy, CounterId, Counts, Window};

/// Adds, looks and refunds, each hit's command in its place.
const MERGED: &str = concat!(include_str!("lua/common.lua"), include_str!("lua/merged.lua"));
/// The script for calls of which every command adds: commands of one page are gathered.
const PAGES: &str = concat!(include_str!("lua/common.lua"), include_str!("lua/pages.lua"));
/// What does everything else: other algorithms, and hits that count only if none of their request is over.
const GENERAL: &str = concat!(
    include_str!("lua/common.lua"),
    include_str!("lua/ways.lua"),
    include_str!("lua/fixed_window.lua"),
    include_str!("lua/sliding_window.lua"),
    include_str!("lua/token_bucket.lua"),
    include_str!("lua/general.lua"),
);

/// Scripts, known to Redis by their digests once loaded.
struct Scripts {
    pages: Script,
    merged: Script,
    general: Script,
}

static SCRIPTS: LazyLock<Scripts> =
    LazyLock::new(|| Scripts { pages: Script::new(PAGES), merged: Script::new(MERGED), general: Script::new(GENERAL) });

/// Loads the scripts that nearly all batches need, so that the first does not take two round trips.
pub(super) async fn load(connection: &mut impl ConnectionLike) -> RedisResult<()> {
    SCRIPTS.pages.load_async(connection).await?;
    SCRIPTS.merged.load_async(connection).await?;
    Ok(())
}

/// Calls `script`, and loads it if Redis does not know it, as after a restart.
async fn invoke(script: &Script, call: &Cmd, connection: &mut impl ConnectionLike) -> RedisResult<Vec<i64>> {
    match call.query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            script.load_async(connection).await?;
            call.query_async(connection).await
        }
        answered => answered,
    }
}

/// The field of the page that `op` is about, written into `text`.
fn field_of<'t>(op: &Op, text: &'t mut String) -> &'t str {
    text.clear();
    op.counter.write(text);
    text
}

/// What to send for some jobs, and how to read the answer.
#[derive(Debug, Default)]
pub(super) struct Batch<'j> {
    commands: Vec<&'j Op>,
    /// The hits each command adds.
    totals: Vec<u64>,
    /// For each hit, job after job: which command, and the part of it that comes after this hit.
    shares: Vec<Share>,
    /// How many hits each job has.
    lengths: Vec<usize>,
    /// The number of the job of each command, where they are not merged.
    general: Option<Vec<usize>>,
}

#[derive(Debug, Clone, Copy)]
struct Share {
    command: usize,
    /// Of the command's hits, those up to and including this one.
    upto: u64,
}

/// A time Redis can still add to its own.
const MOST_MILLIS: u64 = 1 << 50;

/// Fields of a page asked for at once: of what Lua can hand on as arguments, a part.
const MOST_FIELDS: usize = 500;

/// A time to live, no longer than Redis can add to its own time.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).min(MOST_MILLIS)
}

impl<'j> Batch<'j> {
    /// Merges what the jobs ask for, in order.
    pub(super) fn of(jobs: &'j [Job]) -> Batch<'j> {
        let plain = |op: &Op| op.limit.algorithm().starts_over() && op.policy == CountPolicy::Always;
        if jobs.iter().flat_map(|job| &job.ops).all(plain) { Batch::merged(jobs) } else { Batch::unmerged(jobs) }
    }

    fn unmerged(jobs: &'j [Job]) -> Batch<'j> {
        let mut batch = Batch::default();
        let mut general = Vec::new();
        for (number, job) in jobs.iter().enumerate() {
            for op in &job.ops {
                batch.shares.push(Share { command: batch.commands.len(), upto: 0 });
                batch.commands.push(op);
                batch.totals.push(0);
                general.push(number);
            }
            batch.lengths.push(job.ops.len());
        }
        batch.general = Some(general);
        batch
    }

    fn merged(jobs: &'j [Job]) -> Batch<'j> {
        let hits = jobs.iter().map(|job| job.ops.len()).sum();
        let (commands, shares) = (Vec::with_capacity(hits), Vec::with_capacity(hits));
        let mut batch = Batch { commands, shares, ..Batch::default() };
        let mut totals: Vec<u64> = Vec::with_capacity(hits);
        let mut last: HashMap<(CounterId, Window), usize, _> =
            HashMap::with_capacity_and_hasher(hits, ahash::RandomState::default());
        for job in jobs {
            for op in &job.ops {
                let open = last.get(&(op.counter, op.window)).copied().filter(|command| {
                    let adds = |change| matches!(change, Change::Add(_));
                    batch.commands.get(*command).is_some_and(|c| adds(c.change)) && adds(op.change)
                });
                // 256 requests of 64 descriptors with fewer than 2^32 hits: Lua's numbers are exact up to 2^53.
                let command = open.unwrap_or_else(|| {
                    batch.commands.push(op);
                    totals.push(0);
                    last.insert((op.counter, op.window), batch.commands.len() - 1);
                    batch.commands.len() - 1
                });
                if let Some(total) = totals.get_mut(command) {
                    *total += u64::from(op.change.added());
                    batch.shares.push(Share { command, upto: *total });
                }
            }
            batch.lengths.push(job.ops.len());
        }
        batch.totals = totals;
        if batch.only_adds() {
            batch.gather();
        }
        batch
    }

    /// Sorts the commands by page: of what is done in one step the order is free.
    fn gather(&mut self) {
        let mut order: Vec<usize> = (0..self.commands.len()).collect();
        order.sort_unstable_by_key(|at| {
            let command = self.commands.get(*at);
            // The key alone would do; numbers are compared sooner.
            command.map(|op| (page(op.counter), op.window.start, &*op.key))
        });
        let mut places = vec![0; order.len()];
        for (place, command) in order.iter().enumerate() {
            if let Some(of) = places.get_mut(*command) {
                *of = place;
            }
        }
        self.commands = order.iter().filter_map(|command| self.commands.get(*command).copied()).collect();
        self.totals = order.iter().filter_map(|command| self.totals.get(*command).copied()).collect();
        for share in &mut self.shares {
            share.command = places.get(share.command).copied().unwrap_or(usize::MAX);
        }
    }

    /// Calls the script that does what the commands ask for.
    pub(super) async fn call(&self, connection: &mut impl ConnectionLike) -> RedisResult<Vec<i64>> {
        let (script, call) = match &self.general {
            Some(requests) => (&SCRIPTS.general, self.in_general(requests)),
            None if self.only_adds() => (&SCRIPTS.pages, self.in_pages()),
            None => (&SCRIPTS.merged, self.in_merged()),
        };
        invoke(script, &call, connection).await
    }

    fn only_adds(&self) -> bool {
        self.totals.iter().all(|total| *total > 0)
    }

    /// A call of `script` with the commands' keys, and so many arguments to come for each.
    fn opened(&self, script: &Script, arguments: usize) -> Cmd {
        let keys: usize = self.commands.iter().map(|command| command.key.len()).sum();
        let texts = self.commands.len() * arguments;
        let mut call = Cmd::with_capacity(4 + self.commands.len() + texts, 64 + keys + 8 * texts);
        call.arg("EVALSHA").arg(script.get_hash()).arg(self.commands.len());
        for command in &self.commands {
            call.arg(&command.key);
        }
        call
    }

    /// The commands must be in order, see [`Self::gather`].
    fn in_pages(&self) -> Cmd {
        let all: Vec<(&Op, u64)> = self.commands.iter().copied().zip(self.totals.iter().copied()).collect();
        let same = |one: &(&Op, u64), next: &(&Op, u64)| one.0.key == next.0.key;
        let pages: Vec<_> = all.chunk_by(same).flat_map(|page| page.chunks(MOST_FIELDS)).collect();
        let firsts = || pages.iter().filter_map(|page| page.first());
        let keys: usize = firsts().map(|(op, _)| op.key.len()).sum();
        let each_adds = all.first().map(|(_, total)| *total).filter(|total| self.totals.iter().all(|t| t == total));
        let texts = 4 + 3 * pages.len() + 2 * all.len();
        let mut call = Cmd::with_capacity(texts, 64 + keys + 8 * pages.len() + 24 * all.len());
        call.arg("EVALSHA").arg(SCRIPTS.pages.get_hash()).arg(pages.len());
        for (op, _) in firsts() {
            call.arg(&op.key);
        }
        for (page, (op, _)) in pages.iter().zip(firsts()) {
            call.arg(page.len()).arg(millis(op.ttl));
        }
        match each_adds {
            Some(total) => call.arg(total),
            None => call.arg(""),
        };
        let mut field = String::with_capacity(22);
        for page in pages {
            for (op, _) in page {
                call.arg(field_of(op, &mut field));
            }
            if each_adds.is_none() {
                for (_, total) in page {
                    call.arg(*total);
                }
            }
        }
        call
    }

    fn in_merged(&self) -> Cmd {
        let mut call = self.opened(&SCRIPTS.merged, 3);
        let mut field = String::new();
        for (command, total) in self.commands.iter().zip(&self.totals) {
            call.arg(field_of(command, &mut field));
            match command.change {
                Change::Add(_) => call.arg(*total),
                Change::Refund(hits) => call.arg(format!("-{hits}")),
            };
            call.arg(millis(command.ttl));
        }
        call
    }

    fn in_general(&self, requests: &[usize]) -> Cmd {
        let mut call = self.opened(&SCRIPTS.general, 9);
        let mut field = String::new();
        for (command, request) in self.commands.iter().zip(requests) {
            call.arg(command.limit.algorithm().letter().encode_utf8(&mut [0; 4]).as_bytes());
            match command.change {
                Change::Add(hits) => call.arg(hits),
                Change::Refund(hits) => call.arg(format!("-{hits}")),
            };
            call.arg(millis(command.ttl)).arg(*request);
            call.arg(match (command.policy, command.shadow) {
                (CountPolicy::Always, false) => "a",
                (CountPolicy::Always, true) => "A",
                (CountPolicy::WhenAllowed, false) => "w",
                (CountPolicy::WhenAllowed, true) => "W",
            });
            call.arg(command.limit.amount()).arg(command.limit.length().as_secs());
            call.arg(command.limit.requests_per_unit);
            let paged = command.limit.algorithm().starts_over();
            call.arg(if paged { field_of(command, &mut field) } else { "" });
        }
        call
    }

    /// Each job's counts, from the counts after each command.
    pub(super) fn split(&self, after: &[i64]) -> Vec<Result<Counts, StoreError>> {
        let strange = || StoreError::Refused("a counter's key holds something else".to_owned());
        let count = |share: &Share| {
            let after = after.get(share.command).and_then(|n| u64::try_from(*n).ok()).ok_or_else(strange)?;
            let total = self.totals.get(share.command).copied().unwrap_or_default();
            Ok(after.saturating_sub(total).saturating_add(share.upto))
        };
        let mut rest = self.shares.as_slice();
        let job = |hits: &usize| {
            let (own, others) = rest.split_at_checked(*hits).unwrap_or((rest, &[]));
            rest = others;
            own.iter().map(count).collect()
        };
        self.lengths.iter().map(job).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use api::gloo::rate_limit_config::Unit;
    use proptest::prelude::*;
    use smallvec::SmallVec;
    use tokio::sync::oneshot;

    use super::*;
    use limit::{Limit, UnixSecs};

    fn job(ops: &[(u8, Change)]) -> Job {
        let op = |(key, change): &(u8, Change)| Op {
            // Some are on one page, some are not.
            key: (key % 3).to_string(),
            counter: CounterId(u128::from(*key) | u128::from(key % 3) << 122),
            window: Limit::new(1, Unit::Minute).unwrap().window(UnixSecs(60)),
            change: *change,
            ttl: Duration::from_secs(1),
            limit: Limit::new(1, Unit::Minute).unwrap(),
            policy: CountPolicy::Always,
            shadow: false,
        };
        Job { ops: ops.iter().map(op).collect(), reply: oneshot::channel().0, until: Instant::now() }
    }

    fn apply(counters: &mut HashMap<CounterId, u64>, counter: CounterId, change: Change, hits: u64) -> u64 {
        let count = counters.entry(counter).or_default();
        *count = match change {
            Change::Add(_) => *count + hits,
            Change::Refund(hits) => count.saturating_sub(hits.into()),
        };
        *count
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![4 => (0u32..5).prop_map(Change::Add), 1 => (0u32..5).prop_map(Change::Refund)]
    }

    fn requests(change: impl Strategy<Value = Change>, keys: u8) -> impl Strategy<Value = Vec<Vec<(u8, Change)>>> {
        prop::collection::vec(prop::collection::vec((0..keys, change), 1..4), 1..12)
    }

    proptest! {
        #[test]
        fn merged_hits_come_to_the_same_as_one_after_the_other(
            requests in prop_oneof![requests(change(), 3), requests((1u32..4).prop_map(Change::Add), 9)]
        ) {
            let jobs: Vec<Job> = requests.iter().map(|ops| job(ops)).collect();
            let mut plain = HashMap::new();
            let expected: Vec<SmallVec<[u64; 4]>> = jobs
                .iter()
                .map(|job| {
                    let one = |op: &Op| apply(&mut plain, op.counter, op.change, op.change.added().into());
                    job.ops.iter().map(one).collect()
                })
                .collect();
            let batch = Batch::of(&jobs);
            let mut merged = HashMap::new();
            let after: Vec<i64> = batch
                .commands
                .iter()
                .zip(&batch.totals)
                .map(|(command, total)| apply(&mut merged, command.counter, command.change, *total) as i64)
                .collect();
            let got: Vec<_> = batch.split(&after).into_iter().map(Result::unwrap).collect();
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn what_is_strange_fails_those_who_hit_it_and_nobody_else() {
        let one = |key| (key, Change::Add(1));
        let jobs = [job(&[one(1)]), job(&[one(2), one(1), one(3)]), job(&[one(1), one(3)])];
        let batch = Batch::of(&jobs);
        let after: Vec<i64> = batch.commands.iter().map(|op| if op.counter.0 as u8 == 2 { -1 } else { 7 }).collect();
        let told = batch.split(&after);
        assert_eq!(told[0].as_ref().unwrap()[..], [5]);
        assert!(told[1].is_err());
        assert_eq!(told[2].as_ref().unwrap()[..], [7, 7]);
    }

    #[test]
    fn one_hot_key_is_one_command() {
        let jobs: Vec<Job> = (0..100).map(|_| job(&[(1, Change::Add(1))])).collect();
        assert_eq!(Batch::of(&jobs).commands.len(), 1);
    }
}
