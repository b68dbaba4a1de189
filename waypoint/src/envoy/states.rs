//! The table of Envoys' states that supervisors write and others watch.

use std::sync::Arc;

use api::Name;
use tokio::sync::watch;

use super::{EnvoyState, States};

/// The writing end.
#[derive(Debug, Clone)]
pub(super) struct Watch(Arc<watch::Sender<States>>);

impl Default for Watch {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(States::default())))
    }
}

impl Watch {
    pub fn subscribe(&self) -> watch::Receiver<States> {
        self.0.subscribe()
    }

    pub fn update(&self, name: &Name, change: impl FnOnce(&mut EnvoyState)) {
        self.0.send_modify(|states| change(Arc::make_mut(states).entry(name.clone()).or_default()));
    }

    pub fn remove(&self, name: &Name) {
        self.0.send_modify(|states| drop(Arc::make_mut(states).remove(name)));
    }
}
