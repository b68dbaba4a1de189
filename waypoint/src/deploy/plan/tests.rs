//! What is done about a Gateway and what there is of its proxy.

use std::net::Ipv4Addr;

use serde_json::json;

use super::*;

fn gateway() -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": "a", "uid": "u1"},
        "spec": {
            "gatewayClassName": "gloo-waypoint",
            "listeners": [
                {"name": "hbone", "port": 15008, "protocol": "istio.io/HBONE"},
                {"name": "proxy", "port": 15088, "protocol": "istio.io/PROXY"},
            ],
            "infrastructure": {
                "labels": {"team": "x", "app.kubernetes.io/managed-by": "somebody", "gateway.networking.k8s.io/gateway-name": "b"},
                "annotations": {"note": "y"},
            },
        },
    })
}

fn pods() -> Pods {
    Pods {
        image: "example.com/proxy:1".to_owned(),
        pull_secrets: vec!["pull".to_owned()],
        xds: ("waypoint.gloo-system.svc".to_owned(), 9977),
        xds_name: None,
        cpu: "1000m".to_owned(),
        memory: "1Gi".to_owned(),
        controller: contract::CONTROLLER_NAME.to_owned(),
    }
}

fn of(gateway: &Value, there: &There) -> Plan {
    with(gateway, &Ok(Parameters::default()), there)
}

fn with(gateway: &Value, parameters: &Result<Parameters, Vec<String>>, there: &There) -> Plan {
    plan(&Owner::read(gateway).expect("a Gateway"), gateway, (&pods(), "CA"), parameters, there)
}

fn parameters(text: &str, deployment: &str) -> Result<Parameters, Vec<String>> {
    Parameters::read(&json!({"data": {"parameters": text, "deployment": deployment}}))
}

/// What is there once these acts are done, with what an API server adds.
fn after(mut there: There, acts: Vec<Act>) -> There {
    for act in acts {
        match act {
            Act::Create(kind, mut object) => {
                object["metadata"]["uid"] = json!(format!("uid of {}", kind.as_str()));
                object["metadata"]["resourceVersion"] = json!("7");
                there.insert(kind, object);
            }
            Act::Change(kind, patch) => merge(there.get_mut(&kind).expect("there"), &patch),
            Act::Delete(kind, _) => drop(there.remove(&kind)),
        }
    }
    there
}

/// What there is once a plan was followed, with what an API server adds.
fn done(gateway: &Value) -> There {
    let plan = of(gateway, &There::new());
    assert_eq!(plan.problems, Vec::<String>::new());
    let made = plan.acts.into_iter().map(|act| {
        let Act::Create(kind, mut object) = act else { panic!("{act:?}") };
        object["metadata"]["uid"] = json!(format!("uid of {}", kind.as_str()));
        object["metadata"]["resourceVersion"] = json!("7");
        (kind, object)
    });
    let mut there: There = made.collect();
    let deployment = there.get_mut(&Managed::Deployment).expect("a Deployment");
    deployment["spec"]["replicas"] = json!(3);
    deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("1");
    let pod = &mut deployment["spec"]["template"]["spec"];
    pod["dnsPolicy"] = json!("ClusterFirst");
    for absent in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        pod.as_object_mut().expect("a pod").remove(absent);
    }
    pod["containers"][0]["resources"]["requests"] = json!({"cpu": "1", "memory": "1024Mi"});
    pod["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
    let service = there.get_mut(&Managed::Service).expect("a Service");
    service["spec"]["clusterIP"] = json!("10.96.0.7");
    service["spec"]["clusterIPs"] = json!(["10.96.0.7"]);
    there
}

fn labels(object: &Value) -> &Value {
    &object["metadata"]["labels"]
}

