//! Offers to an Envoy that is simulated: it refuses tables that hold a route it does not like.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use prost::Message as _;
use proto::envoy::config::route::v3::{Route, ScopedRouteConfiguration, route};
use proto::schema::resource_json;
use serde_json::{Value, json};

use super::*;

/// A route by a number that its match holds; a fault is in the action, or in the match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Action,
    Match,
}

fn route(number: usize, fault: Fault) -> Value {
    let action = if fault == Fault::Action { "bad" } else { "good" };
    let path = match fault {
        Fault::Match => json!({"safe_regex": {"regex": format!("/{number}/(bad)")}}),
        _ => json!({"path": format!("/{number}")}),
    };
    json!({"name": format!("rule {number}"), "match": path, "route": {"cluster": action}})
}

fn output(tables: &[(&str, Vec<Value>)]) -> GatewayOutput {
    let mut output = GatewayOutput::default();
    for (name, routes) in tables {
        let hosts = json!([{"name": name, "domains": ["*"], "routes": routes}]);
        let table = json!({"name": name, "route_configuration": {"name": name, "virtual_hosts": hosts}});
        let scope = resource_json(ResourceType::Scope, *name, table).unwrap();
        output.resources.entry(ResourceType::Scope).or_default().insert((*name).to_owned(), Arc::new(scope));
    }
    output
}

fn routes(resource: &Resource) -> Vec<Route> {
    let scope = ScopedRouteConfiguration::decode(resource.body.value.as_slice()).unwrap();
    scope.route_configuration.unwrap().virtual_hosts.into_iter().flat_map(|host| host.routes).collect()
}

fn likes(resource: &Resource) -> bool {
    let text = |route: &Route| format!("{route:?}");
    !routes(resource).iter().any(|route| text(route).contains("bad"))
}

#[test]
fn as_long_as_nobody_knows_who_the_envoys_are_nothing_is_sent() {
    let mut offer = Offer::default();
    assert!(!offer.identified(None));
    assert!(!offer.translated(output(&[("a", vec![route(1, Fault::None)])]), Quarantine::new()));
    assert!(offer.resources().is_empty());
    let identity = |version: &str| -> Named {
        let secret = json!({"name": "identity", "generic_secret": {"secret": {"inline_string": version}}});
        [("identity".to_owned(), resource_json(ResourceType::Secret, "identity", secret).unwrap())]
            .into_iter()
            .collect()
    };
    assert!(offer.identified(Some(identity("1"))));
    assert_eq!(offer.resources().keys().copied().collect::<Vec<_>>(), [ResourceType::Scope, ResourceType::Secret]);
    offer.sent(1);
    assert!(!offer.identified(Some(identity("1"))), "as before");
    assert!(offer.identified(Some(identity("2"))), "another is told");
    assert!(offer.resources()[&ResourceType::Scope].contains_key("a"));
}

/// The control loop around an offer, with an Envoy that answers at once.
#[derive(Default)]
struct Loop {
    offer: Offer,
    generation: u64,
    rounds: usize,
    /// What Envoy serves.
    served: BTreeMap<String, Arc<Resource>>,
    /// The tables that Envoy has refused since the last translation.
    refused: BTreeSet<String>,
}

impl Loop {
    fn translate(&mut self, mut output: GatewayOutput) {
        self.rounds = 0;
        self.refused.clear();
        let mut quarantine = self.offer.quarantine().clone();
        output.keep_apart(&mut quarantine);
        if self.offer.translated(output, quarantine) {
            self.send();
        }
    }

    fn send(&mut self) {
        loop {
            self.generation += 1;
            self.rounds += 1;
            assert!(self.rounds < 10_000, "no end");
            self.offer.sent(self.generation);
            let mut nacks = Vec::new();
            let sent = self.offer.resources().get(&ResourceType::Scope).cloned().unwrap_or_default();
            self.served.retain(|name, _| sent.contains_key(name));
            self.an_envoy_that_begins_refuses_nothing_that_was_refused(&sent);
            for (name, resource) in sent {
                if likes(&resource) {
                    self.served.insert(name, resource);
                } else {
                    self.refused.insert(name.clone());
                    let (version, message) = (resource.version.clone(), "bad".to_owned());
                    nacks.push(Nack { kind: ResourceType::Scope, name, version, message, generation: self.generation });
                }
            }
            if !self.offer.answered(&AckState {
                sessions: 1,
                generation: self.generation,
                nacks,
                ..AckState::default()
            }) {
                return;
            }
        }
    }

