//! Gateway: governs what names it, if it is of a class that is served.

use super::prelude::*;
pub(crate) use crate::decode::rejecting as decode;
pub use schema::validate;

pub(super) mod schema;

pub fn reach(raw: &Raw<'_>) -> Reach {
    let class = raw.document.get("spec").and_then(|spec| spec.get("gatewayClassName")).and_then(|class| class.as_str());
    match class {
        Some(class) if !class.is_empty() => raw.itself(Kind::Gateway),
        _ => Reach::Unknown,
    }
}
