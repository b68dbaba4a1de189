//! Whether an AuthConfig that was edited still lets in everybody whom it let in before.
//!
//! If so, the version of before may answer for a moment longer: the two differ in the headers that are read and
//! set, and in whom the new one lets in besides. If not, an edit took permission away, and that takes effect at once.

use std::collections::BTreeSet;

use crate::chain::Plan;
use crate::methods::Credentials;

/// With more steps than this in the version of before the answer is no.
const MOST_STEPS: usize = 8;

/// Of one version of an AuthConfig, who may pass.
pub(crate) struct Admits<'a> {
    /// How its steps combine.
    pub plan: &'a Plan,
    /// By what each step lets somebody in.
    pub steps: Vec<BTreeSet<Credentials<'a>>>,
}

impl Admits<'_> {
    /// Whether whoever passes by this version passes by `new` if the same credentials come where `new` reads them.
    ///
    /// Of a plan that negates the answer is no: there somebody passes by what a header does not hold, and the two
    /// versions read different ones.
    pub fn within(&self, new: &Admits<'_>) -> bool {
        if self.steps.len() > MOST_STEPS || negates(self.plan) || negates(new.plan) {
            return false;
        }
        // Whoever passes a step passes each of the new steps that takes the same credentials or more.
        let wider = |step: &BTreeSet<_>| new.steps.iter().map(|other| step.is_subset(other)).collect();
        let implies: Vec<Vec<bool>> = self.steps.iter().map(wider).collect();
        // All the ways in which somebody may pass some steps and not others.
        (0_u32..1 << self.steps.len()).all(|passed| {
            let passes = |step: usize| passed & (1 << step) != 0;
            let new_passes = |step: usize| {
                implies.iter().enumerate().any(|(old, wider)| passes(old) && wider.get(step) == Some(&true))
            };
            !holds(self.plan, &passes) || holds(new.plan, &new_passes)
        })
    }
}

fn negates(plan: &Plan) -> bool {
    match plan {
        Plan::Step(_) => false,
        Plan::Not(_) => true,
        Plan::All(parts) | Plan::Any(parts) => parts.iter().any(negates),
    }
}

/// Whether `plan` passes if just those steps do for which `passes` says so.
fn holds(plan: &Plan, passes: &dyn Fn(usize) -> bool) -> bool {
    match plan {
        Plan::Step(place) => passes(place.step),
        Plan::Not(inner) => !holds(inner, passes),
        Plan::All(parts) => parts.iter().all(|part| holds(part, passes)),
        Plan::Any(parts) => parts.iter().any(|part| holds(part, passes)),
    }
}
