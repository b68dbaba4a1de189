//! The control loop: each snapshot is translated, handed to the Envoys it
//! concerns, and reported on as they answer.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use api::{Name, ObjectRef, Snapshot};
use metrics::{gauge, histogram};
use parking_lot::Mutex;
use provider::StatusBoard;
use runtime::follow::{Follower, follow};
use runtime::{Gate, Process, Readiness, Shutdown, Stage};
use status::{Diff, ObjectStatus};
use tokio::sync::watch;
use waypoint_translate::{Quarantines, Translation, Translator};
use xds::{AckState, Acks, Hub, Target};

use crate::authority::Trusted;
use crate::expected::Expected;
use crate::handle::{Handle, Served};
use crate::identities::{self, Identities};
use crate::listen::Listen;
use crate::offer::Offer;
use crate::programmed::{self, Standing};

/// How long Envoy is not told of a change while the servers in this process do not know of it yet.
const SERVERS_FIRST: Duration = Duration::from_secs(2);

/// Settings of the control plane.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Settings of the translation.
    pub translate: waypoint_translate::Settings,
    /// Where Envoys connect, and how they prove who they are.
    pub listen: Listen,
    /// Whether this process is ready only once every Gateway's Envoy has
    /// acknowledged its first resources.
    pub wait_for_envoy: bool,
    /// Whether a Gateway is reached where its Envoy listens. In a cluster it is not: there somebody else says where.
    pub reached_where_it_listens: bool,
    /// Whether this replica serves Envoys at present, if there may be others: what Envoys answer has to come together in
    /// one place.
    pub turn: Option<watch::Receiver<bool>>,
    /// Who signs what Envoys show to the servers that they ask, if they prove there who they are.
    pub trusted: Option<Trusted>,
}

/// Adds to `process` what translates `snapshots`, serves xDS at the address that `settings` name, and shows
/// at `/config` how far the Envoys are.
///
/// # Errors
/// When the address cannot be bound, or may not be without mutual TLS.
pub async fn build(
    settings: Settings,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    board: StatusBoard,
    process: &mut Process,
) -> anyhow::Result<Handle> {
    let on_demand: xds::OnDemand = waypoint_translate::on_demand;
    let hub = Hub::with(settings.translate.clusters_on_demand.then_some(on_demand));
    let readiness = process.readiness().clone();
    let (address, serving) = settings
        .listen
        .serve(hub.clone(), readiness.clone(), settings.turn.clone(), process.tasks(Stage::Server))
        .await?;
    process.spawn(Stage::Server, "xds", serving);

    let translation = watch::Sender::new(Arc::new(Translation::default()));
    let served = watch::Sender::new(Arc::default());
    let handle =
        Handle { translation: translation.subscribe(), served: served.subscribe(), acks: hub.watch_acks(), address };
    process.add_pages(crate::page::router(handle.clone()));
    let control = Control {
        hub: hub.clone(),
        board: board.clone(),
        translation,
        served,
        snapshot: Arc::default(),
        offers: BTreeMap::new(),
        standings: BTreeMap::new(),
        generation: 0,
        readiness: settings.wait_for_envoy.then(|| readiness.clone()),
        waiting: BTreeMap::new(),
        translated: Some(readiness.gate("first translation")),
        acknowledged: settings.wait_for_envoy.then(|| readiness.gate("envoy to acknowledge")),
        remarks: readiness,
        identities: settings.trusted.clone().map(|by| Identities::new(by, settings.translate.trust_domain.clone())),
        reached_where_it_listens: settings.reached_where_it_listens,
        // Where they listen they are processes of a machine.
        expected: (!settings.reached_where_it_listens).then(Expected::default),
        acks: Acks::default(),
    };
    let controlling = Controlling {
        translator: Mutex::new(Translator::new(settings.translate.clone())),
        settings: settings.translate,
        control: Mutex::new(control),
        acks: tokio::sync::Mutex::new(hub.watch_acks()),
        trusted: tokio::sync::Mutex::new(settings.trusted),
        board,
        serving_ends: process.shutdown(Stage::Server),
    };
    let shutdown = process.shutdown(Stage::Behind);
    process.spawn(Stage::Behind, "control", follow(Arc::new(controlling), snapshots, shutdown));
    Ok(handle)
}

/// Follows the snapshots: translates them aside, and tells the Envoys.
struct Controlling {
    settings: waypoint_translate::Settings,
    translator: Mutex<Translator>,
    control: Mutex<Control>,
    /// Answers of Envoys; those that come while a snapshot is translated are heard afterwards.
    acks: tokio::sync::Mutex<watch::Receiver<Acks>>,
    /// Who signs for Envoys.
    trusted: tokio::sync::Mutex<Option<Trusted>>,
    board: StatusBoard,
    /// When Envoys are not served any more.
    serving_ends: Shutdown,
}

