//! Explanations that ask the store: counters in use, rehearsals and simulations, pages and gauges.

pub mod counters;
pub mod gauges;
pub mod http;
pub mod rehearsal;
pub mod simulation;
