//! Which authorities there are, which of them signs, and when that changes. Pure, but for new keys.
//!
//! ```text
//! current ──two thirds of its life──▶ + next, in every bundle ──a day──▶ next signs ──two days──▶ the old one is gone
//! ```
//! Whoever has a bundle that is less than a day old trusts every certificate that is shown.
//!
//! What is shown to the control plane's clients is signed for a day. What Envoys and the servers that they ask show each
//! other is signed for a week: it has to do while nobody signs.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use api::contract;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SanType,
};
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// How long an authority is good for.
const AUTHORITY: u64 = 365 * DAY;
/// An authority is in every bundle for so long before it signs.
const SPREAD: u64 = DAY;
/// And for so long after it has signed for the last time.
const LINGERS: u64 = 8 * DAY;
/// Clocks may differ by so much.
const SKEW: u64 = HOUR;

/// A certificate of an authority, PEM, with its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Whose a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The control plane's, at these names and addresses.
    ControlPlane(&'a [String]),
    /// That of a server that Envoys ask, at this name or address.
    Server(&'a str),
    /// That of the Envoys that are this in the mesh, `spiffe://…`.
    Envoys(&'a str),
}

impl Subject<'_> {
    /// For how long it is good.
    fn life(&self) -> u64 {
        match self {
            Subject::ControlPlane(_) => DAY,
            Subject::Server(_) | Subject::Envoys(_) => 7 * DAY,
        }
    }

    /// After so long another one is shown.
    fn renewed(&self) -> u64 {
        self.life() / 2
    }

    fn usage(&self) -> ExtendedKeyUsagePurpose {
        match self {
            Subject::ControlPlane(_) | Subject::Server(_) => ExtendedKeyUsagePurpose::ServerAuth,
            Subject::Envoys(_) => ExtendedKeyUsagePurpose::ClientAuth,
        }
    }

    fn common_name(&self) -> &'static str {
        match self {
            Subject::ControlPlane(_) => "waykeeper xDS",
            Subject::Server(_) => "waykeeper server",
            Subject::Envoys(_) => "waykeeper Envoy",
        }
    }

    /// All names and addresses.
    fn names(&self) -> anyhow::Result<Vec<SanType>> {
        let host = |name: &str| {
            Ok(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.try_into().with_context(|| format!("the name {name:?}"))?),
            })
        };
        match self {
            Subject::ControlPlane(names) => names.iter().map(|name| host(name)).collect(),
            Subject::Server(name) => Ok(vec![host(name)?]),
            Subject::Envoys(principal) => {
                let uri = (*principal).try_into().with_context(|| format!("the name {principal:?}"))?;
                Ok(vec![host(contract::ENVOYS)?, SanType::URI(uri)])
            }
        }
    }
}

/// What somebody shows.
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

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("until", &self.until).finish_non_exhaustive()
    }
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

    /// What `subject` is to show at `now`; none if it is `shown`.
    ///
    /// # Errors
    /// When a name is none, or no key can be made.
    pub fn leaf(&self, subject: &Subject<'_>, shown: Option<&Leaf>, now: u64) -> anyhow::Result<Option<Leaf>> {
        if shown.is_some_and(|shown| now < shown.until && shown.by == self.current.cert) {
            return Ok(None);
        }
        ensure!(now < self.current.made + AUTHORITY, "the authority has run out");
        let signs = KeyPair::from_pem(&self.current.key).context("the authority's key")?;
        let issuer = Issuer::from_ca_cert_pem(&self.current.cert, signs).context("the authority's certificate")?;
        let key = KeyPair::generate().context("generating a key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, subject.common_name());
        params.subject_alt_names = subject.names()?;
        params.extended_key_usages = vec![subject.usage()];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        good_for(&mut params, now, subject.life());
        let cert = params.signed_by(&key, &issuer).context("signing a certificate")?.pem();
        let (key, by) = (Zeroizing::new(key.serialize_pem()), self.current.cert.clone());
        Ok(Some(Leaf { cert, key, until: now + subject.renewed(), by }))
    }

    /// What the server called `name` is to be given at `now`; none if that is `there`.
    ///
    /// # Errors
    /// When the name is none, or no key can be made.
    pub fn given(&self, name: &str, there: Option<&Given>, now: u64) -> anyhow::Result<Option<Given>> {
        let subject = Subject::Server(name);
        let good = there.filter(|there| self.stands(&subject, there, now).is_some());
        let bundle = self.bundle();
        if let Some(there) = good {
            let given = Given { bundle, ..there.clone() };
            return Ok((given.bundle != there.bundle).then_some(given));
        }
        let leaf = self.leaf(&subject, None, now)?.context("a certificate")?;
        Ok(Some(Given { cert: leaf.cert, key: leaf.key, bundle }))
    }

    /// That what is `given` is what we signed for `subject`, by whoever signs now, and not due to be renewed.
    fn stands(&self, subject: &Subject<'_>, given: &Given, now: u64) -> Option<()> {
        let key = KeyPair::from_pem(&given.key).ok()?;
        let (_, cert) = parse_x509_pem(given.cert.as_bytes()).ok()?;
        let cert = cert.parse_x509().ok()?;
        let (_, authority) = parse_x509_pem(self.current.cert.as_bytes()).ok()?;
        let signed = cert.issuer().as_raw() == authority.parse_x509().ok()?.subject().as_raw();
        let matches = cert.public_key().raw == key.subject_public_key_info();
        let until = u64::try_from(cert.validity().not_after.timestamp()).ok()?;
        let begun = u64::try_from(cert.validity().not_before.timestamp()).ok()?;
        let good = begun <= now && now + (subject.life() - subject.renewed()) < until;
        (signed && matches && good && has_just(&cert, subject)).then_some(())
    }
}

