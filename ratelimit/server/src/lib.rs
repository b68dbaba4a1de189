//! The rate-limit service's edge: Envoy's calls read and answered, counters kept, configuration followed,
//! metrics and pages.
//!
//! [`assemble`] puts the parts together; [`service`] answers; [`explain`] shows what is counted and why;
//! [`quota`] hands out parts of limits to Envoys that limit by themselves.

pub mod assemble;
pub mod book;
pub mod clock;
pub mod debug;
pub mod explain;
pub mod meters;
pub mod quota;
pub mod service;
pub mod settings;

pub use assemble::build;
pub use clock::{Clock, SystemClock};
pub use settings::{Settings, StoreSettings};
