//! What Istio's policies name as what they are for: workloads by their labels, or what waypoints serve.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::envoy::Checks;
use crate::name::{Name, is_dns_name};

const MOST_TARGETS: usize = 16;

/// Workloads, by their labels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// All of these; all workloads without any.
    #[serde(default, alias = "match_labels")]
    pub match_labels: BTreeMap<String, String>,
}

/// Something that a policy guards.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// Its API group, empty for a Service.
    #[serde(default)]
    pub group: String,
    /// `Service`, `Gateway`, `GatewayClass` or `ServiceEntry`.
    #[serde(default)]
    pub kind: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its namespace; only the policy's own is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// What one policy is for.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// Workloads.
    pub selector: Option<&'a Selector>,
    /// One of `targetRefs`, as it was written before there were several.
    pub target_ref: Option<&'a TargetRef>,
    /// What waypoints serve.
    pub target_refs: &'a [TargetRef],
}

impl<'a> Attachment<'a> {
    /// What waypoints serve of it.
    pub fn targets(&self) -> impl Iterator<Item = &'a TargetRef> + use<'a> {
        self.target_ref.into_iter().chain(self.target_refs)
    }
}

impl TargetRef {
    /// API group, kind and name of what is named, by a policy of `namespace`; none if no policy can be for it.
    pub fn target(&self, namespace: &str) -> Option<(&'static str, &'static str, Name)> {
        let (group, kind) = match (self.group.as_str(), self.kind.as_str()) {
            ("" | "core", "Service") => ("", "Service"),
            (GATEWAY, "Gateway") => (GATEWAY, "Gateway"),
            (GATEWAY, "GatewayClass") => (GATEWAY, "GatewayClass"),
            (ISTIO, "ServiceEntry") => (ISTIO, "ServiceEntry"),
            _ => return None,
        };
        let namespace = if kind == "GatewayClass" { "" } else { namespace };
        Some((group, kind, Name::new(namespace, self.name.as_str())))
    }
}

const GATEWAY: &str = "gateway.networking.k8s.io";
const ISTIO: &str = "networking.istio.io";

impl Attachment<'_> {
    /// What is wrong with it, in a policy of the namespace `home`.
    pub(crate) fn check(&self, home: Option<&str>, checks: &mut Checks) {
        let home = home.unwrap_or("default");
        if self.target_ref.is_some() && !self.target_refs.is_empty() {
            checks.error("spec.targetRef", "keep one of targetRef and targetRefs");
        }
        if let Some(selector) = self.selector {
            if self.targets().next().is_some() {
                let why = "is for workloads, which ztunnel guards, and targetRefs for what waypoints guard; write two policies";
                checks.error("spec.selector", why);
            }
            for (key, value) in &selector.match_labels {
                let field = format!("spec.selector.matchLabels.{key}");
                if key.is_empty() {
                    checks.error(&field, "empty; write the key of a label");
                } else if key.contains('*') || value.contains('*') {
                    checks.error(&field, "labels are compared as they are; no * stands for anything");
                }
            }
        }
        checks.at_most("spec.targetRefs", self.target_refs.len(), MOST_TARGETS);
        if let Some(target) = self.target_ref {
            self::target("spec.targetRef", target, home, checks);
        }
        for (index, target) in self.target_refs.iter().enumerate().take(MOST_TARGETS) {
            self::target(&format!("spec.targetRefs[{index}]"), target, home, checks);
        }
    }
}

fn target(field: &str, target: &TargetRef, home: &str, checks: &mut Checks) {
    if target.target(home).is_none() {
        let (of, why) = match target.kind.as_str() {
            "Service" => ("group", "write group: \"\" for a Service"),
            "Gateway" | "GatewayClass" => ("group", "write gateway.networking.k8s.io"),
            "ServiceEntry" => ("group", "write networking.istio.io"),
            _ => ("kind", "a waypoint guards a Service, Gateway, GatewayClass or ServiceEntry; write one of these"),
        };
        return checks.error(&format!("{field}.{of}"), why);
    }
    if !is_dns_name(&target.name) {
        checks.error(&format!("{field}.name"), format!("{:?} is not the name of an object", target.name));
    }
    if target.namespace.as_deref().is_some_and(|other| !other.is_empty() && other != home) {
        let why = format!("a policy guards what is of its own namespace; remove it, or write {home}");
        checks.error(&format!("{field}.namespace"), why);
    }
}
