//! The one signal that says: finish and stop.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Told once, heard by everyone who holds a clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A shutdown that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the shutdown; further calls change nothing.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether it has begun.
    pub fn is_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes when it begins.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }

    /// A shutdown that begins with this one and can begin earlier by itself.
    pub fn child(&self) -> Shutdown {
        Shutdown(self.0.child_token())
    }

    /// Begins on SIGTERM, SIGINT or SIGHUP, until what this returns is dropped. Of further ones, see [`Heard`].
    ///
    /// A process started with SIGHUP ignored, as by `nohup`, goes on ignoring it.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub(crate) fn on_signals(&self) -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = if ignores_hang_up() { None } else { Some(signal(SignalKind::hangup())?) };
        let shutdown = self.clone();
        let listening = tokio::spawn(async move {
            let mut heard = Heard::default();
            loop {
                let signal = tokio::select! {
                    _ = terminate.recv() => Signal::Terminate,
                    _ = interrupt.recv() => Signal::Interrupt,
                    _ = async { hang_up.as_mut()?.recv().await }, if hang_up.is_some() => Signal::HangUp,
                };
                match heard.react(signal, Instant::now()) {
                    Reaction::Drain => {
                        tracing::info!(signal = signal.name(), "draining");
                        shutdown.begin();
                    }
                    Reaction::Nothing => tracing::info!(signal = signal.name(), "draining already"),
                    Reaction::Exit => {
                        tracing::warn!(signal = signal.name(), "asked again, exiting at once");
                        std::process::exit(signal.exit_code());
                    }
                }
            }
        });
        Ok(Signals(AbortOnDropHandle::new(listening)))
    }
}

/// Signals are heard until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Signals(#[allow(dead_code, reason = "held, not read")] AbortOnDropHandle<()>);

/// A signal that asks for an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Terminate,
    Interrupt,
    HangUp,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
            Signal::HangUp => "SIGHUP",
        }
    }

    /// What a shell would say of a process that the signal ended.
    fn exit_code(self) -> i32 {
        match self {
            Signal::Terminate => 128 + 15,
            Signal::Interrupt => 128 + 2,
            Signal::HangUp => 128 + 1,
        }
    }
}

/// Signals that come so soon after the first are the same wish: a wrapper passes on what the whole
/// process group was sent, so that it comes twice.
const SAME_WISH: Duration = Duration::from_secs(2);

/// The first signal that was heard, if one was.
///
/// The first begins the drain. One that follows within two seconds changes nothing; a later
/// SIGTERM or SIGINT ends the process at once. SIGHUP never does: a closed terminal is in no hurry.
#[derive(Debug, Default)]
struct Heard(Option<Instant>);

#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    Drain,
    Nothing,
    Exit,
}

impl Heard {
    fn react(&mut self, signal: Signal, now: Instant) -> Reaction {
        match self.0 {
            None => {
                self.0 = Some(now);
                Reaction::Drain
            }
            Some(first) if now.saturating_duration_since(first) <= SAME_WISH => Reaction::Nothing,
            Some(_) if signal == Signal::HangUp => Reaction::Nothing,
            Some(_) => Reaction::Exit,
        }
    }
}

/// Whether whoever started this process had it ignore SIGHUP. Linux only; elsewhere: no.
fn ignores_hang_up() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignored(&status, 1))
}

/// Whether `signal` is among those that this `/proc/…/status` says are ignored.
fn ignored(status: &str, signal: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_that_a_wrapper_repeats_is_one_wish_and_a_person_who_asks_again_is_heard() {
        let began = Instant::now();
        let after = |millis| began + Duration::from_millis(millis);
        for signal in [Signal::Terminate, Signal::Interrupt] {
            let mut heard = Heard::default();
            assert_eq!(heard.react(signal, began), Reaction::Drain);
            for soon in [0, 1, 900, 2000] {
                assert_eq!(heard.react(signal, after(soon)), Reaction::Nothing);
            }
            assert_eq!(heard.react(signal, after(2001)), Reaction::Exit);
        }
    }

    #[test]
    fn hanging_up_drains_and_never_cuts_the_drain_short() {
        let (mut heard, began) = (Heard::default(), Instant::now());
        assert_eq!(heard.react(Signal::HangUp, began), Reaction::Drain);
        assert_eq!(heard.react(Signal::HangUp, began + Duration::from_secs(9)), Reaction::Nothing);
        assert_eq!(heard.react(Signal::Terminate, began + Duration::from_secs(9)), Reaction::Exit);
    }

    #[test]
    fn what_nohup_had_ignored_is_read_from_the_process_status() {
        assert!(ignored("Name:\tx\nSigIgn:\t0000000000000001\nSigCgt:\t0\n", 1));
        assert!(!ignored("SigIgn:\t0000000000001000\n", 1));
        assert!(ignored("SigIgn:\t0000000000001000\n", 13));
        assert!(!ignored("SigIgn:\tnonsense\n", 1) && !ignored("", 1));
    }
}
