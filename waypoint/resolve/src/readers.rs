//! Who has read what: which decisions must be made anew when something changes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use api::{Kind, Name, ObjectRef};
use ir::PortRef;

use crate::few::Few;

/// Something that a decision may rest on, as it can be asked for through a [`View`](crate::view::View).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fact {
    /// An object, admitted or broken, or that there is none.
    Object(ObjectRef),
    /// Everything of a kind.
    Every(Kind),
    /// Everything of a kind in one namespace.
    In(Kind, String),
    /// The objects of a kind that were never valid.
    Broken(Kind),
    /// Whether everything is withheld.
    Withheld,
    /// The objects of kinds that are not served.
    Unserved,
    /// Which EndpointSlices a Service has.
    Slices(Name),
    /// Which RouteOptions name a route.
    Options(ObjectRef),
    /// Of which routes a rule names a RouteOption.
    Referring(Name),
    /// Which AuthorizationPolicies and RequestAuthentications name a Service, a Gateway or a class of them.
    Policies(ObjectRef),
    /// How many routes a Gateway has accepted.
    Attachments(Name),
    /// What is made of a Gateway.
    Gateway(Name),
    /// Where our listeners bind.
    Addresses,
    /// The waypoint of a Service.
    Enrolment(Name),
    /// What a route declares, and what is made of its parents.
    Route(ObjectRef),
    /// Which routes name a Service or a Gateway.
    Routes(ObjectRef),
    /// Why everything is refused.
    RefusedEverything,
    /// Why what comes to a Gateway is refused.
    RefusedGateway(Name),
    /// Why what comes to a Service is refused.
    RefusedService(Name),
    /// Why rules of a route are refused.
    RefusedRules(ObjectRef),
    /// Which Service has an address at a Gateway.
    Holder(Name, IpAddr),
    /// What is decided for the ports of a Service.
    Unit(Name),
    /// What guards the way to a port of a Service.
    Claims(PortRef),
    /// The headers that the applications behind a Service believe.
    Owned(Name),
    /// What was found out about an object.
    Said(ObjectRef),
}

/// What the decisions of one sort, each known by an `N`, have read.
#[derive(Debug, Clone)]
pub struct Readers<N> {
    of_fact: HashMap<Arc<Fact>, Few<Arc<N>>>,
    read_by: HashMap<Arc<N>, Box<[Arc<Fact>]>>,
}

impl<N> Default for Readers<N> {
    fn default() -> Self {
        Self { of_fact: HashMap::new(), read_by: HashMap::new() }
    }
}

impl<N: Clone + Eq + Ord + Hash> Readers<N> {
    /// The decisions that rest on one of `facts`.
    pub fn of<'a>(&self, facts: impl IntoIterator<Item = &'a Fact>) -> BTreeSet<N> {
        let readers = facts.into_iter().filter_map(|fact| self.of_fact.get(fact));
        readers.flat_map(Few::iter).map(|reader| N::clone(reader)).collect()
    }

    /// Notes what `decision` has read, in place of what it had read before.
    pub fn note(&mut self, decision: &N, facts: HashSet<Fact>) {
        self.forget(decision);
        let decision = Arc::new(decision.clone());
        let mut read = Vec::with_capacity(facts.len());
        for fact in facts {
            let fact = match self.of_fact.get_key_value(&fact) {
                Some((known, _)) => known.clone(),
                None => Arc::new(fact),
            };
            self.of_fact.entry(fact.clone()).or_default().insert(decision.clone());
            read.push(fact);
        }
        self.read_by.insert(decision, read.into());
    }

    /// Whether the same decisions have read the same.
    pub fn alike(&self, other: &Self) -> bool {
        let facts = |of: &Self, decision: &N| -> HashSet<Arc<Fact>> {
            of.read_by.get(decision).into_iter().flatten().cloned().collect()
        };
        let readers = |of: &Self, fact: &Fact| -> HashSet<Arc<N>> {
            of.of_fact.get(fact).into_iter().flat_map(Few::iter).cloned().collect()
        };
        self.read_by.len() == other.read_by.len()
            && self.of_fact.len() == other.of_fact.len()
            && self.read_by.keys().all(|decision| facts(self, decision) == facts(other, decision))
            && self.of_fact.keys().all(|fact| readers(self, fact) == readers(other, fact))
    }

    /// Forgets a decision that is not made any more.
    pub fn forget(&mut self, decision: &N) {
        for fact in self.read_by.remove(decision).into_iter().flatten() {
            let left = self.of_fact.get_mut(&fact).is_some_and(|readers| {
                readers.remove(decision);
                !readers.is_empty()
            });
            if !left {
                self.of_fact.remove(&fact);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_due_when_something_changes_that_it_read_the_last_time() {
        let mut readers = Readers::default();
        let read = |names: &[&str]| names.iter().map(|name| Fact::Slices(Name::new("t", *name))).collect();
        readers.note(&1, read(&["a", "b"]));
        readers.note(&2, read(&["b"]));
        let due = |readers: &Readers<i32>, name: &str| {
            readers.of(&[Fact::Slices(Name::new("t", name))]).into_iter().collect::<Vec<_>>()
        };
        assert_eq!((due(&readers, "a"), due(&readers, "b"), due(&readers, "c")), (vec![1], vec![1, 2], vec![]));
        readers.note(&1, read(&["c"]));
        assert_eq!((due(&readers, "a"), due(&readers, "b"), due(&readers, "c")), (vec![], vec![2], vec![1]));
        readers.forget(&1);
        readers.forget(&2);
        assert!(readers.of_fact.is_empty() && readers.read_by.is_empty());
    }
}
