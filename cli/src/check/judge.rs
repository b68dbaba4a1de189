//! What is made of what a cluster answered: for each thing that must be so whether it is, and what to do. Pure.

use std::collections::BTreeMap;

use api::Kind;
use kubernetes::client::Refusal;
use kubernetes::rights::Right;
use serde_json::Value;

use crate::waypoints::gateway;

/// What the API server said when it was asked for something.
pub type Answer = Result<Value, Refusal>;

/// How it is with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As it should be.
    Good,
    /// It will do, or nobody knows.
    Warning,
    /// Something does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub outcome: Outcome,
    /// What is so.
    pub what: String,
    /// What to do, unless it is as it should be.
    pub cure: String,
}

impl Check {
    fn good(what: impl Into<String>) -> Self {
        Self { outcome: Outcome::Good, what: what.into(), cure: String::new() }
    }

    fn warning(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { outcome: Outcome::Warning, what: what.into(), cure: cure.into() }
    }

    fn bad(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { outcome: Outcome::Bad, what: what.into(), cure: cure.into() }
    }

    /// What is not known because it could not be asked.
    fn unknown(what: &str, refusal: &Refusal) -> Self {
        Self::warning(format!("{what} cannot be looked at: {refusal}"), "run it as somebody who may read that")
    }
}

/// The oldest minor version of Kubernetes 1 that will do: pods wait before they end (`preStop.sleep`).
const OLDEST: u32 = 30;

/// Whether the API server answers, and how old it is.
pub fn version(url: &str, answer: &Answer) -> Vec<Check> {
    let said = match answer {
        Ok(said) => said,
        Err(refusal) => {
            let cure = "see which cluster the kubeconfig names, and whether it is up: --kubeconfig, --context";
            return vec![Check::bad(format!("the API server at {url} does not answer: {refusal}"), cure)];
        }
    };
    let shown = said["gitVersion"].as_str().unwrap_or("of an unknown version");
    let digits = |field: &str| -> Option<u32> {
        said[field].as_str()?.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    let age = match (digits("major"), digits("minor")) {
        (Some(1), Some(minor)) if minor < OLDEST => {
            Check::bad(format!("Kubernetes {shown} is older than 1.{OLDEST}"), "use a newer cluster")
        }
        (Some(_), Some(_)) => Check::good(format!("Kubernetes {shown} is 1.{OLDEST} or later")),
        _ => Check::warning(format!("the API server is {shown}"), format!("1.{OLDEST} or later is needed")),
    };
    vec![Check::good(format!("the API server at {url} answers")), age]
}

/// The names of the definitions of Gateway API's kinds that are read, with their versions.
pub fn gateway_kinds() -> Vec<(String, &'static [&'static str])> {
    let ours = Kind::ALL.iter().filter(|kind| kind.group() == "gateway.networking.k8s.io");
    ours.map(|kind| (format!("{}.{}", kind.plural(), kind.group()), kind.api_versions())).collect()
}

/// Gateway API's definitions, by their names.
pub fn gateway_api(found: &BTreeMap<String, Answer>) -> Vec<Check> {
    const CURE: &str = "install Gateway API's definitions, of release 1.1 or later (1.5 is what was tried)";
    let mut checks = Vec::new();
    let mut bundles: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, versions) in gateway_kinds() {
        let Some((name, answer)) = found.get_key_value(&name) else { continue };
        match answer {
            Ok(definition) => {
                let note = |key: &str| {
                    let key = format!("gateway.networking.k8s.io/{key}");
                    definition["metadata"]["annotations"][key].as_str().unwrap_or("unknown").to_owned()
                };
                let wanted = |version: &str| versions.iter().any(|one| one.ends_with(&format!("/{version}")));
                match served(definition).any(wanted) && is_established(definition) {
                    true => bundles
                        .entry(format!("{} ({})", note("bundle-version"), note("channel")))
                        .or_default()
                        .push(name),
                    false => {
                        checks.push(Check::bad(format!("{name} is not served as {}", versions.join(" or ")), CURE))
                    }
                }
            }
            Err(refusal) if refusal.is_absence() => checks.push(Check::bad(format!("{name} is not there"), CURE)),
            Err(refusal) => checks.push(Check::unknown(name, refusal)),
        }
    }
    let mixed = bundles.len() > 1;
    for (bundle, names) in bundles {
        let what = format!("Gateway API {bundle}: {}", names.join(", "));
        checks.push(match mixed {
            true => Check::warning(what, "install all of Gateway API's definitions from one release and channel"),
            false => Check::good(what),
        });
    }
    checks
}

