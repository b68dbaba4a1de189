//! GRPCRoute: governs the requests of its `parentRefs`.

use super::prelude::*;
pub(crate) use crate::decode::rejecting as decode;
use crate::gateway::GrpcRoute;
pub use schema::validate;

mod schema;

pub fn reach(raw: &Raw<'_>) -> Reach {
    raw.references::<GrpcRoute>("parentRefs", &[Kind::Gateway, Kind::Service], Some(Kind::Gateway))
}