#[test]
fn a_gateway_becomes_objects_that_belong_to_it() {
    let there = done(&gateway());
    assert_eq!(there.keys().copied().collect::<Vec<_>>(), Managed::OF_A_GATEWAY[..5], "nobody asked for an autoscaler");
    for (kind, object) in &there {
        assert_eq!((&object["kind"], &object["metadata"]["name"]), (&json!(kind.as_str()), &json!("gloo-proxy-a")));
        assert_eq!(object["metadata"]["namespace"], "shop");
        assert!(is_owned(object, "u1") && !is_owned(object, "u2"), "{object}");
        assert_eq!(
            labels(object)["gateway.networking.k8s.io/gateway-name"],
            "a",
            "nobody's infrastructure says otherwise"
        );
        assert_eq!(labels(object)["gateway.networking.k8s.io/gateway-class-name"], "gloo-waypoint");
        assert_eq!(labels(object)["app.kubernetes.io/managed-by"], "waykeeper");
        assert_eq!((&labels(object)["team"], &object["metadata"]["annotations"]["note"]), (&json!("x"), &json!("y")));
    }
    let service = &there[&Managed::Service];
    assert_eq!(labels(service)["istio.io/use-waypoint"], "none");
    assert_eq!(service["spec"]["selector"], json!({"gateway.networking.k8s.io/gateway-name": "a"}));
    let ports: Vec<_> = service["spec"]["ports"].as_array().expect("ports").iter().map(|port| &port["port"]).collect();
    assert_eq!(ports, [15021, 15088]);
    let template = &there[&Managed::Deployment]["spec"]["template"];
    assert_eq!(
        (&labels(template)["istio.io/dataplane-mode"], &labels(template)["team"]),
        (&json!("ambient"), &json!("x"))
    );
    assert_eq!(template["spec"]["serviceAccountName"], "gloo-proxy-a");
    assert_eq!(template["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
}

#[test]
fn what_is_as_it_is_to_be_is_not_written() {
    let plan = of(&gateway(), &done(&gateway()));
    assert_eq!((plan.acts, plan.problems), (vec![], vec![]));
}

#[test]
fn edits_are_undone_and_what_is_gone_is_made_again() {
    type Edit = fn(&mut There);
    let edits: [(Managed, Edit); 7] = [
        (Managed::Deployment, |there| {
            there.get_mut(&Managed::Deployment).expect("there")["spec"]["template"]["spec"]["containers"][0]["image"] =
                json!("evil");
        }),
        (Managed::Deployment, |there| {
            there.get_mut(&Managed::Deployment).expect("there")["spec"]["template"]["spec"]["hostNetwork"] =
                json!(true);
        }),
        (Managed::Deployment, |there| {
            there.get_mut(&Managed::Deployment).expect("there")["spec"]["template"]["spec"]["containers"][0]["env"] =
                json!([{"name": "LD_PRELOAD", "value": "x"}]);
        }),
        (Managed::Deployment, |there| {
            there.get_mut(&Managed::Deployment).expect("there")["spec"]["template"]["spec"]["containers"][0]["resources"]
                ["requests"]["cpu"] = json!("2");
        }),
        (Managed::Service, |there| {
            there.get_mut(&Managed::Service).expect("there")["spec"]["selector"]["another"] = json!("label");
        }),
        (Managed::ConfigMap, |there| {
            there.get_mut(&Managed::ConfigMap).expect("there")["data"]["ca.crt"] = json!("another's");
        }),
        (Managed::ServiceAccount, |there| drop(there.remove(&Managed::ServiceAccount))),
    ];
    for (number, (kind, edit)) in edits.into_iter().enumerate() {
        let mut there = done(&gateway());
        edit(&mut there);
        let plan = of(&gateway(), &there);
        match (&plan.acts[..], there.get(&kind)) {
            ([Act::Create(created, _)], None) => assert_eq!(*created, kind),
            ([Act::Change(changed, patch)], Some(object)) => {
                assert_eq!(*changed, kind, "{number}");
                assert_eq!(
                    (&patch["metadata"]["uid"], &patch["metadata"]["resourceVersion"]),
                    (&object["metadata"]["uid"], &json!("7"))
                );
                assert_eq!(patch["spec"].get("replicas"), None, "that is for whoever scales it");
                let mut mended = object.clone();
                merge(&mut mended, patch);
                there.insert(kind, mended);
                assert_eq!(of(&gateway(), &there).acts, [], "{number}: once is enough");
            }
            (acts, _) => panic!("{number}: {acts:?}"),
        }
    }
}

/// As an API server merges.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().expect("an object").remove(key);
        } else {
            merge(&mut into[key.as_str()], value);
        }
    }
}

