//! What counters cost in memory, and whether random keys make it grow without end.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::contestant::{Contestant, Server};
use crate::measure::Lab;
use crate::message::{Messages, Set, Shape};
use crate::rules::Files;
use waykeeper_bench::load::{self, Load, Stop};

const DESCRIPTORS: u32 = 8;
const KEYS: u64 = 1_000_000;

/// What the counters of a full server weigh.
#[derive(Debug, Clone, Copy)]
pub struct PerKey {
    /// How many.
    pub keys: u64,
    before: u64,
    after: u64,
}

impl PerKey {
    /// Each.
    pub fn bytes(&self) -> f64 {
        self.after.saturating_sub(self.before) as f64 / self.keys as f64
    }
}

/// Fills our memory store with a million counters of a long window.
///
/// # Errors
/// When they are not all taken.
pub fn per_key(lab: &Lab, files: &Files, work: &Path) -> anyhow::Result<PerKey> {
    let server = Server::start(Contestant::Memory, &lab.programs, files, lab.redis.address, work)?;
    let shape = |keys, counting| Shape {
        descriptors: DESCRIPTORS,
        keys,
        rules: 10,
        refused_in_ten: 0,
        set: Set::Open,
        counting,
    };
    // As many calls on as few keys: what connections and buffers weigh is not the counters' weight.
    let connections = lab.load.connections as u64;
    let each = KEYS / u64::from(DESCRIPTORS) / connections;
    let load = Load { stop: Stop::Calls(each), ..lab.load };
    load::drive(server.address, load, &Messages::new(shape(1, false), server.dialect, lab.load.connections))?;
    let before = server.process.resident();
    let counting = Messages::new(shape(9_999_999, true), server.dialect, lab.load.connections);
    let answers = load::drive(server.address, load, &counting)?;
    ensure!(answers.failed == 0, "{} calls failed", answers.failed);
    let keys = each * connections * u64::from(DESCRIPTORS);
    Ok(PerKey { keys, before, after: server.process.resident() })
}

/// How often memory is looked at.
const EVERY: Duration = Duration::from_millis(250);
/// Ended counters are swept every ten seconds: each half must see that at least once.
const TELLING: Duration = Duration::from_secs(24);

/// Resident memory over time, in bytes.
#[derive(Debug, Clone, Default)]
pub struct Growth(Vec<u64>);

impl Growth {
    /// Whether it went on for long enough to tell.
    pub fn tells(&self) -> bool {
        EVERY * u32::try_from(self.0.len()).unwrap_or(u32::MAX) >= TELLING
    }

    /// The second half's peak in units of the first half's.
    pub fn ratio(&self) -> f64 {
        let (first, second) = self.0.split_at(self.0.len() / 2);
        let peak = |half: &[u64]| half.iter().copied().max().unwrap_or(0).max(1) as f64;
        peak(second) / peak(first)
    }

    /// The most there ever was.
    pub fn peak_mib(&self) -> f64 {
        self.0.iter().copied().max().unwrap_or(0) as f64 / f64::from(1 << 20)
    }
}

/// Hits random keys, of which each second forgets the last second's, for so long.
///
/// # Errors
/// When a call fails.
pub fn soak(lab: &Lab, files: &Files, work: &Path, time: Duration) -> anyhow::Result<Growth> {
    let server = Server::start(Contestant::Memory, &lab.programs, files, lab.redis.address, work)?;
    let shape =
        Shape { descriptors: 1, keys: 9_999_999, rules: 10, refused_in_ten: 0, set: Set::Brief, counting: false };
    let messages = Messages::new(shape, server.dialect, lab.load.connections);
    let load = Load { stop: Stop::After(time), ..lab.load };
    let until = Instant::now() + time;
    std::thread::scope(|scope| {
        let driven = scope.spawn(|| load::drive(server.address, load, &messages));
        let mut growth = Growth::default();
        while Instant::now() < until && !driven.is_finished() {
            std::thread::sleep(EVERY);
            growth.0.push(server.process.resident());
        }
        let answers = driven.join().map_err(|_| anyhow::anyhow!("the load's thread panicked"))??;
        ensure!(answers.failed == 0, "{} calls failed", answers.failed);
        Ok(growth)
    })
}