/// A snapshot with what it was translated to.
struct Translated {
    snapshot: Arc<Snapshot>,
    translation: Translation,
    quarantines: Quarantines,
}

impl Follower for Controlling {
    type Declared = Snapshot;
    type Made = Translated;

    fn make(&self, snapshot: &Arc<Snapshot>, started: Instant) -> Option<Translated> {
        if snapshot.revision == 0 {
            return None;
        }
        // Where it panics, one that knows nothing stands in its place.
        let mut translator = std::mem::replace(&mut *self.translator.lock(), Translator::new(self.settings.clone()));
        // On a line of its own: the lock is not held while this is translated.
        let quarantines = self.control.lock().quarantines();
        let (translation, quarantines) = translator.translate(snapshot, quarantines);
        *self.translator.lock() = translator;
        histogram!("waypoint_translate_seconds").record(started.elapsed().as_secs_f64());
        Some(Translated { snapshot: snapshot.clone(), translation, quarantines })
    }

    async fn install(&self, translated: Translated) {
        // What Envoy is told to ask for is known to those whom it asks. What it is told to ask for
        // no longer they still know, for a grace that is longer than this.
        let revision = translated.snapshot.revision;
        if tokio::time::timeout(SERVERS_FIRST, self.board.until_served(crate::AUTHOR, revision)).await.is_err() {
            tracing::warn!(revision, "the servers are late; Envoy is told all the same");
        }
        let mut control = self.control.lock();
        control.take(translated);
        control.show();
    }

    async fn meanwhile(&self) -> anyhow::Result<Infallible> {
        let (mut acks, mut trusted) = (self.acks.lock().await, self.trusted.lock().await);
        let mut look = tokio::time::Instant::now() + identities::LOOK;
        loop {
            let due = self.control.lock().expected.as_ref().and_then(Expected::due);
            let answered = tokio::select! {
                biased;
                // That Envoys have gone then says nothing of them: it is we who end their streams.
                () = self.serving_ends.begun() => std::future::pending().await,
                changed = acks.changed() => {
                    changed.context("the xDS hub ended")?;
                    true
                }
                () = until(due) => true,
                () = identities::due(trusted.as_mut(), look) => false,
            };
            let now = acks.borrow_and_update().clone();
            let mut control = self.control.lock();
            if !answered {
                look = tokio::time::Instant::now() + identities::LOOK;
                control.identify();
            }
            control.answered(&now);
            control.show();
        }
    }
}

struct Control {
    hub: Hub,
    board: StatusBoard,
    translation: watch::Sender<Arc<Translation>>,
    served: watch::Sender<Arc<BTreeMap<Name, Served>>>,
    snapshot: Arc<Snapshot>,
    offers: BTreeMap<Name, Offer>,
    standings: BTreeMap<Name, Standing>,
    generation: u64,
    translated: Option<Gate>,
    acknowledged: Option<Gate>,
    /// Where it is said what keeps this process from being ready, if Envoys do.
    readiness: Option<Readiness>,
    /// What does, each with its closed gate.
    waiting: BTreeMap<String, Gate>,
    /// Where it is said what is not in force.
    remarks: Readiness,
    /// Who Envoys are to the servers that they ask, if they prove it there.
    identities: Option<Identities>,
    reached_where_it_listens: bool,
    /// The pods that are to have connected, if pods run the Envoys.
    expected: Option<Expected>,
    /// What Envoys have answered.
    acks: Acks,
}

impl Control {
    /// What of each Gateway is not to be sent.
    fn quarantines(&self) -> Quarantines {
        self.offers.iter().map(|(name, offer)| (name.clone(), offer.quarantine().clone())).collect()
    }

    /// Puts what was translated in force.
    fn take(&mut self, Translated { snapshot, translation, quarantines }: Translated) {
        gauge!("waypoint_gateways").set(translation.gateways.len() as f64);
        let (translation, revision) = (Arc::new(translation), snapshot.revision);
        if let Some(expected) = &mut self.expected {
            expected.follow(&snapshot.endpoint_slices, &self.snapshot.endpoint_slices);
            expected.keep(|name| translation.gateways.contains_key(name));
        }
        let old_snapshot = std::mem::replace(&mut self.snapshot, snapshot);
        self.offer(&translation, quarantines);
        let old = self.translation.send_replace(translation);
        self.report(&old, &old_snapshot);
        self.board.serves(crate::AUTHOR, revision);
        if let Some(gate) = self.translated.take() {
            gate.open();
        }
    }

