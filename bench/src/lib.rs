//! What all benchmarks need: processes that are always ended, load over gRPC, and latencies.

pub mod histogram;
pub mod load;
pub mod process;
pub mod wire;
