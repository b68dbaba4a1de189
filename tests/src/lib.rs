//! Drives the real parts: the `waykeeper` binary, Envoy, Redis, go-httpbin, curl.
//!
//! One helper drives each part and the journeys in `tests/` drive the helpers.
//! A part that is missing fails the test and says how to get it.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used, clippy::print_stdout)]

pub mod alone;
pub mod browser;
pub mod curl;
pub mod docker;
pub mod echo;
pub mod issuer;
pub mod kubernetes;
pub mod manifests;
pub mod mutate;
pub mod node;
pub mod parts;
pub mod ports;
pub mod provider;
pub mod raw;
pub mod tokens;
pub mod wait;
pub mod walkthrough;
pub mod waykeeper;

pub use curl::{Curl, Reply};
pub use parts::{Backends, Redis};
pub use ports::free_port;
pub use wait::{eventually, fresh_minute};
pub use waykeeper::{Folder, Waykeeper};

use std::sync::{Mutex, MutexGuard, PoisonError};

static MACHINE: Mutex<()> = Mutex::new(());

/// The journeys use the example's own addresses, as a person would; they take turns.
pub fn turn() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}
