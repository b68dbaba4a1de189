//! Stories about the rate-limit service, told through its public face.
#![allow(clippy::unwrap_used, missing_docs)]

mod algorithms;
mod explain;
mod gauges;
mod model;
mod quota;
mod redis;
mod service;
mod support;
