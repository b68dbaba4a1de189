//! The steps of one AuthConfig and how their answers combine.
//!
//! Evaluation is a pure function of the request and of what steps have answered so far. When a step
//! needs time, evaluation stops there; with its answer it begins anew and comes further.

use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use api::Name;
use api::gloo::auth_config::Expression;
use api::header::{self, HeaderUse};
use futures_util::future::BoxFuture;

use crate::headers::Seal;
use crate::meters::ConfigMeters;
use crate::request::Request;
use crate::step::{Answer, Ask, Denial, Fault, Grant, Outcome, Step};

/// A compiled AuthConfig.
#[derive(Debug)]
pub struct Chain {
    /// The AuthConfig.
    pub name: Name,
    /// Its steps, in order.
    pub steps: Vec<Box<dyn Step>>,
    /// How they combine.
    pub plan: Plan,
    /// Every header any step may set, or may in the version that replaced this one. Those that a passing request does not
    /// get are taken out of it.
    pub seal: Arc<Seal>,
    /// Of these, the ones that are filled from what is declared alone, and the user's: other servers are not shown what
    /// clients say there.
    pub declared: Arc<Seal>,
    /// Lower-case name of the header that tells upstream who the user is, where the question names none.
    pub user_header: Arc<str>,
    /// Whether a step tells what others have told.
    pub shares_state: bool,
    /// Whether a client that would be sent elsewhere is answered 401 instead.
    pub fail_on_redirect: bool,
    /// Counters of this AuthConfig, made at the first request.
    pub meters: OnceLock<Arc<ConfigMeters>>,
}

/// How steps combine; what a `booleanExpr` says, or all in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// A step passes.
    Step(Place),
    /// The inner plan denies.
    Not(Box<Plan>),
    /// All pass, in order; the first denial is the answer.
    All(Vec<Plan>),
    /// One passes, in order; the last denial is the answer, or the first that sends the client elsewhere.
    Any(Vec<Plan>),
}

/// Where a plan asks a step. One that is asked in two places may be asked about different headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which step, by its number.
    pub step: usize,
    /// The how many-th place of the plan this is.
    pub number: usize,
}

/// What is to be decided.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The request.
    pub request: Request<'a>,
    /// When the answer must be there.
    pub deadline: Instant,
    /// The time by the clock.
    pub now: SystemTime,
}

/// What steps that needed time have answered, by the number of their place.
pub type Known = Vec<(usize, Outcome)>;

/// How far a decision has come.
pub enum Progress {
    /// It is made.
    Decided(Decision),
    /// It cannot be made without the answer in this place.
    Waits(usize, BoxFuture<'static, Outcome>),
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may pass.
    Allow(Allowed),
    /// The client gets this answer instead.
    Deny(Denial),
}

/// What a passing request gets, and what is taken out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// What the steps grant; none, nothing.
    pub grant: Option<Arc<Grant>>,
    /// The header that tells upstream who the user is.
    pub user_header: Arc<str>,
    /// The headers that it must not bring itself.
    pub seal: Arc<Seal>,
    /// More of them: those that look like the user header, if the question named it.
    pub user_seal: Option<Seal>,
}

/// What a plan, or a part of one, has come to.
enum Verdict {
    Pass(Option<Arc<Grant>>),
    Deny(Denial),
    Fault(Fault),
    Waits(usize, BoxFuture<'static, Outcome>),
}

impl Chain {
    /// Begins to get what its steps will need.
    pub fn prepare(&self) {
        self.steps.iter().for_each(|step| step.prepare());
    }

    /// Decides about a request, given what was `known` already.
    pub fn decide(&self, question: Question<'_>, known: &Known) -> Progress {
        match self.run(&self.plan, question, known, None) {
            Verdict::Pass(grant) => Progress::Decided(self.allowed(grant, question.request)),
            Verdict::Deny(denial) => Progress::Decided(Decision::Deny(denial)),
            Verdict::Fault(fault) => Progress::Decided(Decision::Deny(fault.denial())),
            Verdict::Waits(place, answer) => Progress::Waits(place, answer),
        }
    }

    fn allowed(&self, grant: Option<Arc<Grant>>, request: Request<'_>) -> Decision {
        let seal = self.seal.clone();
        match request.user_header().filter(|named| **named != *self.user_header) {
            None => Decision::Allow(Allowed { grant, user_header: self.user_header.clone(), seal, user_seal: None }),
            Some(named) if header::check(named, HeaderUse::Write).is_ok() => {
                let user_header: Arc<str> = named.to_ascii_lowercase().into();
                let user_seal = Some(Seal::new([user_header.clone()]));
                Decision::Allow(Allowed { grant, user_header, seal, user_seal })
            }
            // Upstream would not learn who it is.
            Some(_) => Decision::Deny(Fault::Internal.denial()),
        }
    }

