//! What is declared, live: manifests in, [`api::Snapshot`]s out.
//!
//! [`follow_folder`] watches files and folders and behaves as the API server
//! would: an edit is taken whole or not at all, an object that is wrong leaves
//! its last good version in service, services get addresses and objects their
//! creation times. Servers follow the [`Snapshots`] it gives and write what they think
//! of the objects to a [`StatusBoard`].

pub mod assembly;
pub mod board;
pub mod findings;
pub mod folder;
mod manifest;
pub mod page;
pub mod validate;

use std::path::PathBuf;
use std::sync::Arc;

use runtime::{Process, Stage};
use tokio::sync::watch;

pub use board::{FileProblem, FileStatus, Files, Origin, Origins, StatusBoard};
pub use findings::Finding;
pub use folder::{FolderSettings, Loaded, load};

/// The name under which the provider writes to the [`StatusBoard`].
pub const AUTHOR: &str = "provider";

/// What is declared, and every later state of it. Nobody declares anything any more once it ends.
pub type Snapshots = watch::Receiver<Arc<api::Snapshot>>;

/// Why nothing can be followed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No path was given.
    #[error("no manifests to read: name at least one file or folder")]
    NoPaths,
    /// The first reading failed in a way that is ours, not the manifests'.
    #[error("reading the manifests failed: {0}")]
    FirstLoad(#[source] tokio::task::JoinError),
}

/// Reads `paths` (files, or folders with all they hold), and follows their changes for as long as `process` runs.
///
/// What comes back holds what is declared now, and every later state of it; revision 0 would mean that
/// nothing was loaded yet, and this returns once everything has been read. The state there is already counts as
/// a change. Mistakes in manifests, and paths that do not exist yet, are reported on `board` and logged, not
/// returned. As long as they withhold everything, the process is not ready and names each of them.
///
/// # Errors
/// When `paths` is empty, or reading them panicked.
pub async fn follow_folder(
    paths: Vec<PathBuf>,
    settings: FolderSettings,
    board: StatusBoard,
    process: &mut Process,
) -> Result<Snapshots, StartError> {
    let shutdown = process.shutdown(Stage::Behind);
    let (snapshots, following) = folder::start(paths, settings, board, process.readiness(), shutdown).await?;
    process.spawn(Stage::Behind, "manifests", following);
    Ok(snapshots)
}
