//! The rules of RateLimitConfigs. Pure: what is written, the request, the counts and the time are arguments.
//!
//! [`config`] turns what is written into the index that [`plan`] reads; [`plan`] says which counters a
//! request moves, and [`decide`] what their counts come to; [`explain`] tells why.

pub mod beside;
pub mod bounds;
pub mod config;
pub mod decide;
pub mod explain;
pub mod plan;
pub mod request;
