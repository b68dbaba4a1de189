//! From a Gateway and what there is of its proxy to what is to be done about it, and what is to be said. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kubernetes::managing::Managed;
use serde_json::{Map, Value, json};
use status::Address;

use super::Pods;
use super::objects::{Owner, TAKEN, objects, whole};
use super::same::{covers, forget, patch};

/// What there is under the name of a proxy.
pub type There = BTreeMap<Managed, Value>;

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Make it, unless there is one by now.
    Create(Managed, Value),
    /// Merge this into it, which names the object and the version that it was made for.
    Change(Managed, Value),
    /// Take it away, if it still is the one with this UID.
    Delete(Managed, String),
}

/// What follows for one Gateway.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What is to be done, in this order.
    pub acts: Vec<Act>,
    /// Why its proxy is not as it is to be.
    pub problems: Vec<String>,
    /// Where the proxy is reached; empty as long as nobody may go there.
    pub addresses: Vec<Address>,
}

/// What to do about the proxy of `owner`, of which the API server has `gateway`.
pub fn plan(owner: &Owner, gateway: &Value, pods: &Pods, ca: &str, there: &There) -> Plan {
    let mut plan = Plan { addresses: addresses(owner, gateway, there), ..Plan::default() };
    if let Some(named) = gateway.pointer("/spec/infrastructure/parametersRef").filter(|named| !named.is_null()) {
        plan.problems.push(format!(
            "spec.infrastructure.parametersRef names {} {}: parameters are not read; take it out",
            named["kind"].as_str().unwrap_or_default(),
            named["name"].as_str().unwrap_or_default(),
        ));
        return plan;
    }
    for (kind, object) in there {
        if !is_owned(object, &owner.uid) {
            let (kind, name) = (kind.as_str(), owner.proxy_name());
            plan.problems.push(format!(
                "there is a {kind} {name} that does not belong to this Gateway: it is left as it is; rename the Gateway, or delete the {kind}"
            ));
        } else if is_deleted(object) {
            // It is made anew once it is gone.
            plan.problems.push(format!("its {} {} is being deleted", kind.as_str(), owner.proxy_name()));
        }
    }
    if !plan.problems.is_empty() {
        return plan;
    }
    for (kind, wanted) in objects(owner, pods, ca) {
        match there.get(&kind) {
            None => plan.acts.push(Act::Create(kind, wanted)),
            Some(object) => plan.acts.extend(change(kind, &wanted, object).map(|patch| Act::Change(kind, patch))),
        }
    }
    plan
}

/// What to do where the Gateway `uid` is not ours any more: what we made for it goes.
pub fn leave(uid: &str, there: &There) -> Vec<Act> {
    let ours = there.iter().filter(|(_, object)| {
        is_owned(object, uid)
            && !is_deleted(object)
            && object.pointer("/metadata/labels/app.kubernetes.io~1managed-by")
                == Some(&json!(kubernetes::managing::MANAGED_BY))
    });
    let uids = ours.filter_map(|(kind, object)| Some((*kind, object.pointer("/metadata/uid")?.as_str()?.to_owned())));
    // Pods first.
    uids.map(|(kind, uid)| Act::Delete(kind, uid)).rev().collect()
}

fn is_owned(object: &Value, uid: &str) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == uid && owner["controller"] == true))
}

fn is_deleted(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// The patch that makes `there` as `wanted`; none if it is.
fn change(kind: Managed, wanted: &Value, there: &Value) -> Option<Value> {
    let mut wanted = wanted.clone();
    let metadata = |of: &Value, field: &str| of["metadata"][field].as_object().cloned().unwrap_or_default();
    // What the Gateway's infrastructure said before and says no longer.
    let taken = there["metadata"]["annotations"][TAKEN].as_str();
    let taken: Vec<String> = taken.and_then(|taken| serde_json::from_str(taken).ok()).unwrap_or_default();
    for field in ["labels", "annotations"] {
        let old: Vec<&String> = taken.iter().filter(|key| metadata(there, field).contains_key(*key)).collect();
        forget_in(&mut wanted["metadata"], field, &old);
        let template =
            there.pointer("/spec/template/metadata").map(|of| of[field].as_object().cloned().unwrap_or_default());
        if let (Some(template), Some(wanted)) = (template, wanted.pointer_mut("/spec/template/metadata")) {
            let old: Vec<&String> = taken.iter().filter(|key| template.contains_key(*key)).collect();
            forget_in(wanted, field, &old);
        }
    }
    let mut patch = patch(&wanted, there, whole(kind));
    if covers(&patch, Some(there)) {
        return None;
    }
    for field in ["uid", "resourceVersion"] {
        patch["metadata"][field] = there["metadata"][field].clone();
    }
    Some(patch)
}

fn forget_in(metadata: &mut Value, field: &str, keys: &[&String]) {
    if keys.is_empty() {
        return;
    }
    if let Some(map) = metadata[field].as_object_mut() {
        forget(map, keys.iter().copied());
    } else {
        let mut map = Map::new();
        forget(&mut map, keys.iter().copied());
        metadata[field] = map.into();
    }
}

/// Where the proxy is reached: from when a pod was ready first, for as long as the Gateway is there. A mesh lets
/// requests pass around a waypoint without addresses.
fn addresses(owner: &Owner, gateway: &Value, there: &There) -> Vec<Address> {
    let had = gateway.pointer("/status/addresses").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    let owned = |kind| there.get(&kind).filter(|object| is_owned(object, &owner.uid));
    let ready = owned(Managed::Deployment)
        .and_then(|deployment| deployment.pointer("/status/readyReplicas")?.as_u64())
        .is_some_and(|ready| ready > 0);
    let Some(service) = owned(Managed::Service).filter(|_| ready || had) else { return Vec::new() };
    let ips = service.pointer("/spec/clusterIPs").and_then(Value::as_array).into_iter().flatten();
    let ips = ips.filter_map(|ip| ip.as_str()?.parse::<IpAddr>().ok()).map(Address::Ip);
    let host = Address::Hostname(format!("{}.{}.svc.cluster.local", owner.proxy_name(), owner.namespace));
    ips.chain([host]).collect()
}

#[cfg(test)]
mod tests;
