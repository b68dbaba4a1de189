//! Every way to combine steps, with steps that answer at once, later, or not at all.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use proptest::prelude::*;
use proto::envoy::service::auth::v3 as pb;

use super::*;
use crate::headers::{Mutation, Mutations, Value};

/// Answers what it was told to, in its own time.
#[derive(Debug)]
struct Told {
    outcome: Outcome,
    later: bool,
}

impl Step for Told {
    fn check(&self, _: &Ask<'_>) -> Answer {
        let outcome = self.outcome.clone();
        match self.later {
            false => Answer::Now(outcome),
            true => Answer::Later(Box::pin(async { outcome })),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    Pass,
    Deny,
    Fault,
}

fn chain(plan: Plan, says: &[(Says, bool)]) -> Chain {
    let step = |(number, (says, later)): (usize, &(Says, bool))| {
        let outcome = match says {
            Says::Pass => {
                let mut headers = Mutations::default();
                headers.apply(&"x-steps".into(), Mutation::Append(Value::new(&number.to_string()).unwrap()));
                Outcome::Pass(Arc::new(Grant { headers, user: Value::new(&format!("user {number}")) }))
            }
            Says::Deny => Outcome::Deny(Denial::plain(401, "told to")),
            Says::Fault => Outcome::Fault(Fault::Busy),
        };
        Box::new(Told { outcome, later: *later }) as Box<dyn Step>
    };
    Chain {
        name: Name { namespace: "n".into(), name: "n".into() },
        steps: says.iter().enumerate().map(step).collect(),
        plan,
        seal: Arc::default(),
        user_header: "x-user-id".into(),
        meters: OnceLock::new(),
    }
}

/// Decides to the end, and says how often evaluation had to begin anew.
fn decide(chain: &Chain) -> (Decision, usize) {
    let check = pb::CheckRequest::default();
    let question = Question { request: Request::new(&check), deadline: Instant::now() };
    let mut known = Known::new();
    loop {
        match chain.decide(question, &known) {
            Progress::Decided(decision) => return (decision, known.len()),
            Progress::Waits(place, waited) => known.push((place, waited.now_or_never().unwrap())),
        }
    }
}

/// The steps that grant, in order; or how it is denied.
fn granted(decision: &Decision) -> Result<String, u16> {
    match decision {
        Decision::Allow(Allowed { grant, .. }) => Ok(grant
            .iter()
            .flat_map(|grant| grant.headers.iter())
            .map(|(_, mutation)| match mutation {
                Mutation::Append(value) => value.expose().to_owned(),
                other => panic!("{other:?}"),
            })
            .collect()),
        Decision::Deny(denial) => Err(denial.status),
    }
}

/// What an expression comes to, by the rules as a person would write them down.
fn expected(plan: &Plan, says: &[(Says, bool)]) -> (Says, Vec<usize>) {
    match plan {
        Plan::Step(place) => match says[place.step].0 {
            Says::Pass => (Says::Pass, vec![place.step]),
            other => (other, vec![]),
        },
        Plan::Not(inner) => match expected(inner, says).0 {
            Says::Pass => (Says::Deny, vec![]),
            Says::Deny => (Says::Pass, vec![]),
            Says::Fault => (Says::Fault, vec![]),
        },
        Plan::All(parts) => {
            let mut all = Vec::new();
            for part in parts {
                match expected(part, says) {
                    (Says::Pass, more) => all.extend(more),
                    (other, _) => return (other, vec![]),
                }
            }
            (Says::Pass, all)
        }
        Plan::Any(parts) => {
            let all: Vec<_> = parts.iter().map(|part| expected(part, says)).collect();
            let passed = all.iter().find(|(says, _)| *says == Says::Pass).cloned();
            let fault = all.iter().any(|(says, _)| *says == Says::Fault);
            passed.unwrap_or((if fault { Says::Fault } else { Says::Deny }, vec![]))
        }
    }
}

fn plan(steps: usize) -> impl Strategy<Value = Plan> {
    let leaf = (0..steps).prop_map(|step| Plan::Step(Place { step, number: 0 }));
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Plan::Not(Box::new(inner))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Plan::All),
            prop::collection::vec(inner, 1..4).prop_map(Plan::Any),
        ]
    })
    .prop_map(|mut plan| {
        number(&mut plan, &mut 0);
        plan
    })
}

fn number(plan: &mut Plan, next: &mut usize) {
    match plan {
        Plan::Step(place) => {
            place.number = *next;
            *next += 1;
        }
        Plan::Not(inner) => number(inner, next),
        Plan::All(parts) | Plan::Any(parts) => parts.iter_mut().for_each(|part| number(part, next)),
    }
}

fn says() -> impl Strategy<Value = (Says, bool)> {
    (prop_oneof![Just(Says::Pass), Just(Says::Deny), Just(Says::Fault)], any::<bool>())
}

proptest! {
    /// Whether steps answer at once or later changes nothing, and a fault never turns into a pass.
    #[test]
    fn any_expression_comes_to_what_its_rules_say(plan in plan(4), says in prop::collection::vec(says(), 4)) {
        let (decision, _) = decide(&chain(plan.clone(), &says));
        let (verdict, steps) = expected(&plan, &says);
        let steps: Vec<String> = steps.iter().map(usize::to_string).collect();
        match verdict {
            Says::Pass => prop_assert_eq!(granted(&decision), Ok(steps.join(","))),
            Says::Deny => prop_assert!(matches!(granted(&decision), Err(401 | 403)), "{:?}", decision),
            Says::Fault => prop_assert_eq!(granted(&decision), Err(503)),
        }
    }

    #[test]
    fn steps_are_asked_no_further_than_needed(says in prop::collection::vec(says(), 4)) {
        let says: Vec<_> = says.into_iter().map(|(says, _)| (says, true)).collect();
        let (_, asked) = decide(&chain(Plan::in_order(4), &says));
        let passing = says.iter().take_while(|(says, _)| *says == Says::Pass).count();
        prop_assert_eq!(asked, (passing + 1).min(4));
    }
}

#[test]
fn a_step_that_is_named_twice_is_asked_in_each_place() {
    let names = BTreeMap::from([("a", 0), ("b", 1)]).into_keys().map(str::to_owned).collect::<Vec<_>>();
    let expression = Expression::parse("(a && b) || (b && !a)").unwrap();
    let plan = Plan::of(&expression, &names).unwrap();
    let chain = chain(plan, &[(Says::Deny, true), (Says::Pass, true)]);
    let (decision, asked) = decide(&chain);
    assert_eq!((granted(&decision), asked), (Ok("1".to_owned()), 3));
    assert!(Plan::of(&Expression::parse("a || c").unwrap(), &names).is_none());
}

#[test]
fn nothing_to_check_is_no_permission() {
    for plan in [Plan::All(vec![]), Plan::Any(vec![]), Plan::Not(Box::new(Plan::Any(vec![]))), Plan::in_order(1)] {
        assert_eq!(granted(&decide(&chain(plan, &[])).0), Err(403));
    }
}
