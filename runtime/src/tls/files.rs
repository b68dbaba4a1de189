//! Files of certificates and keys: read whole, parsed here and nowhere else, and followed when they are replaced.
//!
//! What is said of a broken file names it and quotes nothing of it: it may hold a key.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// What is made of files.
pub(super) trait Source: Send + Sync + 'static {
    /// What that is.
    type Made: Send + Sync + 'static;

    /// Reads all that it is made of.
    fn read(&self) -> Contents;

    /// Makes it.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    fn make(&self, contents: &Contents) -> anyhow::Result<Self::Made>;
}

/// What was made of the files as they are, or as they were when they could be used last.
pub(super) struct Followed<S: Source> {
    source: S,
    made: ArcSwap<S::Made>,
    /// Of what was read last, good or not: keys are not kept to be compared.
    seen: Mutex<u64>,
    hasher: RandomState,
}

impl<S: Source> Followed<S> {
    /// # Errors
    /// When the files cannot be used as they are.
    pub(super) fn new(source: S) -> anyhow::Result<Self> {
        let (contents, hasher) = (source.read(), RandomState::new());
        let made = ArcSwap::from_pointee(source.make(&contents)?);
        Ok(Followed { source, made, seen: Mutex::new(hasher.hash_one(&contents)), hasher })
    }

    /// What was made last.
    pub(super) fn current(&self) -> Arc<S::Made> {
        self.made.load_full()
    }

    #[cfg(test)]
    pub(super) fn is_looked_at(&self) -> bool {
        self.seen.is_locked()
    }

    /// Reads the files again. Those that cannot be used are told of once, and change nothing.
    pub(super) fn look(&self) {
        // Held until the end, so that what was read first is not put in place last. Who comes meanwhile does not wait:
        // on a disk that hangs, one looks, and all others go on with what there is.
        let Some(mut seen) = self.seen.try_lock() else { return };
        let contents = self.source.read();
        let now = self.hasher.hash_one(&contents);
        if std::mem::replace(&mut *seen, now) == now {
            return;
        }
        match self.source.make(&contents) {
            Ok(made) => {
                self.made.store(Arc::new(made));
                tracing::info!(files = ?contents.files.keys(), "certificates replaced");
            }
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "certificates cannot be used; the last good ones serve on"
            ),
        }
    }
}

impl<S: Source> std::fmt::Debug for Followed<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Followed")
    }
}

/// What was read.
#[derive(Hash)]
pub(super) struct Contents {
    files: BTreeMap<PathBuf, Result<Vec<u8>, String>>,
    /// Authorities that the system trusts, if they were asked for.
    pub(super) system: Vec<CertificateDer<'static>>,
}

impl Contents {
    /// Of these files.
    pub(super) fn of<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Contents {
        let read = |path: &PathBuf| (path.clone(), std::fs::read(path).map_err(|error| error.to_string()));
        Contents { files: paths.into_iter().map(read).collect(), system: Vec::new() }
    }

    /// And of the system's authorities.
    pub(super) fn and_system(mut self) -> Contents {
        self.system = rustls_native_certs::load_native_certs().certs;
        self
    }

    /// All certificates in the file of `what`, of which there is at least one.
    pub(super) fn certificates(&self, what: &str, path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.bytes(what, path)?).collect();
        let found = found.map_err(|_| anyhow!("{what} {} cannot be used: it is not PEM", path.display()))?;
        ensure!(!found.is_empty(), "{what} {} cannot be used: there is no certificate in it", path.display());
        Ok(found)
    }

    /// A certificate, those between it and its authority, and its key.
    pub(super) fn certified(&self, what: &str, cert: &Path, key: &Path) -> anyhow::Result<Arc<CertifiedKey>> {
        let chain = self.certificates(what, cert)?;
        let private = PrivateKeyDer::from_pem_slice(self.bytes("the key", key)?).map_err(|error| match error {
            PemError::NoItemsFound => anyhow!("the key {} cannot be used: there is none in it", key.display()),
            _ => anyhow!("the key {} cannot be used: it is not PEM", key.display()),
        })?;
        let certified = CertifiedKey::from_der(chain, private, &ring::default_provider())
            .with_context(|| format!("{what} {} cannot be used with the key {}", cert.display(), key.display()))?;
        Ok(Arc::new(certified))
    }

    fn bytes(&self, what: &str, path: &Path) -> anyhow::Result<&[u8]> {
        match self.files.get(path) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(why)) => Err(anyhow!("cannot read {what} {}: {why}", path.display())),
            None => Err(anyhow!("{what} {} was not read", path.display())),
        }
    }
}

/// A certificate with its key that are in no file, PEM.
pub(super) fn certified(cert: &[u8], key: &[u8]) -> anyhow::Result<Arc<CertifiedKey>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.map_err(|_| anyhow!("the certificate is not PEM"))?;
    let private = PrivateKeyDer::from_pem_slice(key).map_err(|_| anyhow!("the key is not PEM"))?;
    let certified = CertifiedKey::from_der(chain, private, &ring::default_provider());
    Ok(Arc::new(certified.context("the certificate cannot be used with the key")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_broken_file_names_it_and_quotes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str| dir.path().join(name);
        let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let cert = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate").cert.pem();
        for (name, text) in [
            ("good", cert.as_str()),
            ("empty", ""),
            ("begun", "-----BEGIN canary\n"),
            ("without-an-end", "-----BEGIN PRIVATE KEY-----\ncanary\n"),
            ("no-base64", "-----BEGIN PRIVATE KEY-----\n(canary)\n-----END PRIVATE KEY-----\n"),
            ("of-another", key.as_str()),
        ] {
            std::fs::write(file(name), text).expect("written");
        }
        for (cert, key, said) in [
            ("missing", "of-another", "cannot read"),
            ("empty", "of-another", "there is no certificate in it"),
            ("begun", "of-another", "is not PEM"),
            ("good", "missing", "cannot read"),
            ("good", "empty", "there is none in it"),
            ("good", "begun", "is not PEM"),
            ("good", "without-an-end", "is not PEM"),
            ("good", "no-base64", "is not PEM"),
            ("good", "of-another", "cannot be used with the key"),
        ] {
            let (cert, key) = (file(cert), file(key));
            let why =
                Contents::of([&cert, &key]).certified("the certificate", &cert, &key).expect_err("must be refused");
            let why = format!("{why:#}");
            assert!(why.contains(said) && why.contains(dir.path().to_str().expect("UTF-8")), "{why}");
            let bytes = format!("{:?}", b"canary");
            assert!(!why.contains("canary") && !why.contains(bytes.trim_matches(['[', ']'])), "{why}");
        }
    }
}
