//! In place of envoyproxy/ratelimit: its files, environment, ports and answers.
//!
//! A process started without manifests and with that server's environment
//! serves *domains* instead of RateLimitConfigs. [`yaml`] reads a file,
//! [`compile`] turns it into the [`tree`] requests are looked up in, and
//! [`domains`] keeps the last good version of each. From there on a request
//! goes the way of all requests: plan, store, decide.

pub mod answer;
pub mod check;
pub mod compile;
pub mod domains;
pub mod env;
pub mod exhausted;
pub mod files;
pub mod http;
pub(crate) mod loading;
pub mod mapping;
pub mod marks;
pub(crate) mod observed;
pub mod plan;
pub mod process;
pub mod service;
pub mod stats;
pub(crate) mod statsd;
pub mod tree;
pub mod wildcard;
pub mod xds;
pub mod yaml;
