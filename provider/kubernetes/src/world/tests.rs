//! What comes out of what the sources say.

#![allow(clippy::unwrap_used)]

use api::Name;
use serde_json::{Value, json};

use super::*;
use crate::machine::{Event, Failure};
use crate::wire;

fn put(kind: Kind, version: &str, uid: &str, spec: Value) -> Change<Item> {
    let manifest = json!({"metadata": {"name": "a", "namespace": "t", "uid": uid, "resourceVersion": "1",
        "creationTimestamp": format!("2026-01-0{}T00:00:00Z", &uid[uid.len() - 1..])}, "spec": spec});
    match wire::page(
        kind.into(),
        version,
        json!({"metadata": {"resourceVersion": "1"}, "items": [manifest]}).to_string().as_bytes(),
    ) {
        Event::Page { mut entries, .. } => Change::Put(entries.remove(0)),
        other => panic!("{other:?}"),
    }
}

fn gone() -> Change<Item> {
    Change::Gone(Name::new("t", "a"))
}

fn news(source: usize, changes: Vec<Change<Item>>) -> News {
    News { source, changes, settled: true, absent: false, failing: None }
}

fn service(uid: &str, port: u32) -> Change<Item> {
    put(Kind::Service, "v1", uid, json!({"ports": [{"port": port}]}))
}

fn config(version: &str, uid: &str) -> Change<Item> {
    put(Kind::AuthConfig, version, uid, json!({"configs": [{"apiKeyAuth": {"labelSelector": {"who": uid}}}]}))
}

#[test]
fn nothing_is_said_before_everything_was_read() {
    let mut world = World::new(Source::of(&[Kind::Service, Kind::HttpRoute], &BTreeSet::new()));
    world.take(news(0, vec![service("u1", 80)]));
    assert!(world.assemble().is_none());
    world.take(News { settled: false, failing: Some(Failure::TimedOut), ..news(1, vec![]) });
    assert!(world.assemble().is_none());
    assert!(world.remarks()[0].starts_with("httproutes.gateway.networking.k8s.io: "), "{:?}", world.remarks());
    world.take(News { absent: true, ..news(1, vec![]) });
    let first = world.assemble().unwrap();
    assert!(first.differs && first.snapshot.revision == 1 && first.snapshot.services.len() == 1);
    assert!(world.remarks().is_empty());
    // What was read stays while the server is away, and it is said that it may be old.
    world.take(News { failing: Some(Failure::Status { code: 403, retry_after: None }), ..news(0, vec![]) });
    let later = world.assemble().unwrap();
    assert!(!later.differs && later.snapshot.services.len() == 1);
    assert!(world.remarks()[0].contains("403") && world.remarks()[0].ends_with("what was read last is served"));
}

#[test]
fn a_broken_version_leaves_the_last_good_one_and_a_broken_beginning_is_refused() {
    let mut world = World::new(Source::of(&[Kind::Service], &BTreeSet::new()));
    world.take(news(0, vec![service("u1", 0)]));
    let first = world.assemble().unwrap();
    assert_eq!((first.snapshot.services.len(), first.snapshot.broken.len(), first.rejected), (0, 1, 1));
    world.take(news(0, vec![service("u1", 80)]));
    let good = world.assemble().unwrap();
    assert_eq!((good.snapshot.services.len(), good.snapshot.broken.len(), good.rejected), (1, 0, 0));
    assert_eq!(good.said.silent.len(), 1, "there is nothing to say any more");
    world.take(news(0, vec![service("u1", 0)]));
    let kept = world.assemble().unwrap();
    assert_eq!((kept.snapshot.services.len(), kept.snapshot.broken.len(), kept.rejected), (1, 0, 1));
    assert!(!kept.differs);
    assert!(kept.said.said[0].1[0].conditions[0].message.contains("last good version"));
    // One that is deleted and made anew, as it is seen by one list after another, is another object.
    world.take(news(0, vec![gone(), service("u2", 0)]));
    let anew = world.assemble().unwrap();
    assert_eq!((anew.snapshot.services.len(), anew.snapshot.broken.len()), (0, 1));
    world.take(news(0, vec![gone()]));
    let none = world.assemble().unwrap();
    assert_eq!((none.snapshot.services.len(), none.snapshot.broken.len(), none.rejected), (0, 0, 0));
}

