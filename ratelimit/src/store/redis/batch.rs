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

use super::{Job, Op};
use crate::algorithm::Algorithm;
use crate::request::Change;
use crate::store::{CountPolicy, Counts, StoreError};

/// Adds, looks and refunds, each hit's command in its place.
const MERGED: &str = concat!(include_str!("lua/common.lua"), include_str!("lua/merged.lua"));
/// The same where every command adds, in runs that add as much: fewer texts to send and to read.
const RUNS: &str = concat!(include_str!("lua/common.lua"), include_str!("lua/runs.lua"));
/// What does everything else: other algorithms, and hits that count only if none of their request is over.
const GENERAL: &str = concat!(include_str!("lua/common.lua"), include_str!("lua/general.lua"));

/// Scripts, known to Redis by their digests once loaded.
struct Scripts {
    runs: Script,
    merged: Script,
    general: Script,
}

static SCRIPTS: LazyLock<Scripts> =
    LazyLock::new(|| Scripts { runs: Script::new(RUNS), merged: Script::new(MERGED), general: Script::new(GENERAL) });

/// Loads the scripts that nearly all batches need, so that the first does not take two round trips.
pub(super) async fn load(connection: &mut impl ConnectionLike) -> RedisResult<()> {
    SCRIPTS.runs.load_async(connection).await?;
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

/// What to send for some jobs, and how to read the answer.
#[derive(Debug, Default)]
pub(super) struct Batch<'j> {
    commands: Vec<&'j Op>,
    /// The hits each command adds.
    totals: Vec<u64>,
    /// For each job, for each of its hits: which command, and the part of it that comes after this hit.
    shares: Vec<Vec<Share>>,
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

/// Lua's numbers are exact up to 2^53; beyond this a new command begins.
const MOST_IN_ONE: u64 = 1 << 40;

/// A time to live, no longer than Redis can add to its own time.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).min(MOST_MILLIS)
}