    /// Offers every Gateway's Envoys what was translated for them.
    fn offer(&mut self, translation: &Translation, mut quarantines: Quarantines) {
        let gone: Vec<Name> =
            self.offers.keys().filter(|name| !translation.gateways.contains_key(*name)).cloned().collect();
        for name in gone {
            self.offers.remove(&name);
            self.hub.remove(&crate::node_id(&name));
        }
        if let Some(identities) = &mut self.identities {
            identities.keep(|name| translation.gateways.contains_key(name));
        }
        let now = since_1970();
        for (name, output) in &translation.gateways {
            let offer = self.offers.entry(name.clone()).or_default();
            let identified = self.identities.as_mut().is_some_and(|all| offer.identified(all.of(name, now)));
            if offer.translated(output.clone(), quarantines.remove(name).unwrap_or_default()) || identified {
                send(&self.hub, name, offer, &mut self.generation);
            }
        }
    }

    /// Tells Envoys who they are where that is due.
    fn identify(&mut self) {
        let Some(identities) = &mut self.identities else { return };
        let now = since_1970();
        for (name, offer) in &mut self.offers {
            if offer.identified(identities.of(name, now)) {
                send(&self.hub, name, offer, &mut self.generation);
            }
        }
    }

    /// Takes what Envoys have answered; where they refuse something, the rest is offered again.
    fn answered(&mut self, acks: &Acks) {
        self.acks = acks.clone();
        let mut dirty = BTreeSet::new();
        let now = Instant::now();
        for (name, offer) in &mut self.offers {
            let state = acks.get(&crate::node_id(name)).cloned().unwrap_or_default();
            if offer.answered(&state) {
                send(&self.hub, name, offer, &mut self.generation);
            }
            let before = self.standings.remove(name).unwrap_or_default();
            let missing = missing(&mut self.expected, name, offer, &state, now);
            let standing = before.with(offer).without_pods(missing);
            dirty.extend(before.differs(&standing));
            self.standings.insert(name.clone(), standing);
        }
        let translation = self.translation.borrow().clone();
        self.say(&translation, dirty);
    }

    /// Says what became of the objects of which a new translation says something else than the one before,
    /// or which the Envoys see otherwise.
    fn report(&mut self, old: &Translation, old_snapshot: &Snapshot) {
        let now = Instant::now();
        let mut standing = |name: &Name, offer: &Offer| {
            let state = self.acks.get(&crate::node_id(name)).cloned().unwrap_or_default();
            let missing = missing(&mut self.expected, name, offer, &state, now);
            let standing = Standing::new(offer.output()).with(offer).without_pods(missing);
            if self.reached_where_it_listens { standing } else { standing.without_address() }
        };
        let mut standings: BTreeMap<Name, Standing> =
            self.offers.iter().map(|(name, offer)| (name.clone(), standing(name, offer))).collect();
        std::mem::swap(&mut self.standings, &mut standings);
        let new = self.translation.borrow().clone();
        let mut dirty: BTreeSet<ObjectRef> = new.report.changed(&old.report).cloned().collect();
        dirty.extend(self.snapshot.broken.changed(&old_snapshot.broken).cloned());
        let nothing = Standing::default();
        for name in standings.keys().chain(self.standings.keys()).collect::<BTreeSet<_>>() {
            let (before, now) = (standings.get(name), self.standings.get(name));
            dirty.extend(before.unwrap_or(&nothing).differs(now.unwrap_or(&nothing)));
        }
        // Where a Service goes from one waypoint to another, routes of it are another Envoy's.
        let moved = |name: &Name| old.services.get(name).is_some_and(|known| Some(known) != new.services.get(name));
        if new.services.changed(&old.services).any(moved) {
            dirty.extend(new.report.keys().cloned());
        }
        self.say(&new, dirty);
    }

    fn say(&self, translation: &Translation, dirty: BTreeSet<ObjectRef>) {
        let mut diff = Diff::default();
        for object in dirty {
            match self.statuses(translation, &object) {
                statuses if statuses.is_empty() => diff.silent.push(object),
                statuses => diff.said.push((object, statuses)),
            }
        }
        self.board.apply(crate::AUTHOR, diff);
    }

    fn statuses(&self, translation: &Translation, object: &ObjectRef) -> Vec<ObjectStatus> {
        let said = translation.report.get(object).map(|said| said.as_ref().clone()).unwrap_or_default();
        let admitted = !self.snapshot.broken.contains_key(object);
        programmed::complete(object, said, admitted, &self.standings, &translation.services)
    }

