//! From a Gateway and what there is of its proxy to what is to be done about it, and what is to be said. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::contract;
use kubernetes::managing::Managed;
use serde_json::{Map, Value, json};
use status::Address;

use super::Pods;
use super::objects::{APPLIED, CONTROLLER, Owner, TAKEN, objects, whole};
use super::parameters::Parameters;
use super::same::{covers, forget, gone, patch};

/// Of what is said of pods that cannot be made so many characters are shown.
const LONGEST: usize = 300;

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
    /// Whether that is so because of its parameters.
    pub invalid_parameters: bool,
    /// Where the proxy is reached; empty as long as nobody may go there.
    pub addresses: Vec<Address>,
}

/// What to do about the proxy of `owner`, of which the API server has `gateway`, with these parameters, or what is wrong
/// with them: then what there is stays as it is.
pub fn plan(
    owner: &Owner,
    gateway: &Value,
    (pods, ca): (&Pods, &str),
    parameters: &Result<Parameters, Vec<String>>,
    there: &There,
) -> Plan {
    let mut plan = Plan { addresses: addresses(owner, gateway, there), ..Plan::default() };
    let wanted = parameters.as_ref().map_err(Vec::clone).and_then(|parameters| objects(owner, pods, ca, parameters));
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(problems) => return Plan { problems, invalid_parameters: true, ..plan },
    };
    let kinds: BTreeSet<Managed> = wanted.iter().map(|(kind, _)| *kind).collect();
    for (kind, object) in there {
        if !is_owned(object, &owner.uid) {
            // Beside an autoscaler of somebody's own there is none of ours.
            if !kinds.contains(kind) {
                continue;
            }
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
    plan.problems.extend(no_pods(there));
    for (kind, wanted) in wanted {
        match there.get(&kind) {
            None => plan.acts.push(Act::Create(kind, wanted)),
            Some(object) => plan.acts.extend(change(kind, &wanted, object).map(|patch| Act::Change(kind, patch))),
        }
    }
    // What is not wanted any more goes last.
    for (kind, object) in there.iter().filter(|(kind, object)| !kinds.contains(kind) && is_owned(object, &owner.uid)) {
        plan.acts.extend(
            object.pointer("/metadata/uid").and_then(Value::as_str).map(|uid| Act::Delete(*kind, uid.to_owned())),
        );
    }
    plan
}

/// Why no pods come of the Deployment, as its own status says it.
fn no_pods(there: &There) -> Option<String> {
    let status = there.get(&Managed::Deployment)?.pointer("/status/conditions")?.as_array()?;
    let failing = status.iter().find(|one| one["type"] == "ReplicaFailure" && one["status"] == "True")?;
    let message = failing["message"].as_str().unwrap_or_default();
    // What stands before is the name of a pod, which is another each time.
    let why = message.split_once(" is forbidden: ").map_or(message, |(_, why)| why);
    let why: String = why.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    Some(format!("its pods cannot be made: {why}"))
}

/// What to do where the Gateway `uid` is not that of `controller` any more: what we made for it goes. What another
/// installation made for it stays.
pub fn leave(uid: &str, controller: &str, there: &There) -> Vec<Act> {
    // Where it does not say who made it, it was made before there could be several.
    let by_us = |object: &Value| {
        object["metadata"]["annotations"][CONTROLLER].as_str().unwrap_or(contract::CONTROLLER_NAME) == controller
    };
    let ours = there.iter().filter(|(_, object)| {
        is_owned(object, uid)
            && by_us(object)
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
    // And what its parameters said.
    let before = there["metadata"]["annotations"][APPLIED].as_str().and_then(|text| serde_json::from_str(text).ok());
    if let Some(before) = before {
        let now = wanted["metadata"]["annotations"].get(APPLIED).cloned();
        gone(&before, &mut wanted);
        wanted["metadata"]["annotations"][APPLIED] = now.unwrap_or_default();
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
    let Value::Object(metadata) = metadata else { return };
    if let Value::Object(map) = metadata.entry(field).or_insert_with(|| Map::new().into()) {
        forget(map, keys.iter().copied());
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
