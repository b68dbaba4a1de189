//! A file of what was told, one response after another, each with its length and a digest. It is readable by its owner
//! only.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use prost::Message as _;
use proto::envoy::service::discovery::v3 as pb;

/// A length and a digest.
const FRAME: usize = 4 + 8;

/// A file that is open, to be written on.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    began_with: u64,
    length: u64,
    most: u64,
}

impl Journal {
    /// Begins a file with `head` and `responses`; it is there when all of it is.
    ///
    /// # Errors
    /// When it cannot be written, or takes more than `most` bytes.
    pub fn begin(
        path: &Path,
        head: &str,
        responses: impl Iterator<Item = pb::DeltaDiscoveryResponse>,
        most: u64,
    ) -> anyhow::Result<Journal> {
        let partial = path.with_extension("part");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let file = file.with_context(|| format!("writing {}", partial.display()))?;
        let mut journal = Journal { path: path.to_owned(), file, began_with: 0, length: 0, most };
        let write = || {
            journal.frame(head.as_bytes())?;
            for response in responses {
                journal.append(&response)?;
            }
            journal.append(&end())?;
            std::fs::rename(&partial, path).with_context(|| format!("writing {}", path.display()))
        };
        if let Err(error) = write() {
            remove(&partial);
            return Err(error);
        }
        journal.began_with = journal.length;
        Ok(journal)
    }

    /// Opens a file, with its head and what stands in it. What was being written when its writer was killed nobody was told
    /// of: it is taken away.
    ///
    /// # Errors
    /// When it cannot be read, is longer than `most` bytes, or was changed by somebody else.
    pub fn read(path: &Path, most: u64) -> anyhow::Result<(Journal, String, Vec<pb::DeltaDiscoveryResponse>)> {
        let reading = || format!("reading {}", path.display());
        let file = OpenOptions::new().append(true).open(path).with_context(reading)?;
        ensure!(file.metadata().with_context(reading)?.len() <= most, "{} is too long", path.display());
        let bytes = std::fs::read(path).with_context(reading)?;
        let mut rest = bytes.as_slice();
        let (mut head, mut responses) = (None, Vec::new());
        while let Some((body, after)) = frame(rest).with_context(reading)? {
            match head {
                None => head = Some(String::from_utf8(body.to_vec()).with_context(reading)?),
                Some(_) => responses.push(pb::DeltaDiscoveryResponse::decode(body).with_context(reading)?),
            }
            rest = after;
        }
        let whole = responses.iter().position(|response| *response == end());
        responses.remove(whole.with_context(|| format!("{} ends before its beginning does", path.display()))?);
        let length = (bytes.len() - rest.len()) as u64;
        file.set_len(length).with_context(reading)?;
        let head = head.with_context(|| format!("{} has no beginning", path.display()))?;
        let journal = Journal { path: path.to_owned(), file, began_with: length, length, most };
        Ok((journal, head, responses))
    }

    /// Writes this at the end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, response: &pb::DeltaDiscoveryResponse) -> anyhow::Result<()> {
        self.frame(&response.encode_to_vec())
    }

    fn frame(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(body.len()).context("too much at once")?;
        ensure!(self.length + u64::from(length) <= self.most, "there is too much of it for {}", self.path.display());
        let frame = [&length.to_le_bytes()[..], &digest(body), body].concat();
        self.file.write_all(&frame).with_context(|| format!("writing {}", self.path.display()))?;
        self.length += frame.len() as u64;
        Ok(())
    }

    /// How long it was when it was begun.
    pub fn began_with(&self) -> u64 {
        self.began_with
    }

    /// How much came since.
    pub fn slack(&self) -> u64 {
        self.length - self.began_with
    }
}

/// Ends what a file was begun with: that is there as a whole or not at all.
fn end() -> pb::DeltaDiscoveryResponse {
    pb::DeltaDiscoveryResponse { nonce: "whole".to_owned(), ..Default::default() }
}

/// Takes a file away, if it is there; one that cannot be is at least emptied.
pub fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        let emptied = OpenOptions::new().write(true).truncate(true).open(path);
        tracing::error!(file = %path.display(), %error, emptied = emptied.is_ok(), "it cannot be taken away");
    }
}

fn digest(body: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&blake3::hash(body).as_bytes()[..8]);
    short
}

/// The first frame, and what follows it; none where a frame is not there to its end.
fn frame(bytes: &[u8]) -> anyhow::Result<Option<(&[u8], &[u8])>> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let Some((known, rest)) = rest.split_first_chunk::<{ FRAME - 4 }>() else { return Ok(None) };
    let Some((body, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else { return Ok(None) };
    if digest(body) != *known {
        bail!("something in it is not as it was written");
    }
    Ok(Some((body, rest)))
}
