//! What is said of objects as their Gateway's Envoys answer.
#![allow(clippy::unwrap_used)]

use proto::schema::resource_json;
use serde_json::json;
use status::Parent;
use xds::AckState;

use super::*;

fn route(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::HttpRoute, "shop", name)
}

fn gateway() -> Name {
    Name::new("shop", "gateway")
}

fn gateway_object() -> ObjectRef {
    ObjectRef { kind: Kind::Gateway, name: gateway() }
}

fn service(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::Service, "shop", name)
}

/// A table for each Service, which came from these routes.
fn output(tables: &[(&str, &[&str])]) -> GatewayOutput {
    let mut output = GatewayOutput::default();
    for (name, routes) in tables {
        let name = format!("shop/{name}/80");
        let resource = resource_json(ResourceType::Scope, name.clone(), json!({"name": routes.join(" ")})).unwrap();
        output.resources.entry(ResourceType::Scope).or_default().insert(name.clone(), resource);
        let origins = routes.iter().map(|name| route(name)).chain([gateway_object()]).collect();
        output.came_from((ResourceType::Scope, name), Some(origins));
    }
    output
}

/// The control loop around one offer.
struct World {
    offer: Offer,
    standing: Standing,
    generation: u64,
}

impl World {
    fn new() -> Self {
        Self { offer: Offer::default(), standing: Standing::default(), generation: 0 }
    }

    fn translate(&mut self, output: GatewayOutput) {
        if self.offer.translated(output, Default::default()) {
            self.generation += 1;
            self.offer.sent(self.generation);
        }
        self.standing = Standing::new(self.offer.output()).with(&self.offer);
    }

    /// The objects that the answer changes.
    fn answer(&mut self, acks: &AckState) -> Vec<String> {
        self.offer.answered(acks);
        let now = self.standing.with(&self.offer);
        let differ = self.standing.differs(&now);
        self.standing = now;
        differ.iter().map(ToString::to_string).collect()
    }

    fn all(&mut self) -> Vec<String> {
        let acks = AckState { sessions: 1, generation: self.generation, ..AckState::default() };
        self.answer(&acks)
    }

    fn said(&self, object: &ObjectRef, status: ObjectStatus) -> (Option<bool>, String, String) {
        let services =
            ["a", "b", "c"].map(|name| (Name::new("shop", name), Enrolment::Waypoint(gateway()))).into_iter().collect();
        let standings = BTreeMap::from([(gateway(), self.standing.clone())]);
        let said = complete(object, vec![status], true, &standings, &services);
        match said.first().and_then(|status| status.condition(PROGRAMMED)) {
            Some(condition) => (condition.status, condition.reason.clone(), condition.message.clone()),
            None => (None, "nothing is said".to_owned(), String::new()),
        }
    }

    fn reason(&self, object: &ObjectRef, place: Place, conditions: Vec<Condition>) -> String {
        self.said(object, ObjectStatus::at(place, conditions)).1
    }
}

fn accepted() -> Vec<Condition> {
    vec![Condition::holds(ACCEPTED, "Accepted", "")]
}

fn parent(object: ObjectRef) -> Place {
    Place::Parent(Parent::whole(object, "c"))
}

#[test]
fn an_object_is_pending_until_envoy_has_taken_what_came_from_it() {
    let mut world = World::new();
    world.translate(output(&[("a", &["x"]), ("b", &["y"])]));
    let reason = |world: &World, name: &str| world.reason(&route(name), Place::Object, accepted());
    assert_eq!(reason(&world, "x"), "Pending");
    assert_eq!(world.all(), ["Gateway shop/gateway", "HTTPRoute shop/x", "HTTPRoute shop/y"]);
    assert_eq!(reason(&world, "x"), "Programmed");

    world.translate(output(&[("a", &["x"]), ("b", &["y", "z"])]));
    assert_eq!((reason(&world, "x"), reason(&world, "y")), ("Programmed".to_owned(), "Pending".to_owned()));
    let touched = world.all();
    assert_eq!(touched, ["Gateway shop/gateway", "HTTPRoute shop/y", "HTTPRoute shop/z"], "and no other object");
    world.answer(&AckState::default());
    assert_eq!(reason(&world, "x"), "Pending", "its Envoy is gone");
}