/// One of Gloo's kinds: `ours` as we define it, and what is there under its name; `before` anything was installed.
pub fn gloo_kind(ours: &Value, found: &Answer, before: bool) -> Check {
    let name = ours["metadata"]["name"].as_str().unwrap_or_default();
    // Read under a second group for those who have it from there.
    let optional = ours["spec"]["group"] == "extauth.solo.io";
    let definition = match found {
        Ok(definition) => definition,
        Err(refusal) if refusal.is_absence() => {
            let what = format!("{name} is not there");
            return match before || optional {
                true => Check::good(format!("{what}, and nobody else's")),
                false => Check::bad(what, "helm install waykeeper-crds, or kubectl apply --server-side -f deploy/crds"),
            };
        }
        Err(refusal) => return Check::unknown(name, refusal),
    };
    let version = &ours["spec"]["versions"][0];
    let wanted = version["name"].as_str().unwrap_or_default();
    let there = definition["spec"]["versions"].as_array().into_iter().flatten();
    let Some(there) = there.into_iter().find(|one| one["name"] == wanted && one["served"] == true) else {
        return Check::bad(format!("{name} is not served as {wanted}"), "let its owner install a version that has it");
    };
    if !is_established(definition) {
        let cure = format!("kubectl describe crd {name} says what is in its way");
        return Check::bad(format!("{name} is there, and the API server does not serve it"), cure);
    }
    if there["schema"] == version["schema"] && there["subresources"] == version["subresources"] {
        return Check::good(format!("{name} is Waykeeper's, of this version"));
    }
    let mut lacks = Vec::new();
    if !there["subresources"]["status"].is_object() {
        lacks.push(
            "no status of its own to write to: what becomes of its objects is told by the servers' /status, and on \
             the objects with the chart's statuses.onObjects",
        );
    }
    let spec = &there["schema"]["openAPIV3Schema"];
    let keeps = |level: &Value| level["x-kubernetes-preserve-unknown-fields"] == true;
    if !keeps(spec) && !keeps(&spec["properties"]["spec"]) && definition["spec"]["preserveUnknownFields"] != true {
        lacks.push(
            "fields that it does not know are dropped, snake_case among them: what is misspelt is refused by \
             kubectl, or arrives empty",
        );
    }
    match lacks.as_slice() {
        [] => Check::good(format!("{name} is of another version or owner, and will do")),
        _ => Check::warning(
            format!("{name} is another owner's, such as Gloo's: {}", lacks.join("; ")),
            "it works; waykeeper-crds would have it otherwise, once that owner and its definitions are gone",
        ),
    }
}

fn served(definition: &Value) -> impl Iterator<Item = &str> {
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    versions.filter(|one| one["served"] == true).filter_map(|one| one["name"].as_str())
}

fn is_established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Established" && one["status"] == "True")
}

/// Whether `who` may do all of what it needs: each right with what the API server said of it.
pub fn rights(who: &str, asked: &[(Right, Answer)], cure: &str) -> Check {
    if let Some(refusal) = asked.iter().find_map(|(_, answer)| answer.as_ref().err()) {
        return Check::unknown(&format!("what {who} may do"), refusal);
    }
    // What is said of nothing is no permission.
    let missing = asked.iter().filter(|(_, answer)| !matches!(answer, Ok(said) if said["status"]["allowed"] == true));
    let missing: Vec<String> = missing.map(|(right, _)| right.to_string()).collect();
    match missing.is_empty() {
        true => Check::good(format!("{who} may do all that is needed ({} rights)", asked.len())),
        false => Check::bad(format!("{who} may not {}", missing.join(", ")), cure),
    }
}