#[test]
fn of_two_groups_the_oldest_counts_and_the_other_takes_over() {
    let mut world = World::new(Source::of(&[Kind::AuthConfig], &BTreeSet::new()));
    let who = |assembled: &Assembled| {
        let config = assembled.snapshot.auth_configs.get(&Name::new("t", "a")).unwrap();
        format!("{config:?}").split("who\": \"").nth(1).map(|rest| rest[..2].to_owned()).unwrap()
    };
    world.take(news(1, vec![config("extauth.solo.io/v1", "u1")]));
    world.take(news(0, vec![config("enterprise.gloo.solo.io/v1", "u2")]));
    let both = world.assemble().unwrap();
    assert_eq!(who(&both), "u1");
    assert!(both.said.said[0].1[0].conditions[0].problems[0].message.contains("declared more than once"));
    world.take(news(1, vec![gone()]));
    let moved = world.assemble().unwrap();
    assert_eq!((who(&moved).as_str(), moved.snapshot.auth_configs.len(), moved.said.silent.len()), ("u2", 1, 1));
    // What was good of one is nothing of the other's.
    world.take(news(1, vec![put(Kind::AuthConfig, "extauth.solo.io/v1", "u1", json!({"configs": 5}))]));
    let broken = world.assemble().unwrap();
    assert_eq!((broken.snapshot.auth_configs.len(), broken.snapshot.broken.len()), (0, 1));
    world.take(news(1, vec![config("extauth.solo.io/v1", "u1")]));
    world.take(news(0, vec![put(Kind::AuthConfig, "enterprise.gloo.solo.io/v1", "u2", json!({"configs": 5}))]));
    assert_eq!(who(&world.assemble().unwrap()), "u1");
    world.take(news(1, vec![gone()]));
    let left = world.assemble().unwrap();
    assert_eq!((left.snapshot.auth_configs.len(), left.snapshot.broken.len()), (0, 1));
}

#[test]
fn the_last_good_version_is_the_one_of_whichever_counts() {
    let sources = || World::new(Source::of(&[Kind::AuthConfig], &BTreeSet::new()));
    let counts = |world: &mut World| {
        let assembled = world.assemble().unwrap();
        (assembled.snapshot.auth_configs.len(), assembled.snapshot.broken.len())
    };
    let broken = |version: &str, uid: &str| put(Kind::AuthConfig, version, uid, json!({"configs": 5}));
    // An older one under the other group is what counts, broken as it is: what was served is another object.
    let mut world = sources();
    world.take(news(0, vec![config("enterprise.gloo.solo.io/v1", "u2")]));
    world.take(news(1, vec![]));
    assert_eq!(counts(&mut world), (1, 0));
    world.take(news(1, vec![broken("extauth.solo.io/v1", "u1")]));
    assert_eq!(counts(&mut world), (0, 1));
    // One that does not count may go, and takes nothing with it.
    let mut world = sources();
    world.take(news(1, vec![config("extauth.solo.io/v1", "u1")]));
    world.take(news(0, vec![config("enterprise.gloo.solo.io/v1", "u2")]));
    world.take(news(1, vec![broken("extauth.solo.io/v1", "u1")]));
    world.take(news(0, vec![gone()]));
    assert_eq!(counts(&mut world), (1, 0));
}

