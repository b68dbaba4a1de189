//! `waykeeper up` with its Envoy, watched by way of /proc and its own log.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

/// The clock ticks in which /proc counts processor time: USER_HZ, the same on every Linux we build for.
const TICKS: f64 = 100.0;

/// A running `waykeeper up`; dropping ends it and its Envoy.
#[derive(Debug)]
pub struct Running {
    child: Child,
    work: TempDir,
}

/// Resident memory in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// The control plane's process (provider, servers and tunnel included), now.
    pub control: u64,
    /// The most that it had at any time.
    pub control_peak: u64,
    /// Envoy's, now.
    pub envoy: u64,
}

impl Running {
    /// Starts it on the manifests in `folder`.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(ours: &Path, folder: &Path) -> anyhow::Result<Running> {
        let work = TempDir::new()?;
        let (out, log) = (fs::File::create(work.path().join("out"))?, fs::File::create(work.path().join("log"))?);
        let mut command = Command::new(ours);
        command.args(["up", "--admin", "127.0.0.1:15009", "--envoy-concurrency", "1"]).arg(folder);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(log).spawn();
        Ok(Running { child: child.with_context(|| format!("starting {}", ours.display()))?, work })
    }

    /// Waits for the line `ready`.
    ///
    /// # Errors
    /// When it does not come within `patience`, or the process ends.
    pub fn wait_until_ready(&self, patience: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.read("out").lines().any(|line| line == "ready") {
            if begun.elapsed() > patience || !self.path_exists() {
                bail!("not ready within {patience:?}:\n{}", self.read("log"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn path_exists(&self) -> bool {
        PathBuf::from(format!("/proc/{}/stat", self.child.id())).exists() && stat(self.child.id()).0 != "Z"
    }

    /// Processor time used so far: by the control plane, and by Envoy.
    pub fn cpu(&self) -> (Duration, Duration) {
        let envoy = self.envoy().map(|pid| stat(pid).1).unwrap_or_default();
        (stat(self.child.id()).1, envoy)
    }

    /// Memory now.
    pub fn memory(&self) -> Memory {
        let own = self.child.id();
        Memory {
            control: kilobytes(own, "VmRSS:"),
            control_peak: kilobytes(own, "VmHWM:"),
            envoy: self.envoy().map_or(0, |pid| kilobytes(pid, "VmRSS:")),
        }
    }

    /// How long ago the provider said that it had read the folder: the time that
    /// everything behind it took. None if its log does not say.
    pub fn since_last_reading(&self) -> Option<Duration> {
        let log = self.read("log");
        let line = log.lines().rev().find(|line| line.contains("manifests read"))?;
        let written = line.split_whitespace().find_map(seconds_of_day)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64() % 86_400.0;
        let passed = now - written;
        Some(Duration::from_secs_f64(if passed < 0.0 { passed + 86_400.0 } else { passed }))
    }

    /// Envoy: the child with the most memory.
    fn envoy(&self) -> Option<u32> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        let mut found: Vec<u32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        if found.is_empty() {
            // Children of other threads do not stand there: look at everybody's parent.
            let all = fs::read_dir("/proc").into_iter().flatten().flatten();
            let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
            found = pids.filter(|pid| parent(*pid) == Some(own)).collect();
        }
        found.into_iter().max_by_key(|pid| kilobytes(*pid, "VmRSS:"))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.work.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM first, so that Envoy is ended as well; then whatever is left.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The seconds since midnight of a time such as `2026-11-25T20:10:11.123456Z`, with or without colours around it.
fn seconds_of_day(word: &str) -> Option<f64> {
    let (_, time) = word.split_once('T')?;
    let (time, _) = time.split_once('Z')?;
    let mut parts = time.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    Some(hours.parse::<f64>().ok()? * 3600.0 + minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
}

/// The fields of /proc/PID/stat after the name, which may hold anything.
fn fields(pid: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().map(str::to_owned).collect()
}

/// State, and processor time used.
fn stat(pid: u32) -> (String, Duration) {
    let fields = fields(pid);
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    (fields.first().cloned().unwrap_or_default(), Duration::from_secs_f64(ticks / TICKS))
}

fn parent(pid: u32) -> Option<u32> {
    fields(pid).get(1)?.parse().ok()
}

fn kilobytes(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
