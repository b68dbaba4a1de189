//! Which authorities there are, which of them signs, and when that changes. Pure, but for new keys.
//!
//! ```text
//! current ──two thirds of its life──▶ + next, in every bundle ──a day──▶ next signs ──two days──▶ the old one is gone
//! ```
//! Whoever has a bundle that is less than a day old trusts every certificate that is shown.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// How long an authority is good for.
const AUTHORITY: u64 = 365 * DAY;
/// How long what it signs is good for.
const LEAF: u64 = DAY;
/// After so long what it signs is signed anew.
const RENEWED: u64 = LEAF / 2;
/// An authority is in every bundle for so long before it signs.
const SPREAD: u64 = DAY;
/// And for so long after it has signed for the last time.
const LINGERS: u64 = 2 * DAY;
/// Clocks may differ by so much.
const SKEW: u64 = HOUR;

/// A certificate of an authority, PEM, with its key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    key: Zeroizing<String>,
    /// When it was made, in seconds since 1970.
    made: u64,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("made", &self.made).finish_non_exhaustive()
    }
}

/// All authorities there are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Authorities {
    /// The one that signs.
    current: Pair,
    /// The one that is to sign, known to everyone by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Pair>,
    /// One that has signed before: its certificate, and since when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<(String, u64)>,
}

/// What a server shows.
#[derive(Clone)]
pub struct Leaf {
    /// Its certificate, PEM.
    pub cert: String,
    /// Its key, PEM.
    pub key: Zeroizing<String>,
    /// From when on another one is to be shown.
    until: u64,
    /// The authority that signed it.
    by: String,
}

impl Authorities {
    /// The first one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(now: u64) -> anyhow::Result<Self> {
        Ok(Self { current: authority(now)?, next: None, previous: None })
    }

    /// Those that are written in `text`.
    ///
    /// # Errors
    /// When that are none; nothing of it is quoted.
    pub fn read(text: &[u8]) -> anyhow::Result<Self> {
        let read: Self = serde_json::from_slice(text).ok().context("the authorities cannot be read")?;
        for pair in [Some(&read.current), read.next.as_ref()].into_iter().flatten() {
            let key = KeyPair::from_pem(&pair.key).ok().context("the key of an authority cannot be read")?;
            Issuer::from_ca_cert_pem(&pair.cert, key).ok().context("an authority cannot be read")?;
        }
        Ok(read)
    }

    /// As text.
    pub fn written(&self) -> Zeroizing<String> {
        Zeroizing::new(serde_json::to_string(self).unwrap_or_default())
    }

    /// Whom to trust: PEM.
    pub fn bundle(&self) -> String {
        let all = [Some(&self.current.cert), self.next.as_ref().map(|next| &next.cert)];
        let all = all.into_iter().chain([self.previous.as_ref().map(|(cert, _)| cert)]).flatten();
        all.map(|pem| format!("{}\n", pem.trim_end())).collect()
    }

    /// What they are to be at `now`; none if they are.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn due(&self, now: u64) -> anyhow::Result<Option<Self>> {
        let mut due = self.clone();
        match &self.next {
            Some(next) if now >= next.made + SPREAD => {
                due.previous = Some((self.current.cert.clone(), now));
                due.current = next.clone();
                due.next = None;
            }
            None if now >= self.current.made + AUTHORITY / 3 * 2 && self.previous.is_none() => {
                due.next = Some(authority(now)?);
            }
            _ => match &self.previous {
                Some((_, since)) if now >= since + LINGERS => due.previous = None,
                _ => return Ok(None),
            },
        }
        Ok(Some(due))
    }

    /// What a server with these `names` is to show at `now`; none if it is `shown`.
    ///
    /// # Errors
    /// When a name is none, or no key can be made.
    pub fn leaf(&self, names: &[String], shown: Option<&Leaf>, now: u64) -> anyhow::Result<Option<Leaf>> {
        if shown.is_some_and(|shown| now < shown.until && shown.by == self.current.cert) {
            return Ok(None);
        }
        ensure!(now < self.current.made + AUTHORITY, "the authority has run out");
        let signs = KeyPair::from_pem(&self.current.key).context("the authority's key")?;
        let issuer = Issuer::from_ca_cert_pem(&self.current.cert, signs).context("the authority's certificate")?;
        let key = KeyPair::generate().context("generating a key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "waykeeper xDS");
        for name in names {
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().with_context(|| format!("the name {name:?}"))?),
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        good_for(&mut params, now, LEAF);
        let cert = params.signed_by(&key, &issuer).context("signing a certificate")?.pem();
        let (key, by) = (Zeroizing::new(key.serialize_pem()), self.current.cert.clone());
        Ok(Some(Leaf { cert, key, until: now + RENEWED, by }))
    }
}

