//! In place of envoyproxy/ratelimit: what newer builds of it do than the one we compare with, and what it does wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod process;
mod tls;
mod xds;
