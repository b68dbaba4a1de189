//! AuthConfig: whoever names a broken one is denied.

use super::prelude::*;
pub(crate) use crate::decode::rejecting as decode;
pub use crate::gloo::auth_config::validate;

pub fn reach(raw: &Raw<'_>) -> Reach {
    raw.itself(Kind::AuthConfig)
}
