//! Which manifest files there are, and which folders must be watched to hear of others.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The deepest folder that is read.
const MAX_DEPTH: usize = 32;
/// So many links one after the other are followed, as Linux does.
const MAX_LINKS: usize = 40;

/// Said of a pipe, a socket or a device.
pub(crate) const NO_FILE: &str = "is not a regular file; nothing is read from it";

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub length: u64,
    pub modified: SystemTime,
    inode: (u64, u64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            inode: (metadata.dev(), metadata.ino()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// How long ago the last change was; nothing if the clock was set back since.
    pub(crate) fn age(&self, now: SystemTime) -> Option<Duration> {
        let seconds = Duration::from_secs(u64::try_from(self.changed.0).ok()?);
        let changed = seconds + Duration::from_nanos(u64::try_from(self.changed.1).ok()?);
        now.duration_since(SystemTime::UNIX_EPOCH).ok()?.checked_sub(changed)
    }

    /// Whether the last change is so recent that another one could leave the same stamp.
    pub(crate) fn is_fresh(&self, now: SystemTime) -> bool {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.changed.0.saturating_add(2) >= i64::try_from(seconds).unwrap_or(i64::MAX)
    }
}

/// A manifest file.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Where its bytes are once all symbolic links are followed; events name this path.
    pub canonical: PathBuf,
    pub stamp: Stamp,
}

/// How often the disk was asked for something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// For what is in a folder.
    pub folders: Cell<usize>,
    /// For what tells one state of a file from another.
    pub stamps: Cell<usize>,
    /// For what is in a file.
    pub contents: Cell<usize>,
}

pub(crate) fn count(asked: &Cell<usize>) {
    asked.set(asked.get() + 1);
}

/// What lies below the paths.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Files by the path under which they were found.
    pub files: BTreeMap<PathBuf, Found>,
    /// Folders that hold the files, canonical.
    pub directories: BTreeSet<PathBuf>,
    /// Paths after an event of which all is listed anew: the roots, what they are waiting for, and what is
    /// behind roots that are links.
    pub awaited: BTreeSet<PathBuf>,
    /// Paths about which nothing could be learnt: what is known of them stays as it is.
    pub unknown: BTreeMap<PathBuf, String>,
    /// Paths given that do not exist.
    pub missing: BTreeSet<PathBuf>,
    max_files: usize,
    /// Folders that were listed: by their canonical path the one under which they were found.
    folders: BTreeMap<PathBuf, PathBuf>,
    /// Canonical paths of the files.
    seen: BTreeSet<PathBuf>,
    /// Whether something in a folder is a symbolic link: then what happens in one place may show in another.
    linked: bool,
}

/// Lists `roots`, which may be files, folders, or not there yet.
pub(crate) fn list(roots: &[PathBuf], max_files: usize, asked: &Asked) -> Listing {
    let mut listing = Listing { max_files, ..Listing::default() };
    for root in roots {
        listing.root(root, asked);
    }
    listing
}