#[test]
fn a_secret_that_is_being_deleted_is_gone() {
    let mut world = World::new(Source::of(&[Kind::Secret], &BTreeSet::new()));
    let secret = |deletion: Value| {
        let manifest = json!({"metadata": {"name": "a", "namespace": "t", "uid": "u", "resourceVersion": "1",
            "deletionTimestamp": deletion, "finalizers": ["x"]}, "type": "extauth.solo.io/apikey", "data": {"api-key": "eA=="}});
        match wire::line(
            Kind::Secret.into(),
            "v1",
            json!({"type": "MODIFIED", "object": manifest}).to_string().as_bytes(),
        ) {
            Event::Line(crate::machine::Line::Put(entry)) => Change::Put(entry),
            other => panic!("{other:?}"),
        }
    };
    (1..3).for_each(|source| world.take(news(source, vec![])));
    world.take(news(0, vec![secret(Value::Null)]));
    assert_eq!(world.assemble().unwrap().snapshot.secrets.len(), 1);
    world.take(news(0, vec![secret("2026-01-01T00:00:00Z".into())]));
    assert_eq!(world.assemble().unwrap().snapshot.secrets.len(), 0);
}

#[test]
fn namespaces_keep_apart_what_has_the_same_source_of_rights() {
    let namespaces = BTreeSet::from(["t".to_owned(), "u".to_owned()]);
    let mut world = World::new(Source::of(&[Kind::Secret], &namespaces));
    world.take(news(0, vec![]));
    assert!(!world.is_settled() && world.settled(0) && !world.settled(1));
    (1..6).for_each(|source| world.take(news(source, vec![])));
    assert_eq!(world.assemble().unwrap().snapshot.revision, 1);
}

/// Of two sources, the first of policies, one that could not be read since.
fn failing(source: usize) -> News {
    News { failing: Some(Failure::TimedOut), ..news(source, vec![]) }
}

#[test]
fn as_long_as_policies_may_have_been_missed_no_route_comes_or_changes() {
    let sources = Source::of(&[Kind::RouteOption, Kind::HttpRoute, Kind::Service], &BTreeSet::new());
    let (options, routes, services) = (0, 1, 2);
    let route = |host: &str| {
        let spec = json!({"hostnames": [host], "parentRefs": [{"group": "", "kind": "Service", "name": "a"}]});
        put(Kind::HttpRoute, "gateway.networking.k8s.io/v1", "u1", spec)
    };
    let hosts = |assembled: &Assembled| {
        let route = assembled.snapshot.http_routes.get(&Name::new("t", "a"));
        route.map(|route| format!("{:?}", route.spec.hostnames))
    };
    let mut world = World::new(sources);
    (0..3).for_each(|source| world.take(news(source, vec![])));
    world.take(failing(options));
    world.take(news(routes, vec![route("one.example")]));
    world.take(news(services, vec![service("u1", 80)]));
    let waits = world.assemble().unwrap();
    assert_eq!((hosts(&waits), waits.snapshot.services.len()), (None, 1), "what opens nothing goes on");
    assert!(world.remarks().iter().any(|remark| remark.starts_with("HTTPRoute t/a: waits")), "{:?}", world.remarks());
    // Whatever closes does so at once.
    world.take(news(routes, vec![gone()]));
    assert_eq!(hosts(&world.assemble().unwrap()), None);
    world.take(news(options, vec![]));
    world.take(news(routes, vec![route("one.example")]));
    let comes = world.assemble().unwrap();
    assert!(hosts(&comes).unwrap().contains("one.example") && world.remarks().is_empty());
    world.take(failing(options));
    world.take(news(routes, vec![route("two.example")]));
    assert!(hosts(&world.assemble().unwrap()).unwrap().contains("one.example"), "the version before stays");
    world.take(news(routes, vec![gone()]));
    assert_eq!(hosts(&world.assemble().unwrap()), None);
    world.take(news(routes, vec![route("three.example")]));
    world.take(news(options, vec![]));
    assert!(hosts(&world.assemble().unwrap()).unwrap().contains("three.example"));
    // A source of what is no policy holds nobody up.
    world.take(failing(services));
    world.take(news(routes, vec![route("four.example")]));
    assert!(hosts(&world.assemble().unwrap()).unwrap().contains("four.example"));
}

