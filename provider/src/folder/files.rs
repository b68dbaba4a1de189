//! One manifest file over time: read once it is settled, kept as it was last whole.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use api::Fingerprint;
use blake3::Hash;
use zeroize::Zeroizing;

use super::scan::{Asked, Found, NO_FILE, Stamp, count, unreadable};
use super::watching::Touch;
use crate::board::FileProblem;
use crate::manifest::{Limits, Parsed, parse, too_big};

/// How soon a file that has just changed is read for the second time.
const SECOND_LOOK: Duration = Duration::from_millis(15);

/// How long a file must have been left alone. Half a file may read well, and where events are
/// missing only its age tells that more may be coming.
const SETTLE: Duration = Duration::from_millis(80);

/// What is known of one file, besides the objects it declares.
#[derive(Debug, Default)]
pub(crate) struct FileRecord {
    pub canonical: PathBuf,
    /// What was last taken in, served or not.
    taken: Option<(Stamp, Hash)>,
    /// The stamp of `taken` may also be that of later contents.
    fresh: bool,
    /// Seen once, to be seen again before it is believed.
    candidate: Option<(Stamp, Hash)>,
    /// Since when the file is empty or gone.
    absent: Option<Instant>,
    /// When what is served of the file was written.
    pub modified: Option<SystemTime>,
    /// Whether the file has ever been read whole.
    pub good: bool,
    /// Why the newest contents are not served.
    pub problem: Option<FileProblem>,
}

/// What a look at a file means.
pub(crate) enum Look {
    /// As before.
    Same,
    /// To be looked at again after this time; until then as before.
    Later(Duration),
    /// Cannot be read; as before, but to be reported.
    Unreadable(FileProblem),
    /// New contents, settled.
    New(Parsed, SystemTime),
}

impl FileRecord {
    /// Looks at a file that exists. `touch`: what events say of it.
    pub(crate) fn look(&mut self, path: &Path, found: &Found, touch: Touch, vanish: Duration, asked: &Asked) -> Look {
        let touched = touch != Touch::None;
        self.canonical.clone_from(&found.canonical);
        let wait_for_content = found.stamp.length == 0 && self.modified.is_some();
        if !wait_for_content {
            self.absent = None;
        }
        let known = self.taken.is_some_and(|(stamp, _)| stamp == found.stamp);
        if known && !self.fresh && !touched && self.candidate.is_none() && self.problem.is_none() {
            return Look::Same;
        }
        let now = SystemTime::now();
        count(&asked.contents);
        let (stamp, bytes) = match read(path) {
            Ok(read) => read,
            Err(problem) => {
                self.candidate = None;
                return Look::Unreadable(problem);
            }
        };
        let hash = Fingerprint::hasher().update(&bytes).finalize();
        if self.taken.is_some_and(|(_, taken)| taken == hash) {
            self.candidate = None;
            self.fresh = stamp.is_fresh(now);
            let before = self.taken.replace((stamp, hash));
            // Saved again with the same contents: its newest edit is now.
            if before.is_some_and(|(before, _)| before.modified != stamp.modified) && self.problem.is_none() {
                self.modified = Some(stamp.modified);
            }
            return Look::Same;
        }
        if bytes.is_empty() && self.modified.is_some() {
            // Truncated, probably to be written anew in a moment.
            if let Some(wait) = self.absent_for(touched, vanish) {
                return Look::Later(wait);
            }
        }
        let unsettled = stamp.age(now).and_then(|age| SETTLE.checked_sub(age));
        let seen = self.candidate.replace((stamp, hash)) == Some((stamp, hash));
        // What was renamed into place was written before, elsewhere.
        if touch != Touch::Placed && stamp.is_fresh(now) && (unsettled.is_some() || !seen) {
            return Look::Later(unsettled.unwrap_or_default().max(SECOND_LOOK));
        }
        self.candidate = None;
        self.absent = None;
        self.taken = Some((stamp, hash));
        self.fresh = stamp.is_fresh(now);
        let json = path.extension().is_some_and(|end| end == "json");
        Look::New(parse_safely(&bytes, json), stamp.modified)
    }

    /// Notes that the file is gone. How long to wait before that counts, if at all.
    pub(crate) fn gone(&mut self, touched: bool, vanish: Duration) -> Option<Duration> {
        self.candidate = None;
        self.absent_for(touched, vanish)
    }

    /// The wait begins anew with each event: someone is still at work on the file.
    fn absent_for(&mut self, touched: bool, vanish: Duration) -> Option<Duration> {
        if touched {
            self.absent = None;
        }
        let since = *self.absent.get_or_insert_with(Instant::now);
        let waited = since.elapsed();
        (waited < vanish).then(|| vanish - waited + Duration::from_millis(1))
    }
}

/// Reads a file with the stamp it had before, provided it still had it after.
pub(super) fn read(path: &Path) -> Result<(Stamp, Zeroizing<Vec<u8>>), FileProblem> {
    let problem = |error: std::io::Error| FileProblem::whole(unreadable(&error));
    // What was a file when the folder was listed may be a pipe by now: opening it must not wait for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(problem)?;
    let metadata = file.metadata().map_err(problem)?;
    if !metadata.is_file() {
        return Err(FileProblem::whole(NO_FILE));
    }
    let stamp = Stamp::of(&metadata);
    // There may be Secrets in it. Read into room that is large enough, so that no copy is left where it was too small.
    let room = usize::try_from(stamp.length.min(Limits::DEFAULT.bytes)).unwrap_or_default() + 64;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    (&file).take(Limits::DEFAULT.bytes + 1).read_to_end(&mut bytes).map_err(problem)?;
    if bytes.len() as u64 > Limits::DEFAULT.bytes {
        return Err(too_big(Limits::DEFAULT));
    }
    Ok((stamp, bytes))
}

/// Whatever a file holds, it cannot take the others down with it.
fn parse_safely(bytes: &[u8], json: bool) -> Parsed {
    std::panic::catch_unwind(|| parse(bytes, json, Limits::DEFAULT)).unwrap_or_else(|_| Parsed {
        documents: Vec::new(),
        error: Some(FileProblem::whole("reading it failed by a fault of Waykeeper's; please report it")),
    })
}
