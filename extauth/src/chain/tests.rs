//! Every way to combine steps, with steps that answer at once, later, or not at all.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::FutureExt as _;
use proptest::prelude::*;
use proto::envoy::service::auth::v3 as pb;

use super::*;
use std::borrow::Cow;

use crate::headers::{Mutation, Mutations, Value};
use crate::state::State;

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
                Outcome::Pass(Arc::new(Grant { headers, user: Value::new(&format!("user {number}")), more: None }))
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
        declared: Arc::default(),
        shares_state: false,
        fail_on_redirect: false,
        user_header: "x-user-id".into(),
        meters: OnceLock::new(),
    }
}

/// Decides to the end, and says how often evaluation had to begin anew.
fn decide(chain: &Chain) -> (Decision, usize) {
    let check = pb::CheckRequest::default();
    let question = Question { request: Request::new(&check), deadline: Instant::now(), now: SystemTime::now() };
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

/// Answers in place of a step that denies.
fn denying(chain: &mut Chain, step: usize, denial: Denial) {
    chain.steps[step] = Box::new(Told { outcome: Outcome::Deny(denial), later: true });
}

/// A page to log in at is of more use than a status.
#[test]
fn who_may_log_in_is_sent_there_whatever_else_denies_unless_that_is_not_wanted() {
    let login = Denial {
        headers: vec![(Cow::Borrowed("location"), Cow::Borrowed("https://login"))].into(),
        ..Denial::plain(302, "log in")
    };
    let any = || Plan::Any((0..3).map(|step| Plan::Step(Place { step, number: step })).collect());
    for at in 0..3 {
        let mut one = chain(any(), &[(Says::Deny, true); 3]);
        denying(&mut one, at, login.clone());
        assert_eq!(decide(&one).0, Decision::Deny(login.clone()), "{at}");
        one.fail_on_redirect = true;
        assert_eq!(granted(&decide(&one).0), Err(401), "{at}");
        one.plan = Plan::Not(Box::new(Plan::Step(Place { step: at, number: 0 })));
        assert_eq!(granted(&decide(&one).0), Ok(String::new()), "{at}: it did not pass");
    }
    let mut all = chain(Plan::in_order(2), &[(Says::Pass, true), (Says::Pass, false)]);
    denying(&mut all, 1, login.clone());
    assert_eq!(decide(&all).0, Decision::Deny(login));
    all.fail_on_redirect = true;
    assert_eq!(decide(&all).0, Decision::Deny(Denial::NO_REDIRECT));
}

/// Keeps what it was shown of what steps before it have told.
#[derive(Debug, Default)]
struct Listens(std::sync::Mutex<Vec<serde_json::Value>>);

impl Step for Arc<Listens> {
    fn check(&self, ask: &Ask<'_>) -> Answer {
        let state = ask.granted.and_then(|granted| granted.state()).map(State::expose).cloned();
        self.0.lock().unwrap().push(state.unwrap_or_default().into());
        Answer::Now(Outcome::Deny(Denial::plain(403, "listening")))
    }
}

/// Tells its number.
#[derive(Debug)]
struct Tells(usize);

impl Step for Tells {
    fn check(&self, _: &Ask<'_>) -> Answer {
        Answer::Now(Outcome::Pass(Arc::default()))
    }

    fn tells(&self, _: &Ask<'_>, _: &Grant) -> State {
        let mut state = State::default();
        state.set(format!("step {}", self.0), self.0.into());
        state
    }
}

#[test]
fn steps_learn_from_those_before_them_that_passed_on_the_same_way() {
    let listens = Arc::new(Listens::default());
    let step = |step| Plan::Step(Place { step, number: step });
    // Both ways lead to the one that listens: by 0, and by 1 and not 2.
    let listening = |number| Plan::Step(Place { step: 3, number });
    let ways = vec![
        Plan::All(vec![step(0), listening(10)]),
        Plan::All(vec![step(1), Plan::Any(vec![Plan::Not(Box::new(step(2))), listening(11)])]),
    ];
    let mut chain = chain(Plan::Any(ways), &[(Says::Pass, false); 3]);
    chain.steps = (0..3).map(|number| Box::new(Tells(number)) as Box<dyn Step>).collect();
    chain.steps.push(Box::new(listens.clone()));
    decide(&chain);
    assert_eq!(*listens.0.lock().unwrap(), [serde_json::json!({}), serde_json::json!({})], "nobody shares");
    listens.0.lock().unwrap().clear();
    chain.shares_state = true;
    decide(&chain);
    assert_eq!(*listens.0.lock().unwrap(), [serde_json::json!({"step 0": 0}), serde_json::json!({"step 1": 1})]);
}
