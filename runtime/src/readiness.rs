//! Ready when every gate is open; until then, what is waited for has a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The gates of one process.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Gates>>);

#[derive(Debug, Default)]
struct Gates {
    closed: BTreeMap<String, usize>,
    remarks: BTreeMap<&'static str, Vec<String>>,
    stopping: bool,
}

/// A closed gate. Opened by [`Gate::open`]; one that is dropped unopened stays
/// closed, because whoever held it never got there.
#[derive(Debug)]
#[must_use]
pub struct Gate {
    name: String,
    gates: Readiness,
}

impl Readiness {
    /// No gates: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a closed gate. `name` says what is waited for, e.g. `folder loaded`.
    pub fn gate(&self, name: impl Into<String>) -> Gate {
        let name = name.into();
        *self.0.lock().closed.entry(name.clone()).or_default() += 1;
        Gate { name, gates: self.clone() }
    }

    /// What is still waited for, by name.
    pub fn waiting_for(&self) -> Vec<String> {
        let gates = self.0.lock();
        let stopping = gates.stopping.then(|| "stopping".to_owned());
        gates.closed.keys().cloned().chain(stopping).collect()
    }

    /// Whether every gate is open and no shutdown has begun.
    pub fn is_ready(&self) -> bool {
        let gates = self.0.lock();
        gates.closed.is_empty() && !gates.stopping
    }

    /// Replaces what `author` says is declared and not in force. `/readyz` shows it; the process may be ready
    /// all the same.
    pub fn remark(&self, author: &'static str, remarks: Vec<String>) {
        self.0.lock().remarks.insert(author, remarks);
    }

    /// What is declared and not in force.
    pub fn remarks(&self) -> Vec<String> {
        self.0.lock().remarks.values().flatten().cloned().collect()
    }

    /// Never ready again: the process is stopping.
    pub fn stopping(&self) {
        self.0.lock().stopping = true;
    }
}

impl Gate {
    /// What this gate stood for has happened.
    pub fn open(self) {
        let mut gates = self.gates.0.lock();
        if let Some(count) = gates.closed.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                gates.closed.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_it_waits_for_and_is_never_ready_while_stopping() {
        let readiness = Readiness::new();
        let (folder, envoy) = (readiness.gate("folder loaded"), readiness.gate("envoy acknowledged"));
        assert_eq!(readiness.waiting_for(), ["envoy acknowledged", "folder loaded"]);
        folder.open();
        assert!(!readiness.is_ready());
        envoy.open();
        assert!(readiness.is_ready());
        readiness.stopping();
        assert_eq!(readiness.waiting_for(), ["stopping"]);
    }

    #[test]
    fn a_gate_dropped_unopened_stays_closed() {
        let readiness = Readiness::new();
        drop(readiness.gate("never"));
        assert!(!readiness.is_ready());
    }
}
