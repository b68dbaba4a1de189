//! Each rule of the protocol, on a session without a socket.

use proto::ResourceType::{Cluster, Endpoint, FilterChain, Listener, Route, Scope, Secret};
use proto::envoy::service::discovery::v3 as pb;
use xds::{Limits, Session, SessionError};

use crate::support::{ack, nack, set, show_all, subscribe, unsubscribe};

const NOTHING: [&str; 0] = [];

/// A client that acknowledges all it is sent and follows with what it is told to.
struct Client {
    session: Session,
    held: Vec<pb::DeltaDiscoveryResponse>,
}

impl Client {
    fn new() -> Self {
        Self { session: Session::new(Limits::default()), held: Vec::new() }
    }

    /// A client that has subscribed to all types and acknowledged `resources` as generation 1.
    fn serving(resources: &[(proto::ResourceType, &str, &str)]) -> Self {
        let mut client = Self::new();
        client.set(resources, 1);
        client.ask(subscribe(Cluster, &[]));
        client.ack_all();
        let names = |kind| resources.iter().filter(move |r| r.0 == kind).map(|r| r.1).collect::<Vec<_>>();
        client.ask(subscribe(Endpoint, &names(Endpoint)));
        client.ask(subscribe(Listener, &[]));
        client.ack_all();
        for kind in [FilterChain, Route, Secret] {
            if !names(kind).is_empty() {
                client.ask(subscribe(kind, &names(kind)));
            }
        }
        client.ack_all();
        assert_eq!(client.session.state().generation, 1);
        client
    }

    fn set(&mut self, resources: &[(proto::ResourceType, &str, &str)], generation: u64) -> Vec<String> {
        let out = self.session.on_resources(&set(resources), generation);
        self.hold(out)
    }

    fn ask(&mut self, request: pb::DeltaDiscoveryRequest) -> Vec<String> {
        let out = self.session.on_request(request).unwrap();
        self.hold(out)
    }

    fn hold(&mut self, out: Vec<pb::DeltaDiscoveryResponse>) -> Vec<String> {
        let shown = show_all(&out);
        self.held.extend(out);
        shown
    }

    fn ack_next(&mut self) -> Vec<String> {
        let response = self.held.remove(0);
        self.ask(ack(&response))
    }

    fn nack_next(&mut self, why: &str) -> Vec<String> {
        let response = self.held.remove(0);
        self.ask(nack(&response, why))
    }

    /// Acknowledges until nothing is left, and says what came meanwhile.
    fn ack_all(&mut self) -> Vec<String> {
        let mut came = Vec::new();
        while !self.held.is_empty() {
            came.extend(self.ack_next());
        }
        came
    }
}

#[test]
fn clusters_and_listeners_are_wildcards_and_the_rest_goes_by_name() {
    let mut client = Client::new();
    client.set(&[(Cluster, "a", "1"), (Cluster, "b", "1"), (Endpoint, "a", "1"), (Endpoint, "b", "1")], 1);
    assert_eq!(client.ask(subscribe(Cluster, &[])), ["Cluster +a@1 +b@1"]);
    assert_eq!(client.ask(subscribe(Endpoint, &["b"])), ["Endpoint +b@1"]);
    assert_eq!(client.ask(subscribe(Route, &[])), NOTHING);
}

#[test]
fn an_explicit_star_is_a_wildcard_and_can_be_given_up() {
    let mut client = Client::new();
    client.set(&[(Cluster, "a", "1"), (Cluster, "b", "1")], 1);
    assert_eq!(client.ask(subscribe(Cluster, &["*"])), ["Cluster +a@1 +b@1"]);
    client.ack_all();
    client.ask(subscribe(Cluster, &["b"]));
    client.ask(unsubscribe(Cluster, &["*"]));
    client.ack_all();
    assert_eq!(client.set(&[(Cluster, "a", "2"), (Cluster, "b", "2")], 2), ["Cluster +b@2"]);
}

