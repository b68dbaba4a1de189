//! `/config` on the admin port: what each Envoy was given and what it made of it.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::handle::Handle;

/// The route, as the admin server takes it.
pub fn router(handle: Handle) -> Router {
    Router::new().route("/config", get(move || async move { Json(config(&handle)) }))
}

/// Gateways with the names and versions of their resources and what was acknowledged.
/// Bodies are left out: they may hold what not everyone who may look at this page may see.
pub fn config(handle: &Handle) -> Value {
    let served = handle.served.borrow().clone();
    let acks = handle.acks.borrow().clone();
    let translation = handle.translation.borrow().clone();
    let gateways = served.iter().map(|(name, served)| {
        let state = acks.get(&crate::node_id(name)).cloned().unwrap_or_default();
        let nack = |nack: &xds::Nack| {
            json!({
                "type": format!("{:?}", nack.kind),
                "name": nack.name,
                "message": nack.message,
                "generation": nack.generation,
            })
        };
        let resources: serde_json::Map<String, Value> = served
            .resources
            .iter()
            .map(|(kind, named)| {
                let versions: serde_json::Map<String, Value> =
                    named.values().map(|r| (r.name.clone(), Value::String(r.version.clone()))).collect();
                (format!("{kind:?}"), Value::Object(versions))
            })
            .collect();
        json!({
            "gateway": name.to_string(),
            "node": crate::node_id(name),
            "listener": translation.gateways.get(name).and_then(|gateway| gateway.address).map(|at| at.to_string()),
            "generation": served.generation,
            "envoys": state.sessions,
            "missing": served.missing,
            "acknowledged": state.generation,
            "refused": served.refused,
            "rejected": state.nacks.iter().map(nack).collect::<Vec<_>>(),
            "resources": resources,
        })
    });
    json!({ "gateways": gateways.collect::<Vec<_>>() })
}
