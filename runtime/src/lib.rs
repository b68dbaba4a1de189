//! How a process starts, reports and stops. Nothing here knows what is served.
//!
//! [`Process`]: settings → telemetry → bind every listener → parts add tasks, pages
//! and gates → ready once every [`Readiness`] gate is open. Stop: a signal, or a
//! task that ended → not ready → stage after stage stops accepting and finishes
//! what is under way, each within its deadline.

pub mod admin;
pub mod ask;
pub mod command_line;
pub mod follow;
pub mod grpc;
pub mod health;
pub mod listen;
pub mod memory;
pub mod otlp;
pub mod process;
pub mod readiness;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod trace;
pub mod workers;

pub use admin::Admin;
pub use listen::{Addr, Listener};
pub use process::{Process, Stage};
pub use readiness::{Gate, Readiness};
pub use shutdown::Shutdown;
pub use tasks::Tasks;
pub use workers::Workers;

/// Exit code for settings that cannot be used (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;
