//! `AuthorizationPolicy`: who may do what, by who calls and by what is asked for.

pub mod pattern;
mod validate;

use serde::{Deserialize, Serialize};

pub use pattern::Pattern;
pub use validate::{network, validate};

pub use super::targets::{Attachment, Selector, TargetRef};
use crate::resource::Resource;

/// The annotation that has a policy tried and not enforced, where it is `true`.
const DRY_RUN: &str = "istio.io/dry-run";

/// `security.istio.io/v1` AuthorizationPolicy.
pub type AuthorizationPolicy = Resource<AuthorizationPolicySpec>;

/// The `spec` of an AuthorizationPolicy.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPolicySpec {
    /// Workloads, which ztunnel guards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// One of `targetRefs`, as it was written before there were several.
    #[serde(default, alias = "target_ref", skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// What waypoints guard.
    #[serde(default, alias = "target_refs", skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<TargetRef>,
    /// Whom the action is for; any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// What becomes of requests that a rule is for.
    #[serde(default, deserialize_with = "action")]
    pub action: Action,
    /// Who decides, of `CUSTOM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
}

/// What becomes of requests that a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// They pass, and only they, unless another policy lets others pass.
    #[default]
    Allow,
    /// They do not.
    Deny,
    /// They are noted.
    Audit,
    /// Somebody else is asked.
    Custom,
}

fn action<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
    let names = &[("ALLOW", 0), ("DENY", 1), ("AUDIT", 2), ("CUSTOM", 3)];
    let number = crate::proto_json::enumeration(deserializer, "an action", names)?;
    Ok(match number {
        0 => Action::Allow,
        1 => Action::Deny,
        2 => Action::Audit,
        _ => Action::Custom,
    })
}

/// Who decides.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
pub struct Provider {
    /// Its name in the mesh's configuration.
    #[serde(default)]
    pub name: String,
}

/// Requests; all of its lists must hold that are written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
pub struct Rule {
    /// Who calls; any of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<From>>,
    /// What is asked for; any of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<To>>,
    /// What else must hold; all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Vec<Condition>>,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
pub struct From {
    /// Who calls.
    #[serde(default)]
    pub source: Source,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
pub struct To {
    /// What is asked for.
    #[serde(default)]
    pub operation: Operation,
}

/// Who calls: all lists must hold that are written; of each, one entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// Identities, without `spiffe://`.
    pub principals: Vec<String>,
    /// None of these.
    #[serde(alias = "not_principals")]
    pub not_principals: Vec<String>,
    /// Issuer and subject of a token.
    #[serde(alias = "request_principals")]
    pub request_principals: Vec<String>,
    /// None of these.
    #[serde(alias = "not_request_principals")]
    pub not_request_principals: Vec<String>,
    /// Namespaces.
    pub namespaces: Vec<String>,
    /// None of these.
    #[serde(alias = "not_namespaces")]
    pub not_namespaces: Vec<String>,
    /// Service accounts, of the policy's namespace where none is written.
    #[serde(alias = "service_accounts")]
    pub service_accounts: Vec<String>,
    /// None of these.
    #[serde(alias = "not_service_accounts")]
    pub not_service_accounts: Vec<String>,
    /// Trust domains.
    #[serde(alias = "trust_domains")]
    pub trust_domains: Vec<String>,
    /// None of these.
    #[serde(alias = "not_trust_domains")]
    pub not_trust_domains: Vec<String>,
    /// The addresses from which connections come.
    #[serde(alias = "ip_blocks")]
    pub ip_blocks: Vec<String>,
    /// None of these.
    #[serde(alias = "not_ip_blocks")]
    pub not_ip_blocks: Vec<String>,
    /// The addresses from which requests come, as trusted proxies say it.
    #[serde(alias = "remote_ip_blocks")]
    pub remote_ip_blocks: Vec<String>,
    /// None of these.
    #[serde(alias = "not_remote_ip_blocks")]
    pub not_remote_ip_blocks: Vec<String>,
}

/// What is asked for: all lists must hold that are written; of each, one entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// Hosts.
    pub hosts: Vec<String>,
    /// None of these.
    #[serde(alias = "not_hosts")]
    pub not_hosts: Vec<String>,
    /// Ports of the Service.
    pub ports: Vec<String>,
    /// None of these.
    #[serde(alias = "not_ports")]
    pub not_ports: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// None of these.
    #[serde(alias = "not_methods")]
    pub not_methods: Vec<String>,
    /// Paths.
    pub paths: Vec<String>,
    /// None of these.
    #[serde(alias = "not_paths")]
    pub not_paths: Vec<String>,
}

/// What else must hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is looked at.
    #[serde(default)]
    pub key: String,
    /// It is one of these.
    #[serde(default)]
    pub values: Vec<String>,
    /// It is none of these.
    #[serde(default, alias = "not_values")]
    pub not_values: Vec<String>,
}

/// A part of requests and connections that a policy looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The caller's identity, without `spiffe://`.
    Principal,
    /// The namespace in it.
    Namespace,
    /// The service account in it.
    ServiceAccount,
    /// The trust domain in it.
    TrustDomain,
    /// The address from which the connection comes.
    SourceAddress,
    /// The address from which the request comes.
    RemoteAddress,
    /// The address to which the connection was made.
    DestinationAddress,
    /// The port to which it was made.
    Port,
    /// TLS' server name.
    ServerName,
    /// The host.
    Host,
    /// The method.
    Method,
    /// The path.
    Path,
    /// A header, by its name in lower case.
    Header(String),
    /// Issuer and subject of a token that was verified.
    RequestPrincipal,
    /// A claim of a token that was verified, by its path.
    Claim(Vec<String>),
}