#[test]
fn what_the_infrastructure_says_no_longer_is_taken_away_and_what_others_said_stays() {
    let mut there = done(&gateway());
    for object in there.values_mut() {
        object["metadata"]["labels"]["others"] = json!("stays");
    }
    let mut gateway = gateway();
    gateway["spec"]["infrastructure"] = json!({"labels": {"tier": "z"}});
    let plan = of(&gateway, &there);
    assert_eq!(plan.acts.len(), Managed::OF_A_GATEWAY[..5].len());
    for act in plan.acts {
        let Act::Change(kind, patch) = act else { panic!("{act:?}") };
        let object = there.get_mut(&kind).expect("there");
        merge(object, &patch);
        assert_eq!((labels(object).get("team"), &labels(object)["tier"]), (None, &json!("z")));
        assert_eq!(object["metadata"]["annotations"].get("note"), None);
        assert_eq!(labels(object)["others"], "stays");
        assert_eq!(labels(object)["app.kubernetes.io/managed-by"], "waykeeper");
    }
    let template = &there[&Managed::Deployment]["spec"]["template"];
    assert_eq!((labels(template).get("team"), template["metadata"]["annotations"].get("note")), (None, None));
    assert_eq!(of(&gateway, &there).acts, []);
    // The last of it goes as well, where nothing else is wanted of its kind.
    gateway["spec"]["infrastructure"] = json!({});
    for act in of(&gateway, &there).acts {
        let Act::Change(kind, patch) = act else { panic!("{act:?}") };
        merge(there.get_mut(&kind).expect("there"), &patch);
    }
    for object in there.values() {
        assert_eq!((labels(object).get("tier"), &labels(object)["others"]), (None, &json!("stays")));
    }
    assert_eq!(labels(&there[&Managed::Deployment]["spec"]["template"]).get("tier"), None);
    assert_eq!(of(&gateway, &there).acts, []);
}

#[test]
fn what_belongs_to_others_is_left_alone_and_said() {
    for kind in Managed::OF_A_GATEWAY[..5].iter().copied() {
        for owners in [
            json!([]),
            json!([{"kind": "Gateway", "name": "a", "uid": "u0", "controller": true}]),
            json!([{"uid": "u1"}]),
        ] {
            let mut there = done(&gateway());
            there.get_mut(&kind).expect("there")["metadata"]["ownerReferences"] = owners.clone();
            // Something else is to be done besides.
            there.get_mut(&Managed::ConfigMap).expect("there")["data"] = json!({});
            let plan = of(&gateway(), &there);
            assert_eq!(plan.acts, [], "{kind:?} {owners}");
            assert!(plan.problems.len() == 1 && plan.problems[0].contains(kind.as_str()), "{:?}", plan.problems);
            let left = leave("u1", contract::CONTROLLER_NAME, &there);
            assert!(!left.iter().any(|act| matches!(act, Act::Delete(deleted, _) if *deleted == kind)), "{left:?}");
        }
    }
    let alone = There::from([(Managed::Service, json!({"metadata": {"name": "gloo-proxy-a", "uid": "x"}}))]);
    assert_eq!(of(&gateway(), &alone).acts, [], "nothing is made beside a stranger");
    // An autoscaler of somebody else is in nobody's way, unless one is to be made.
    let mut there = done(&gateway());
    there.insert(Managed::HorizontalPodAutoscaler, json!({"metadata": {"name": "gloo-proxy-a", "uid": "x"}}));
    let plan = of(&gateway(), &there);
    assert_eq!((plan.acts, plan.problems), (vec![], vec![]));
    let plan = with(&gateway(), &parameters("autoscaling: {maxReplicas: 2}", ""), &there);
    assert!(plan.acts.is_empty() && plan.problems[0].contains("HorizontalPodAutoscaler"), "{:?}", plan.problems);
}