/// A GatewayClass whose Gateways are to be served.
pub fn class(name: &str, ours: &str, found: &Answer) -> Check {
    let binding = "ambient.istio.io/waypoint-inbound-binding";
    match found {
        Ok(class) if class["spec"]["controllerName"] != ours => {
            let owner = &class["spec"]["controllerName"];
            Check::bad(
                format!("GatewayClass {name} belongs to the controller {owner}"),
                "use a class of another name: waypoint --class, and gatewayClassName of Gateways",
            )
        }
        Ok(class) if class["metadata"]["annotations"][binding] != "PROXY/15088" => Check::warning(
            format!("GatewayClass {name} does not say how ztunnel is to hand connections over"),
            format!("kubectl annotate gatewayclass {name} {binding}=PROXY/15088"),
        ),
        Ok(_) => Check::good(format!("GatewayClass {name} is Waykeeper's")),
        Err(refusal) if refusal.is_absence() => Check::warning(
            format!("GatewayClass {name} is not there: in a mesh its Gateways get no connections"),
            "helm upgrade waykeeper makes it once Gateway API's definitions are there",
        ),
        Err(refusal) => Check::unknown(&format!("GatewayClass {name}"), refusal),
    }
}

/// The Gateways of our classes, each with what is said of it.
pub fn gateways(found: &Result<Vec<Value>, Refusal>, classes: &[String]) -> Vec<Check> {
    let found = match found {
        Ok(found) => found,
        // That there is no such kind is said where definitions are looked at.
        Err(refusal) if refusal.is_absence() => return Vec::new(),
        Err(refusal) => return vec![Check::unknown("Gateways", refusal)],
    };
    let ours = found.iter().filter(|one| gateway::is_of(one, classes));
    let judged = ours.map(|one| {
        let [namespace, name, _, _, reason, message] = gateway::told(one);
        match gateway::serves(one) {
            true => Check::good(format!("Gateway {namespace}/{name} serves")),
            false => Check::warning(
                format!("Gateway {namespace}/{name} does not serve: {reason}: {message}"),
                format!("kubectl -n {namespace} get pods -l gateway.networking.k8s.io/gateway-name={name}"),
            ),
        }
    });
    judged.collect()
}

