//! One cell of the table: one contestant under one mix.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::contestant::{Contestant, Programs, RedisServer, Server};
use crate::message::Messages;
use crate::mix::{self, Mix};
use crate::rules::{self, Files};
use waykeeper_bench::load::{self, Answers, Load, Stop};
use waykeeper_bench::process;

/// How often few and many rules are measured in turn.
const TURNS: usize = 3;
/// Load before the measured one, for connections to open and code to warm.
const WARM_UP: Duration = Duration::from_millis(200);

/// What a cell came to.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The server under load.
    pub who: Contestant,
    /// What the client saw.
    pub answers: Answers,
    /// Processor time of the server, for each request.
    pub cpu: Duration,
    /// Of Redis.
    pub redis_cpu: Duration,
    /// Of the load itself.
    pub load_cpu: Duration,
    /// Resident memory of the server, at the end.
    pub resident: u64,
    /// What was wrong with the answers: figures of wrong answers are worth little.
    pub wrong: Option<String>,
}

/// The place where cells are measured.
#[derive(Debug)]
pub struct Lab {
    /// What is run.
    pub programs: Programs,
    /// The Redis that all share, one after the other.
    pub redis: RedisServer,
    /// How hard, and how long.
    pub load: Load,
}

impl Lab {
    /// Measures all contestants, then all once more, and keeps the better of each: others may be using the
    /// machine, and what slows it for a while must not meet one contestant alone.
    ///
    /// # Errors
    /// When one cannot be measured.
    pub fn better_of_two(&self, mix: &Mix, files: &Files, work: &Path) -> anyhow::Result<Vec<Cell>> {
        let once = |who: Contestant| {
            self.measure(who, mix, files, work).with_context(|| format!("{} under {mix}", who.name()))
        };
        let round = || Contestant::ALL.into_iter().map(once).collect::<anyhow::Result<Vec<Cell>>>();
        let (first, second) = (round()?, round()?);
        let worth = |cell: &Cell| (cell.wrong.is_none(), cell.answers.rate());
        let better = |(one, two)| if worth(&one) >= worth(&two) { one } else { two };
        Ok(first.into_iter().zip(second).map(better).collect())
    }

    /// Processor time of a request with many rules, in units of that with few, of each of ours: the least
    /// of several turns, so that what slows the machine for a while is in neither.
    ///
    /// # Errors
    /// When it cannot be measured, or answers are wrong.
    pub fn cost_of_rules(&self, work: &Path) -> anyhow::Result<Vec<(Contestant, f64)>> {
        let few = (mix::PLAIN, rules::write(&work.join("few-rules"), mix::PLAIN.rules)?);
        let many = (mix::MANY_RULES, rules::write(&work.join("many-rules"), mix::MANY_RULES.rules)?);
        let cost = |who| {
            let mut least = [Duration::MAX; 2];
            for _ in 0..TURNS {
                for (least, (mix, files)) in least.iter_mut().zip([&few, &many]) {
                    let cell = self.measure(who, mix, files, work)?;
                    anyhow::ensure!(cell.wrong.is_none(), "{} under {mix}: {:?}", who.name(), cell.wrong);
                    *least = cell.cpu.min(*least);
                }
            }
            let [few, many] = least.map(|time| time.as_secs_f64());
            Ok((who, many / few.max(1e-9)))
        };
        [Contestant::Redis, Contestant::Memory].into_iter().map(cost).collect()
    }

    fn measure(&self, who: Contestant, mix: &Mix, files: &Files, work: &Path) -> anyhow::Result<Cell> {
        self.redis.flush()?;
        let server = Server::start(who, &self.programs, files, self.redis.address, work)?;
        let messages = Messages::new(mix.shape(), server.dialect, self.load.connections);
        load::drive(server.address, Load { stop: Stop::After(WARM_UP), ..self.load }, &messages)?;
        let used = || [server.process.cpu(), self.redis.process.cpu(), process::own_cpu()];
        let before = used();
        let answers = load::drive(server.address, self.load, &messages)?;
        let calls = answers.latency.count().max(1) as f64;
        let [cpu, redis_cpu, load_cpu] = {
            let after = used();
            [0, 1, 2].map(|at: usize| {
                let of = |times: &[Duration; 3]| times.get(at).copied().unwrap_or_default();
                of(&after).saturating_sub(of(&before)).div_f64(calls)
            })
        };
        let mut wrong = complaint(who, mix, &answers);
        if who == Contestant::Redis {
            let (keys, ending) = self.redis.keys()?;
            if keys != ending {
                wrong = Some(format!("{} of {keys} counters never end", keys - ending));
            }
        }
        Ok(Cell { who, cpu, redis_cpu, load_cpu, resident: server.process.resident(), wrong, answers })
    }
}

fn complaint(who: Contestant, mix: &Mix, answers: &Answers) -> Option<String> {
    let calls = answers.latency.count();
    let expected = if who == Contestant::Noop { 0.0 } else { mix.refused_in_ten as f64 / 10.0 };
    let share = answers.refused as f64 / (calls - answers.failed).max(1) as f64;
    if answers.failed > 0 {
        Some(format!("{} of {calls} calls failed", answers.failed))
    } else if (share - expected).abs() > 0.02 {
        Some(format!("{share:.3} of the calls were refused, not {expected}"))
    } else {
        None
    }
}
