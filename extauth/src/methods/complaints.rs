//! What goes wrong with other servers: counted each time, logged now and then.

use std::time::{Duration, Instant};

use metrics::counter;
use outbound::{Unavailable, Why};
use parking_lot::Mutex;
use tracing::warn;

use crate::step::Fault;

/// What a log says at most once in so long.
const QUIET: Duration = Duration::from_secs(10);

/// What was complained of, by one step.
#[derive(Debug)]
pub struct Complaints {
    step: String,
    /// Whom it asks.
    server: String,
    /// When a log last said that the server could not be used.
    said: Mutex<Option<Instant>>,
}

impl Complaints {
    /// Of the step called `step`, of `server`.
    pub fn of(step: &str, server: &str) -> Complaints {
        Complaints { step: step.to_owned(), server: server.to_owned(), said: Mutex::default() }
    }

    /// Says so, but not for every request.
    pub fn warn(&self, why: &str, what: &str) {
        let now = Instant::now();
        let mut said = self.said.lock();
        if said.is_none_or(|last| now.duration_since(last) >= QUIET) {
            *said = Some(now);
            warn!(step = self.step, server = self.server, why, "{what}");
        }
    }
}

/// Counts that a server is `unavailable`; what that is for the step.
pub fn unavailable(unavailable: &Unavailable) -> Fault {
    counter!("auth_server_outbound_failures_total", "reason" => unavailable.why.label()).increment(1);
    match unavailable.why {
        Why::TooLate => Fault::TooLate,
        Why::Busy => Fault::Busy,
        Why::Unreachable
        | Why::Broken
        | Why::Resting
        | Why::TooLarge
        | Why::Unreadable
        | Why::Forbidden
        | Why::Fault => Fault::Unavailable,
    }
}

/// Counts an answer that is none.
pub fn unusable() -> Fault {
    counter!("auth_server_outbound_failures_total", "reason" => "unusable").increment(1);
    Fault::Unavailable
}

/// Before the chain itself gives up, so that what a failure means is still the step's to say.
pub fn in_time(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(tokio::time::Instant::now().into_std());
    deadline - (left / 8).min(Duration::from_millis(20))
}
