//! What is counted, in the words that rules and stores share: limits and their algorithms, counters,
//! hits, and what the hits of one request come to together. Values and arithmetic only; time is an argument.

pub mod algorithm;
mod change;
mod counter;
mod hit;
mod limit;
mod rate;
mod time;
pub mod trial;
mod window;

pub use algorithm::{Algorithm, State, Step};
pub use change::Change;
pub use counter::{CounterId, digest, finish};
pub use hit::{CountPolicy, Counts, Hit};
pub use limit::Limit;
pub use rate::Rate;
pub use time::{Moment, UnixSecs};
pub use trial::{Trial, trial};
pub use window::Window;
