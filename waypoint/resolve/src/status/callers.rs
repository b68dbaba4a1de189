//! What is said about an AuthorizationPolicy: for each Service, Gateway and class of them that it names, and as a whole.
//!
//! It is accepted where what comes to every port there meets it. A port of which it cannot be said who may do what is
//! refused, and the policy is not accepted there: nobody gets around it, and not everybody passes whom it lets pass.

use std::collections::{BTreeMap, BTreeSet};

use api::istio::AuthorizationPolicy;
use api::istio::authorization_policy::{Action, Listed, Part, Rule, is_tried};
use api::istio::targets::{Attachment, TargetRef};
use api::{Kind, Name, ObjectRef, Problem};
use ir::{Enrolment, PortRef};
use status::{ACCEPTED, Condition, ObjectStatus, Parent, Place};

use super::policy::worst;
use super::ports::listed;
use crate::access;
use crate::gateways::not_ours;
use crate::view::View;

/// Where a policy governs ports, those that are refused with the reason.
pub type Ports<'a> = BTreeMap<&'a PortRef, Option<&'a str>>;

/// What is said about the AuthorizationPolicy `name`.
pub fn status(view: &View<'_>, name: &Name) -> Option<Vec<ObjectStatus>> {
    let policy = view.authorization_policy(name)?;
    let Some(_) = policy.spec.targets().next() else {
        return Some(vec![ObjectStatus::new(vec![for_workloads(view, policy)])]);
    };
    let object = ObjectRef { kind: Kind::AuthorizationPolicy, name: name.clone() };
    Some(at_targets(view, &object, policy.spec.attachment(), |target, ports| at(view, name, policy, target, ports)))
}

/// What is said of the policy `object` for each target of its `attachment`, of which it governs some ports, and as a whole.
pub fn at_targets(
    view: &View<'_>,
    object: &ObjectRef,
    attachment: Attachment<'_>,
    at: impl Fn(&ObjectRef, &Ports<'_>) -> Condition,
) -> Vec<ObjectStatus> {
    let mut ports = BTreeMap::<&ObjectRef, Ports<'_>>::new();
    for said in view.said(object) {
        for (target, of) in &said.guarded {
            let of = of.iter().map(|(id, why)| (id, why.as_deref()));
            ports.entry(target).or_default().extend(of);
        }
    }
    let none = Ports::new();
    let mut all = Vec::new();
    let mut statuses: Vec<ObjectStatus> = Vec::new();
    for target in access::targets(&object.name.namespace, attachment) {
        let accepted = at(&target, ports.get(&target).unwrap_or(&none));
        all.push(accepted.clone());
        let controller = view.settings().controller_name.as_str();
        statuses.push(ObjectStatus::at(Place::Ancestor(Parent::whole(target, controller)), vec![accepted]));
    }
    all.extend(attachment.targets().filter(|target| target.kind == "ServiceEntry").map(elsewhere));
    statuses.insert(0, ObjectStatus::new(worst(all.iter()).into_iter().collect()));
    statuses
}

fn elsewhere(target: &TargetRef) -> Condition {
    let message = format!(
        "ServiceEntry {} is served by no waypoint of ours: what is sent there does not come through one",
        target.name
    );
    Condition::fails(ACCEPTED, "UnsupportedTarget", message)
}

/// What becomes of it at `target`, of which it governs these `ports`.
fn at(view: &View<'_>, name: &Name, policy: &AuthorizationPolicy, target: &ObjectRef, ports: &Ports<'_>) -> Condition {
    if let Some(condition) = absent(view, name, target) {
        return condition;
    }
    if policy.spec.action == Action::Custom {
        let provider = policy.spec.provider.as_ref().map(|provider| provider.name.as_str()).unwrap_or_default();
        let message = format!(
            "extension providers are not asked yet, {provider:?} neither: until they are, everything that comes to \
             {target} is refused (403); a RouteOption with extauth has an AuthConfig decide"
        );
        return Condition::fails(ACCEPTED, "UnsupportedAction", message);
    }
    if ports.is_empty() {
        let message = format!("it guards nothing: {target} has no port and address that a waypoint of ours serves");
        return Condition::fails(ACCEPTED, "NotAttached", message);
    }
    let problems = warnings(view, policy, ports);
    if let Some(refused) = refused(ports) {
        return refused.with(problems);
    }
    let mut accepted = Condition::accepted(problems);
    if accepted.message.is_empty() {
        let services: BTreeSet<String> = ports.keys().map(|id| format!("Service {}", id.service)).collect();
        let what = if is_tried(policy) { "tried, not enforced, at" } else { "guards" };
        accepted.message = format!("{what} {}", listed(services.into_iter(), ", "));
    }
    accepted
}

/// That connections to some of these ports are refused, if they are.
pub fn refused(ports: &Ports<'_>) -> Option<Condition> {
    let refused =
        ports.iter().filter_map(|(id, why)| Some(format!("port {} of Service {}: {}", id.port, id.service, (*why)?)));
    let refused: Vec<String> = refused.collect();
    let message = || format!("connections are refused to {}", listed(refused.iter().cloned(), "; "));
    (!refused.is_empty()).then(|| Condition::fails(ACCEPTED, "Refused", message()))
}

/// Why nothing comes through us to `target`.
pub fn absent(view: &View<'_>, name: &Name, target: &ObjectRef) -> Option<Condition> {
    let fails = |reason: &str, message: String| Some(Condition::fails(ACCEPTED, reason, message));
    match target.kind {
        Kind::Service if view.service(&target.name).is_none() => {
            fails("TargetNotFound", format!("{target} does not exist"))
        }
        Kind::Service => match view.enrolment(&target.name) {
            Some(Enrolment::Waypoint(_)) => None,
            Some(Enrolment::Refused(why)) => fails("Refused", format!("connections to {target} are refused: {why}")),
            Some(Enrolment::None) | None => {
                let cure = "label it istio.io/use-waypoint: <name of a Gateway>";
                fails("NotAttached", format!("{target} has no waypoint, so that nothing is guarded; {cure}"))
            }
        },
        Kind::Gateway => match (view.gateway(&target.name), view.gateway_object(&target.name)) {
            (Some(_), _) => None,
            (None, Some(other)) => Some(not_ours(view, &target.to_string(), other)),
            (None, None) => fails("TargetNotFound", format!("{target} does not exist")),
        },
        _ => {
            let root = &view.settings().root_namespace;
            if name.namespace != *root {
                let message = format!(
                    "a GatewayClass is guarded by policies of namespace {root} alone, so that nothing is guarded"
                );
                return fails("TargetNotFound", message);
            }
            if !view.settings().class_names.contains(&target.name.name) {
                let message = format!("{target} is not served here: that is for another controller");
                return Some(Condition::pending(ACCEPTED, status::OTHER_CONTROLLER, message));
            }
            None
        }
    }
}

/// What may surprise the author of a policy.
fn warnings(view: &View<'_>, policy: &AuthorizationPolicy, ports: &Ports<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut warn = |field: String, message: &str| problems.push(Problem::warning(field, message));
    if policy.spec.action == Action::Audit {
        warn("spec.action".to_owned(), "nobody notes requests, so that AUDIT changes nothing");
    }
    if is_tried(policy) {
        warn("metadata.annotations".to_owned(), "it is tried on what is HTTP alone, and enforced nowhere");
    }
    let tokens = |id: &PortRef| {
        let chain = view.unit(&id.service).and_then(|unit| unit.chains.get(id));
        chain.is_some_and(|chain| !chain.tokens.is_empty())
    };
    let unchecked = ports.keys().find(|id| !tokens(id));
    let unknown = match policy.spec.action {
        Action::Allow => "so that it lets nobody pass",
        _ => "so that it refuses as if it were met",
    };
    for (index, rule) in policy.spec.rules.iter().enumerate() {
        for (field, part) in looked_at(rule) {
            let why = match part {
                Part::RequestPrincipal | Part::Claim(_) => match unchecked {
                    Some(id) => format!(
                        "nobody looks at tokens at port {} of Service {}: write a RequestAuthentication for it",
                        id.port, id.service
                    ),
                    None => continue,
                },
                Part::ServerName => "a waypoint sees no server name of TLS".to_owned(),
                _ => continue,
            };
            warn(format!("spec.rules[{index}].{field}"), &format!("{why}, {unknown}"));
        }
    }
    problems
}

/// The parts of requests that `rule` looks at, each with its field.
fn looked_at(rule: &Rule) -> Vec<(String, Part)> {
    let mut found = Vec::new();
    // Where both are written, the one is enough to say.
    let named = |list: Listed<'_>, at: String| match (list.values.is_empty(), list.not_values.is_empty()) {
        (true, true) => None,
        (true, false) => Some((format!("{at}.{}", list.not_field), list.part)),
        (false, _) => Some((format!("{at}.{}", list.field), list.part)),
    };
    for (index, from) in rule.from.iter().flatten().enumerate() {
        let lists = from.source.lists().into_iter();
        found.extend(lists.filter_map(|list| named(list, format!("from[{index}].source"))));
    }
    for (index, to) in rule.to.iter().flatten().enumerate() {
        let lists = to.operation.lists().into_iter();
        found.extend(lists.filter_map(|list| named(list, format!("to[{index}].operation"))));
    }
    for (index, condition) in rule.when.iter().flatten().enumerate() {
        found.extend(condition.part().ok().map(|part| (format!("when[{index}].key"), part)));
    }
    found
}

