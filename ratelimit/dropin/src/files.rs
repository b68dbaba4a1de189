//! The directory envoyproxy/ratelimit reads: which files of it count, and when they have changed.
//!
//! Folders are walked, links to folders are not, links to files are read. A
//! file goes by its path with dots for slashes. Watching is looking twice a
//! second, which sees swapped links, edited files and mounted config maps
//! alike; what has changed is read once it has stopped changing.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runtime::Shutdown;

use super::domains::Content;
use super::env::FilesAt;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(500);
/// A file larger than this is not configuration.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// So many files are looked at.
const MOST_FILES: usize = 10_000;

/// What can be seen of the files without reading them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<String, (PathBuf, [u64; 5])>);

/// Looks at the files.
///
/// # Errors
/// When the directory cannot be walked.
pub fn look(at: &FilesAt) -> Result<Seen, String> {
    // Resolved first, so that a link swapped meanwhile does not mix two versions.
    let wrong = |error: std::io::Error| format!("cannot read {}: {error}", at.directory.display());
    let root = at.directory.canonicalize().map_err(wrong)?;
    if !root.is_dir() {
        return Err(format!("cannot read {}: it is not a directory", at.directory.display()));
    }
    let mut seen = Seen::default();
    walk(&root, &root, at, &mut seen, 0).map_err(wrong)?;
    seen.once_each();
    Ok(seen)
}

impl Seen {
    /// Where the file of this name is.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.0.get(name).map(|(path, _)| path.as_path())
    }

    /// Leaves each file one of its names. A mounted config map has its files in a folder that begins with a
    /// dot and is a new one for each version, and links to them: the links' names stay.
    fn once_each(&mut self) {
        let hidden = |name: &str| name.starts_with('.') || name.contains("..");
        let mut names: BTreeMap<[u64; 2], (bool, String)> = BTreeMap::new();
        for (name, (_, [device, inode, ..])) in &self.0 {
            let this = (hidden(name), name.clone());
            let best = names.entry([*device, *inode]).or_insert_with(|| this.clone());
            if this < *best {
                *best = this;
            }
        }
        self.0
            .retain(|name, (_, [device, inode, ..])| names.get(&[*device, *inode]).is_some_and(|best| best.1 == *name));
    }
}

fn walk(root: &Path, folder: &Path, at: &FilesAt, seen: &mut Seen, depth: usize) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if at.ignore_dot_files && entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if depth < 32 {
                walk(root, &path, at, seen, depth + 1)?;
            }
            continue;
        }
        let Ok(relative) = path.strip_prefix(root) else { continue };
        let name = relative.to_string_lossy().replace('/', ".");
        if at
            .only
            .as_ref()
            .is_some_and(|only| !name.strip_prefix(only.as_str()).is_some_and(|rest| rest.starts_with('.')))
        {
            continue;
        }
        // A link to a folder, or to nothing, is no file.
        let Ok(file) = std::fs::metadata(&path) else { continue };
        if file.is_file() && seen.0.len() < MOST_FILES {
            let times = [file.mtime().cast_unsigned(), file.mtime_nsec().cast_unsigned()];
            seen.0.insert(name, (path, [file.dev(), file.ino(), file.len(), times[0], times[1]]));
        }
    }
    Ok(())
}

/// Reads the files that were seen.
pub fn read(seen: &Seen) -> BTreeMap<String, Content> {
    let one = |(name, (path, [_, _, bytes, ..])): (&String, &(PathBuf, [u64; 5]))| {
        let content = if *bytes > MOST_BYTES {
            Content::Unreadable(format!("larger than {MOST_BYTES} bytes"))
        } else {
            match std::fs::read_to_string(path) {
                Ok(text) => Content::Text(text.into()),
                Err(error) => Content::Unreadable(format!("cannot be read: {error}")),
            }
        };
        (name.clone(), content)
    };
    seen.0.iter().map(one).collect()
}

