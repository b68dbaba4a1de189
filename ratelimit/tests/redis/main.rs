//! Counters in real Redis processes of every kind: exact, always with an end,
//! quick to fail, back by themselves.
#![allow(clippy::unwrap_used, missing_docs)]

mod cluster;
mod failures;
mod faults;
mod pages;
mod process;
mod said;
mod secured;
mod sentinel;
mod servers;
mod single;
mod tls;
