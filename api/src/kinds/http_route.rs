//! HTTPRoute: governs the requests of its `parentRefs`.

use super::prelude::*;
pub use crate::admit::http_route::validate;
use crate::gateway::HttpRoute;

pub fn reach(raw: &Raw<'_>) -> Reach {
    raw.references::<HttpRoute>("parentRefs", &[Kind::Gateway, Kind::Service], Some(Kind::Gateway))
}
