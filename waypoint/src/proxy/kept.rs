//! What a pod's Envoy has acknowledged, on files that outlive its container: written before the control plane hears of the
//! acknowledgement, so that nothing older than what it knows of is ever served from here.
//!
//! Secrets are in a file of their own, in a folder that is to be in memory. Both files begin with what they are of: the
//! Envoy's node, the machine since it was started last, and the moment they were begun, by which the two belong together.

mod journal;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use proto::envoy::service::discovery::v3 as pb;
use proto::{Resource, ResourceSet, ResourceType};
use xds::Change;

use crate::tls::private_dir;
use journal::Journal;

/// The name of both files.
const FILE: &str = "acknowledged";
/// The form of the files.
const FORM: &str = "1";
/// Tells a start of the machine from the one before: what was in its memory then may not have come to its disk.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// The most that is kept, in bytes.
const MOST: u64 = 256 << 20;
/// Of the secrets.
const MOST_SECRETS: u64 = 1 << 20;
/// So much more than it holds a file may take before it is written anew.
const SLACK: u64 = 4 << 20;

/// The files.
#[derive(Debug)]
pub struct Kept {
    node: String,
    dir: PathBuf,
    /// Where secrets go; without it nothing is kept that has some.
    secrets: Option<PathBuf>,
    /// Of everything else, and of secrets.
    open: Option<[Journal; 2]>,
}

impl Kept {
    /// Of the Envoy `node`, in these folders, with what was kept there. Files that cannot be used are taken away.
    pub fn open(node: String, dir: &Path, secrets: Option<&Path>) -> (Kept, Option<Arc<ResourceSet>>) {
        let mut kept = Kept { node, dir: dir.to_owned(), secrets: secrets.map(Path::to_owned), open: None };
        let read = kept.read();
        match read {
            Ok(Some((journals, set))) => {
                kept.open = Some(journals);
                (kept, Some(Arc::new(set)))
            }
            Ok(None) => {
                kept.forget();
                (kept, None)
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "what the Envoy had acknowledged cannot be used");
                kept.forget();
                (kept, None)
            }
        }
    }

    /// Does as `change` says; `now` is what is to be kept after it. What cannot be written is not kept at all.
    pub fn follow(&mut self, change: &Change, now: Option<&Arc<ResourceSet>>) {
        let done = match change {
            Change::None => return,
            Change::Stale => {
                self.forget();
                return;
            }
            Change::Whole(set) => self.write(set),
            Change::Step { kind, added, removed } => self.step(*kind, added, removed, now),
        };
        if let Err(error) = done {
            metrics::counter!("waypoint_proxy_not_kept_total").increment(1);
            tracing::warn!(error = format!("{error:#}"), "what the Envoy has acknowledged is not kept");
            self.forget();
        }
    }

    fn files(&self) -> [Option<PathBuf>; 2] {
        [Some(self.dir.join(FILE)), self.secrets.as_ref().map(|dir| dir.join(FILE))]
    }

    /// Takes away what there is.
    fn forget(&mut self) {
        self.open = None;
        for file in self.files().into_iter().flatten() {
            journal::remove(&file);
        }
    }

    fn read(&self) -> anyhow::Result<Option<([Journal; 2], ResourceSet)>> {
        let [Some(file), Some(secrets)] = self.files() else { return Ok(None) };
        if !file.exists() || !secrets.exists() {
            return Ok(None);
        }
        let (first, head, responses) = Journal::read(&file, MOST + SLACK)?;
        let (second, other, more) = Journal::read(&secrets, MOST_SECRETS + SLACK)?;
        ensure!(head == other, "the file with its secrets is of another time");
        let [node, boot, _] = self.head().1;
        ensure!(head.starts_with(&format!("{FORM}\n{node}\n{boot}\n")), "it is of another Envoy or another time");
        let mut set = ResourceSet::new();
        for response in responses.into_iter().chain(more) {
            let kind = ResourceType::of_type_url(&response.type_url).context("it has a type that nobody knows")?;
            let named = set.entry(kind).or_default();
            for name in &response.removed_resources {
                named.remove(name);
            }
            for resource in response.resources {
                let body = resource.resource.context("it has a resource without a body")?;
                let resource = Resource { name: resource.name, version: resource.version, body };
                named.insert(resource.name.clone(), resource);
            }
        }
        set.retain(|_, named| !named.is_empty());
        Ok(Some(([first, second], set)))
    }

    /// What files begin with, whole and in parts.
    fn head(&self) -> (String, [String; 3]) {
        let boot = std::fs::read_to_string(BOOT).unwrap_or_default().trim().to_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
        let parts = [self.node.clone(), boot, now];
        (format!("{FORM}\n{}", parts.join("\n")), parts)
    }

    /// Begins anew with `set`.
    fn write(&mut self, set: &ResourceSet) -> anyhow::Result<()> {
        self.forget();
        let has_secrets = set.get(&ResourceType::Secret).is_some_and(|named| !named.is_empty());
        let [Some(file), Some(secrets)] = self.files() else {
            ensure!(!has_secrets, "it has secrets, and no folder was named for them");
            return Ok(());
        };
        private_dir(&self.dir)?;
        secrets.parent().map(private_dir).transpose()?;
        let (head, _) = self.head();
        let of = |wanted: bool| {
            let kinds = set.iter().filter(move |(kind, _)| (**kind == ResourceType::Secret) == wanted);
            kinds.flat_map(|(kind, named)| named.values().map(|one| response(*kind, std::slice::from_ref(one), &[])))
        };
        let second = Journal::begin(&secrets, &head, of(true), MOST_SECRETS)?;
        let first = Journal::begin(&file, &head, of(false), MOST)?;
        self.open = Some([first, second]);
        Ok(())
    }

    fn step(
        &mut self,
        kind: ResourceType,
        added: &[Arc<Resource>],
        removed: &[String],
        now: Option<&Arc<ResourceSet>>,
    ) -> anyhow::Result<()> {
        // What could not be kept as a whole cannot be kept in parts.
        let Some([first, second]) = &mut self.open else { return Ok(()) };
        let journal = if kind == ResourceType::Secret { second } else { first };
        journal.append(&response(kind, added, removed))?;
        if journal.slack() > SLACK.max(journal.began_with())
            && let Some(now) = now
        {
            return self.write(now);
        }
        Ok(())
    }
}

/// What was told, as it stands in a file.
fn response(kind: ResourceType, added: &[Arc<Resource>], removed: &[String]) -> pb::DeltaDiscoveryResponse {
    let wire = |resource: &Arc<Resource>| pb::Resource {
        name: resource.name.clone(),
        version: resource.version.clone(),
        resource: Some(resource.body.clone()),
        ..Default::default()
    };
    pb::DeltaDiscoveryResponse {
        type_url: kind.type_url().to_owned(),
        resources: added.iter().map(wire).collect(),
        removed_resources: removed.to_vec(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