    /// In each round of a search: what is sent first to an Envoy that has nothing leaves no table away and holds
    /// nothing that was refused before; without a search there is nothing of the kind.
    fn an_envoy_that_begins_refuses_nothing_that_was_refused(&self, sent: &Named) {
        // Where nothing but answers of our own is left, the next refusal tells that the table itself is at fault.
        let ours = |resource: &Resource| {
            routes(resource).iter().all(|route| matches!(route.action, Some(route::Action::DirectResponse(_))))
        };
        let fine =
            |(name, resource): (&String, &Resource)| likes(resource) || !self.refused.contains(name) || ours(resource);
        match self.offer.without_suspects() {
            None => assert!(sent.iter().all(|(name, resource)| fine((name, resource))), "no search, and a bad table"),
            Some(first) => {
                let first = &first[&ResourceType::Scope];
                assert!(first.keys().eq(sent.keys()));
                assert!(first.iter().all(|(name, resource)| fine((name, resource))), "it would be refused");
            }
        }
    }

    /// What each rule of a table does: the cluster it goes to, or the status it answers.
    fn effect(&self, table: &str) -> Vec<String> {
        let effect = |route: Route| match route.action {
            Some(route::Action::DirectResponse(answer)) => answer.status.to_string(),
            _ => "served".to_owned(),
        };
        routes(&self.served[table]).into_iter().map(effect).collect()
    }
}

fn all(faults: &[Fault]) -> Vec<Value> {
    faults.iter().enumerate().map(|(number, fault)| route(number, *fault)).collect()
}

#[test]
fn a_later_policy_takes_effect_in_the_presence_of_a_bad_rule() {
    let mut control = Loop::default();
    control.translate(output(&[("a", all(&[Fault::None, Fault::None]))]));
    assert_eq!(control.rounds, 1);
    control.translate(output(&[("a", all(&[Fault::None, Fault::Action]))]));
    assert_eq!((control.rounds, control.effect("a")), (2, vec!["served".to_owned(), "500".to_owned()]));
    control.translate(output(&[("a", all(&[Fault::None, Fault::Action, Fault::None]))]));
    assert_eq!(control.rounds, 1, "what is known is not tried again");
    assert_eq!(control.effect("a"), ["served", "500", "served"]);
    control.translate(output(&[("a", all(&[Fault::None, Fault::None, Fault::None]))]));
    assert_eq!((control.rounds, control.effect("a")), (1, vec!["served".to_owned(); 3]));
    assert!(control.offer.is_in_force() && control.offer.quarantine().is_empty());
}

#[test]
fn an_envoy_that_starts_again_is_sent_what_it_will_take() {
    let mut control = Loop::default();
    control.translate(output(&[("a", all(&[Fault::None, Fault::Match]))]));
    control.served.clear();
    control.offer.answered(&AckState::default());
    assert!(!control.offer.is_in_force());
    control.rounds = 0;
    control.send();
    assert_eq!((control.rounds, control.effect("a")), (1, vec!["served".to_owned(), "500".to_owned()]));
}

#[test]
fn a_table_in_which_no_rule_is_at_fault_is_refused_as_a_whole() {
    let mut control = Loop::default();
    let mut bad = output(&[("bad", all(&[Fault::None; 5])), ("good", all(&[Fault::None]))]);
    let table = bad.resources.get_mut(&ResourceType::Scope).unwrap().get_mut("bad").unwrap();
    // No rule holds it, but every version of the table does.
    let mut scope = ScopedRouteConfiguration::decode(table.body.value.as_slice()).unwrap();
    let message = scope.route_configuration.as_mut().unwrap();
    message.virtual_hosts.push(message.virtual_hosts[0].clone());
    for (index, host) in message.virtual_hosts.iter_mut().enumerate() {
        host.routes.iter_mut().for_each(|route| route.name = format!("{index} {}", route.name));
        host.routes.last_mut().unwrap().r#match.as_mut().unwrap().path_specifier =
            Some(proto::envoy::config::route::v3::route_match::PathSpecifier::Path("/bad".to_owned()));
    }
    *table = Arc::new(proto::canonical::resource(ResourceType::Scope, "bad", &scope));
    control.translate(bad);
    assert_eq!(control.effect("bad"), ["500"]);
    assert_eq!(control.effect("good"), ["served"]);
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![8 => Just(Fault::None), 1 => Just(Fault::Action), 1 => Just(Fault::Match)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn exactly_the_guilty_are_refused_and_found_in_few_rounds(
        states in proptest::collection::vec(
            (proptest::collection::vec(fault(), 1..40), proptest::collection::vec(fault(), 1..10)),
            1..4,
        ),
    ) {
        let mut control = Loop::default();
        for (a, b) in states {
            control.translate(output(&[("a", all(&a)), ("b", all(&b))]));
            for (table, faults) in [("a", &a), ("b", &b)] {
                let expected: Vec<&str> =
                    faults.iter().map(|fault| if *fault == Fault::None { "served" } else { "500" }).collect();
                prop_assert_eq!(control.effect(table), expected);
            }
            prop_assert!(control.offer.is_in_force());
            let guilty = a.iter().chain(&b).filter(|fault| **fault != Fault::None).count();
            // Each is found by halving 40 suspects, tried with its match alone, and released from.
            prop_assert!(control.rounds <= 2 + guilty * 14, "{} rounds for {guilty}", control.rounds);
        }
    }
}
