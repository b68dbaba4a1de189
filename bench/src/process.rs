//! Processes that are started, watched by way of /proc, and always ended.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// The clock ticks in which /proc counts processor time: USER_HZ, the same on every Linux we build for.
const TICKS: f64 = 100.0;

/// What runs now, so that a signal can end it.
static RUNNING: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// A process of ours; dropping ends it.
#[derive(Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// Starts `command`, its output in the file `log`.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Process> {
        let what = || format!("starting {}", Path::new(command.get_program()).display());
        let out = std::fs::File::create(log).with_context(what)?;
        let context = what();
        let streams = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = streams.spawn().context(context)?;
        let pid = child.id();
        running().push(child);
        Ok(Process { pid })
    }

    /// Processor time used so far, of the user's and the kernel's.
    pub fn cpu(&self) -> Duration {
        cpu(&self.pid.to_string())
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory that it had at any time, in bytes.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Has it end by SIGTERM, well and within `patience`.
    ///
    /// # Errors
    /// When it does not.
    pub fn terminate(self, patience: Duration) -> anyhow::Result<()> {
        Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().context("kill")?;
        let begun = Instant::now();
        loop {
            let ended = running().iter_mut().find(|child| child.id() == self.pid).map(Child::try_wait);
            match ended {
                Some(Ok(Some(status))) if status.success() => return Ok(()),
                Some(Ok(None)) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(5)),
                other => anyhow::bail!("it did not end well within {patience:?} after SIGTERM: {other:?}"),
            }
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        let mut running = running();
        let child = running.iter_mut().find(|child| child.id() == self.pid);
        child.is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut running = running();
        if let Some(at) = running.iter().position(|child| child.id() == self.pid) {
            end(running.swap_remove(at));
        }
    }
}

/// Ends all that was started; for signals.
pub fn end_all() {
    running().drain(..).for_each(end);
}

/// From now on a signal ends what was started, then us.
///
/// # Errors
/// When signals cannot be heard.
pub fn end_with_signals() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let (Ok(mut terminate), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return;
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            end_all();
            std::process::exit(130);
        });
    });
    Ok(())
}

/// Processor time of this process: the load's.
pub fn own_cpu() -> Duration {
    cpu("self")
}

/// An address on loopback that nobody uses now.
///
/// # Errors
/// When there is none.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn running() -> std::sync::MutexGuard<'static, Vec<Child>> {
    RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn cpu(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Duration::from_secs_f64(ticks / TICKS)
}
