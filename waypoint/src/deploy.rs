//! Makes of each Gateway of ours the pods of its Envoy, and of each class of ours a GatewayClass.
//!
//! ```text
//! snapshots, translation, what happens to what was made ─▶ which Gateways to look at
//! Gateway and what there is under its name ─▶ plan (pure) ─▶ what is done, what is said of the Gateway
//! ```
//! One replica does, the one that writes statuses. What it looks at it reads from the API server then and there, so that
//! nothing is remembered that could be wrong.

mod class;
mod objects;
mod overlay;
mod parameters;
mod plan;
mod same;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::{Kind, Name, ObjectRef, Snapshot};
use k8s_openapi::jiff::Timestamp;
use kubernetes::Leading;
use kubernetes::managing::{Failure, Managed, Manager, Signal};
use provider::{Snapshots, StatusBoard};
use runtime::{Readiness, Shutdown};
use serde_json::{Value, json};
use status::{ACCEPTED, Condition, Diff, ObjectStatus, PROGRAMMED};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use waypoint_translate::Translation;

use crate::authority::Trusted;
use objects::Owner;
use parameters::Parameters;
use plan::{Act, Plan, There};
pub use same::amount;

/// The name under which the deployer writes to the status board.
const AUTHOR: &str = "deployer";
/// What could not be done is tried again after so long.
const AGAIN: Duration = Duration::from_secs(3);
/// ConfigMaps with parameters are looked at so often: others make them, and they bear no label of ours.
const PARAMETERS: Duration = Duration::from_secs(5);
/// Everything is looked at so often, whatever is heard.
const EVERYTHING: Duration = Duration::from_secs(300);
/// Whether this replica leads is looked at so often.
const LOOK: Duration = Duration::from_secs(1);

/// What all pods have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pods {
    /// Their image.
    pub image: String,
    /// What its registry wants to see.
    pub pull_secrets: Vec<String>,
    /// Where they find the control plane.
    pub xds: (String, u16),
    /// The name its certificate is for, if that is not the host.
    pub xds_name: Option<String>,
    /// How much of a processor each asks for.
    pub cpu: String,
    /// How much memory each asks for.
    pub memory: String,
    /// By this name their Gateways' classes are ours, and so is what is made for them.
    pub controller: String,
}

/// What the deployer is told.
#[derive(Debug, Clone)]
pub struct DeploySettings {
    /// The classes of Gateways that are ours.
    pub classes: BTreeSet<String>,
    /// Who signs the control plane's certificate.
    pub ca: Ca,
    /// What all pods have in common.
    pub pods: Pods,
}

/// Who signs the control plane's certificate.
#[derive(Debug, Clone)]
pub enum Ca {
    /// Whom a file names.
    File(PathBuf),
    /// Whoever signs for it, once that is known.
    Trusted(Trusted),
}

impl Ca {
    /// As it is now, PEM; none as long as nobody is known.
    async fn read(&self) -> Result<Option<String>, Failure> {
        match self {
            Ca::File(path) => tokio::fs::read_to_string(path).await.map(Some).map_err(|error| {
                tracing::error!(file = %path.display(), %error, "nobody knows whom Envoys are to trust");
                Failure::Unreadable("the file with the authority of the control plane's certificate")
            }),
            Ca::Trusted(trusted) => Ok(trusted.borrow().as_ref().map(|authorities| authorities.bundle())),
        }
    }

