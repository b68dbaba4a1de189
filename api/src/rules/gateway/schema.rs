//! What the schemas of Gateway and GatewayClass ask for beyond types.

use crate::envoy::Checks;
use crate::gateway::gateways::{
    GatewayListeners as Listener, GatewayListenersAllowedRoutesNamespaces as Namespaces,
    GatewayListenersAllowedRoutesNamespacesFrom as From, GatewayListenersTlsMode as TlsMode,
};
use crate::gateway::{Gateway, GatewayClass};
use crate::problem::Problem;
use crate::rules::names::{self, Duplicates};

const MOST_LISTENERS: usize = 64;
const MOST_ADDRESSES: usize = 16;
const MOST_KINDS: usize = 8;

/// What is wrong with `gateway` taken by itself.
pub fn validate(gateway: &mut Gateway) -> Vec<Problem> {
    let spec = &gateway.spec;
    let mut checks = Checks::default();
    if spec.gateway_class_name.is_empty() || spec.gateway_class_name.len() > 253 {
        checks.error("spec.gatewayClassName", "write the name of a GatewayClass");
    }
    if spec.listeners.is_empty() {
        checks.error("spec.listeners", "empty; write at least one listener");
    }
    checks.at_most("spec.listeners", spec.listeners.len(), MOST_LISTENERS);
    let (mut listener_names, mut places) = (Duplicates::default(), Duplicates::default());
    for (index, listener) in spec.listeners.iter().enumerate().take(MOST_LISTENERS) {
        let field = format!("spec.listeners[{index}]");
        names::section(&format!("{field}.name"), &listener.name, &mut checks);
        listener_names.note(
            &format!("{field}.name"),
            listener.name.clone(),
            "the name of another listener",
            &mut checks,
        );
        let place = match &listener.hostname {
            Some(hostname) => format!("{} {} {hostname}", listener.port, listener.protocol),
            None => format!("{} {}", listener.port, listener.protocol),
        };
        places.note(&field, place, "port, protocol and hostname of another listener", &mut checks);
        self::listener(&field, listener, &mut checks);
    }
    let addresses = spec.addresses.as_deref().unwrap_or_default();
    checks.at_most("spec.addresses", addresses.len(), MOST_ADDRESSES);
    for (index, address) in addresses.iter().enumerate().take(MOST_ADDRESSES) {
        let (kind, value) =
            (address.r#type.as_deref().unwrap_or("IPAddress"), address.value.as_deref().unwrap_or_default());
        let field = format!("spec.addresses[{index}].value");
        if kind == "IPAddress" && !value.is_empty() && value.parse::<std::net::IpAddr>().is_err() {
            checks.error(&field, format!("{value:?} is not an address"));
        } else if kind == "Hostname" && !value.is_empty() {
            names::wildcard_hostname(&field, value, &mut checks);
        }
    }
    checks.problems
}

fn listener(field: &str, listener: &Listener, checks: &mut Checks) {
    names::port(&format!("{field}.port"), Some(listener.port), checks);
    if let Some(hostname) = listener.hostname.as_deref().filter(|hostname| !hostname.is_empty()) {
        if matches!(listener.protocol.as_str(), "TCP" | "UDP") {
            checks.error(&format!("{field}.hostname"), format!("{} knows no host names; remove it", listener.protocol));
        }
        names::wildcard_hostname(&format!("{field}.hostname"), hostname, checks);
    }
    protocol(&format!("{field}.protocol"), &listener.protocol, checks);
    let tls = listener.tls.as_ref();
    let mode = tls.and_then(|tls| tls.mode.as_ref());
    match (listener.protocol.as_str(), tls) {
        ("HTTP" | "TCP" | "UDP", Some(_)) => {
            checks.error(&format!("{field}.tls"), format!("{} has no TLS; remove it", listener.protocol));
        }
        ("HTTPS", Some(_)) if mode == Some(&TlsMode::Passthrough) => {
            checks.error(&format!("{field}.tls.mode"), "HTTPS is decrypted here; write Terminate, or protocol: TLS");
        }
        ("TLS", _) if mode.is_none() => {
            checks.error(&format!("{field}.tls.mode"), "missing: write Terminate or Passthrough");
        }
        _ => {}
    }
    if let Some(tls) = tls
        && mode.is_none_or(|mode| *mode == TlsMode::Terminate)
        && tls.certificate_refs.as_ref().is_none_or(Vec::is_empty)
        && tls.options.as_ref().is_none_or(|options| options.is_empty())
    {
        checks.error(&format!("{field}.tls.certificateRefs"), "missing: who decrypts needs a certificate");
    }
    if let Some(namespaces) = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref()) {
        self::namespaces(&format!("{field}.allowedRoutes.namespaces"), namespaces, checks);
    }
    let kinds = listener.allowed_routes.as_ref().and_then(|allowed| allowed.kinds.as_deref()).unwrap_or_default();
    checks.at_most(&format!("{field}.allowedRoutes.kinds"), kinds.len(), MOST_KINDS);
    for (index, kind) in kinds.iter().enumerate().take(MOST_KINDS) {
        let field = format!("{field}.allowedRoutes.kinds[{index}]");
        names::reference(&field, kind.group.as_deref(), Some(&kind.kind), None, None, checks);
    }
}

