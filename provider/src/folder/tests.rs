//! Real folders, real events: here is what all the stories need.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::core::Service;
use api::{Kind, Name, ObjectRef, Snapshot};
use proptest::prelude::*;
use runtime::{Process, Readiness};
use tempfile::TempDir;
use tokio::sync::watch;

use super::watching::Round;
use super::*;
use crate::follow_folder;

mod asked;
mod decided;
mod followed;
mod withheld;

/// A served folder.
struct Story {
    folder: TempDir,
    board: StatusBoard,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    readiness: Readiness,
    _process: Process,
}

impl Story {
    async fn begin(files: &[(&str, impl AsRef<[u8]>)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self::of(folder, FolderSettings::default()).await
    }

    async fn of(folder: TempDir, settings: FolderSettings) -> Self {
        let board = StatusBoard::new();
        let paths = vec![folder.path().to_owned()];
        let mut process = Process::detached().unwrap();
        let snapshots = follow_folder(paths, settings, board.clone(), &mut process).await.unwrap();
        assert_eq!(snapshots.borrow().revision, 1);
        Self { folder, board, snapshots, readiness: process.readiness().clone(), _process: process }
    }

    fn now(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    fn write(&self, name: &str, text: &(impl AsRef<[u8]> + ?Sized)) {
        fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Waits for a snapshot that is as told, and says how long it took.
    async fn until(&mut self, what: &str, told: impl Fn(&Snapshot) -> bool) -> Duration {
        let start = Instant::now();
        let wait = self.snapshots.wait_for(|snapshot| told(snapshot));
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}")).unwrap();
        start.elapsed()
    }

    /// Waits until the board is as told.
    async fn until_board(&self, what: &str, told: impl Fn(&StatusBoard) -> bool) {
        let mut changes = self.board.subscribe();
        let wait = async {
            while !told(&self.board) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// Waits until nothing is waited for.
    async fn until_ready(&self) {
        let wait = async {
            while !self.readiness.is_ready() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("never ready");
    }

    fn said(&self, kind: Kind, namespace: &str, name: &str) -> String {
        said(&self.board, kind, namespace, name)
    }
}

fn said(board: &StatusBoard, kind: Kind, namespace: &str, name: &str) -> String {
    let merged = board.merged();
    let statuses = merged.get(&ObjectRef::new(kind, namespace, name)).cloned().unwrap_or_default();
    statuses.iter().flat_map(|(_, s)| &s.conditions).map(|c| format!("{:?} {}", c.status, c.message)).collect()
}

fn config(name: &str, value: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\ndata: {{v: {value}}}\n")
}

fn service(name: &str, spec: &str) -> String {
    format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{{spec}}}\n")
}

fn value(snapshot: &Snapshot, name: &str) -> Option<String> {
    snapshot.config_maps.get(&Name::new("shop", name))?.data.as_ref()?.get("v").cloned()
}

fn ip(snapshot: &Snapshot, name: &str) -> Option<String> {
    let service: &Service = snapshot.services.get(&Name::new("shop", name))?;
    let spec = service.spec.as_ref()?;
    assert_eq!(spec.cluster_ip.as_ref(), spec.cluster_ips.as_ref()?.first());
    spec.cluster_ip.clone()
}

fn age(path: &Path, seconds: u64) {
    let time = std::time::SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn on_port(name: &str, port: u16) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: t}}, spec: {{ports: [{{port: {port}}}]}}}}"
    )
}

fn port_of(snapshot: &Snapshot, name: &str) -> Option<u16> {
    let service = snapshot.services.get(&Name::new("t", name))?;
    u16::try_from(service.spec.as_ref()?.ports.as_ref()?.first()?.port).ok()
}
