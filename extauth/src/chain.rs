//! The steps of one AuthConfig and how their results combine.

use std::fmt;
use std::sync::{Arc, OnceLock};

use api::Name;
use api::gloo::auth_config::Expression;

use crate::api_key::ApiKey;
use crate::headers::{Mutations, Value};
use crate::meters::ConfigMeters;
use crate::request::Request;

/// A compiled AuthConfig.
#[derive(Debug)]
pub struct Chain {
    /// The AuthConfig.
    pub name: Name,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// How they combine.
    pub plan: Plan,
    /// Every header any step may set. Those that a passing request does not get are taken out of it.
    pub sets: Vec<Arc<str>>,
    /// Counters of this AuthConfig, made at the first request.
    pub meters: OnceLock<ConfigMeters>,
}

/// One step.
#[derive(Debug)]
pub struct Step {
    /// Its name, `config_<index>` by default.
    pub name: String,
    /// What it checks.
    pub check: Check,
}

/// What a step checks: one variant for each type that is enforced.
#[derive(Debug)]
pub enum Check {
    /// A key in a header.
    ApiKey(ApiKey),
}

/// How steps combine; [`Expression`] with names resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The step at this index passes.
    Step(usize),
    /// The inner plan denies.
    Not(Box<Plan>),
    /// All pass, in order; the first denial is the answer.
    All(Vec<Plan>),
    /// One passes, in order; the last denial is the answer.
    Any(Vec<Plan>),
}

/// What the steps that let the request pass have said so far.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Changes to the request's headers.
    pub mutations: Mutations,
    /// Who the user is; the last step to say so wins.
    pub user: Option<Value>,
}

/// Why and how a request is answered instead of passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// HTTP status.
    pub status: u16,
    /// Value of `www-authenticate`, if any.
    pub challenge: Option<&'static str>,
    /// For logs and metrics; the client does not see it.
    pub reason: &'static str,
}

impl Denial {
    /// No key, or none that is known: the answer is the same, so that it tells nothing.
    pub const MISSING_KEY: Denial =
        Denial { status: 401, challenge: Some("API key is missing or invalid"), reason: "api key missing or unknown" };
    /// A negated step passed.
    pub const NEGATED: Denial = Denial { status: 403, challenge: None, reason: "a negated config passed" };
    /// The route names no AuthConfig.
    pub const NO_CONFIG_ID: Denial = Denial { status: 403, challenge: None, reason: "no config_id" };
    /// The route names an AuthConfig that does not exist.
    pub const UNKNOWN_CONFIG: Denial = Denial { status: 403, challenge: None, reason: "unknown config_id" };
    /// The route names an AuthConfig that was refused.
    pub const REFUSED_CONFIG: Denial = Denial { status: 403, challenge: None, reason: "AuthConfig was refused" };
    /// Something that cannot happen, or a request that cannot be read.
    pub const FAULT: Denial = Denial { status: 403, challenge: None, reason: "internal fault" };
    /// A message too large or malformed to be read.
    pub const UNREADABLE: Denial = Denial { status: 403, challenge: None, reason: "unreadable request" };
}

impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Denial({}, {})", self.status, self.reason)
    }
}

impl Chain {
    /// Decides about `request`.
    pub fn decide(&self, request: Request<'_>) -> Result<State, Denial> {
        let mut state = self.run(&self.plan, request, State::default())?;
        state.mutations.seal(&self.sets);
        Ok(state)
    }

    fn run(&self, plan: &Plan, request: Request<'_>, state: State) -> Result<State, Denial> {
        match plan {
            Plan::Step(index) => match self.steps.get(*index).map(|step| &step.check) {
                Some(Check::ApiKey(step)) => step.check(request, state),
                None => Err(Denial::FAULT),
            },
            // What is said below a negation is not kept, whichever way it ends.
            Plan::Not(inner) => match self.run(inner, request, state.clone()) {
                Ok(_) => Err(Denial::NEGATED),
                Err(_) => Ok(state),
            },
            // No parts is no permission.
            Plan::All(parts) | Plan::Any(parts) if parts.is_empty() => Err(Denial::FAULT),
            Plan::All(parts) => parts.iter().try_fold(state, |state, part| self.run(part, request, state)),
            Plan::Any(parts) => {
                let mut last = Denial::FAULT;
                for part in parts {
                    match self.run(part, request, state.clone()) {
                        Ok(state) => return Ok(state),
                        Err(denial) => last = denial,
                    }
                }
                Err(last)
            }
        }
    }
}

impl Plan {
    /// All of `steps` steps, in order.
    pub fn in_order(steps: usize) -> Plan {
        Plan::All((0..steps).map(Plan::Step).collect())
    }

    /// `expression` over the steps called `names`; None if it names another.
    pub fn of(expression: &Expression, names: &[String]) -> Option<Plan> {
        let all = |parts: &[Expression]| parts.iter().map(|part| Plan::of(part, names)).collect::<Option<Vec<_>>>();
        Some(match expression {
            Expression::Step(name) => Plan::Step(names.iter().position(|known| known == name)?),
            Expression::Not(inner) => Plan::Not(Box::new(Plan::of(inner, names)?)),
            Expression::All(parts) => Plan::All(all(parts)?),
            Expression::Any(parts) => Plan::Any(all(parts)?),
        })
    }
}
