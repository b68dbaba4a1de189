//! What is decided about one object: which of its declarations counts, and what is served and said of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use api::core::Namespace;
use api::{Broken, Object, Problem};
use status::ObjectStatus;

use super::addresses::{Addressed, Requested, replaced, requested, with_address};
use super::declarations::Candidate;
use super::engine::Declared;
use super::namespaces::labelled;
use crate::assembly::{LAST_GOOD, Stamped, Version, judged};
use crate::board::Origin;

/// What is decided about one object. It is not kept: it follows from the files and from the last good version.
pub(crate) struct Decision {
    path: Arc<Path>,
    declared: Arc<Declared>,
    /// What to serve.
    pub object: Option<Stamped>,
    /// Whether that is not what was written last.
    pub fallback: bool,
    pub problems: Vec<Problem>,
    address: String,
}

impl Decision {
    /// The newest of `all` declarations, which come first, wins; if it cannot be used, what was good last stays.
    /// None for an object that is not declared.
    pub fn of(all: &[Candidate<'_>], last_good: Option<&Stamped>) -> Option<Decision> {
        let winner = all.first()?;
        let mut problems = winner.declared.problems().to_vec();
        let others: BTreeSet<String> = all[1..].iter().map(Candidate::place).collect();
        if !others.is_empty() {
            let others = others.into_iter().collect::<Vec<_>>().join(", ");
            problems.push(Problem::warning(
                "",
                format!("declared more than once: {} is newest and counts, not {others}; keep one", winner.place()),
            ));
        }
        if let (Some(problem), true) = (&winner.source.record.problem, winner.source.record.good) {
            problems.push(Problem::warning(
                "",
                format!(
                    "the latest edit of {} is not in use, the last good version is: {problem}",
                    winner.path.display()
                ),
            ));
        }
        let usable = winner.usable();
        let fallback = usable.is_none();
        let object = usable
            .or_else(|| last_good.cloned())
            // As if the older file had been read before the newer one was written.
            .or_else(|| all[1..].iter().find_map(Candidate::usable));
        Some(Decision {
            path: winner.path.clone(),
            declared: winner.declared.clone(),
            object,
            fallback,
            problems,
            address: String::new(),
        })
    }

    /// What is served of it where it does not get the address that it asks for.
    pub fn without_address(&self, last_good: Option<&Stamped>) -> Option<Stamped> {
        last_good.filter(|_| !self.fallback).cloned()
    }

    /// The same for a Service that gets this address.
    pub fn with_address(mut self, addressed: &Addressed, last_good: Option<&Stamped>) -> Decision {
        let Addressed { refused, answer } = addressed;
        if let Some(problem) = refused {
            self.problems.push(problem.clone());
            self.object = self.without_address(last_good);
            self.fallback = true;
        }
        let Some((Object::Service(service), digest)) = &self.object else { return self };
        match answer {
            Some(Ok(Some(ip))) => {
                if Requested::of(service) == Requested::Foreign {
                    self.problems.push(replaced(service, *ip));
                }
                self.address = ip.to_string();
                self.object = Some((Object::Service(with_address(service, *ip)), *digest));
            }
            Some(Err(problem)) => {
                self.problems.push(problem.clone());
                (self.object, self.fallback) = (None, true);
            }
            Some(Ok(None)) | None => {}
        }
        self
    }

    /// What it asks for, if it is a Service that can be served.
    pub fn requested(&self) -> Option<Requested> {
        requested(self.object.as_ref())
    }

    /// What is served.
    pub fn version(self) -> Version {
        match self.object {
            Some((Object::Namespace(namespace), digest)) => {
                let object = Object::Namespace(Arc::new(labelled(Namespace::clone(&namespace))));
                Version::Good { object, digest: Some(digest), made: self.address }
            }
            Some((object, digest)) => Version::Good { object, digest: Some(digest), made: self.address },
            None => {
                let (partial, reach) = (self.declared.object.clone(), self.declared.reach());
                Version::Broken(Broken { problems: self.problems, partial, reach }, self.declared.digest)
            }
        }
    }

    /// Whether what was written last is not served.
    pub fn is_rejected(&self) -> bool {
        self.fallback || self.object.is_none()
    }

    /// Where the declaration that counts stands.
    pub fn origin(&self) -> Origin {
        let [line, document] = [self.declared.line, self.declared.document].map(|number| number as usize);
        Origin { path: self.path.clone(), line, document }
    }

    /// Whether there is nothing else to say of it than where it is declared.
    pub fn is_simply_accepted(&self) -> bool {
        !self.is_rejected() && self.problems.is_empty() && self.generation().is_none()
    }

    fn generation(&self) -> Option<i64> {
        self.declared.object.as_ref().and_then(Object::generation)
    }

    /// What is said of it.
    pub fn status(&self) -> ObjectStatus {
        let mut place = self.origin().place();
        if self.fallback && self.object.is_some() {
            place.push_str(&format!("; {LAST_GOOD}"));
        }
        let condition = judged(self.problems.clone(), &place);
        ObjectStatus::new(vec![condition]).observing(self.generation())
    }
}