/// A list of values of one part of requests, with where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Which part.
    pub part: Part,
    /// Its field, e.g. `notPaths`.
    pub field: &'static str,
    /// One of these.
    pub values: &'a [String],
    /// The field of those it must not be.
    pub not_field: &'static str,
    /// None of these.
    pub not_values: &'a [String],
}

impl Source {
    /// Its lists, part by part.
    pub fn lists(&self) -> [Listed<'_>; 7] {
        let listed = |part, field, values, not_field, not_values| Listed { part, field, values, not_field, not_values };
        [
            listed(Part::Principal, "principals", &self.principals, "notPrincipals", &self.not_principals),
            listed(
                Part::RequestPrincipal,
                "requestPrincipals",
                &self.request_principals,
                "notRequestPrincipals",
                &self.not_request_principals,
            ),
            listed(Part::Namespace, "namespaces", &self.namespaces, "notNamespaces", &self.not_namespaces),
            listed(
                Part::ServiceAccount,
                "serviceAccounts",
                &self.service_accounts,
                "notServiceAccounts",
                &self.not_service_accounts,
            ),
            listed(Part::TrustDomain, "trustDomains", &self.trust_domains, "notTrustDomains", &self.not_trust_domains),
            listed(Part::SourceAddress, "ipBlocks", &self.ip_blocks, "notIpBlocks", &self.not_ip_blocks),
            listed(
                Part::RemoteAddress,
                "remoteIpBlocks",
                &self.remote_ip_blocks,
                "notRemoteIpBlocks",
                &self.not_remote_ip_blocks,
            ),
        ]
    }
}

impl Operation {
    /// Its lists, part by part.
    pub fn lists(&self) -> [Listed<'_>; 4] {
        let listed = |part, field, values, not_field, not_values| Listed { part, field, values, not_field, not_values };
        [
            listed(Part::Host, "hosts", &self.hosts, "notHosts", &self.not_hosts),
            listed(Part::Port, "ports", &self.ports, "notPorts", &self.not_ports),
            listed(Part::Method, "methods", &self.methods, "notMethods", &self.not_methods),
            listed(Part::Path, "paths", &self.paths, "notPaths", &self.not_paths),
        ]
    }
}

impl Condition {
    /// What it looks at; or why that cannot be had, and what to write instead.
    pub fn part(&self) -> Result<Part, String> {
        Ok(match self.key.as_str() {
            "source.ip" => Part::SourceAddress,
            "remote.ip" => Part::RemoteAddress,
            "source.namespace" => Part::Namespace,
            "source.principal" => Part::Principal,
            "source.serviceAccount" => Part::ServiceAccount,
            "source.trustDomain" => Part::TrustDomain,
            "destination.ip" => Part::DestinationAddress,
            "destination.port" => Part::Port,
            "connection.sni" => Part::ServerName,
            "request.auth.principal" => Part::RequestPrincipal,
            "request.auth.audiences" => Part::Claim(vec!["aud".to_owned()]),
            "request.auth.presenter" => Part::Claim(vec!["azp".to_owned()]),
            key if in_brackets(key, "request.auth.claims").is_some() => {
                let path = in_brackets(key, "request.auth.claims").unwrap_or_default().split("][");
                let path: Vec<String> = path.map(str::to_owned).collect();
                if path.len() > MOST_STEPS || path.iter().any(|step| step.is_empty() || step.contains(['[', ']'])) {
                    return Err(format!(
                        "{key:?} names no claim; write request.auth.claims[NAME], or [NAME][NAME] within"
                    ));
                }
                Part::Claim(path)
            }
            key => match in_brackets(key, "request.headers").filter(|name| !name.contains(['[', ']'])) {
                Some(name) => return header(name),
                None => {
                    return Err(format!(
                        "{key:?} is not a condition that is known; write one of request.headers[NAME], source.ip, \
                         remote.ip, source.namespace, source.principal, source.serviceAccount, source.trustDomain, \
                         destination.ip, destination.port, connection.sni, request.auth.principal, \
                         request.auth.audiences, request.auth.presenter, request.auth.claims[NAME]"
                    ));
                }
            },
        })
    }

    /// Its list.
    pub fn listed(&self, part: Part) -> Listed<'_> {
        Listed { part, field: "values", values: &self.values, not_field: "notValues", not_values: &self.not_values }
    }
}

/// So deep may a claim be.
const MOST_STEPS: usize = 16;

/// `a` of `request.headers[a]`.
fn in_brackets<'k>(key: &'k str, of: &str) -> Option<&'k str> {
    key.strip_prefix(of)?.strip_prefix('[')?.strip_suffix(']').filter(|name| !name.is_empty())
}

/// A header as a part of requests. Host and method have a reader of their own.
fn header(name: &str) -> Result<Part, String> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        ":authority" | "host" => Ok(Part::Host),
        ":method" => Ok(Part::Method),
        _ if name.starts_with(':') => Err(format!("{name:?} is not for conditions; write paths of an operation")),
        _ => crate::header::tells_apart(&name).map(|()| Part::Header(name)),
    }
}

impl AuthorizationPolicySpec {
    /// What it is for.
    pub fn attachment(&self) -> Attachment<'_> {
        let Self { selector, target_ref, target_refs, .. } = self;
        Attachment { selector: selector.as_ref(), target_ref: target_ref.as_ref(), target_refs }
    }

    /// What waypoints are to guard by it.
    pub fn targets(&self) -> impl Iterator<Item = &TargetRef> {
        self.attachment().targets()
    }
}

/// Whether `policy` is tried and not enforced.
pub fn is_tried(policy: &AuthorizationPolicy) -> bool {
    let annotations = policy.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(DRY_RUN)).is_some_and(|value| value == "true")
}
