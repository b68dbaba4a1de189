//! Whether requests may be sent to a Redis process, known without asking anybody.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const DOWN: u8 = 0;
/// Down for everybody but the next request.
const TRIAL: u8 = 1;
/// Down until that request is answered.
const TRIED: u8 = 2;
const UP: u8 = 3;

/// Shared by a driver, which sets it, and the requests, which ask.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU8);

impl Gate {
    /// Whether a request may be sent now. Whoever is told so must send.
    pub(super) fn enter(&self) -> bool {
        match self.0.load(Ordering::Acquire) {
            UP => true,
            TRIAL => self.0.compare_exchange(TRIAL, TRIED, Ordering::AcqRel, Ordering::Acquire).is_ok(),
            _ => false,
        }
    }

    /// Whether there is a connection that requests may try.
    pub(super) fn is_up(&self) -> bool {
        self.0.load(Ordering::Acquire) != DOWN
    }

    pub(super) fn close(&self) {
        self.0.store(DOWN, Ordering::Release);
    }

    /// For everybody, or for one request at a time until one is answered.
    pub(super) fn open(&self, on_trial: bool) {
        self.0.store(if on_trial { TRIAL } else { UP }, Ordering::Release);
    }

    /// A request was answered.
    pub(super) fn passed(&self) {
        let open = |now| matches!(now, TRIAL | TRIED).then_some(UP);
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, open);
    }

    /// The request on trial was never sent.
    pub(super) fn untried(&self) {
        let _ = self.0.compare_exchange(TRIED, TRIAL, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// Connections given up in a row, for batches that failed, before the next one is on trial.
const TOLERATED: u32 = 3;
/// The pauses between attempts to connect: from the first, doubled up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// Counts failures in a row and says what to do about them. Pure.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Batches that failed since one was answered.
    batches: u32,
    /// Anything that failed since a batch was answered.
    all: u32,
}

impl Breaker {
    /// A connection could not be made.
    pub(super) fn unreachable(&mut self) {
        self.all = self.all.saturating_add(1);
    }

    /// A connection was given up.
    pub(super) fn failed(&mut self) {
        self.batches = self.batches.saturating_add(1);
        self.unreachable();
    }

    /// It answers PING, and batches time out.
    pub(super) fn hangs(&mut self) {
        self.batches = self.batches.max(TOLERATED);
    }

    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// Whether a new connection, though it answers a PING, gets only one request at first.
    pub(super) fn is_open(&self) -> bool {
        self.batches >= TOLERATED
    }

    /// How long to wait before the next attempt.
    pub(super) fn pause(&self) -> Duration {
        let doubled = self.all.saturating_sub(1).min(10);
        if self.all == 0 { Duration::ZERO } else { (PAUSES.0 * 2u32.pow(doubled)).min(PAUSES.1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_trial_one_request_enters_until_it_is_answered() {
        let gate = Gate::default();
        assert!(!gate.enter());
        gate.open(true);
        assert!(gate.enter());
        assert!(!gate.enter());
        gate.untried();
        assert!(gate.enter());
        gate.passed();
        assert!(gate.enter() && gate.enter());
        gate.close();
        gate.passed();
        assert!(!gate.enter() && !gate.is_up());
    }

    #[test]
    fn failures_in_a_row_open_the_breaker_and_one_answer_closes_it() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.pause(), Duration::ZERO);
        for _ in 0..3 {
            assert!(!breaker.is_open());
            breaker.failed();
        }
        assert!(breaker.is_open());
        assert_eq!(breaker.pause(), Duration::from_millis(80));
        (0..100).for_each(|_| breaker.unreachable());
        assert_eq!(breaker.pause(), Duration::from_millis(250));
        breaker.answered();
        assert!(!breaker.is_open());
    }
}
