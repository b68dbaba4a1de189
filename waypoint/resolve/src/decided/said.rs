//! What one decision has found out about an object. [`status`](crate::status) puts what all decisions found out into
//! words.

use std::collections::{BTreeMap, BTreeSet};

use api::{Name, ObjectRef, Problem};
use ir::PortRef;
use status::Place;

use crate::guards::Guard;

/// What one decision has found out about one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// Of a route: what is wrong with it.
    pub notes: RouteNotes,
    /// Of a route: what becomes of requests to the ports that it would govern, in each place of its status.
    pub ports: BTreeMap<Place, Ports>,
    /// Of a Service: what of it is refused whatever its routes say.
    pub refused: BTreeSet<String>,
    /// Of a RouteOption: what it does, by ancestor.
    pub effects: BTreeMap<ObjectRef, Effect>,
    /// Of an AuthorizationPolicy or a RequestAuthentication: the ports that it guards of what it names, or why they are refused instead.
    pub guarded: BTreeMap<ObjectRef, BTreeMap<PortRef, Option<String>>>,
}

impl Said {
    /// That something of a Service is refused, for these reasons.
    pub fn refused(refused: BTreeSet<String>) -> Self {
        Self { refused, ..Self::default() }
    }
}

/// What was found out about one HTTPRoute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteNotes {
    /// What its author should know.
    pub warnings: BTreeSet<Problem>,
    /// The parts that are refused.
    pub unsupported: BTreeSet<Problem>,
    /// The references that lead nowhere, each with the reason.
    pub unresolved: BTreeMap<Problem, String>,
    /// The rules that never apply, and on which ports.
    pub shadows: BTreeMap<Shadow, BTreeSet<PortRef>>,
}

impl RouteNotes {
    /// Something the author should know.
    pub fn warn(&mut self, problem: Problem) {
        self.warnings.insert(problem);
    }

    /// A part that is refused.
    pub fn unsupported(&mut self, problem: Problem) {
        self.unsupported.insert(problem);
    }

    /// A reference that leads nowhere.
    pub fn unresolved(&mut self, reason: &str, problem: Problem) {
        self.unresolved.insert(problem, reason.to_owned());
    }

    /// Adds what `other` notes.
    pub fn add(&mut self, other: &RouteNotes) {
        self.warnings.extend(other.warnings.iter().cloned());
        self.unsupported.extend(other.unsupported.iter().cloned());
        self.unresolved.extend(other.unresolved.iter().map(|(problem, reason)| (problem.clone(), reason.clone())));
        for (shadow, ports) in &other.shadows {
            self.shadows.entry(shadow.clone()).or_default().extend(ports.iter().cloned());
        }
    }
}

/// A rule, or a match of one, that never applies: an earlier one takes all its requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shadow {
    /// The route.
    pub route: ObjectRef,
    /// The rule or match of it.
    pub field: String,
    /// For which host names; for all if none is named.
    pub hosts: Vec<String>,
    /// The route that comes first.
    pub by: ObjectRef,
    /// The rule of that route.
    pub by_field: String,
}

/// A rule of which it is not known whether an earlier one takes all its requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InDoubt {
    /// The route.
    pub route: ObjectRef,
    /// The rule of it.
    pub field: String,
    /// The route that comes first, and the rule of it that has an expression; none where there are too many of those.
    pub by: Option<(ObjectRef, String)>,
}

/// By option and route: in which rules the option has no effect, and what comes first there.
pub type Overridden = BTreeMap<(&'static str, ObjectRef), BTreeMap<String, Winner>>;

/// A RouteOption that comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Winner {
    /// Its name.
    pub name: Name,
    /// What a guard of the other is lost to.
    pub loss: Loss,
    /// What the other asks for to guard requests, and is not asked for.
    pub lost: BTreeSet<Guard>,
}

/// What a guard is lost to, where another RouteOption comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// None is lost.
    Nothing,
    /// To one that is for less, for this rule alone: the other claims the rest.
    Withdrawn,
    /// To one that is for as much or for more.
    Lost,
}

/// What becomes of requests in one place of a route's status.
pub type Ports = BTreeMap<PortRef, PortFate>;

/// What a RouteOption does behind one ancestor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effect {
    /// The rules that it governs, by route.
    pub governed: BTreeMap<ObjectRef, BTreeSet<String>>,
    /// What of it has no effect.
    pub overridden: Overridden,
    /// Those of its rules that never apply, on which ports, and whether requests get around what it guards by that.
    pub shadows: BTreeMap<Shadow, (bool, BTreeSet<PortRef>)>,
    /// Those of its rules of which it is not known whether requests get around what it guards, and on which ports.
    pub doubts: BTreeMap<InDoubt, BTreeSet<PortRef>>,
    /// Those of its rules that it is to limit and does not, by route.
    pub unlimited: BTreeMap<(ObjectRef, Unlimited), BTreeSet<String>>,
    /// Whether all that it asks for to guard requests is asked for in some rule.
    pub guards: bool,
}

/// Why a rule is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unlimited {
    /// It redirects.
    Redirects,
    /// Its limits are for those who are known, and it asks nobody who they are.
    KnowsNobody,
}

impl Effect {
    /// Adds what `other` says.
    pub fn add(&mut self, other: &Effect) {
        for (route, rules) in &other.governed {
            self.governed.entry(route.clone()).or_default().extend(rules.iter().cloned());
        }
        for (what, rules) in &other.overridden {
            let known = self.overridden.entry(what.clone()).or_default();
            known.extend(rules.iter().map(|(rule, found)| (rule.clone(), found.clone())));
        }
        for (shadow, (around, ports)) in &other.shadows {
            let (known, of) = self.shadows.entry(shadow.clone()).or_default();
            *known |= around;
            of.extend(ports.iter().cloned());
        }
        for (doubt, ports) in &other.doubts {
            self.doubts.entry(doubt.clone()).or_default().extend(ports.iter().cloned());
        }
        for (of, rules) in &other.unlimited {
            self.unlimited.entry(of.clone()).or_default().extend(rules.iter().cloned());
        }
        self.guards |= other.guards;
    }
}

/// What becomes of the requests to a port that a route would govern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortFate {
    /// The route governs them.
    Served,
    /// They are refused, whatever routes say, for this reason.
    Refused(String),
    /// They are passed on unread, since the port is taken as something else than HTTP.
    Unread {
        /// Why it is.
        because: String,
    },
    /// They go by this route: on each port routes of one kind count, and this one is of another.
    SetAside(ObjectRef),
    /// As it is taken as something else than HTTP, connections are closed.
    Closed {
        /// Why it is.
        because: String,
        /// What the route asks for and cannot have there.
        guard: String,
    },
}

impl PortFate {
    /// Whether the route is not asked there.
    pub fn beyond(&self) -> bool {
        matches!(self, PortFate::Unread { .. } | PortFate::Closed { .. } | PortFate::SetAside(_))
    }
}
