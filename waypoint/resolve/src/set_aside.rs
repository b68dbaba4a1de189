//! On each port routes of one kind count, as Gateway API has it; those of others are set aside. What guards them is not
//! asked for by that, so no rule that counts passes what does not ask for as much.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use api::gloo::route_option::RouteOptions;
use api::{Kind, ObjectRef};

use crate::claims::claim;
use crate::decided::attached::Bound;
use crate::declared::KINDS;
use crate::guards::{Guard, guards};
use crate::options;
use crate::status::Statuses;
use crate::view::View;

/// The routes of a port, those that count and those that are set aside for one of them.
pub struct Parted<'a> {
    pub counting: Vec<Bound<'a>>,
    pub set_aside: Vec<Bound<'a>>,
    pub by: Option<ObjectRef>,
}

/// Parts those that govern one port by naming it, its Service or its Gateway.
///
/// Those that name the Service say which kind counts: of gRPC before HTTP. If there are none, the oldest of the Gateway does.
pub fn part<'a>(bound: Vec<Bound<'a>>) -> Parted<'a> {
    let Some(first) = bound.first().map(|bound| bound.route.reference.kind) else {
        return Parted { counting: bound, set_aside: Vec::new(), by: None };
    };
    if bound.iter().all(|bound| bound.route.reference.kind == first) {
        return Parted { counting: bound, set_aside: Vec::new(), by: None };
    }
    let rank = |bound: &&Bound<'_>| {
        let of_service = bound.by_service();
        let special = of_service.then(|| Reverse(KINDS.iter().position(|kind| *kind == bound.route.reference.kind)));
        (!of_service, special, bound.route.age.clone(), bound.route.reference.name.to_string())
    };
    let by = bound.iter().min_by_key(rank).map(|bound| bound.route.reference.clone());
    let kind: Option<Kind> = by.as_ref().map(|by| by.kind);
    let (counting, set_aside) = bound.into_iter().partition(|bound| Some(bound.route.reference.kind) == kind);
    Parted { counting, set_aside, by }
}

/// What routes that are set aside ask for so that requests do not pass freely.
#[derive(Debug, Default)]
pub struct SetAside {
    /// Each with who asks for it.
    guards: BTreeSet<(Guard, ObjectRef)>,
    /// Why something of them is refused.
    refused: Option<(ObjectRef, String)>,
}

impl SetAside {
    /// What `bound` ask for. What that sets is believed all the same.
    pub fn of(view: &View<'_>, bound: &[Bound<'_>], statuses: &mut Statuses) -> Self {
        let mut found = Self::default();
        for route in bound.iter().map(|bound| bound.route) {
            for rule in &route.rules {
                let named = &rule.filters.options;
                let effective = options::effective(view, &route.reference, rule.name.as_deref(), named);
                claim(&route.reference, rule, &effective.options, statuses);
                let asked = guards(&effective.options, &route.reference.name.namespace);
                found.guards.extend(asked.into_iter().map(|guard| (guard, route.reference.clone())));
                if let Some(why) = effective.refusal.filter(|_| found.refused.is_none()) {
                    found.refused = Some((route.reference.clone(), why));
                }
            }
        }
        found
    }

    /// Why a rule with these `options` must not pass anything: it asks for less.
    pub fn missed(&self, options: &RouteOptions, home: &str) -> Option<String> {
        if let Some((route, why)) = &self.refused {
            return Some(format!("it counts in place of {route}, of which this is refused: {why}"));
        }
        let asked = guards(options, home);
        let (guard, route) = self.guards.iter().find(|(guard, _)| !asked.contains(guard))?;
        Some(format!(
            "it counts in place of {route}, which asks for {guard}, and does not ask for that; let each of the two name \
             the ports that it is for (parentRefs), or let a RouteOption ask for the same here"
        ))
    }
}