#[test]
fn a_wildcard_without_resources_is_answered_all_the_same() {
    let mut client = Client::new();
    assert_eq!(client.ask(subscribe(Cluster, &[])), NOTHING, "nothing is known of the node: wait");
    assert_eq!(client.set(&[], 1), ["Cluster"]);
    assert_eq!(client.ask(subscribe(Listener, &[])), ["Listener"]);
    client.ack_all();
    assert_eq!(client.session.state().generation, 1);
}

#[test]
fn a_name_that_does_not_exist_is_said_to_be_absent_and_sent_when_it_appears() {
    let mut client = Client::serving(&[(Listener, "l", "1")]);
    assert_eq!(client.ask(subscribe(Route, &["r"])), ["Route -r"]);
    client.ack_all();
    assert_eq!(client.set(&[(Listener, "l", "1"), (Route, "r", "1")], 2), ["Route +r@1"]);
}

#[test]
fn only_what_changed_is_sent() {
    let all = [(Cluster, "a", "1"), (Endpoint, "a", "1"), (Listener, "l", "1"), (Route, "r", "1"), (Route, "s", "1")];
    let mut client = Client::serving(&all);
    let mut changed = all;
    changed[4].2 = "2";
    assert_eq!(client.set(&changed, 2), ["Route +s@2"]);
    client.ack_all();
    assert_eq!(client.set(&changed, 3), NOTHING);
    assert_eq!(client.session.state().generation, 3, "a generation without a difference needs no answer");
}

#[test]
fn additions_go_from_clusters_to_routes_and_wait_for_clusters_to_be_acknowledged() {
    let mut client =
        Client::serving(&[(Cluster, "a", "1"), (Endpoint, "a", "1"), (Listener, "l", "1"), (Route, "r", "1")]);
    let next = [
        (Cluster, "a", "1"),
        (Cluster, "b", "1"),
        (Endpoint, "a", "1"),
        (Endpoint, "b", "1"),
        (Listener, "l", "2"),
        (Route, "r", "2"),
    ];
    assert_eq!(client.set(&next, 2), ["Cluster +b@1"]);
    assert_eq!(client.ask(subscribe(Endpoint, &["b"])), ["Endpoint +b@1"], "it is needed for the cluster to warm");
    assert_eq!(client.ack_next(), ["Listener +l@2", "Route +r@2"]);
    assert_eq!(client.session.state().generation, 1);
    client.ack_all();
    assert_eq!(client.session.state().generation, 2);
}

#[test]
fn filter_chains_go_between_listeners_and_routes() {
    let mut client = Client::serving(&[(Listener, "l", "1"), (FilterChain, "f", "1"), (Route, "r", "1")]);
    let out = client.set(&[(Listener, "l", "2"), (FilterChain, "f", "2"), (Route, "r", "2")], 2);
    assert_eq!(out, ["Listener +l@2", "FilterChain +f@2", "Route +r@2"]);
}

#[test]
fn scopes_are_a_wildcard_and_come_before_the_listener_that_sends_requests_to_them() {
    let scopes =
        |version| [(Cluster, "a", "1"), (Listener, "l", version), (Scope, "one", version), (Scope, "two", "1")];
    let mut client = Client::new();
    client.set(&scopes("1"), 1);
    client.ask(subscribe(Cluster, &[]));
    client.ack_all();
    client.ask(subscribe(Listener, &[]));
    assert_eq!(client.ask(subscribe(Scope, &[])), ["Scope +one@1 +two@1"]);
    client.ack_all();
    assert_eq!(client.session.state().generation, 1);
    assert_eq!(client.set(&scopes("2"), 2), ["Scope +one@2", "Listener +l@2"]);
    client.ack_all();
    assert_eq!(client.set(&[(Cluster, "a", "1")], 3), ["Listener -l", "Scope -one -two"]);
    client.ack_all();
    assert_eq!(client.session.state().generation, 3);
}