    /// `granted` is what the steps before `plan` grant.
    fn run(&self, plan: &Plan, question: Question<'_>, known: &Known, granted: Option<Arc<Grant>>) -> Verdict {
        match plan {
            Plan::Step(place) => match self.ask(*place, question, known, granted.as_ref()) {
                Answer::Now(Outcome::Pass(grant)) => Verdict::Pass(Some(match granted {
                    None => grant,
                    Some(earlier) => Arc::new(grant.after(&earlier)),
                })),
                Answer::Now(Outcome::Deny(denial)) if self.fail_on_redirect && denial.is_redirect() => {
                    Verdict::Deny(Denial::NO_REDIRECT)
                }
                Answer::Now(Outcome::Deny(denial)) => Verdict::Deny(denial),
                Answer::Now(Outcome::Fault(fault)) => Verdict::Fault(fault),
                Answer::Later(answer) => Verdict::Waits(place.number, answer),
            },
            // What is granted below a negation is not kept, whichever way it ends.
            Plan::Not(inner) => match self.run(inner, question, known, granted.clone()) {
                Verdict::Pass(_) => Verdict::Deny(Denial::NEGATED),
                Verdict::Deny(_) => Verdict::Pass(granted),
                open @ (Verdict::Fault(_) | Verdict::Waits(..)) => open,
            },
            // No parts is no permission.
            Plan::All(parts) | Plan::Any(parts) if parts.is_empty() => Verdict::Fault(Fault::Internal),
            Plan::All(parts) => {
                let mut granted = granted;
                for part in parts {
                    match self.run(part, question, known, granted) {
                        Verdict::Pass(grant) => granted = grant,
                        other => return other,
                    }
                }
                Verdict::Pass(granted)
            }
            Plan::Any(parts) => {
                let (mut denied, mut fault): (Option<Denial>, _) = (None, None);
                for part in parts {
                    match self.run(part, question, known, granted.clone()) {
                        // Whoever may log in somewhere is told so, whatever else was tried.
                        Verdict::Deny(_) if denied.as_ref().is_some_and(Denial::is_redirect) => {}
                        Verdict::Deny(denial) => denied = Some(denial),
                        Verdict::Fault(first) => fault = fault.or(Some(first)),
                        reached @ (Verdict::Pass(_) | Verdict::Waits(..)) => return reached,
                    }
                }
                // With a fault among them it is not known that none passes, so that a negation must not hold.
                match (fault, denied) {
                    (None, Some(denial)) => Verdict::Deny(denial),
                    (fault, _) => Verdict::Fault(fault.unwrap_or(Fault::Internal)),
                }
            }
        }
    }

    fn ask(&self, place: Place, question: Question<'_>, known: &Known, granted: Option<&Arc<Grant>>) -> Answer {
        let Some(step) = self.steps.get(place.step) else { return Answer::Now(Outcome::Fault(Fault::Internal)) };
        let request = question.request;
        let user_header = request.user_header().unwrap_or(&self.user_header);
        let Question { deadline, now, .. } = question;
        let ask = Ask { request, granted, user_header, declared: &self.declared, deadline, now };
        let answer = match known.iter().find(|(number, _)| *number == place.number) {
            Some((_, outcome)) => Answer::Now(outcome.clone()),
            None => step.check(&ask),
        };
        match answer {
            Answer::Now(Outcome::Pass(grant)) if self.shares_state => {
                let told = step.tells(&ask, &grant);
                Answer::Now(Outcome::Pass(if told.is_empty() { grant } else { Arc::new(grant.telling(&told)) }))
            }
            answer => answer,
        }
    }
}

impl Plan {
    /// All of `steps` steps, in order.
    pub(crate) fn in_order(steps: usize) -> Plan {
        Plan::All((0..steps).map(|step| Plan::Step(Place { step, number: step })).collect())
    }

    /// `expression` over the steps called `names`; None if it names another.
    pub fn of(expression: &Expression, names: &[String]) -> Option<Plan> {
        Plan::numbered(expression, names, &mut 0)
    }

    fn numbered(expression: &Expression, names: &[String], next: &mut usize) -> Option<Plan> {
        let mut all = |parts: &[Expression]| {
            parts.iter().map(|part| Plan::numbered(part, names, next)).collect::<Option<Vec<_>>>()
        };
        Some(match expression {
            Expression::Step(name) => {
                let place = Place { step: names.iter().position(|known| known == name)?, number: *next };
                *next += 1;
                Plan::Step(place)
            }
            Expression::Not(inner) => Plan::Not(Box::new(Plan::numbered(inner, names, next)?)),
            Expression::All(parts) => Plan::All(all(parts)?),
            Expression::Any(parts) => Plan::Any(all(parts)?),
        })
    }
}

#[cfg(test)]
mod tests;