/// Hands the files to `load`, at once and whenever they have changed, until shutdown; not on a
/// thread that answers, for what `load` does takes its time.
pub async fn follow(
    at: FilesAt,
    load: impl FnMut(Result<BTreeMap<String, Content>, String>) + Send + 'static,
    shutdown: Shutdown,
) {
    let load = Arc::new(Mutex::new(load));
    let mut loaded: Option<Result<Seen, String>> = None;
    let mut before = None;
    loop {
        let looking = at.clone();
        let looked = tokio::task::spawn_blocking(move || look(&looking)).await;
        let now = looked.unwrap_or_else(|_| Err("looking at the files panicked".to_owned()));
        let settled = loaded.is_none() || before.as_ref() == Some(&now);
        if settled && loaded.as_ref() != Some(&now) {
            let (load, found) = (load.clone(), now.clone());
            let loading = tokio::task::spawn_blocking(move || load.lock()(found.map(|seen| read(&seen))));
            if loading.await.is_err() {
                tracing::error!("loading the files panicked; what was served serves on");
            }
            loaded = Some(now.clone());
        }
        before = Some(now);
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shutdown.begun() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(at: &FilesAt) -> Vec<String> {
        look(at).unwrap().0.into_keys().collect()
    }

    #[test]
    fn the_files_of_the_application_count_and_links_are_followed_to_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in
            ["config/a.yaml", "config/deep/b.yaml", "config/.hidden", "other/c.yaml", "config.flat", "..data/d.yaml"]
        {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), "domain: x").unwrap();
        }
        std::os::unix::fs::symlink("../..data/d.yaml", root.join("config/d.yaml")).unwrap();
        std::os::unix::fs::symlink("../other", root.join("config/folder")).unwrap();
        let mut at = FilesAt { directory: root.into(), only: Some("config".to_owned()), ignore_dot_files: false };
        assert_eq!(
            names(&at),
            ["config..hidden", "config.a.yaml", "config.d.yaml", "config.deep.b.yaml", "config.flat"]
        );
        at.ignore_dot_files = true;
        assert_eq!(names(&at), ["config.a.yaml", "config.d.yaml", "config.deep.b.yaml", "config.flat"]);
        let inside = FilesAt { directory: root.join("config"), only: None, ignore_dot_files: true };
        assert_eq!(names(&inside), ["a.yaml", "d.yaml", "deep.b.yaml"]);
        let nowhere = FilesAt { directory: root.join("no"), only: None, ignore_dot_files: true };
        assert!(look(&nowhere).unwrap_err().contains("cannot read"));
    }

    #[test]
    fn a_mounted_config_map_goes_by_the_names_of_its_links_whatever_the_version() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let at = FilesAt { directory: root.into(), only: None, ignore_dot_files: false };
        for version in ["..2026_01", "..2026_02"] {
            std::fs::create_dir(root.join(version)).unwrap();
            std::fs::write(root.join(version).join("a.yaml"), version).unwrap();
            let _ = std::fs::remove_file(root.join("..data"));
            std::os::unix::fs::symlink(version, root.join("..data")).unwrap();
            let _ = std::os::unix::fs::symlink("..data/a.yaml", root.join("a.yaml"));
            for old in ["..2026_01"].iter().filter(|old| **old != version) {
                std::fs::remove_dir_all(root.join(old)).unwrap();
            }
            assert_eq!(names(&at), ["a.yaml"]);
        }
        std::fs::write(root.join(".hidden"), "domain: x").unwrap();
        assert_eq!(names(&at), [".hidden", "a.yaml"], "a file with one name keeps it");
    }

    #[tokio::test]
    async fn a_swapped_link_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for version in ["one", "two"] {
            std::fs::create_dir_all(root.join(version).join("app/config")).unwrap();
            std::fs::write(root.join(version).join("app/config/f.yaml"), version).unwrap();
        }
        let current = root.join("current");
        std::os::unix::fs::symlink("one", &current).unwrap();
        let at = FilesAt { directory: current.join("app"), only: Some("config".to_owned()), ignore_dot_files: false };
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let shutdown = Shutdown::new();
        let load = move |files: Result<BTreeMap<String, Content>, String>| {
            let text = match files.unwrap().remove("config.f.yaml") {
                Some(Content::Text(text)) => text.to_string(),
                other => format!("{other:?}"),
            };
            let _ = sender.send(text);
        };
        let task = tokio::spawn(follow(at, load, shutdown.clone()));
        assert_eq!(receiver.recv().await.unwrap(), "one");
        std::os::unix::fs::symlink("two", root.join("next")).unwrap();
        std::fs::rename(root.join("next"), &current).unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "two");
        shutdown.begin();
        task.await.unwrap();
    }
}