#[test]
fn scopes_that_a_refused_listener_never_asked_for_are_not_waited_for() {
    let mut client = Client::new();
    client.set(&[(Listener, "l", "1"), (Scope, "one", "1")], 1);
    client.ask(subscribe(Cluster, &[]));
    client.ack_all();
    client.ask(subscribe(Listener, &[]));
    client.nack_next("no");
    client.session.release();
    assert_eq!(client.session.state().generation, 1);
    assert_eq!(client.session.state().nacks.len(), 1);
}

#[test]
fn removals_come_last_in_reverse_once_the_additions_are_acknowledged() {
    let mut client = Client::serving(&[
        (Cluster, "old", "1"),
        (Endpoint, "old", "1"),
        (Listener, "l", "1"),
        (Listener, "gone", "1"),
        (Route, "r", "1"),
        (Route, "gone", "1"),
    ]);
    assert_eq!(client.set(&[(Cluster, "new", "1"), (Listener, "l", "1"), (Route, "r", "2")], 2), ["Cluster +new@1"]);
    assert_eq!(client.ack_next(), ["Route +r@2"]);
    assert_eq!(client.ack_next(), ["Route -gone", "Listener -gone", "Endpoint -old", "Cluster -old"]);
    assert_eq!(client.session.state().generation, 1, "what is gone was not acknowledged yet");
    client.ack_all();
    assert_eq!(client.session.state().generation, 2);
}