    /// Ends when somebody else is to be trusted; for a file it never does.
    async fn changed(&mut self) {
        if let Ca::Trusted(trusted) = self
            && trusted.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// What the deployer follows.
#[derive(Debug)]
pub struct Follows {
    /// What is declared.
    pub snapshots: Snapshots,
    /// Which Gateways are accepted.
    pub translation: watch::Receiver<Arc<Translation>>,
    /// Whether this replica acts.
    pub leading: Leading,
}

/// Deploys until `shutdown` begins.
///
/// # Errors
/// When nobody says any more what is declared.
pub async fn deploy(
    settings: DeploySettings,
    manager: Manager,
    follows: Follows,
    board: StatusBoard,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let (signals, heard) = mpsc::channel(256);
    let mut watches = JoinSet::new();
    for kind in Managed::OF_A_GATEWAY {
        watches.spawn(manager.clone().watch(kind, signals.clone()));
    }
    let Follows { snapshots, translation, leading } = follows;
    let mut deployer = Deployer {
        settings,
        manager,
        board,
        readiness,
        snapshot: Arc::default(),
        translation: Arc::default(),
        due: BTreeSet::new(),
        classes_due: true,
        again: BTreeSet::new(),
        said: BTreeMap::new(),
        failing: BTreeMap::new(),
        named: BTreeMap::new(),
    };
    let ended = tokio::select! {
        () = shutdown.begun() => Ok(()),
        ended = deployer.run(snapshots, translation, leading, heard) => ended,
        _ = watches.join_next() => Err(anyhow::anyhow!("what was made is not watched any more")),
    };
    // What it follows stops when everything does, and may be the first to do so.
    if shutdown.is_begun() { Ok(()) } else { ended }
}

/// The ConfigMap that a reference to parameters names, in `namespace` if it cannot say where.
fn config_map(named: &Value, namespace: Option<&str>) -> Result<Name, String> {
    let text = |field: &str| named[field].as_str().unwrap_or_default();
    if !text("group").is_empty() || text("kind") != "ConfigMap" {
        return Err(format!("it names {} {:?}; write group \"\" and kind ConfigMap", text("kind"), text("group")));
    }
    match namespace.unwrap_or(text("namespace")) {
        "" => Err("write the namespace of the ConfigMap".to_owned()),
        namespace => Ok(Name::new(namespace, text("name"))),
    }
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

/// Whether the API server does not want what it was asked to do: that is the Gateway's business, and an API server that is
/// away is not.
fn is_refusal(failure: &Failure) -> bool {
    matches!(failure, Failure::Status { code: 400 | 403 | 404 | 413 | 422, .. } | Failure::NotFound)
}

struct Deployer {
    settings: DeploySettings,
    manager: Manager,
    board: StatusBoard,
    readiness: Readiness,
    snapshot: Arc<Snapshot>,
    translation: Arc<Translation>,
    /// The Gateways that are to be looked at.
    due: BTreeSet<Name>,
    classes_due: bool,
    /// The Gateways that are to be looked at again in a while.
    again: BTreeSet<Name>,
    said: BTreeMap<Name, ObjectStatus>,
    /// What could not be done, by what it was to be done for.
    failing: BTreeMap<String, String>,
    /// ConfigMaps with parameters: in which version each was read, and for which Gateways.
    named: BTreeMap<Name, (String, BTreeSet<Name>)>,
}

impl Deployer {
    async fn run(
        &mut self,
        mut snapshots: Snapshots,
        mut translation: watch::Receiver<Arc<Translation>>,
        leading: Leading,
        mut heard: mpsc::Receiver<Signal>,
    ) -> anyhow::Result<()> {
        let (mut look, mut everything) = (Instant::now(), Instant::now());
        let mut again = Instant::now() + AGAIN;
        let mut parameters = Instant::now() + PARAMETERS;
        let (mut led, mut ca) = (false, self.settings.ca.clone());
        snapshots.mark_changed();
        loop {
            tokio::select! {
                changed = snapshots.changed() => {
                    changed.context("nobody reads what is declared any more")?;
                    let now = snapshots.borrow_and_update().clone();
                    self.declared(now);
                }
                changed = translation.changed() => {
                    changed.context("the control plane ended")?;
                    let now = translation.borrow_and_update().clone();
                    self.translated(now);
                }
                Some(signal) = heard.recv() => match signal {
                    Signal::Of(gateway) => drop(self.due.insert(gateway)),
                    Signal::Any => self.all(),
                },
                () = ca.changed() => self.all(),
                () = sleep_until(look) => {
                    look = Instant::now() + LOOK;
                    if leading.holds() && (!led || everything <= Instant::now()) {
                        everything = Instant::now() + EVERYTHING;
                        self.all();
                    }
                    led = leading.holds();
                }
                () = sleep_until(parameters), if !self.named.is_empty() => {
                    parameters = Instant::now() + PARAMETERS;
                    if leading.holds() {
                        self.look_at_parameters().await;
                    }
                }
                () = sleep_until(again) => {
                    again = Instant::now() + AGAIN;
                    self.due.append(&mut self.again);
                    self.classes_due |= self.failing.keys().any(|of| of.starts_with("GatewayClass "));
                }
            }
            // Before everything was read nobody knows which Gateways there are.
            if self.snapshot.revision == 0 || !leading.holds() {
                continue;
            }
            if std::mem::take(&mut self.classes_due) {
                for class in self.settings.classes.clone() {
                    let done = self.class(&class).await;
                    self.done(format!("GatewayClass {class}"), done);
                }
            }
            while let Some(gateway) = self.due.pop_first() {
                if !leading.holds() {
                    self.due.insert(gateway);
                    break;
                }
                let done = self.gateway(&gateway).await;
                if done.is_err() {
                    self.again.insert(gateway.clone());
                }
                self.done(format!("Gateway {gateway}"), done);
            }
        }
    }

    fn all(&mut self) {
        self.classes_due = true;
        self.due.extend(self.snapshot.gateways.keys().cloned());
        self.due.extend(self.said.keys().cloned());
    }

    fn declared(&mut self, now: Arc<Snapshot>) {
        let before = std::mem::replace(&mut self.snapshot, now);
        let now = self.snapshot.clone();
        if now.gateway_classes.changed(&before.gateway_classes).next().is_some() {
            self.all();
        }
        let changed: Vec<Name> = now.gateways.changed(&before.gateways).cloned().collect();
        self.classes_due |= !changed.is_empty();
        self.due.extend(changed);
    }

    fn translated(&mut self, now: Arc<Translation>) {
        let before = std::mem::replace(&mut self.translation, now);
        let (before, now) = (before.gateways.keys(), self.translation.gateways.keys());
        let (before, now): (BTreeSet<_>, BTreeSet<_>) = (before.cloned().collect(), now.cloned().collect());
        self.due.extend(before.symmetric_difference(&now).cloned());
    }

    /// Says on `/readyz` what could not be done.
    fn done(&mut self, of: String, done: Result<(), Failure>) {
        match done {
            Ok(()) => drop(self.failing.remove(&of)),
            Err(failure) => {
                let words = format!("what belongs to {of} is not as it is to be: {failure}");
                if self.failing.insert(of, words.clone()).as_ref() != Some(&words) {
                    tracing::warn!("{words}; it is tried again");
                }
            }
        }
        self.readiness.remark(AUTHOR, self.failing.values().cloned().collect());
        metrics::gauge!("waypoint_deployer_failing").set(self.failing.len() as f64);
    }

    async fn class(&self, name: &str) -> Result<(), Failure> {
        let of = Name::new("", name);
        let used = self.snapshot.gateways.iter().any(|(_, gateway)| gateway.spec.gateway_class_name == name);
        for _ in 0..3 {
            let there = self.manager.get(Managed::GatewayClass, &of).await?;
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let acts = class::plan(name, &self.settings.pods.controller, there.as_ref(), used, &now);
            if acts.is_empty() {
                return Ok(());
            }
            for act in acts {
                let kind = Managed::GatewayClass;
                let done = match &act {
                    class::Act::Create(object) => self.manager.create(kind, "", object).await,
                    class::Act::Change(patch) => self.manager.change(kind, &of, patch).await,
                    class::Act::Tell(patch) => self.manager.tell(kind, &of, patch).await,
                };
                match done {
                    // Others were faster, or it has no status of its own.
                    Err(Failure::Status { code: 409, .. } | Failure::NotFound) => {}
                    done => done?,
                }
            }
        }
        Ok(())
    }

    async fn gateway(&mut self, name: &Name) -> Result<(), Failure> {
        self.named.retain(|_, (_, by)| !(by.remove(name) && by.is_empty()));
        let gateway = self.manager.gateway(name).await?;
        let gateway = gateway.filter(|gateway| gateway.pointer("/metadata/deletionTimestamp").is_none());
        let Some((owner, gateway)) = gateway.and_then(|gateway| Some((Owner::read(&gateway)?, gateway))) else {
            // What belongs to it goes with it.
            self.say(name, None);
            return Ok(());
        };
        if !self.is_ours(&owner) {
            self.say(name, None);
            let there = self.there(&owner).await?;
            return self.act(&owner, plan::leave(&owner.uid, &self.settings.pods.controller, &there)).await;
        }
        if !self.translation.gateways.contains_key(name) {
            // It cannot be served as it is now: what there is stays as it was when it could.
            return Ok(());
        }
        let Some(ca) = self.settings.ca.read().await? else {
            self.again.insert(name.clone());
            return Ok(());
        };
        let there = self.there(&owner).await?;
        let parameters = self.parameters(&owner, &gateway).await?;
        let pods = (&self.settings.pods, ca.as_str());
        let Plan { acts, problems, invalid_parameters, addresses } =
            plan::plan(&owner, &gateway, pods, &parameters, &there);
        if !problems.is_empty() {
            self.again.insert(name.clone());
        }
        let done = self.act(&owner, acts).await;
        let refusal = done.as_ref().err().filter(|failure| is_refusal(failure));
        let problems: Vec<String> = problems.into_iter().chain(refusal.map(ToString::to_string)).collect();
        let conditions = (!problems.is_empty()).then(|| {
            let (kind, reason) =
                if invalid_parameters { (ACCEPTED, "InvalidParameters") } else { (PROGRAMMED, "NoResources") };
            Condition::fails(kind, reason, problems.join("; "))
        });
        self.say(name, Some(ObjectStatus { addresses, ..ObjectStatus::new(conditions.into_iter().collect()) }));
        done
    }

    /// What is said of the pods of a Gateway, by its class and by itself; or what is wrong with that.
    async fn parameters(&mut self, owner: &Owner, gateway: &Value) -> Result<Result<Parameters, Vec<String>>, Failure> {
        let name = Name::new(owner.namespace.as_str(), owner.name.as_str());
        let class = self.snapshot.gateway_classes.get(&Name::new("", owner.class.as_str())).cloned();
        let of_class = class.as_ref().and_then(|class| class.spec.parameters_ref.as_ref());
        let of_class = of_class.map(|named| json!(named));
        let own = gateway.pointer("/spec/infrastructure/parametersRef").filter(|named| !named.is_null()).cloned();
        let (mut read, mut mistakes) = (Parameters::default(), Vec::new());
        for (named, namespace, place) in [
            (of_class, None, format!("GatewayClass {}: spec.parametersRef", owner.class)),
            (own, Some(owner.namespace.as_str()), "spec.infrastructure.parametersRef".to_owned()),
        ] {
            let Some(named) = named else { continue };
            let config = match config_map(&named, namespace) {
                Ok(config) => config,
                Err(mistake) => {
                    mistakes.push(format!("{place}: {mistake}"));
                    continue;
                }
            };
            let there = self.manager.get(Managed::ConfigMap, &config).await?;
            let version = there.as_ref().map(version).unwrap_or_default();
            let known = self.named.entry(config.clone()).or_default();
            known.0 = version;
            known.1.insert(name.clone());
            match there.as_ref().map(Parameters::read) {
                None => mistakes.push(format!("{place}: there is no ConfigMap {config}")),
                Some(Err(wrong)) => {
                    mistakes.extend(wrong.into_iter().map(|wrong| format!("ConfigMap {config}: {wrong}")))
                }
                Some(Ok(own)) => read = own.over(read),
            }
        }
        Ok(if mistakes.is_empty() { Ok(read) } else { Err(mistakes) })
    }

    /// Finds out which parameters have changed.
    async fn look_at_parameters(&mut self) {
        for config in self.named.keys().cloned().collect::<Vec<_>>() {
            // Where nobody knows, it is looked at again.
            let Ok(there) = self.manager.get(Managed::ConfigMap, &config).await else { continue };
            let now = there.as_ref().map(version).unwrap_or_default();
            if let Some((known, by)) = self.named.get(&config)
                && *known != now
            {
                self.due.extend(by.iter().cloned());
            }
        }
    }

    fn is_ours(&self, owner: &Owner) -> bool {
        let class = self.snapshot.gateway_classes.get(&Name::new("", owner.class.as_str()));
        self.settings.classes.contains(&owner.class)
            && class.is_none_or(|class| class.spec.controller_name == self.settings.pods.controller)
    }

    async fn there(&self, owner: &Owner) -> Result<There, Failure> {
        let name = Name::new(owner.namespace.as_str(), owner.proxy_name());
        let mut there = There::new();
        for kind in Managed::OF_A_GATEWAY {
            if let Some(object) = self.manager.get(kind, &name).await? {
                there.insert(kind, object);
            }
        }
        Ok(there)
    }

    async fn act(&mut self, owner: &Owner, acts: Vec<Act>) -> Result<(), Failure> {
        let name = Name::new(owner.namespace.as_str(), owner.proxy_name());
        for act in acts {
            let (kind, word, done) = match act {
                Act::Create(kind, object) => (kind, "made", self.manager.create(kind, &owner.namespace, &object).await),
                Act::Change(kind, patch) => (kind, "changed", self.manager.change(kind, &name, &patch).await),
                Act::Delete(kind, uid) => (kind, "deleted", self.manager.delete(kind, &name, &uid).await),
            };
            match done {
                Ok(()) => {
                    tracing::info!(object = %format_args!("{} {name}", kind.as_str()), done = word, "deployed");
                    metrics::counter!("waypoint_deployer_writes_total", "kind" => kind.as_str(), "done" => word)
                        .increment(1);
                }
                // Others wrote it meanwhile: it is looked at anew.
                Err(Failure::Status { code: 409, .. } | Failure::NotFound) => {
                    self.again.insert(Name::new(owner.namespace.as_str(), owner.name.as_str()));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Says this of a Gateway, or nothing.
    fn say(&mut self, name: &Name, said: Option<ObjectStatus>) {
        let said = said.filter(|said| !said.conditions.is_empty() || !said.addresses.is_empty());
        if self.said.get(name) == said.as_ref() {
            return;
        }
        let object = ObjectRef { kind: Kind::Gateway, name: name.clone() };
        let mut diff = Diff::default();
        match said {
            Some(said) => {
                self.said.insert(name.clone(), said.clone());
                diff.said.push((object, vec![said]));
            }
            None => {
                self.said.remove(name);
                diff.silent.push(object);
            }
        }
        self.board.apply(AUTHOR, diff);
    }
}
