//! ReferenceGrant: lets objects of other namespaces refer to something; without it they may not.

use super::names;
pub use super::plain::reach;
pub(crate) use crate::decode::rejecting as decode;
use crate::envoy::Checks;
use crate::gateway::ReferenceGrant;
use crate::problem::Problem;

/// Entries of each of its lists.
const MOST_GRANTS: usize = 16;

/// What is wrong with `grant` taken by itself.
pub fn validate(grant: &mut ReferenceGrant) -> Vec<Problem> {
    let mut checks = Checks::default();
    let spec = &grant.spec;
    for (field, count) in [("spec.from", spec.from.len()), ("spec.to", spec.to.len())] {
        if count == 0 {
            checks.error(field, "empty; write at least one entry");
        }
        checks.at_most(field, count, MOST_GRANTS);
    }
    for (index, from) in spec.from.iter().enumerate().take(MOST_GRANTS) {
        let (group, kind, namespace) = (Some(&*from.group), Some(&*from.kind), Some(&*from.namespace));
        names::reference(&format!("spec.from[{index}]"), group, kind, None, namespace, &mut checks);
    }
    for (index, to) in spec.to.iter().enumerate().take(MOST_GRANTS) {
        let name = to.name.as_deref().filter(|name| !name.is_empty());
        names::reference(&format!("spec.to[{index}]"), Some(&to.group), Some(&to.kind), name, None, &mut checks);
    }
    checks.problems
}