/// Whether a certificate has the names of `subject` and no others.
fn has_just(cert: &X509Certificate<'_>, subject: &Subject<'_>) -> bool {
    let (Ok(Some(names)), Ok(wanted)) = (cert.subject_alternative_name(), subject.names()) else { return false };
    let names = &names.value.general_names;
    let is = |name: &GeneralName<'_>, wanted: &SanType| match (name, wanted) {
        (GeneralName::DNSName(name), SanType::DnsName(wanted)) => *name == wanted.as_str(),
        (GeneralName::URI(name), SanType::URI(wanted)) => *name == wanted.as_str(),
        (GeneralName::IPAddress(bytes), SanType::IpAddress(wanted)) => match wanted {
            std::net::IpAddr::V4(wanted) => *bytes == wanted.octets(),
            std::net::IpAddr::V6(wanted) => *bytes == wanted.octets(),
        },
        _ => false,
    };
    names.len() == wanted.len() && names.iter().zip(&wanted).all(|(name, wanted)| is(name, wanted))
}

/// What a server that Envoys ask is given.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    /// Its certificate, PEM.
    pub cert: String,
    /// Its key, PEM.
    pub key: Zeroizing<String>,
    /// Who signs for its clients, PEM.
    pub bundle: String,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
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
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;

    use super::*;

    const BEGUN: u64 = 1_800_000_000;

    /// Years of an Envoy whose bundle is up to a day old, before a server that looks every hour.
    #[test]
    fn whoever_has_a_bundle_of_today_trusts_what_is_shown_at_all_times() {
        let mut all = Authorities::new(BEGUN).expect("an authority");
        let (mut leaf, mut bundles, mut signers) = (None::<Leaf>, Vec::new(), std::collections::BTreeSet::new());
        let (mut envoy, mut server) = (None::<Leaf>, None::<Given>);
        let names = ["a.test".to_owned()];
        for hour in 0..(3 * 365 * 24) {
            let now = BEGUN + hour * HOUR;
            if let Some(due) = all.due(now).expect("keys") {
                all = due;
            }
            if let Some(new) = all.leaf(&Subject::ControlPlane(&names), leaf.as_ref(), now).expect("a leaf") {
                leaf = Some(new);
            }
            if let Some(new) = all.leaf(&Subject::Envoys("spiffe://a"), envoy.as_ref(), now).expect("a leaf") {
                envoy = Some(new);
            }
            if let Some(new) = all.given("b.test", server.as_ref(), now).expect("a leaf") {
                server = Some(new);
            }
            bundles.push(all.bundle());
            let by = &leaf.as_ref().expect("shown").by;
            assert_eq!(&envoy.as_ref().expect("shown").by, by, "whoever signs, signs for all");
            assert!(envoy.as_ref().expect("shown").until > now);
            assert!(all.stands(&Subject::Server("b.test"), server.as_ref().expect("given"), now).is_some());
            assert_eq!(server.as_ref().expect("given").bundle, all.bundle());
            signers.insert(by.clone());
            let oldest = bundles.len().saturating_sub(23);
            for bundle in [&bundles[oldest], &bundles[bundles.len() - 1]] {
                assert!(bundle.contains(by.trim_end()), "after {hour} hours");
            }
            assert!(bundles[bundles.len() - 1].matches("BEGIN").count() <= 2, "a new one and an old one at most");
            // An Envoy that goes on by a leaf that is shown no longer: its authority is trusted as long as it is good.
            assert!(leaf.as_ref().expect("shown").until <= now + DAY / 2);
        }
        assert_eq!(signers.len(), 5);
    }

    /// What the one before has signed is good for days: whoever trusts by the bundle goes on to trust it.
    #[test]
    fn the_one_before_is_trusted_for_as_long_as_what_it_signed_may_be_shown() {
        let first = Authorities::new(BEGUN).expect("an authority");
        assert!(first.due(BEGUN + AUTHORITY / 3 * 2 - 1).expect("none").is_none());
        let at = BEGUN + AUTHORITY / 3 * 2;
        let both = first.due(at).expect("keys").expect("a next one");
        assert!(both.due(at + SPREAD - 1).expect("none").is_none());
        let turned = both.due(at + SPREAD).expect("keys").expect("the next one signs");
        assert_eq!(turned.current.cert, both.next.as_ref().expect("the next").cert);
        assert_eq!(turned.bundle(), format!("{}\n{}\n", turned.current.cert.trim_end(), first.current.cert.trim_end()));
        assert!(turned.due(at + SPREAD + LINGERS - 1).expect("none").is_none());
        let alone = turned.due(at + SPREAD + LINGERS).expect("keys").expect("the old one goes");
        assert_eq!(alone.bundle(), format!("{}\n", turned.current.cert.trim_end()));
        assert!(alone.due(at + SPREAD + LINGERS).expect("none").is_none());
    }

    /// From the very second on at which it begins.
    #[test]
    fn what_is_given_is_good_from_its_first_second() {
        let all = Authorities::new(BEGUN).expect("an authority");
        let given = all.given("a.test", None, BEGUN).expect("a leaf").expect("one");
        let (_, cert) = parse_x509_pem(given.cert.as_bytes()).expect("PEM");
        let begun = cert.parse_x509().expect("a certificate").validity().not_before.timestamp() as u64;
        let stands = |now| all.stands(&Subject::Server("a.test"), &given, now).is_some();
        assert_eq!((stands(begun - 1), stands(begun)), (false, true));
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
        for (subject, renewed) in [
            (Subject::ControlPlane(&names), DAY / 2),
            (Subject::Envoys("spiffe://cluster.local/ns/a/sa/b"), 7 * DAY / 2),
            (Subject::Server("a.test"), 7 * DAY / 2),
        ] {
            let leaf = all.leaf(&subject, None, BEGUN).expect("a leaf").expect("the first");
            assert!(all.leaf(&subject, Some(&leaf), BEGUN + renewed - 1).expect("none").is_none());
            assert!(all.leaf(&subject, Some(&leaf), BEGUN + renewed).expect("a leaf").is_some());
            let other = Authorities::new(BEGUN).expect("an authority");
            assert!(other.leaf(&subject, Some(&leaf), BEGUN).expect("a leaf").is_some());
            assert!(all.leaf(&subject, None, BEGUN + AUTHORITY).is_err());
        }
        assert!(all.leaf(&Subject::ControlPlane(&["a b".to_owned() + "\u{e9}"]), None, BEGUN).is_err());
        // Whoever connects by either name finds it in the certificate.
        let leaf = all.leaf(&Subject::ControlPlane(&names), None, BEGUN).expect("a leaf").expect("the first");
        let der = CertificateDer::from_pem_slice(leaf.cert.as_bytes()).expect("a certificate");
        for name in [&b"\x82\x06a.test"[..], &b"\x87\x04\x7f\0\0\x01"[..]] {
            assert!(der.windows(name.len()).any(|part| part == name), "{name:?}");
        }
    }

    #[test]
    fn what_a_server_is_given_stays_until_it_is_due_and_whatever_else_is_there_does_not() {
        let all = Authorities::new(BEGUN).expect("an authority");
        let first = all.given("a.test", None, BEGUN).expect("a leaf").expect("the first");
        let half = 7 * DAY / 2;
        assert_eq!(all.given("a.test", Some(&first), BEGUN + half - 1).expect("good"), None);
        let renewed = all.given("a.test", Some(&first), BEGUN + half).expect("good").expect("another");
        assert_ne!(renewed.cert, first.cert);
        let other = all.given("a.test", None, BEGUN).expect("a leaf").expect("another");
        let stranger = Authorities::new(BEGUN).expect("an authority");
        let of_stranger = stranger.given("a.test", None, BEGUN).expect("a leaf").expect("theirs");
        let envoy = all.leaf(&Subject::Envoys("spiffe://a"), None, BEGUN).expect("a leaf").expect("one");
        let with = |cert: &str, key: &str| Given {
            cert: cert.to_owned(),
            key: Zeroizing::new(key.to_owned()),
            bundle: all.bundle(),
        };
        for (what, there) in [
            ("another's key", with(&first.cert, &other.key)),
            ("no key", with(&first.cert, "")),
            ("no certificate", with("", &first.key)),
            ("not yet good", all.given("a.test", None, BEGUN + 2 * HOUR).expect("a leaf").expect("one")),
            ("of another name", all.given("b.test", None, BEGUN).expect("a leaf").expect("one")),
            ("of an Envoy", with(&envoy.cert, &envoy.key)),
            ("of another authority", with(&of_stranger.cert, &of_stranger.key)),
        ] {
            let given = all.given("a.test", Some(&there), BEGUN).expect("good").expect(what);
            assert!(given.cert != there.cert && given.key != there.key, "{what}");
            assert!(all.stands(&Subject::Server("a.test"), &given, BEGUN).is_some(), "{what}");
        }
        // Others are trusted from now on: the certificate stays.
        let due = all.due(BEGUN + 300 * DAY).expect("keys").expect("a next one");
        let at = BEGUN + 300 * DAY;
        let late = all.given("a.test", None, at).expect("a leaf").expect("one");
        let told = due.given("a.test", Some(&late), at).expect("good").expect("another bundle");
        assert_eq!((told.cert == late.cert, told.bundle), (true, due.bundle()));
        assert!(!format!("{first:?} {envoy:?}").contains("BEGIN"));
    }
}
