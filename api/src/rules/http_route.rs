//! HTTPRoute: governs the requests of its `parentRefs`.

use super::prelude::*;
pub(crate) use crate::decode::rejecting as decode;
use crate::gateway::HttpRoute;
pub use schema::validate;

pub(super) mod schema;

pub fn reach(raw: &Raw<'_>) -> Reach {
    raw.references::<HttpRoute>("parentRefs", &[Kind::Gateway, Kind::Service], Some(Kind::Gateway))
}
