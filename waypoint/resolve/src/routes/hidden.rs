//! Routes of a table that never apply, since others before them take all their requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use api::Name;
use ir::{PortRef, Route};

use crate::decided::attached::Bound;
use crate::decided::said::{InDoubt, Shadow};
use crate::declared::Rule;
use crate::guards::Guard;
use crate::precedence::Precedence;
use crate::shadowed::{Doubt, gets_around, shadowed};
use crate::status::Statuses;

/// A route of a table, with where it comes from.
pub(super) struct Tried<'b, 'a> {
    pub order: Precedence,
    pub route: Route,
    pub bound: &'b Bound<'a>,
    pub rule: &'a Rule,
    /// The number of the match in its rule.
    pub index: usize,
    /// The RouteOptions that govern it, each with what it asks for to guard requests.
    pub policies: Rc<BTreeMap<Name, BTreeSet<Guard>>>,
}

impl Tried<'_, '_> {
    fn is_of_rule(&self, other: &Self) -> bool {
        std::ptr::eq(self.rule, other.rule)
    }
}

/// Notes which rules of `all`, the table of `id`, never apply, and of which that is in doubt. A match that another of
/// its own rule takes is no matter.
pub(super) fn note(id: &PortRef, all: &[Tried<'_, '_>], statuses: &mut Statuses) {
    let found = shadowed(&all.iter().map(|tried| &tried.route).collect::<Vec<_>>());
    // Of how many routes each rule is, and how many of those are hidden.
    let mut rules: HashMap<*const Rule, (usize, usize)> = HashMap::new();
    for (tried, found) in all.iter().zip(&found) {
        let (routes, hidden) = rules.entry(std::ptr::from_ref(tried.rule)).or_default();
        *routes += 1;
        *hidden += usize::from(found.hidden.as_ref().is_some_and(|hidden| hidden.hosts.is_empty()));
    }
    for (tried, found) in all.iter().zip(&found) {
        let by = match found.doubt {
            // Never one of its own rule, which asks for the same.
            Some(Doubt::By(by)) => Some(Some(&all[by])),
            Some(Doubt::Many) => Some(None),
            None => None,
        };
        if let Some(by) = by {
            let named = |tried: &Tried<'_, '_>| (tried.bound.route.reference.clone(), tried.rule.field.clone());
            let (route, field) = named(tried);
            statuses.doubt(tried.bound, id, &InDoubt { route, field, by: by.map(named) }, &tried.policies);
        }
        let Some(hidden) = found.hidden.as_ref().filter(|hidden| !tried.is_of_rule(&all[hidden.by])) else { continue };
        let first = &all[hidden.by];
        let whole = rules.get(&std::ptr::from_ref(tried.rule)).is_some_and(|(routes, hidden)| routes == hidden);
        let field = &tried.rule.field;
        let shadow = Shadow {
            route: tried.bound.route.reference.clone(),
            field: if whole { field.clone() } else { format!("{field}.matches[{}]", tried.index) },
            hosts: hidden.hosts.iter().map(|host| (*host).to_owned()).collect(),
            by: first.bound.route.reference.clone(),
            by_field: first.rule.field.clone(),
        };
        statuses.shadow(tried.bound, id, &shadow, &tried.policies, gets_around(&tried.route, &first.route));
    }
}
