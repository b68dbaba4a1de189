//! Gateway: governs what names it, if it is of a class that is served.

use super::prelude::*;
pub use crate::admit::gateway::validate;

pub fn reach(raw: &Raw<'_>) -> Reach {
    let class = raw.document.get("spec").and_then(|spec| spec.get("gatewayClassName")).and_then(|class| class.as_str());
    match class {
        Some(class) if !class.is_empty() => raw.itself(Kind::Gateway),
        _ => Reach::Unknown,
    }
}