fn authority(now: u64) -> anyhow::Result<Pair> {
    let key = KeyPair::generate().context("generating the authority's key")?;
    let mut params = CertificateParams::default();
    // No two are called the same: who has several tells them apart by that.
    let id = blake3::hash(key.public_key_raw()).to_hex();
    params.distinguished_name.push(DnType::CommonName, format!("waykeeper xDS authority {}", &id.as_str()[..16]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    good_for(&mut params, now, AUTHORITY);
    let cert = params.self_signed(&key).context("signing the authority's certificate")?.pem();
    Ok(Pair { cert, key: Zeroizing::new(key.serialize_pem()), made: now })
}

fn good_for(params: &mut CertificateParams, now: u64, seconds: u64) {
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
    params.not_before = at(now.saturating_sub(SKEW)).into();
    params.not_after = at(now + seconds).into();
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: u64 = 1_800_000_000;

    /// Years of an Envoy whose bundle is up to a day old, before a server that looks every hour.
    #[test]
    fn whoever_has_a_bundle_of_today_trusts_what_is_shown_at_all_times() {
        let mut all = Authorities::new(BEGUN).expect("an authority");
        let (mut leaf, mut bundles, mut signers) = (None::<Leaf>, Vec::new(), std::collections::BTreeSet::new());
        for hour in 0..(3 * 365 * 24) {
            let now = BEGUN + hour * HOUR;
            if let Some(due) = all.due(now).expect("keys") {
                all = due;
            }
            if let Some(new) = all.leaf(&["a.test".to_owned()], leaf.as_ref(), now).expect("a leaf") {
                leaf = Some(new);
            }
            bundles.push(all.bundle());
            let by = &leaf.as_ref().expect("shown").by;
            signers.insert(by.clone());
            let oldest = bundles.len().saturating_sub(23);
            for bundle in [&bundles[oldest], &bundles[bundles.len() - 1]] {
                assert!(bundle.contains(by.trim_end()), "after {hour} hours");
            }
            assert!(bundles[bundles.len() - 1].matches("BEGIN").count() <= 2, "a new one and an old one at most");
            // An Envoy that goes on by a leaf that is shown no longer: its authority is trusted as long as it is good.
            assert!(leaf.as_ref().expect("shown").until <= now + RENEWED);
        }
        assert_eq!(signers.len(), 5);
    }

    #[test]
    fn they_come_back_as_they_were_written_and_show_no_key() {
        let all =
            Authorities::new(BEGUN).expect("an authority").due(BEGUN + 300 * DAY).expect("keys").expect("a next one");
        let again = Authorities::read(all.written().as_bytes()).expect("the same");
        assert_eq!((again.bundle(), again.written()), (all.bundle(), all.written()));
        assert!(!format!("{again:?}").contains("PRIVATE"));
        let broken = all.written().replace("BEGIN PRIVATE", "BEGIN BROKEN");
        for text in ["", "{}", &broken] {
            let why = format!("{:#}", Authorities::read(text.as_bytes()).expect_err("broken"));
            assert!(!why.contains("BEGIN"), "{why}");
        }
    }

    #[test]
    fn a_leaf_is_renewed_at_half_its_life_and_when_another_authority_signs() {
        let all = Authorities::new(BEGUN).expect("an authority");
        let names = ["a.test".to_owned(), "127.0.0.1".to_owned()];
        let leaf = all.leaf(&names, None, BEGUN).expect("a leaf").expect("the first");
        assert!(all.leaf(&names, Some(&leaf), BEGUN + RENEWED - 1).expect("none").is_none());
        assert!(all.leaf(&names, Some(&leaf), BEGUN + RENEWED).expect("a leaf").is_some());
        let other = Authorities::new(BEGUN).expect("an authority");
        assert!(other.leaf(&names, Some(&leaf), BEGUN).expect("a leaf").is_some());
        assert!(all.leaf(&names, None, BEGUN + AUTHORITY).is_err());
        assert!(all.leaf(&["a b".to_owned() + "\u{e9}"], None, BEGUN).is_err());
    }
}
