//! RateLimitConfig: a broken one limits nobody, and whoever names it is told.

use super::prelude::*;
pub(crate) use crate::decode::warning as decode;
pub use crate::gloo::rate_limit_config::validate;

pub fn reach(raw: &Raw<'_>) -> Reach {
    raw.itself(Kind::RateLimitConfig)
}