    /// Shows how far the Envoys are, and opens the gate once everything is in force.
    fn show(&mut self) {
        let served: BTreeMap<Name, Served> =
            self.offers.iter().map(|(name, offer)| (name.clone(), served(offer, self.standings.get(name)))).collect();
        let refused: usize = served.values().map(|served| served.refused.len()).sum();
        gauge!("waypoint_refused_by_envoy").set(refused as f64);
        let remarks = served.iter().flat_map(|(name, served)| {
            served.refused.iter().map(move |refused| format!("the Envoy of Gateway {name} refused {refused}"))
        });
        self.remarks.remark(crate::AUTHOR, remarks.collect());
        self.served.send_if_modified(|shown| {
            let changed = !shown.iter().map(Served::key).eq(served.iter().map(Served::key));
            if changed {
                *shown = Arc::new(served);
            }
            changed
        });
        self.wait_for_envoys();
        if self.translated.is_none()
            && self.offers.values().all(Offer::is_in_force)
            && let Some(gate) = self.acknowledged.take()
        {
            gate.open();
        }
    }
}

impl Control {
    /// Closes a gate for every Gateway whose Envoys cannot do what was declared.
    fn wait_for_envoys(&mut self) {
        let Some(readiness) = &self.readiness else { return };
        let mut wanted = BTreeSet::new();
        for (name, offer) in &self.offers {
            if !offer.is_served() {
                wanted.insert(format!("the Envoy of Gateway {name}"));
            }
            let refusals = offer.refusals().map(|nack| programmed::say_refusal(offer.output(), nack));
            wanted
                .extend(refusals.map(|words| format!("the Envoy of Gateway {name} to take what it refuses: {words}")));
        }
        let over: Vec<String> = self.waiting.keys().filter(|words| !wanted.contains(*words)).cloned().collect();
        for gate in over.iter().filter_map(|words| self.waiting.remove(words)).collect::<Vec<_>>() {
            gate.open();
        }
        for words in wanted {
            self.waiting.entry(words).or_insert_with_key(|words| readiness.gate(words.clone()));
        }
    }
}

/// The ready pods of `gateway` that are waited for, if pods run its Envoys.
fn missing(
    expected: &mut Option<Expected>,
    gateway: &Name,
    offer: &Offer,
    acks: &AckState,
    now: Instant,
) -> BTreeSet<String> {
    let of = |expected: &mut Expected| expected.missing(gateway, acks, offer.generation(), now);
    expected.as_mut().map(of).unwrap_or_default()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn send(hub: &Hub, gateway: &Name, offer: &mut Offer, generation: &mut u64) {
    *generation += 1;
    offer.sent(*generation);
    let target =
        Target { resources: offer.resources().clone(), generation: *generation, first: offer.without_suspects() };
    hub.set(&crate::node_id(gateway), target);
    tracing::debug!(%gateway, generation, "new resources");
}

fn served(offer: &Offer, standing: Option<&Standing>) -> Served {
    let output = offer.output();
    let aside = output.aside.iter().filter_map(|aside| programmed::say_aside(output, aside));
    // A Service may have several addresses; what is refused of one is refused of all.
    let refused: BTreeSet<String> =
        offer.refusals().map(|nack| programmed::say_refusal(output, nack)).chain(aside).collect();
    let refused = refused.into_iter().collect();
    Served {
        resources: offer.resources().clone(),
        generation: offer.generation(),
        settled: offer.is_settled(),
        listening: offer.is_listening(),
        refused,
        missing: standing.map(|standing| standing.missing().cloned().collect()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_declaring_anything_any_more_is_the_reason_to_exit() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut process = Process::detached().expect("a process");
        let settings = Settings {
            translate: waypoint_translate::Settings::default(),
            listen: Listen::Unix(dir.path().join("xds.sock")),
            wait_for_envoy: false,
            reached_where_it_listens: true,
            turn: None,
            trusted: None,
        };
        let (publish, snapshots) = watch::channel(Arc::new(Snapshot { revision: 1, ..Snapshot::default() }));
        let handle = build(settings, snapshots, StatusBoard::new(), &mut process).await.expect("a control plane");
        let running = tokio::spawn(process.run());
        let mut translation = handle.translation.clone();
        translation.wait_for(|translation| translation.revision == 1).await.expect("translated");
        drop(publish);
        let why = running.await.expect("no panic").expect_err("a reason");
        assert_eq!(format!("{why:#}"), "control failed: nobody reads what is declared any more");
    }
}
