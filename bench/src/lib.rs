//! What benchmarks share: processes that are always ended, load over gRPC and latencies; an application and a caller that
//! waits for an answer; tables in pages.

pub mod backend;
pub mod client;
pub mod histogram;
pub mod load;
pub mod page;
pub mod process;
pub mod wire;