impl Listing {
    /// Takes in what has happened to the files of these canonical paths, by looking at them alone. Returns
    /// the paths under which they are or were found. None where that does not tell everything: where links
    /// lead elsewhere, folders come and go, or something could not be looked at, all is to be listed anew.
    pub(crate) fn update<'a>(
        &mut self,
        touched: impl IntoIterator<Item = &'a Path>,
        asked: &Asked,
    ) -> Option<BTreeSet<PathBuf>> {
        if self.linked || !self.unknown.is_empty() || !self.missing.is_empty() {
            return None;
        }
        let mut found = BTreeSet::new();
        for canonical in touched {
            if self.awaited.contains(canonical) || self.folders.contains_key(canonical) {
                return None;
            }
            // Beside a file that was given by itself nothing is read.
            let folder = canonical.parent().and_then(|folder| self.folders.get(folder));
            let (Some(folder), Some(name), false) = (folder, canonical.file_name(), is_ignored(canonical)) else {
                continue;
            };
            let path = folder.join(name);
            count(&asked.stamps);
            match fs::symlink_metadata(canonical) {
                Ok(metadata) if metadata.is_file() && !is_manifest(canonical) => continue,
                Ok(metadata) if metadata.is_file() => {
                    if !self.files.contains_key(&path) {
                        // Which of too many files are read, or under which of two paths, is for a whole listing.
                        if self.files.len() >= self.max_files || !self.seen.insert(canonical.to_owned()) {
                            return None;
                        }
                    }
                    let stamp = Stamp::of(&metadata);
                    self.files.insert(path.clone(), Found { canonical: canonical.to_owned(), stamp });
                }
                Err(error) if is_gone(&error) => {
                    self.files.remove(&path);
                    self.seen.remove(canonical);
                }
                // A folder, a link, a pipe; or who knows.
                Ok(_) | Err(_) => return None,
            }
            found.insert(path);
        }
        Some(found)
    }

    fn root(&mut self, root: &Path, asked: &Asked) {
        count(&asked.stamps);
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {
                self.watch_root(root);
                self.folder(root, 0, asked);
            }
            Ok(metadata) if metadata.is_file() => {
                self.watch_root(root);
                self.file(root, None, &metadata);
            }
            Ok(_) => drop(self.unknown.insert(root.to_owned(), NO_FILE.to_owned())),
            Err(error) if is_gone(&error) => {
                self.watch_root(root);
                self.missing.insert(root.to_owned());
            }
            Err(error) => drop(self.unknown.insert(root.to_owned(), unreadable(&error))),
        }
    }

    /// Watches for `root` itself and, where it is a link, for whatever it leads to, link by link.
    fn watch_root(&mut self, root: &Path) {
        let mut at = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        for _ in 0..MAX_LINKS {
            self.watch_parent(&at);
            let (Ok(next), Some(folder)) = (fs::read_link(&at), at.parent()) else { return };
            at = folder.join(next);
        }
    }

    /// Watches the nearest folder above `path` that exists.
    fn watch_parent(&mut self, path: &Path) {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut below = absolute.as_path();
        for above in absolute.ancestors().skip(1) {
            if let (Ok(canonical), Some(name)) = (fs::canonicalize(above), below.file_name()) {
                self.awaited.insert(canonical.join(name));
                return;
            }
            below = above;
        }
    }

    /// All folders to watch.
    pub(crate) fn watched(&self) -> BTreeSet<PathBuf> {
        let above = self.awaited.iter().filter_map(|path| path.parent()).map(Path::to_owned);
        self.directories.iter().cloned().chain(above).collect()
    }

    fn folder(&mut self, path: &Path, depth: usize, asked: &Asked) {
        let Ok(canonical) = fs::canonicalize(path) else { return };
        if self.folders.contains_key(&canonical) {
            return;
        }
        self.folders.insert(canonical.clone(), path.to_owned());
        if depth > MAX_DEPTH {
            self.unknown.insert(path.to_owned(), format!("more than {MAX_DEPTH} folders deep; not read"));
            return;
        }
        self.directories.insert(canonical.clone());
        count(&asked.folders);
        let entries = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return,
            Err(error) => return drop(self.unknown.insert(path.to_owned(), unreadable(&error))),
        };
        let mut entries: Vec<_> =
            entries.iter().map(|entry| (entry.path(), entry)).filter(|(path, _)| !is_ignored(path)).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (path, entry) in entries {
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            self.linked |= is_link;
            count(&asked.stamps);
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.folder(&path, depth + 1, asked),
                Ok(metadata) if metadata.is_file() && is_manifest(&path) => {
                    // Only behind a link is a file elsewhere than in its folder.
                    let place = if is_link { None } else { Some(canonical.join(entry.file_name())) };
                    self.file(&path, place, &metadata);
                }
                Ok(_) if is_manifest(&path) => drop(self.unknown.insert(path, NO_FILE.to_owned())),
                Ok(_) => {}
                Err(error) if is_gone(&error) && !(is_link && is_manifest(&path)) => {}
                Err(error) if is_gone(&error) => {
                    drop(self.unknown.insert(path, "is a symbolic link that leads nowhere".to_owned()));
                }
                Err(error) if is_manifest(&path) => drop(self.unknown.insert(path, unreadable(&error))),
                Err(_) => {}
            }
        }
    }

    /// `place`: where the file is once all links are followed, if that is known.
    fn file(&mut self, path: &Path, place: Option<PathBuf>, metadata: &Metadata) {
        let Some(canonical) = place.or_else(|| fs::canonicalize(path).ok()) else { return };
        // The same file by two ways is one file.
        if !self.seen.insert(canonical.clone()) {
            return;
        }
        if self.files.len() >= self.max_files {
            self.unknown
                .insert(path.to_owned(), format!("is one of more than {} files; it is not read", self.max_files));
            return;
        }
        // Behind a symbolic link, writes happen in another folder.
        self.directories.extend(canonical.parent().map(Path::to_owned));
        self.files.insert(path.to_owned(), Found { canonical, stamp: Stamp::of(metadata) });
    }
}

/// `NotADirectory` comes when a folder on the way became a file.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

pub(crate) fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "cannot be read: permission denied".to_owned(),
        kind => format!("cannot be read: {kind}"),
    }
}

/// Hidden files (also Kubernetes' `..data`), editors' backups, swap and lock files.
fn is_ignored(path: &Path) -> bool {
    let Some(name) = path.file_name() else { return true };
    let name = name.to_string_lossy();
    name.starts_with(['.', '#']) || name.ends_with(['~', '#']) || name.ends_with(".swp") || name.ends_with(".tmp")
}

/// Whether a file of this name in a folder of manifests is read.
pub(crate) fn is_read(path: &Path) -> bool {
    is_manifest(path) && !is_ignored(path)
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
}