#[test]
fn a_refusal_is_told_to_the_object_that_caused_it_where_it_did() {
    let mut world = World::new();
    let mut translated = output(&[("a", &["x"]), ("b", &["x", "y"])]);
    let key = (ResourceType::Scope, "shop/b/80".to_owned());
    let rules = BTreeMap::from([("HTTPRoute shop/x rule 0".to_owned(), [route("x")].into())]);
    translated.rules.insert(key.clone(), rules);
    translated.aside.push(SetAside {
        resource: key,
        name: "HTTPRoute shop/x rule 0".to_owned(),
        verdict: Verdict::Refused("no such expression".to_owned()),
        effect: "requests that it matches are answered 500",
    });
    world.translate(translated);
    world.all();
    let said = |object: &ObjectRef, place| world.said(object, ObjectStatus::at(place, accepted()));
    let (status, reason, message) = said(&route("x"), parent(service("b")));
    assert_eq!((status, reason.as_str()), (Some(false), "Rejected"));
    for part in ["Gateway shop/gateway", "HTTPRoute shop/x rule 0", "no such expression", "answered 500"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(said(&route("x"), parent(service("a"))).1, "Programmed", "there it is in force");
    assert_eq!(said(&route("x"), parent(gateway_object())).1, "Rejected");
    assert_eq!(said(&route("y"), parent(service("b"))).1, "Programmed");
    assert_eq!(said(&gateway_object(), Place::Object).1, "Programmed");
}

#[test]
fn programmed_stands_only_where_it_is_true() {
    let mut world = World::new();
    world.translate(output(&[("a", &["x"])]));
    world.all();
    let reason = |object: &ObjectRef, place, conditions| world.reason(object, place, conditions);
    let nothing = "nothing is said";
    let listener = |name: &str| Place::Listener(name.to_owned());
    let waiting = vec![Condition::pending(PROGRAMMED, "Pending", "waiting for Envoy")];
    assert_eq!(reason(&gateway_object(), listener("proxy"), waiting), "Programmed");
    assert_eq!(reason(&gateway_object(), listener("mesh"), accepted()), nothing, "it is not served");
    let refused = vec![Condition::fails(ACCEPTED, "NotAllowedByListeners", "no")];
    assert_eq!(reason(&route("x"), parent(service("a")), refused), nothing);
    assert_eq!(reason(&route("x"), parent(service("elsewhere")), accepted()), nothing);
    assert_eq!(reason(&route("of nobody"), Place::Object, accepted()), nothing);
    let invalid = vec![Condition::fails(PROGRAMMED, "Invalid", "no backend")];
    assert_eq!(reason(&route("x"), Place::Object, invalid), "Invalid", "translation knows more than Envoy");

    let standings = BTreeMap::from([(gateway(), world.standing.clone())]);
    let said = |admitted| complete(&route("x"), vec![], admitted, &standings, &Table::default()).len();
    assert_eq!((said(true), said(false)), (1, 0), "what was never admitted is not programmed");
}

#[test]
fn nothing_is_programmed_while_a_ready_pod_is_not_connected() {
    let mut world = World::new();
    world.translate(output(&[("a", &["x"])]));
    world.all();
    let before = world.standing.clone();
    let mut said = |pods: &[&str]| {
        world.standing = before.clone().without_pods(pods.iter().map(|pod| (*pod).to_owned()).collect());
        let told: Vec<String> = world.standing.differs(&before).iter().map(ToString::to_string).collect();
        let (status, reason, message) = world.said(&route("x"), ObjectStatus::at(parent(service("a")), accepted()));
        assert_eq!((status, told.len()), (if pods.is_empty() { Some(true) } else { None }, 2 * pods.len().min(1)));
        (reason, message)
    };
    assert_eq!(said(&[]).0, "Programmed");
    let waits = |pods: &str| format!("waiting for Envoy of Gateway shop/gateway in {pods}");
    let pending = |pods: &str| ("Pending".to_owned(), waits(pods));
    assert_eq!(said(&["p-1"]), pending("pod p-1, which is ready and not connected"));
    let many = pending("pods p-1, p-2, p-3 and 2 more, which are ready and not connected");
    assert_eq!(said(&["p-1", "p-2", "p-3", "p-4", "p-5"]), many);
}

#[test]
fn a_policy_is_programmed_behind_each_ancestor_for_itself_and_in_all_once_it_is_so_everywhere() {
    let mut world = World::new();
    let mut translated = output(&[("a", &["x"]), ("b", &["x"])]);
    let key = (ResourceType::Scope, "shop/b/80".to_owned());
    let rules = BTreeMap::from([("HTTPRoute shop/x rule 0".to_owned(), [route("x")].into())]);
    translated.rules.insert(key.clone(), rules);
    translated.aside.push(SetAside {
        resource: key,
        name: "HTTPRoute shop/x rule 0".to_owned(),
        verdict: Verdict::Refused("no such expression".to_owned()),
        effect: "requests that it matches are answered 500",
    });
    world.translate(translated);
    world.all();
    let ancestor = |object| Place::Ancestor(Parent::whole(object, "c"));
    let reason = |place, conditions| world.reason(&route("x"), place, conditions);
    assert_eq!(reason(ancestor(service("a")), accepted()), "Programmed");
    assert_eq!(reason(ancestor(service("b")), accepted()), "Rejected");
    assert_eq!(reason(Place::Object, accepted()), "Rejected", "as a whole it is as it is where it is worst");
    let unknown = vec![Condition::pending(ACCEPTED, "OtherController", "")];
    for place in [ancestor(service("a")), Place::Object] {
        assert_eq!(reason(place, unknown.clone()), "nothing is said", "that is for another controller");
    }
}

#[test]
fn a_gateway_has_its_address_once_its_envoys_serve() {
    let mut world = World::new();
    for (bound, shown) in
        [("127.0.30.1:15088", vec![Address::Ip(IpAddr::from([127, 0, 30, 1]))]), ("[::]:15088", vec![])]
    {
        let mut translated = output(&[("a", &["x"])]);
        translated.address = Some(bound.parse().unwrap());
        world.translate(translated);
        world.answer(&AckState::default());
        let addresses = |world: &World| {
            let standings = BTreeMap::from([(gateway(), world.standing.clone())]);
            let said = vec![ObjectStatus::new(accepted())];
            complete(&gateway_object(), said, true, &standings, &Table::default())[0].addresses.clone()
        };
        assert!(addresses(&world).is_empty(), "nobody listens yet");
        world.all();
        assert_eq!(addresses(&world), shown, "{bound}");
        world.standing = world.standing.clone().without_address();
        assert!(addresses(&world).is_empty(), "it is reached elsewhere");
    }
}

#[test]
fn a_gateway_keeps_its_address_while_its_envoy_starts_again_and_while_another_joins() {
    let bound = |ip: [u8; 4]| {
        let mut translated = output(&[("a", &["x"])]);
        translated.address = Some((ip, 15088).into());
        translated
    };
    let mut world = World::new();
    world.translate(bound([127, 0, 30, 1]));
    world.all();
    let addresses = |world: &World| {
        let standings = BTreeMap::from([(gateway(), world.standing.clone())]);
        let said = vec![ObjectStatus::new(accepted())];
        complete(&gateway_object(), said, true, &standings, &Table::default())[0].addresses.clone()
    };
    let here = |last: u8| vec![Address::Ip(IpAddr::from([127, 0, 30, last]))];
    for (sessions, what) in [(0, "its Envoy starts again"), (2, "another joins that has taken nothing")] {
        world.answer(&AckState { sessions, ..AckState::default() });
        assert_eq!(world.reason(&gateway_object(), Place::Object, accepted()), "Pending", "{what}");
        assert_eq!(addresses(&world), here(1), "{what}");
        world.translate(bound([127, 0, 30, 1]));
        assert_eq!(addresses(&world), here(1), "{what}, and meanwhile something is declared");
    }
    world.translate(bound([127, 0, 30, 2]));
    assert_eq!(addresses(&world), here(2), "where it is to listen from now on");
}

#[test]
fn what_is_refused_of_the_listener_is_told_to_everything_behind_it() {
    let mut world = World::new();
    world.translate(output(&[("a", &["x"])]));
    world.all();
    let before = world.standing.clone();
    for (kind, name) in [(ResourceType::Listener, "proxy"), (ResourceType::Cluster, waypoint_translate::SNIFFED)] {
        world.standing = before.clone();
        world.standing.refuse(world.offer.output(), &(kind, name.to_owned()), "", "no such filter".to_owned());
        let (_, reason, message) = world.said(&route("x"), ObjectStatus::at(parent(service("a")), accepted()));
        assert_eq!(reason, "Rejected");
        assert!(message.contains("no such filter"), "{message}");
        let told: Vec<String> = world.standing.differs(&before).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["Gateway shop/gateway", "HTTPRoute shop/x"]);
    }
}
