//! What is declared, live: manifests in, [`api::Snapshot`]s out.
//!
//! [`Provider::folder`] watches files and folders and behaves as the API server
//! would: an edit is taken whole or not at all, an object that is wrong leaves
//! its last good version in service, services get addresses and objects their
//! creation times. Servers follow [`Provider::watch`] and write what they think
//! of the objects to a [`StatusBoard`].

pub mod assembly;
pub mod board;
pub mod findings;
pub mod folder;
mod manifest;
pub mod validate;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use board::{FileProblem, FileStatus, Files, Origin, Origins, StatusBoard};
pub use findings::Finding;
pub use folder::{FolderSettings, Loaded, load};

/// The name under which the provider writes to the [`StatusBoard`].
pub const AUTHOR: &str = "provider";

/// Why a provider could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No path was given.
    #[error("no manifests to read: name at least one file or folder")]
    NoPaths,
    /// The first reading failed in a way that is ours, not the manifests'.
    #[error("reading the manifests failed: {0}")]
    FirstLoad(#[source] tokio::task::JoinError),
}

/// Where declarations come from, kept live for as long as this handle exists.
#[derive(Debug)]
pub struct Provider {
    snapshots: watch::Receiver<Arc<api::Snapshot>>,
    task: JoinHandle<()>,
}

impl Provider {
    /// Reads `paths` (files, or folders with all they hold) and follows their changes until `shutdown`.
    ///
    /// Returns once everything has been read, so that [`Provider::watch`] holds revision 1.
    /// Mistakes in manifests, and paths that do not exist yet, are reported on `board` and logged, not
    /// returned. As long as they withhold everything, `readiness` waits for each of them by name.
    ///
    /// # Errors
    /// When `paths` is empty, or reading them panicked.
    pub async fn folder(
        paths: Vec<PathBuf>,
        settings: FolderSettings,
        board: StatusBoard,
        readiness: &runtime::Readiness,
        shutdown: runtime::Shutdown,
    ) -> Result<Provider, StartError> {
        let (snapshots, task) = folder::start(paths, settings, board, readiness, shutdown).await?;
        Ok(Provider { snapshots, task })
    }

    /// One whose declarations `task` reads from elsewhere and publishes: it lives as long as this handle.
    pub fn of(snapshots: watch::Receiver<Arc<api::Snapshot>>, task: JoinHandle<()>) -> Provider {
        Provider { snapshots, task }
    }

    /// What is declared now, and every later state of it. Revision 0 means nothing was loaded yet.
    /// The state there is already counts as a change to each new receiver.
    pub fn watch(&self) -> watch::Receiver<Arc<api::Snapshot>> {
        self.snapshots.clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}