#[test]
fn endpoints_are_sent_again_with_their_cluster() {
    let mut client =
        Client::serving(&[(Cluster, "a", "1"), (Cluster, "b", "1"), (Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    let next = [(Cluster, "a", "2"), (Cluster, "b", "1"), (Endpoint, "a", "1"), (Endpoint, "b", "1")];
    assert_eq!(client.set(&next, 2), ["Cluster +a@2", "Endpoint +a@1"]);
}

#[test]
fn on_a_new_stream_only_what_the_client_lacks_is_sent_but_endpoints_always_are() {
    let mut client = Client::new();
    client.set(&[(Cluster, "a", "2"), (Cluster, "b", "1"), (Endpoint, "b", "1"), (Route, "r", "1")], 5);
    let with = |mut request: pb::DeltaDiscoveryRequest, versions: &[(&str, &str)]| {
        request.initial_resource_versions = versions.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        request
    };
    let clusters = with(subscribe(Cluster, &[]), &[("a", "1"), ("b", "1"), ("gone", "1")]);
    assert_eq!(client.ask(clusters), ["Cluster +a@2"]);
    assert_eq!(client.ask(with(subscribe(Endpoint, &["b"]), &[("b", "1")])), ["Endpoint +b@1"]);
    assert_eq!(client.ack_all(), NOTHING, "routes not spoken of yet may name the cluster that is gone");
    assert_eq!(client.ask(with(subscribe(Listener, &[]), &[("l", "1")])), NOTHING);
    assert_eq!(client.ask(with(subscribe(Route, &["r"]), &[("r", "1")])), ["Listener -l", "Cluster -gone"]);
    client.ack_all();
    assert_eq!(client.session.state().generation, 5);
}

#[test]
fn whoever_subscribes_again_is_told_again() {
    let mut client = Client::serving(&[(Listener, "l", "1"), (Route, "r", "1")]);
    assert_eq!(client.ask(subscribe(Route, &["r"])), ["Route +r@1"]);
    client.ack_all();
    client.ask(unsubscribe(Route, &["r"]));
    assert_eq!(client.set(&[(Listener, "l", "1"), (Route, "r", "2")], 2), NOTHING);
    assert_eq!(client.ask(subscribe(Route, &["r"])), ["Route +r@2"]);
    client.ack_all();
    client.ask(unsubscribe(Route, &["r"]));
    assert_eq!(client.set(&[(Listener, "l", "1")], 3), NOTHING, "the end of what is not wanted any more is no news");
    assert!(client.session.is_settled());
}

#[test]
fn what_is_taken_away_and_not_acknowledged_lets_no_route_come_before_its_cluster() {
    let mut client = Client::serving(&[(Cluster, "old", "1"), (Listener, "l", "1"), (Route, "r", "1")]);
    assert_eq!(client.set(&[(Listener, "l", "1"), (Route, "r", "1")], 2), ["Cluster -old"]);
    let next = [(Cluster, "new", "1"), (Listener, "l", "1"), (Route, "r", "2")];
    assert_eq!(client.set(&next, 3), ["Cluster +new@1"]);
    assert_eq!(client.ack_next(), NOTHING);
    assert_eq!(client.ack_next(), ["Route +r@2"]);
}

#[test]
fn a_rejected_resource_is_reported_and_not_sent_again_until_it_changes() {
    let mut client = Client::serving(&[(Listener, "l", "1"), (Route, "r", "1")]);
    client.set(&[(Listener, "l", "bad"), (Route, "r", "1")], 2);
    assert_eq!(client.nack_next("no such filter"), NOTHING);
    let state = client.session.state();
    assert_eq!(state.generation, 2, "everything was answered");
    assert_eq!((state.nacks[0].kind, state.nacks[0].name.as_str()), (Listener, "l"));
    assert_eq!((state.nacks[0].message.as_str(), state.nacks[0].generation), ("no such filter", 2));
    assert_eq!(client.session.acked_version(Listener, "l"), Some("1"));

    assert_eq!(client.set(&[(Listener, "l", "bad"), (Route, "r", "2")], 3), ["Route +r@2"]);
    client.ack_all();
    assert_eq!(client.set(&[(Listener, "l", "3"), (Route, "r", "2")], 4), ["Listener +l@3"]);
    assert_eq!(client.session.state().nacks.len(), 1, "until the new version is acknowledged");
    client.ack_all();
    assert_eq!(client.session.state().nacks, []);
    assert_eq!(client.session.counts().rejected, 1);
}

#[test]
fn resources_rejected_together_are_tried_apart_until_the_bad_one_is_alone() {
    let mut client = Client::serving(&[(Listener, "l", "1"), (Route, "a", "1"), (Route, "b", "1"), (Route, "c", "1")]);
    let next = [(Listener, "l", "1"), (Route, "a", "2"), (Route, "b", "bad"), (Route, "c", "2")];
    assert_eq!(client.set(&next, 2), ["Route +a@2 +b@bad +c@2"]);
    assert_eq!(client.nack_next("b is bad"), ["Route +a@2", "Route +b@bad +c@2"]);
    assert_eq!(client.ack_next(), NOTHING);
    assert_eq!(client.nack_next("b is bad"), ["Route +b@bad", "Route +c@2"]);
    client.nack_next("b is bad");
    client.ack_all();
    let state = client.session.state();
    assert_eq!((state.generation, state.nacks.len()), (2, 1));
    assert_eq!(state.nacks[0].name, "b");
    assert_eq!(client.session.acked_version(Route, "c"), Some("2"));
}

#[test]
fn what_an_old_version_may_need_stays_while_the_new_one_is_rejected() {
    let mut client = Client::serving(&[(Cluster, "old", "1"), (Listener, "l", "1"), (Route, "r", "1")]);
    client.set(&[(Listener, "l", "1"), (Route, "r", "bad")], 2);
    assert_eq!(client.nack_next("bad"), NOTHING, "Envoy still serves r@1, which may name the cluster");
    assert_eq!(client.set(&[(Listener, "l", "1"), (Route, "r", "3")], 3), ["Route +r@3"]);
    assert_eq!(client.ack_next(), ["Cluster -old"]);
}

#[test]
fn a_stale_nonce_answers_nothing_but_its_subscriptions_count() {
    let mut client = Client::serving(&[(Listener, "l", "1"), (Route, "r", "1")]);
    let request = pb::DeltaDiscoveryRequest {
        response_nonce: "4711".to_owned(),
        error_detail: Some(Default::default()),
        ..subscribe(Route, &["s"])
    };
    assert_eq!(client.ask(request), ["Route -s"]);
    assert_eq!(client.session.state().nacks, []);
    assert_eq!(client.session.counts().stale_nonces, 1);
}

#[test]
fn a_cluster_that_never_warms_holds_up_the_rest_only_until_patience_ends() {
    let mut client = Client::serving(&[(Cluster, "a", "1"), (Listener, "l", "1"), (Route, "r", "1")]);
    assert_eq!(client.set(&[(Cluster, "a", "2"), (Listener, "l", "1"), (Route, "r", "2")], 2), ["Cluster +a@2"]);
    let out = client.session.release();
    assert_eq!(client.hold(out), ["Route +r@2"]);
    assert_eq!(client.set(&[(Cluster, "a", "2"), (Listener, "l", "1"), (Route, "r", "3")], 3), ["Route +r@3"]);
    assert_eq!(client.session.state().generation, 1);
    client.ack_all();
    assert_eq!(client.session.state().generation, 3);
    assert_eq!(client.set(&[(Cluster, "a", "3"), (Listener, "l", "1"), (Route, "r", "4")], 4), ["Cluster +a@3"]);
}

#[test]
fn a_generation_is_not_settled_before_its_names_are_asked_for() {
    let mut client = Client::new();
    client.set(&[(Cluster, "a", "1"), (Listener, "l", "1"), (Route, "r", "1")], 1);
    client.ask(subscribe(Cluster, &[]));
    client.ack_all();
    assert_eq!(client.session.state().generation, 0);
    client.ask(subscribe(Listener, &[]));
    client.ack_all();
    assert_eq!(client.session.state().generation, 0, "the listener's route is still to be asked for");
    client.ask(subscribe(Route, &["r"]));
    client.ack_all();
    assert_eq!(client.session.state().generation, 1);
}

#[test]
fn what_nobody_asks_for_is_forgiven_when_patience_ends() {
    let mut client = Client::serving(&[(Listener, "l", "1")]);
    client.set(&[(Listener, "l", "1"), (Route, "unused", "1")], 2);
    assert!(!client.session.is_settled());
    assert!(client.session.release().is_empty());
    assert!(client.session.is_settled());
}

#[test]
fn names_and_responses_under_way_are_bounded() {
    let mut session = Session::new(Limits { names: 2, in_flight: 2 });
    assert!(session.on_request(subscribe(Route, &["a", "b"])).is_ok());
    assert_eq!(session.on_request(subscribe(Route, &["c"])), Err(SessionError::TooManyNames(Route)));

    let mut client = Client::new();
    client.session = Session::new(Limits { names: 9, in_flight: 2 });
    client.ask(subscribe(Cluster, &[]));
    for generation in 1..=2_u64 {
        let version = generation.to_string();
        assert_eq!(client.set(&[(Cluster, "a", &version)], generation).len(), 1);
    }
    assert_eq!(client.set(&[(Cluster, "a", "3")], 3), NOTHING);
    assert_eq!(client.set(&[(Cluster, "a", "4")], 4), NOTHING);
    assert_eq!(client.ack_next(), ["Cluster +a@4"], "the newest, and only that");
}

#[test]
fn a_type_nobody_serves_is_said_to_be_empty() {
    let mut client = Client::new();
    client.set(&[], 1);
    let request = pb::DeltaDiscoveryRequest {
        type_url: "type.googleapis.com/envoy.service.runtime.v3.Runtime".to_owned(),
        resource_names_subscribe: vec!["layer".to_owned()],
        ..Default::default()
    };
    assert_eq!(client.ask(request), ["type.googleapis.com/envoy.service.runtime.v3.Runtime -layer"]);
}

/// Of clusters and endpoints with a slash in their names a client is told if it asks.
fn with_slash(kind: proto::ResourceType, name: &str) -> bool {
    matches!(kind, Cluster | Endpoint) && name.contains('/')
}

#[test]
fn what_is_told_on_demand_is_told_to_those_who_ask_and_nobody_waits_for_it() {
    let mut client = Client::new();
    client.session = Session::new(Limits::default()).with_on_demand(Some(with_slash));
    let all = [
        (Cluster, "s", "1"),
        (Cluster, "a/1", "1"),
        (Cluster, "b/1", "1"),
        (Endpoint, "a/1", "1"),
        (Endpoint, "b/1", "1"),
        (Listener, "l", "1"),
    ];
    client.set(&all, 1);
    assert_eq!(client.ask(subscribe(Cluster, &[])), ["Cluster +s@1"]);
    assert_eq!(client.ack_next(), NOTHING);
    assert_eq!(client.ask(subscribe(Listener, &[])), ["Listener +l@1"]);
    assert_eq!(client.ack_next(), NOTHING);
    assert!(client.session.is_settled(), "though nobody has asked for endpoints");

    // Asked for, one is told, with what belongs to it; one that is not there is answered, too.
    assert_eq!(client.ask(subscribe(Cluster, &["a/1", "none/1"])), ["Cluster +a/1@1 -none/1"]);
    client.ask(subscribe(Endpoint, &["a/1"]));
    client.ack_all();
    assert!(client.session.is_settled());
    // Whoever asks again is told again.
    assert_eq!(client.ask(subscribe(Cluster, &["none/1"])), ["Cluster -none/1"]);
    client.ack_all();

    // What changes is told of what was asked for; what comes is told to those who have asked for it before.
    let changed = [
        (Cluster, "s", "1"),
        (Cluster, "a/1", "2"),
        (Cluster, "b/1", "2"),
        (Cluster, "none/1", "1"),
        (Endpoint, "a/1", "1"),
        (Endpoint, "b/1", "2"),
        (Endpoint, "none/1", "1"),
        (Listener, "l", "1"),
    ];
    assert_eq!(client.set(&changed, 2), ["Cluster +a/1@2 +none/1@1", "Endpoint +a/1@1"]);
    client.ask(subscribe(Endpoint, &["none/1"]));
    client.ack_all();
    assert!(client.session.is_settled());
    // And what is gone.
    assert_eq!(
        client.set(&[(Cluster, "s", "1"), (Cluster, "b/1", "2"), (Listener, "l", "1")], 3),
        ["Endpoint -a/1 -none/1", "Cluster -a/1 -none/1"]
    );
    client.ack_all();
    assert!(client.session.is_settled());

    // An Envoy that comes back says what it has, and asks for the same.
    client.session = Session::new(Limits::default()).with_on_demand(Some(with_slash));
    client.set(&changed, 4);
    let mut again = subscribe(Cluster, &["*", "a/1"]);
    again.initial_resource_versions =
        [("s", "1"), ("a/1", "2"), ("b/1", "1")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    // What it has without having asked for it is told of as if it had: nobody else would tell it of changes.
    assert_eq!(client.ask(again), ["Cluster +b/1@2"]);
    client.ack_all();
    assert_eq!(client.ask(subscribe(Listener, &[])), ["Listener +l@1"]);
    client.ask(subscribe(Endpoint, &["a/1", "b/1"]));
    client.ack_all();
    assert!(client.session.is_settled());
    let next = [
        (Cluster, "s", "1"),
        (Cluster, "a/1", "2"),
        (Cluster, "b/1", "3"),
        (Cluster, "c/1", "1"),
        (Endpoint, "a/1", "1"),
        (Endpoint, "b/1", "2"),
        (Listener, "l", "1"),
    ];
    assert_eq!(client.set(&next, 5), ["Cluster +b/1@3", "Endpoint +b/1@2"]);
    client.ack_all();
    assert_eq!(
        client.set(&[(Cluster, "s", "1"), (Cluster, "c/1", "1"), (Listener, "l", "1")], 6).last().unwrap(),
        "Cluster -a/1 -b/1"
    );

    // The same for one that asks for all by naming none.
    client.session = Session::new(Limits::default()).with_on_demand(Some(with_slash));
    client.set(&changed, 7);
    let mut again = subscribe(Cluster, &[]);
    again.initial_resource_versions = [("s", "1"), ("b/1", "1")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    assert_eq!(client.ask(again), ["Cluster +b/1@2"]);
}

/// Whoever asks for some names only, and has others, wants none of those.
#[test]
fn a_client_that_asks_for_names_alone_is_told_of_those() {
    let mut client = Client::new();
    client.session = Session::new(Limits::default()).with_on_demand(Some(with_slash));
    client.set(&[(Cluster, "a/1", "2"), (Cluster, "b/1", "2")], 1);
    let mut request = subscribe(Cluster, &["a/1"]);
    request.initial_resource_versions = [("a/1", "1"), ("b/1", "1")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    assert_eq!(client.ask(request), ["Cluster +a/1@2"]);
}

/// On a new stream a client says what it has of an older one. What it does not ask for again is none of ours.
#[test]
fn what_a_client_has_and_asks_for_no_more_is_not_taken_away_from_it() {
    let mut client = Client::new();
    client.set(&[(Listener, "l", "1"), (Route, "r", "1")], 1);
    client.ask(subscribe(Cluster, &[]));
    client.ask(subscribe(Listener, &[]));
    client.ack_all();
    let mut request = subscribe(Route, &["r"]);
    request.initial_resource_versions = ["r", "old"].map(|name| (name.to_owned(), "1".to_owned())).into();
    assert_eq!(client.ask(request), NOTHING);
    assert_eq!(client.set(&[(Listener, "l", "1")], 2), ["Route -r"]);
}

#[test]
fn what_was_said_to_be_gone_is_not_said_to_be_gone_again() {
    let mut client = Client::serving(&[(Listener, "l", "1"), (Route, "r", "1"), (Route, "s", "1")]);
    assert_eq!(client.set(&[(Listener, "l", "1"), (Route, "s", "1")], 2), ["Route -r"]);
    client.ack_all();
    assert_eq!(client.ask(subscribe(Route, &["*"])), NOTHING, "all is looked at again, and all is known");
    assert_eq!(client.set(&[(Listener, "l", "1"), (Route, "r", "2"), (Route, "s", "1")], 3), ["Route +r@2"]);
}

/// A client that is slow to answer has what is new before it loses what is old, whatever there is no room for yet.
#[test]
fn nothing_is_removed_before_what_waits_for_room_was_sent() {
    let mut client = Client::new();
    client.session = Session::new(Limits { names: 9, in_flight: 1 });
    client.set(&[(Cluster, "a", "1"), (Cluster, "b", "1")], 1);
    client.ask(subscribe(Cluster, &[]));
    client.ask(subscribe(Listener, &[]));
    client.ack_all();
    assert_eq!(client.set(&[(Cluster, "a", "2"), (Cluster, "b", "1")], 2), ["Cluster +a@2"]);
    assert_eq!(client.set(&[(Cluster, "a", "3")], 3), NOTHING);
    assert_eq!(client.ack_next(), ["Cluster +a@3"]);
    assert_eq!(client.ack_next(), ["Cluster -b"]);
}

/// Whoever has all there is, and hears so, waits for no second word of it.
#[test]
fn a_client_that_asks_for_all_again_is_told_nothing_new() {
    let mut client = Client::new();
    client.set(&[], 1);
    assert_eq!(client.ask(subscribe(Cluster, &[])), ["Cluster"]);
    client.ack_all();
    assert_eq!(client.ask(subscribe(Cluster, &["*"])), NOTHING);

    // One that asked for names, and then for all, of which there is none: it is told of that, or it would wait.
    let mut client = Client::new();
    client.set(&[], 1);
    assert_eq!(client.ask(subscribe(Scope, &["a"])), ["Scope -a"]);
    client.ack_all();
    assert_eq!(client.ask(subscribe(Scope, &["*"])), NOTHING, "it has heard of the only name it knows");
}
