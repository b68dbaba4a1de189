//! What the Envoys of one Gateway are offered, and what is learnt from their answers. Pure.
//!
//! When Envoy refuses a resource, its parts that Envoy has not taken before are suspects. If
//! there is one, it is guilty: it is put in quarantine for good and answers 500. If there are
//! several, half of them are held back, which answers 500 as well, and the rest is offered.
//! What was held back is tried again, group by group, as soon as Envoy has taken everything.
//! So the number of rounds for each guilty part grows with the logarithm of the suspects, and
//! whatever else has changed is part of every round and takes effect with the first that is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::resource::Named;
use proto::{Resource, ResourceSet, ResourceType};
use waypoint_translate::GatewayOutput;
use waypoint_translate::quarantine::{self, Digest, Key, Quarantine, Verdict};
use xds::{AckState, Nack};

/// One Gateway's offer.
#[derive(Debug, Default)]
pub struct Offer {
    output: GatewayOutput,
    /// Who the Envoys are to the servers that they ask.
    identity: Named,
    /// Whether nothing is sent, because nobody knows yet who they are.
    withheld: bool,
    resources: Arc<ResourceSet>,
    generation: u64,
    quarantine: Quarantine,
    /// Parts that are held back, in groups that are tried one after another.
    groups: Vec<Vec<Digest>>,
    /// Parts that Envoy has refused, alone or together with others, and not taken since.
    suspects: BTreeSet<Digest>,
    /// What Envoy took last, but for `kept`.
    taken: Arc<ResourceSet>,
    /// What Envoy took of resources that it has refused since.
    kept: BTreeMap<Key, Option<Arc<Resource>>>,
    /// Versions that are refused whatever is left out of them.
    hopeless: BTreeMap<Key, String>,
    /// What has changed since Envoy took everything.
    unanswered: BTreeSet<Key>,
    /// How far the Envoys have come; 0 while one of them has taken nothing yet.
    acked: u64,
    /// Whether they have ever taken anything.
    has_served: bool,
    /// Whether the Envoys listen where we told them to.
    listening: bool,
    /// Whether an Envoy has come since that was found out.
    restarted: bool,
    standing: Vec<Nack>,
}

impl Offer {
    /// Takes over what was translated around the quarantine, and what of that is still needed;
    /// the answer is whether there is something else to send.
    pub(crate) fn translated(&mut self, output: GatewayOutput, quarantine: Quarantine) -> bool {
        self.output = output;
        self.quarantine = quarantine;
        self.differs()
    }

    /// Says who the Envoys are to the servers that they ask; as long as nobody knows, nothing is sent. The answer is
    /// whether there is something else to send.
    pub(crate) fn identified(&mut self, identity: Option<Named>) -> bool {
        self.withheld = identity.is_none();
        self.identity = identity.unwrap_or_default();
        self.differs()
    }