#[test]
fn the_last_good_version_is_the_last_that_was_heard_of_not_the_last_that_was_put_together() {
    let mut world = World::new(Source::of(&[Kind::Service], &BTreeSet::new()));
    world.take(news(0, vec![service("u1", 80)]));
    drop(world.assemble().unwrap());
    world.take(news(0, vec![service("u1", 81), service("u1", 0)]));
    let kept = world.assemble().unwrap();
    let spec = kept.snapshot.services.get(&Name::new("t", "a")).unwrap().spec.clone().unwrap();
    assert_eq!((spec.ports.unwrap()[0].port, kept.rejected), (81, 1));
}

#[test]
fn objects_of_kinds_that_are_not_served_come_with_what_they_were_to_govern_and_go() {
    let sources = Source::read_by(api::Reader::ControlPlane, &BTreeSet::new());
    let number = sources.iter().position(|source| source.subject.as_str() == "HttpListenerOption").unwrap();
    let policy = |spec: Value| {
        let manifest =
            json!({"metadata": {"name": "a", "namespace": "t", "uid": "u", "resourceVersion": "1"}, "spec": spec});
        let line = json!({"type": "ADDED", "object": manifest}).to_string();
        match wire::line(sources[number].subject, "gateway.solo.io/v1", line.as_bytes()) {
            Event::Line(crate::machine::Line::Put(entry)) => Change::Put(entry),
            other => panic!("{other:?}"),
        }
    };
    let mut world = World::new(sources.clone());
    (0..sources.len()).for_each(|source| world.take(news(source, vec![])));
    drop(world.assemble().unwrap());
    let on_service = policy(json!({"targetRefs": [{"kind": "Service", "group": "", "name": "a"}]}));
    world.take(news(number, vec![on_service]));
    let there = world.assemble().unwrap();
    let (reference, reach) = there.snapshot.unserved.iter().next().unwrap();
    assert_eq!(reference.to_string(), "HttpListenerOption t/a");
    assert_eq!(reach.known().unwrap()[0].name, Name::new("t", "a"));
    assert!(there.differs && world.remarks()[0].starts_with("HttpListenerOption t/a: "), "{:?}", world.remarks());
    world.take(news(number, vec![policy(json!({"selector": {}}))]));
    let harmless = world.assemble().unwrap();
    assert!(harmless.differs && world.remarks().is_empty());
    world.take(news(number, vec![gone()]));
    let without = world.assemble().unwrap();
    assert!(without.differs && without.snapshot.unserved.iter().next().is_none());
    // While they cannot be read, routes wait as they do for what is served.
    world.take(failing(number));
    assert!(world.due_now().1.is_empty());
    let routes = sources.iter().position(|source| source.subject == Subject::Kind(Kind::HttpRoute)).unwrap();
    let route = json!({"parentRefs": [{"group": "", "kind": "Service", "name": "a"}]});
    world.take(news(routes, vec![put(Kind::HttpRoute, "gateway.networking.k8s.io/v1", "u1", route)]));
    assert!(world.assemble().unwrap().snapshot.http_routes.is_empty());
}

/// Whoever waits to see that its own writing has arrived is told of each object that did, and of none that went.
#[test]
fn of_news_it_is_known_which_objects_they_put() {
    let world = World::new(Source::of(&[Kind::Service, Kind::AuthConfig], &BTreeSet::new()));
    let put: Vec<ObjectRef> = world.put_by(&news(0, vec![service("u1", 80), gone(), service("u2", 81)])).collect();
    assert_eq!(put, [ObjectRef::new(Kind::Service, "t", "a"), ObjectRef::new(Kind::Service, "t", "a")]);
    let put: Vec<ObjectRef> = world.put_by(&news(1, vec![config("v1", "u1")])).collect();
    assert_eq!(put, [ObjectRef::new(Kind::AuthConfig, "t", "a")]);
    assert_eq!(
        world.put_by(&news(1, vec![gone()])).count() + world.put_by(&news(9, vec![service("u1", 80)])).count(),
        0
    );
}
