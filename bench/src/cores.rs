//! Which processors who runs on.
//!
//! Redis is usually on a machine of its own. With one processor to itself it neither takes time
//! from the servers that are compared nor waits for them: where all share two, Redis was seen to wait
//! for a quarter of the time while a processor idled, and how much of that a server meets is chance.

use std::fmt;

use clap::ValueEnum;

/// Who shares processors with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cores {
    /// Redis has one to itself; servers and load share the others.
    Apart,
    /// All run on all.
    Shared,
}

/// What was arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arranged {
    /// Redis has one processor, everything else so many others.
    Apart(usize),
    /// All run on all of so many.
    Shared(usize),
}

impl fmt::Display for Arranged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arranged::Apart(others) => write!(f, "Redis on a core of its own, all else on {others}"),
            Arranged::Shared(cores) => write!(f, "Redis and all else on the same {cores}"),
        }
    }
}

/// Starts Redis with `start`, then keeps this thread, and whatever it starts from now on, off its processor.
///
/// # Errors
/// Those of `start`, and when the system refuses.
#[cfg(target_os = "linux")]
pub fn arrange<T>(cores: Cores, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Arranged)> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let ours = sched_getaffinity(None)?;
    let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| ours.is_set(*core)).collect();
    let (Cores::Apart, Some((first, others @ [_, ..]))) = (cores, all.split_first()) else {
        return Ok((start()?, Arranged::Shared(all.len())));
    };
    let only = |cores: &[usize]| {
        let mut set = CpuSet::new();
        cores.iter().for_each(|core| set.set(*core));
        sched_setaffinity(None, &set)
    };
    only(&[*first])?;
    let started = start();
    only(others)?;
    Ok((started?, Arranged::Apart(others.len())))
}

/// Starts Redis with `start`; other systems do not let us choose.
///
/// # Errors
/// Those of `start`.
#[cfg(not(target_os = "linux"))]
pub fn arrange<T>(_: Cores, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Arranged)> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok((start()?, Arranged::Shared(cores)))
}