    /// Says with which generation the newest resources are sent.
    pub fn sent(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// Takes the Envoys' answers; what comes back is whether there is something else to send.
    pub fn answered(&mut self, acks: &AckState) -> bool {
        self.acked = if acks.sessions > 0 { acks.generation } else { 0 };
        self.has_served |= self.acked > 0;
        self.restarted |= self.acked == 0;
        self.standing.clone_from(&acks.nacks);
        // One resource's refusal changes what is known of the parts of another, but not what was sent.
        let sent = self.quarantine.clone();
        let mut refused = false;
        for nack in &acks.nacks {
            refused |= self.refused(nack, &sent);
        }
        if refused {
            self.output.keep_apart(&mut self.quarantine);
            return self.differs();
        }
        if !self.is_answered() {
            return false;
        }
        self.take();
        while let Some(group) = self.groups.pop() {
            for digest in group {
                if self.holds_back(&digest) {
                    self.quarantine.remove(&digest);
                }
            }
            self.output.keep_apart(&mut self.quarantine);
            if self.differs() {
                return true;
            }
        }
        false
    }

    /// What is sent.
    pub fn resources(&self) -> &Arc<ResourceSet> {
        &self.resources
    }

    /// What an Envoy that has nothing yet is sent first while others are tried with something that they may refuse:
    /// the same without any suspect. An Envoy keeps the version that it has of what it refuses; one that has none
    /// would answer 404 instead.
    pub(crate) fn without_suspects(&self) -> Option<Arc<ResourceSet>> {
        if self.withheld || self.suspects.iter().all(|digest| self.holds_back(digest)) {
            return None;
        }
        let mut output = self.output.clone();
        let mut quarantine = self.quarantine.clone();
        quarantine.extend(self.suspects.iter().map(|suspect| (*suspect, Verdict::Untried)));
        output.keep_apart(&mut quarantine);
        Some(Arc::new(self.identify(output.resources)))
    }

    /// With which generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What was translated.
    pub fn output(&self) -> &GatewayOutput {
        &self.output
    }

    /// The parts that are not to be sent.
    pub fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Whether every connected Envoy has taken something of us, and there is one.
    pub(crate) fn is_served(&self) -> bool {
        self.acked > 0
    }

    /// Whether that was ever so.
    pub(crate) fn has_served(&self) -> bool {
        self.has_served
    }

    /// Whether every connected Envoy has answered all that is sent, and there is one.
    pub(crate) fn is_answered(&self) -> bool {
        self.acked > 0 && self.acked >= self.generation
    }

    /// Resources that have changed and were not taken yet.
    pub fn unanswered(&self) -> &BTreeSet<Key> {
        &self.unanswered
    }

    /// Whether the Envoys listen where they were told to. While one starts again, as before:
    /// nobody else gets its address meanwhile.
    pub(crate) fn is_listening(&self) -> bool {
        self.listening
    }

    /// What Envoy refuses of what is sent.
    pub fn refusals(&self) -> impl Iterator<Item = &Nack> {
        self.standing.iter().filter(|nack| self.sends(nack))
    }

    /// Whether Envoys have taken all that is sent, and nothing is held back any more.
    pub fn is_settled(&self) -> bool {
        self.is_answered() && self.groups.is_empty()
    }

    /// Whether that is so and Envoys refuse nothing of what is sent.
    pub(crate) fn is_in_force(&self) -> bool {
        self.is_settled() && self.refusals().next().is_none()
    }

    fn differs(&mut self) -> bool {
        if self.withheld {
            return false;
        }
        let resources = self.identify(self.output.resources.clone());
        let changed = changes(&self.resources, &resources);
        if changed.is_empty() && self.generation > 0 {
            return false;
        }
        self.resources = Arc::new(resources);
        self.unanswered.extend(changed);
        true
    }

    /// The resources, with what says who the Envoys are.
    fn identify(&self, mut resources: ResourceSet) -> ResourceSet {
        if !self.identity.is_empty() {
            resources.insert(ResourceType::Secret, self.identity.clone());
        }
        resources
    }

    /// Envoy has answered everything, and refuses at most what is hopeless.
    fn take(&mut self) {
        self.unanswered.clear();
        let held: BTreeSet<Digest> = self.suspects.iter().filter(|digest| self.holds_back(digest)).copied().collect();
        self.suspects = held;
        let refuses_listener =
            self.refusals().any(|nack| nack.kind == ResourceType::Listener && nack.name != waypoint_translate::SNIFFED);
        if !refuses_listener || self.restarted {
            self.listening = !refuses_listener;
        }
        self.restarted = false;
        let refused: BTreeSet<Key> = self.refusals().map(|nack| (nack.kind, nack.name.clone())).collect();
        self.kept = refused.into_iter().map(|key| (key.clone(), self.taken(&key).cloned())).collect();
        self.taken = self.resources.clone();
    }

    /// Whether a part is left out until it is tried by itself.
    fn holds_back(&self, digest: &Digest) -> bool {
        self.quarantine.get(digest) == Some(&Verdict::Untried)
    }

    /// The version of a resource that Envoy took last.
    fn taken(&self, key: &Key) -> Option<&Arc<Resource>> {
        match self.kept.get(key) {
            Some(kept) => kept.as_ref(),
            None => find(&self.taken, key),
        }
    }

    fn sends(&self, nack: &Nack) -> bool {
        let sent = self.resources.get(&nack.kind).and_then(|named| named.get(&nack.name));
        sent.is_some_and(|sent| sent.version == nack.version)
    }

    /// Puts in quarantine what may have caused `nack`; whether it did.
    fn refused(&mut self, nack: &Nack, sent: &Quarantine) -> bool {
        let key = (nack.kind, nack.name.clone());
        let settings = matches!(nack.kind, ResourceType::Cluster) && self.output.service(&key).is_none();
        let Some(written) = self.output.as_written(&key).cloned() else { return false };
        if settings || !self.sends(nack) || self.hopeless.get(&key) == Some(&written.version) {
            return false;
        }
        let offered = quarantine::offer(nack.kind, &written, sent);
        let unsafe_parts = offered.parts.iter().filter(|part| !part.safe).map(|part| part.digest);
        let candidates: BTreeSet<Digest> = unsafe_parts.collect();
        let good: BTreeSet<Digest> = self
            .taken(&key)
            .map(|taken| quarantine::parts(nack.kind, taken).into_iter().map(|part| part.digest).collect())
            .unwrap_or_default();
        let mut suspects: Vec<Digest> = candidates.difference(&good).copied().collect();
        if suspects.is_empty() {
            // Another Envoy than the one that took them.
            suspects = candidates.into_iter().collect();
        }
        let why = Verdict::Refused(nack.message.clone());
        // Of one alone it is not known either whether Envoy takes what answers in its place.
        self.suspects.extend(&suspects);
        match suspects.len() {
            0 => self.nothing_left(&key, &written, why),
            1 => drop(self.quarantine.insert(suspects[0], why)),
            // Another resource that holds some of them was refused as well: the next answer tells more.
            _ if suspects.iter().any(|digest| self.quarantine.contains_key(digest)) => {}
            many => {
                let held = suspects.split_off(many / 2);
                self.quarantine.extend(held.iter().map(|digest| (*digest, Verdict::Untried)));
                self.groups.push(held);
            }
        }
        true
    }

    /// Envoy refuses a resource of which everything was held back that could be.
    fn nothing_left(&mut self, key: &Key, written: &Resource, why: Verdict) {
        for part in quarantine::parts(key.0, written) {
            self.quarantine.remove(&part.digest);
        }
        let whole = quarantine::whole(written);
        if key.0 == ResourceType::Scope && !self.quarantine.contains_key(&whole) {
            self.quarantine.insert(whole, why);
        } else {
            self.quarantine.remove(&whole);
            self.hopeless.insert(key.clone(), written.version.clone());
        }
    }
}

fn find<'a>(set: &'a ResourceSet, key: &Key) -> Option<&'a Arc<Resource>> {
    set.get(&key.0)?.get(&key.1)
}

/// The resources in which two sets differ.
fn changes(old: &ResourceSet, new: &ResourceSet) -> BTreeSet<Key> {
    let of = |kind| proto::resource::changed(old, new, kind).map(move |name| (kind, name.clone()));
    ResourceType::ALL.into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests;