/// The Deployment of a server.
pub fn deployment(found: &Value) -> Check {
    let text = |field: &str| found["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let count = |field: &str| found["status"][field].as_u64().unwrap_or(0);
    let wanted = found["spec"]["replicas"].as_u64().unwrap_or(1);
    let seen = found["status"]["observedGeneration"].as_i64() >= found["metadata"]["generation"].as_i64();
    let (ready, updated) = (count("readyReplicas"), count("updatedReplicas"));
    let what = format!("Deployment {namespace}/{name}: {ready} of {wanted} pods are ready");
    let cure = format!("kubectl -n {namespace} describe pods -l app.kubernetes.io/component={}", server(found));
    match () {
        () if wanted == 0 => {
            Check::warning(what, format!("kubectl -n {namespace} scale deployment/{name} --replicas=1"))
        }
        () if ready == 0 => Check::bad(what, cure),
        () if !seen || updated < wanted || ready < wanted => Check::warning(what, cure),
        () => Check::good(what),
    }
}

/// There is none, or they could not be looked for.
pub fn no_deployments(refusal: Option<&Refusal>) -> Check {
    match refusal {
        Some(refusal) => Check::unknown("Deployments", refusal),
        None => Check::bad("no server of Waykeeper is there", "helm install waykeeper; or name the namespace: -n"),
    }
}

/// Which server a Deployment is of.
pub fn server(deployment: &Value) -> &str {
    deployment["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap_or_default()
}

/// The Lease by which the replicas of a server agree on who writes statuses.
pub fn lease(server: &str, found: &Answer) -> Check {
    let cure = "the servers' /readyz says why statuses are not written";
    match found {
        Ok(lease) => match lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty()) {
            Some(holder) => Check::good(format!("{server}: {holder} writes statuses")),
            None => Check::warning(format!("{server}: nobody writes statuses"), cure),
        },
        Err(refusal) if refusal.is_absence() => Check::warning(format!("{server}: nobody writes statuses"), cure),
        Err(refusal) => Check::unknown(&format!("who writes statuses of {server}"), refusal),
    }
}

#[cfg(test)]
mod tests {
    use api::crd::definitions;
    use serde_json::json;

    use super::*;

    fn absent() -> Answer {
        Err(Refusal::Said { code: 404, message: "not found".to_owned() })
    }

    fn forbidden() -> Answer {
        Err(Refusal::Said { code: 403, message: "you may not".to_owned() })
    }

    fn outcome(check: &Check) -> Outcome {
        assert_eq!(check.cure.is_empty(), check.outcome == Outcome::Good, "{check:?}");
        check.outcome
    }

    fn established(mut definition: Value) -> Value {
        definition["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
        definition
    }

    #[test]
    fn an_api_server_is_there_and_new_enough() {
        let said = |major: &str, minor: &str| Ok(json!({"gitVersion": "v", "major": major, "minor": minor}));
        let last = |answer: Answer| outcome(version("u", &answer).last().unwrap());
        assert_eq!(last(said("1", "36")), Outcome::Good);
        assert_eq!(last(said("1", "30+")), Outcome::Good);
        assert_eq!(last(said("1", "29")), Outcome::Bad);
        assert_eq!(last(said("2", "0")), Outcome::Good);
        assert_eq!(last(Ok(json!({}))), Outcome::Warning);
        assert_eq!(last(Err(Refusal::Unanswered("no".to_owned()))), Outcome::Bad);
    }

    #[test]
    fn gateway_apis_definitions_are_served_in_a_version_that_is_read() {
        let definition = |version: &str, bundle: &str| {
            Ok(established(json!({
                "metadata": {"annotations": {"gateway.networking.k8s.io/bundle-version": bundle, "gateway.networking.k8s.io/channel": "standard"}},
                "spec": {"versions": [{"name": "v1alpha2", "served": true}, {"name": version, "served": true}]}})))
        };
        let all = |version: &str| -> BTreeMap<String, Answer> {
            gateway_kinds().into_iter().map(|(name, _)| (name, definition(version, "v1.5.1"))).collect()
        };
        let good = gateway_api(&all("v1"));
        assert_eq!((good.len(), outcome(&good[0])), (1, Outcome::Good));
        assert!(good[0].what.contains("v1.5.1 (standard)") && good[0].what.contains("httproutes"), "{good:?}");
        let (name, _) = gateway_kinds().remove(0);
        for (answer, wanted) in [
            (absent(), Outcome::Bad),
            (forbidden(), Outcome::Warning),
            (definition("v1", "v1.2.0"), Outcome::Warning),
            (definition("v2", "v1.5.1"), Outcome::Bad),
            (
                definition("v1", "v1.5.1").map(|mut one| {
                    one["status"].take();
                    one
                }),
                Outcome::Bad,
            ),
        ] {
            let mut found = all("v1");
            found.insert(name.clone(), answer.clone());
            assert_eq!(gateway_api(&found).iter().map(outcome).max(), Some(wanted), "{answer:?}");
        }
    }

    #[test]
    fn it_is_told_whose_definitions_of_gloos_kinds_are_there() {
        for (_, ours) in definitions() {
            let stored = established(ours.clone());
            let judged = |change: &dyn Fn(&mut Value)| {
                let mut stored = stored.clone();
                change(&mut stored);
                gloo_kind(&ours, &Ok(stored), false)
            };
            let mine = judged(&|_| {});
            assert!(mine.outcome == Outcome::Good && mine.what.contains("of this version"), "{mine:?}");
            let older =
                judged(&|one| one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = json!("x"));
            assert!(outcome(&older) == Outcome::Good && older.what.contains("will do"), "{older:?}");
            let silent =
                judged(&|one| drop(one["spec"]["versions"][0].as_object_mut().unwrap().remove("subresources")));
            assert!(outcome(&silent) == Outcome::Warning && silent.what.contains("no status"), "{silent:?}");
            let pruning =
                judged(&|one| one["spec"]["versions"][0]["schema"] = json!({"openAPIV3Schema": {"type": "object"}}));
            assert!(outcome(&pruning) == Outcome::Warning && pruning.what.contains("dropped"), "{pruning:?}");
            assert_eq!(outcome(&judged(&|one| drop(one["status"].take()))), Outcome::Bad);
            assert_eq!(outcome(&judged(&|one| one["spec"]["versions"][0]["served"] = json!(false))), Outcome::Bad);
            assert_eq!(outcome(&gloo_kind(&ours, &absent(), true)), Outcome::Good);
            let optional = ours["spec"]["group"] == "extauth.solo.io";
            assert_eq!(outcome(&gloo_kind(&ours, &absent(), false)) == Outcome::Good, optional);
            assert_eq!(outcome(&gloo_kind(&ours, &forbidden(), false)), Outcome::Warning);
        }
    }

    #[test]
    fn a_right_is_one_that_the_api_server_says_is_there() {
        let right = |verb| Right::new(verb, "g", "things", None);
        let said = |allowed: Value| Ok(json!({"status": {"allowed": allowed}}));
        let judged =
            |answer: Answer| rights("x", &[(right("get"), said(json!(true))), (right("list"), answer)], "cure");
        assert_eq!(outcome(&judged(said(json!(true)))), Outcome::Good);
        let missing = judged(said(json!(false)));
        assert_eq!((outcome(&missing), missing.what.as_str()), (Outcome::Bad, "x may not list things.g"));
        assert_eq!(outcome(&judged(Ok(json!({})))), Outcome::Bad, "nothing said is no permission");
        assert_eq!(outcome(&judged(forbidden())), Outcome::Warning);
    }

    #[test]
    fn a_class_of_another_controller_is_not_served() {
        let of = |controller: &str, binding: Value| {
            let annotations = json!({"ambient.istio.io/waypoint-inbound-binding": binding});
            Ok(json!({"metadata": {"annotations": annotations}, "spec": {"controllerName": controller}}))
        };
        let ours = api::contract::CONTROLLER_NAME;
        assert_eq!(outcome(&class("c", ours, &of(ours, json!("PROXY/15088")))), Outcome::Good);
        assert_eq!(outcome(&class("c", ours, &of(ours, Value::Null))), Outcome::Warning);
        assert_eq!(outcome(&class("c", ours, &of("example.com/other", json!("PROXY/15088")))), Outcome::Bad);
        assert_eq!(outcome(&class("c", ours, &absent())), Outcome::Warning);
        assert_eq!(outcome(&class("c", ours, &forbidden())), Outcome::Warning);
    }

    #[test]
    fn a_gateway_of_ours_serves_or_it_is_told_why_not() {
        let of = |class: &str, status: &str| {
            json!({"metadata": {"name": "g", "namespace": "n", "generation": 1}, "spec": {"gatewayClassName": class},
                   "status": {"conditions": [{"type": "Programmed", "status": status, "observedGeneration": 1,
                                              "reason": "Pending", "message": "waiting"}]}})
        };
        let judged = |found| gateways(&found, &["ours".to_owned()]);
        let all = judged(Ok(vec![of("ours", "True"), of("theirs", "False"), of("ours", "False")]));
        assert_eq!(all.iter().map(outcome).collect::<Vec<_>>(), [Outcome::Good, Outcome::Warning]);
        assert!(all[1].what.ends_with("n/g does not serve: Pending: waiting"), "{all:?}");
        assert!(judged(Err(absent().unwrap_err())).is_empty());
        assert_eq!(judged(Err(forbidden().unwrap_err())).iter().map(outcome).collect::<Vec<_>>(), [Outcome::Warning]);
    }

    #[test]
    fn pods_are_ready_in_their_present_form() {
        let of = |wanted: u64, ready: u64, updated: u64, seen: i64| {
            outcome(&deployment(&json!({
                "metadata": {"name": "d", "namespace": "n", "generation": 2}, "spec": {"replicas": wanted},
                "status": {"readyReplicas": ready, "updatedReplicas": updated, "observedGeneration": seen}})))
        };
        assert_eq!(of(2, 2, 2, 2), Outcome::Good);
        for not_all in [of(2, 1, 2, 2), of(2, 2, 1, 2), of(2, 2, 2, 1), of(0, 0, 0, 2)] {
            assert_eq!(not_all, Outcome::Warning);
        }
        assert_eq!(of(2, 0, 2, 2), Outcome::Bad);
        let held = |holder: &str| outcome(&lease("s", &Ok(json!({"spec": {"holderIdentity": holder}}))));
        assert_eq!((held("pod"), held("")), (Outcome::Good, Outcome::Warning));
        assert_eq!(outcome(&lease("s", &absent())), Outcome::Warning);
    }
}