/// One without targets is for workloads: no waypoint heeds it.
fn for_workloads(view: &View<'_>, policy: &AuthorizationPolicy) -> Condition {
    if !view.settings().ztunnel {
        let message = "it has no targetRefs, so that it is for workloads, which ztunnel guards; there is none here, and \
                       connections to Services whose workloads it may be for are refused; name what a waypoint is to \
                       guard in targetRefs";
        return Condition::fails(ACCEPTED, "NoZtunnel", message);
    }
    let message = "it has no targetRefs, so that it is for workloads: ztunnel guards them, no waypoint does";
    let only_http = |part: &Part| {
        matches!(
            part,
            Part::Host | Part::Method | Part::Path | Part::Header(_) | Part::RequestPrincipal | Part::Claim(_)
        )
    };
    let mut problems = Vec::new();
    for (index, rule) in policy.spec.rules.iter().enumerate() {
        let parts = looked_at(rule);
        let Some((field, _)) = parts.iter().find(|(_, part)| only_http(part)) else { continue };
        let all = parts.iter().all(|(_, part)| only_http(part));
        let effect = match policy.spec.action {
            Action::Allow => {
                "ztunnel sees no requests, so that this rule lets nobody pass; where a policy has no other rule, ztunnel \
                 refuses every connection, the waypoint's too"
            }
            Action::Deny if all => "ztunnel sees no requests, so that this rule refuses nobody",
            Action::Deny => "ztunnel sees no requests, so that this rule refuses whatever else it says",
            Action::Audit | Action::Custom => "ztunnel does not know this action",
        };
        let cure = "write it in a policy with targetRefs, and take this one away";
        problems.push(Problem::warning(format!("spec.rules[{index}].{field}"), format!("{effect}; {cure}")));
    }
    Condition::pending(ACCEPTED, "ForZtunnel", message).with(problems)
}