#[test]
fn of_a_gateway_that_is_not_ours_any_more_what_we_made_goes() {
    let acts = leave("u1", contract::CONTROLLER_NAME, &done(&gateway()));
    let uids: Vec<String> =
        Managed::OF_A_GATEWAY[..5].iter().rev().map(|kind| format!("uid of {}", kind.as_str())).collect();
    let named: Vec<String> = acts
        .iter()
        .map(|act| match act {
            Act::Delete(_, uid) => uid.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(named, uids, "pods first");
    assert_eq!(leave("u2", contract::CONTROLLER_NAME, &done(&gateway())), []);
    assert_eq!(leave("u1", "example.com/other", &done(&gateway())), [], "another installation's");
    // What was made before there could be several is the first one's.
    let mut there = done(&gateway());
    there.values_mut().for_each(|object| drop(object["metadata"]["annotations"][CONTROLLER].take()));
    assert_eq!(
        (leave("u1", contract::CONTROLLER_NAME, &there).len(), leave("u1", "example.com/other", &there)),
        (5, vec![])
    );
}

#[test]
fn parameters_with_a_mistake_stop_everything_and_touch_nothing() {
    let cannot = Err(vec!["there is no ConfigMap shop/p".to_owned()]);
    for wrong in [cannot, parameters("replica: 1", ""), parameters("", "spec: {selector: null}")] {
        for there in [There::new(), done(&gateway())] {
            let plan = with(&gateway(), &wrong, &there);
            assert_eq!(plan.acts, []);
            assert!(plan.invalid_parameters && plan.problems.len() == 1, "{:?}", plan.problems);
        }
    }
}

#[test]
fn what_parameters_say_is_so_and_is_taken_away_when_they_say_it_no_longer() {
    let before = done(&gateway());
    let said = parameters(
        "{image: other, nodeSelector: {disk: ssd}, resources: {limits: {memory: 1Gi}}, service: {type: LoadBalancer},
          tolerations: [{key: a, operator: Exists}], podDisruptionBudget: {minAvailable: 50%}, annotations: {n: m},
          autoscaling: {minReplicas: 2, maxReplicas: 5}, topologySpread: [{topologyKey: zone}]}",
        "spec: {minReadySeconds: 5, template: {spec: {containers: [{name: waypoint, env: [{name: X, value: '1'}]}, {name: beside}]}}}",
    );
    let there = after(before.clone(), with(&gateway(), &said, &before).acts);
    let at = |kind: Managed, pointer: &str| there[&kind].pointer(pointer).cloned().unwrap_or_default();
    let deployment = |pointer: &str| at(Managed::Deployment, pointer);
    assert_eq!(deployment("/spec/template/spec/containers/0/image"), "other");
    assert_eq!(deployment("/spec/template/spec/containers/0/resources/limits/memory"), "1Gi");
    assert_eq!(deployment("/spec/template/spec/containers/0/env/0/name"), "WAYPOINT_MEMORY");
    assert_eq!(deployment("/spec/template/spec/containers/0/env/1/name"), "X");
    assert_eq!(deployment("/spec/template/spec/containers/1/name"), "beside");
    assert_eq!(deployment("/spec/template/spec/nodeSelector"), json!({"disk": "ssd"}));
    assert_eq!(deployment("/spec/template/metadata/annotations/n"), "m");
    assert_eq!(deployment("/spec/template/spec/topologySpreadConstraints/0/topologyKey"), "zone");
    assert_eq!((deployment("/spec/minReadySeconds"), deployment("/spec/replicas")), (json!(5), json!(3)));
    assert_eq!(at(Managed::Service, "/spec/type"), "LoadBalancer");
    let budget = &there[&Managed::PodDisruptionBudget]["spec"];
    assert_eq!((&budget["minAvailable"], budget.get("maxUnavailable")), (&json!("50%"), None));
    assert_eq!(at(Managed::HorizontalPodAutoscaler, "/spec/scaleTargetRef/name"), "gloo-proxy-a");
    assert_eq!(with(&gateway(), &said, &there).acts, [], "all of it is so");

    // Nothing is said any more: all is as it was, but for how many pods there are.
    let mut again = after(there.clone(), of(&gateway(), &there).acts);
    assert_eq!(of(&gateway(), &again).acts, []);
    again
        .values_mut()
        .for_each(|object| drop(object["metadata"].as_object_mut().expect("a map").remove("resourceVersion")));
    let fresh = after(There::new(), of(&gateway(), &There::new()).acts);
    for (kind, object) in &fresh {
        for pointer in
            ["/spec/template/spec", "/spec/type", "/spec/maxUnavailable", "/spec/template/metadata/annotations"]
        {
            let (now, wanted) = (again[kind].pointer(pointer), object.pointer(pointer));
            assert!(wanted.is_none_or(|wanted| covers(wanted, now)), "{kind:?} {pointer}: {now:?}");
        }
    }
    let left = again[&Managed::Deployment].to_string();
    for gone in ["minReadySeconds", "beside", "\"n\":", "disk", "waykeeper.dev/applied"] {
        assert!(!left.contains(gone), "{gone}: {left}");
    }
    assert_eq!(again.keys().copied().collect::<Vec<_>>(), Managed::OF_A_GATEWAY[..5], "no autoscaler");
    assert_eq!(again[&Managed::Deployment]["spec"]["replicas"], 3);

    // So many as are said, and no budget.
    let few = parameters("{replicas: 2, podDisruptionBudget: false}", "");
    let there = after(before.clone(), with(&gateway(), &few, &before).acts);
    assert_eq!(there[&Managed::Deployment]["spec"]["replicas"], 2);
    assert!(!there.contains_key(&Managed::PodDisruptionBudget));
}

#[test]
fn a_gateway_has_addresses_from_its_first_ready_pod_for_as_long_as_it_lives() {
    let (mut gateway, mut there) = (gateway(), done(&gateway()));
    assert_eq!(of(&gateway, &there).addresses, []);
    let status = |there: &mut There, ready: Value| {
        there.get_mut(&Managed::Deployment).expect("there")["status"] = json!({"readyReplicas": ready});
    };
    status(&mut there, json!(0));
    assert_eq!(of(&gateway, &there).addresses, []);
    status(&mut there, json!(1));
    let host = Address::Hostname("gloo-proxy-a.shop.svc.cluster.local".to_owned());
    let both = [Address::Ip(Ipv4Addr::new(10, 96, 0, 7).into()), host];
    assert_eq!(of(&gateway, &there).addresses, both);
    // No pod is ready any more: a mesh would pass requests around it.
    gateway["status"] = json!({"addresses": [{"type": "IPAddress", "value": "10.96.0.7"}]});
    status(&mut there, Value::Null);
    assert_eq!(of(&gateway, &there).addresses, both);
    there.get_mut(&Managed::Service).expect("there")["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(of(&gateway, &there).addresses, [], "a stranger's Service is not where it is reached");
}

/// Whoever asks why no pods come reads it at the Gateway.
#[test]
fn why_no_pods_come_is_said_and_the_rest_goes_on() {
    let with = |conditions: Value| {
        let mut there = done(&gateway());
        there.get_mut(&Managed::Deployment).expect("a Deployment")["status"] = json!({"conditions": conditions});
        of(&gateway(), &there)
    };
    let failing = |status: &str, message: &str| json!({"type": "ReplicaFailure", "status": status, "message": message});
    let available = json!({"type": "Available", "status": "True", "message": "fine"});
    let forbidden = "pods \"gloo-proxy-a-7f\" is forbidden: violates\nPodSecurity";
    let plan = with(json!([available, failing("False", "old"), failing("True", forbidden)]));
    assert_eq!(plan.problems, ["its pods cannot be made: violatesPodSecurity"]);
    assert_eq!(plan.acts, [], "and nothing else is to be done");
    assert_eq!(with(json!([failing("True", "no room")])).problems, ["its pods cannot be made: no room"]);
    assert_eq!(with(json!([available, failing("False", "old")])).problems, [""; 0]);
    let long = with(json!([failing("True", &"x".repeat(LONGEST + 9))]));
    assert_eq!(long.problems, [format!("its pods cannot be made: {}", "x".repeat(LONGEST))]);
}

/// Of several that are not wanted any more each goes, by what it is and not by its name.
#[test]
fn all_that_is_not_wanted_any_more_goes() {
    let before = done(&gateway());
    let said = parameters("{autoscaling: {minReplicas: 2, maxReplicas: 5}}", "");
    let there = after(before.clone(), with(&gateway(), &said, &before).acts);
    let acts = with(&gateway(), &parameters("{podDisruptionBudget: false}", ""), &there).acts;
    let gone = acts.into_iter().filter_map(|act| match act {
        Act::Delete(kind, uid) => Some((kind.as_str(), uid)),
        _ => None,
    });
    let uid = |kind: &'static str| (kind, format!("uid of {kind}"));
    let expected = [uid("PodDisruptionBudget"), uid("HorizontalPodAutoscaler")];
    let mut gone: Vec<_> = gone.collect();
    gone.sort_by_key(|(kind, _)| std::cmp::Reverse(*kind));
    assert_eq!(gone, expected);
}
