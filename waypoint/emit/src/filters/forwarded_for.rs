//! Whose X-Forwarded-For is believed.
//!
//! Envoy takes the caller's address from that header, whoever wrote it, and
//! counts limits by it. So it is set aside while Envoy looks for an address, and
//! put back, unread, before anybody else looks. Only where the operator names
//! proxies to trust does Envoy read it; it then adds the address of those it
//! does not trust, as proxies do.
//!
//! Routes are chosen in between, so they match what was set aside: what the client sent.

use ipnet::IpNet;
use ir::Settings;
use serde_json::{Value, json};

use super::{HttpFilter, InChain};
use crate::{packed, scopes};

const FORWARDED_FOR: &str = "x-forwarded-for";
const ASIDE: &str = "x-waykeeper-forwarded-for";

/// What happens to a request's headers once those that begin like ours are gone.
pub(crate) fn set_aside(settings: &Settings) -> Vec<Value> {
    let mut mutations = vec![moved(ASIDE, FORWARDED_FOR)];
    if settings.trusted_proxies.is_empty() {
        mutations.push(json!({"remove": FORWARDED_FOR}));
    }
    mutations
}

/// Where the header `name` stands when routes are chosen.
pub(crate) fn when_matched(name: &str) -> &str {
    if name.eq_ignore_ascii_case(FORWARDED_FOR) { ASIDE } else { name }
}

/// The filter that puts the header back, and takes out all headers of ours: routes are chosen by
/// then, and nobody behind it, neither a server that is asked nor an application, is to see them.
#[derive(Debug)]
pub(crate) struct ForwardedFor;

impl HttpFilter for ForwardedFor {
    fn name(&self) -> &'static str {
        "envoy.filters.http.header_mutation"
    }

    fn chain(&self, settings: &Settings) -> Option<InChain> {
        let mut mutations = vec![scopes::removed()];
        if settings.trusted_proxies.is_empty() {
            mutations.insert(0, moved(FORWARDED_FOR, ASIDE));
        }
        let mutations = json!({"request_mutations": mutations});
        InChain::on("envoy.extensions.filters.http.header_mutation.v3.HeaderMutation", json!({"mutations": mutations}))
    }
}

/// Leaves no header where there was none.
fn moved(to: &str, from: &str) -> Value {
    let header = json!({"key": to, "value": format!("%REQ({from})%")});
    json!({"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}})
}

/// How Envoy finds the address of callers behind `proxies`: the last that is none of them.
pub(crate) fn believed_from(proxies: &[IpNet]) -> Value {
    let networks: Vec<Value> = proxies
        .iter()
        .map(|network| json!({"address_prefix": network.addr().to_string(), "prefix_len": network.prefix_len()}))
        .collect();
    json!({
        "name": "envoy.http.original_ip_detection.xff",
        "typed_config": packed(
            "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig",
            json!({"xff_trusted_cidrs": {"cidrs": networks}, "skip_xff_append": true}),
        ),
    })
}