/// Which namespaces are let in. What Kubernetes would not take for a selector is none: an expression without values, or with an
/// operator of another name, could let in everybody.
fn namespaces(field: &str, namespaces: &Namespaces, checks: &mut Checks) {
    let field = format!("{field}.selector");
    let Some(selector) = &namespaces.selector else {
        if namespaces.from == Some(From::Selector) {
            checks.warning(&field, "missing, so that no namespace is let in; write matchLabels or matchExpressions");
        }
        return;
    };
    if namespaces.from != Some(From::Selector) {
        checks.warning(&field, "is read only with from: Selector; write that, or remove the selector");
    }
    for (key, value) in selector.match_labels.iter().flatten() {
        let field = format!("{field}.matchLabels.{key}");
        names::label_key(&field, key, checks);
        names::label_value(&field, value, checks);
    }
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        names::label_key(&format!("{field}.key"), &expression.key, checks);
        let values = expression.values.as_deref().unwrap_or_default();
        for (index, value) in values.iter().enumerate() {
            names::label_value(&format!("{field}.values[{index}]"), value, checks);
        }
        match (expression.operator.as_str(), values) {
            (operator @ ("In" | "NotIn"), []) => {
                checks.error(&format!("{field}.values"), format!("missing or empty; {operator} is about some values"));
            }
            (operator @ ("Exists" | "DoesNotExist"), [_, ..]) => {
                checks.error(&format!("{field}.values"), format!("{operator} is about no values; remove them"));
            }
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
            (other, _) => checks.error(
                &format!("{field}.operator"),
                format!("{other:?} is not an operator; write In, NotIn, Exists or DoesNotExist"),
            ),
        }
    }
}

/// A word such as HTTP, or a domain and a word such as `istio.io/PROXY`.
fn protocol(field: &str, protocol: &str, checks: &mut Checks) {
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let right = match protocol.split_once('/') {
        Some((domain, name)) => crate::envoy::text::hostname(domain).is_ok() && word(name),
        None => word(&protocol.replace('-', "")) && !protocol.starts_with('-') && !protocol.ends_with('-'),
    };
    if !right || protocol.len() > 255 {
        checks.error(field, format!("{protocol:?} is not a protocol; write for example HTTP or istio.io/PROXY"));
    }
}

/// What is wrong with `class` taken by itself.
pub fn validate_class(class: &mut GatewayClass) -> Vec<Problem> {
    let mut checks = Checks::default();
    let name = &class.spec.controller_name;
    let right = name.len() <= 253
        && name.split_once('/').is_some_and(|(domain, path)| {
            crate::envoy::text::hostname(domain).is_ok()
                && !path.is_empty()
                && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b))
        });
    if !right {
        checks.error(
            "spec.controllerName",
            format!("{name:?} is not a controller; write a domain and a path, a.example/name"),
        );
    }
    checks.problems
}