impl<'j> Batch<'j> {
    /// Merges what the jobs ask for, in order.
    pub(super) fn of(jobs: &'j [Job]) -> Batch<'j> {
        let plain = |op: &Op| op.limit.algorithm() == Algorithm::FixedWindow && op.policy == CountPolicy::Always;
        if jobs.iter().flat_map(|job| &job.ops).all(plain) { Batch::merged(jobs) } else { Batch::unmerged(jobs) }
    }

    fn unmerged(jobs: &'j [Job]) -> Batch<'j> {
        let mut batch = Batch::default();
        let mut general = Vec::new();
        for (number, job) in jobs.iter().enumerate() {
            let mut shares = Vec::with_capacity(job.ops.len());
            for op in &job.ops {
                shares.push(Share { command: batch.commands.len(), upto: 0 });
                batch.commands.push(op);
                batch.totals.push(0);
                general.push(number);
            }
            batch.shares.push(shares);
        }
        batch.general = Some(general);
        batch
    }

    fn merged(jobs: &'j [Job]) -> Batch<'j> {
        let mut batch = Batch::default();
        let mut totals: Vec<u64> = Vec::new();
        let mut last: HashMap<&str, usize, ahash::RandomState> = HashMap::default();
        for job in jobs {
            let mut shares = Vec::with_capacity(job.ops.len());
            for op in &job.ops {
                let open = last.get(op.key.as_str()).copied().filter(|command| {
                    let adds = |change| matches!(change, Change::Add(_));
                    batch.commands.get(*command).is_some_and(|c| adds(c.change)) && adds(op.change)
                });
                let open = open.filter(|command| totals.get(*command).is_some_and(|total| *total < MOST_IN_ONE));
                let command = open.unwrap_or_else(|| {
                    batch.commands.push(op);
                    totals.push(0);
                    last.insert(&op.key, batch.commands.len() - 1);
                    batch.commands.len() - 1
                });
                if let Some(total) = totals.get_mut(command) {
                    *total += u64::from(op.change.added());
                    shares.push(Share { command, upto: *total });
                }
            }
            batch.shares.push(shares);
        }
        batch.totals = totals;
        if batch.only_adds() {
            batch.put_in_runs();
        }
        batch
    }

    /// Sorts the commands by how much they add: of what is done in one step the order is free.
    fn put_in_runs(&mut self) {
        if self.totals.is_sorted() {
            return;
        }
        let mut order: Vec<usize> = (0..self.commands.len()).collect();
        order.sort_by_key(|command| self.totals.get(*command));
        let mut places = vec![0; order.len()];
        for (place, command) in order.iter().enumerate() {
            if let Some(of) = places.get_mut(*command) {
                *of = place;
            }
        }
        self.commands = order.iter().filter_map(|command| self.commands.get(*command).copied()).collect();
        self.totals = order.iter().filter_map(|command| self.totals.get(*command).copied()).collect();
        for share in self.shares.iter_mut().flatten() {
            share.command = places.get(share.command).copied().unwrap_or(usize::MAX);
        }
    }

    /// Calls the script that does what the commands ask for.
    pub(super) async fn call(&self, connection: &mut impl ConnectionLike) -> RedisResult<Vec<i64>> {
        let (script, call) = match &self.general {
            Some(requests) => (&SCRIPTS.general, self.in_general(requests)),
            None if self.only_adds() => (&SCRIPTS.runs, self.in_runs()),
            None => (&SCRIPTS.merged, self.in_merged()),
        };
        invoke(script, &call, connection).await
    }

    fn only_adds(&self) -> bool {
        let adds = |(command, total): (&&Op, &u64)| matches!(command.change, Change::Add(_)) && *total > 0;
        self.commands.iter().zip(&self.totals).all(adds)
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

    /// The commands must be in runs, see [`Self::put_in_runs`].
    fn in_runs(&self) -> Cmd {
        let mut call = self.opened(&SCRIPTS.runs, 1);
        let runs = self.totals.chunk_by(|one, next| one == next);
        call.arg(runs.clone().count());
        let mut last = 0;
        for run in runs {
            last += run.len();
            call.arg(run.first()).arg(last);
        }
        for command in &self.commands {
            call.arg(millis(command.ttl));
        }
        call
    }

    fn in_merged(&self) -> Cmd {
        let mut call = self.opened(&SCRIPTS.merged, 2);
        for (command, total) in self.commands.iter().zip(&self.totals) {
            match command.change {
                Change::Add(_) => call.arg(*total),
                Change::Refund(hits) => call.arg(format!("-{hits}")),
            };
            call.arg(millis(command.ttl));
        }
        call
    }

    fn in_general(&self, requests: &[usize]) -> Cmd {
        let mut call = self.opened(&SCRIPTS.general, 8);
        for (command, request) in self.commands.iter().zip(requests) {
            call.arg(match command.limit.algorithm() {
                Algorithm::FixedWindow => "f",
                Algorithm::SlidingWindow => "s",
                Algorithm::TokenBucket { .. } => "b",
            });
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
        self.shares.iter().map(|shares| shares.iter().map(count).collect()).collect()
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
    use crate::window::Limit;

    fn job(ops: &[(u8, Change)]) -> Job {
        let op = |(key, change): &(u8, Change)| Op {
            key: key.to_string(),
            change: *change,
            ttl: Duration::from_secs(1),
            limit: Limit::new(1, Unit::Minute).unwrap(),
            policy: CountPolicy::Always,
            shadow: false,
        };
        Job { ops: ops.iter().map(op).collect(), reply: oneshot::channel().0, until: Instant::now() }
    }

    fn apply(counters: &mut HashMap<String, u64>, key: &str, change: Change, hits: u64) -> u64 {
        let count = counters.entry(key.to_owned()).or_default();
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
                    let one = |op: &Op| apply(&mut plain, &op.key, op.change, op.change.added().into());
                    job.ops.iter().map(one).collect()
                })
                .collect();
            let batch = Batch::of(&jobs);
            let mut merged = HashMap::new();
            let after: Vec<i64> = batch
                .commands
                .iter()
                .zip(&batch.totals)
                .map(|(command, total)| apply(&mut merged, &command.key, command.change, *total) as i64)
                .collect();
            let got: Vec<_> = batch.split(&after).into_iter().map(Result::unwrap).collect();
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn one_hot_key_is_one_command() {
        let jobs: Vec<Job> = (0..100).map(|_| job(&[(1, Change::Add(1))])).collect();
        assert_eq!(Batch::of(&jobs).commands.len(), 1);
    }
}
