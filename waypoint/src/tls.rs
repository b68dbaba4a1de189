//! A certificate authority in a folder: the server's certificate and one for each Gateway's Envoy.
//!
//! Every file is readable by its owner only. What exists is kept, so that a
//! restart does not lock out Envoys that run already.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use api::Name;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use crate::listen::TlsFiles;

/// A folder that holds `ca.pem`, `server.pem` and `<namespace>~<gateway>.pem`, each with its `.key`.
#[derive(Debug, Clone)]
pub struct TlsDir(PathBuf);

/// The files with which the Envoy of one Gateway proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// The client's certificate, which names its node.
    pub cert: PathBuf,
    /// The client's private key.
    pub key: PathBuf,
    /// The authority of the server's certificate.
    pub ca: PathBuf,
}

impl TlsDir {
    /// Opens `dir`, creating it, an authority and a server certificate where they are missing.
    /// The server's certificate is good for `hosts`, names or addresses.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn open(dir: &Path, hosts: &[String]) -> anyhow::Result<TlsDir> {
        private_dir(dir)?;
        let this = TlsDir(dir.to_owned());
        if !this.path("ca.pem").exists() || !this.path("ca.key").exists() {
            let key = KeyPair::generate().context("generating the authority's key")?;
            let mut params = params("waykeeper xDS authority", &[])?;
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
            let certificate = params.self_signed(&key).context("signing the authority's certificate")?;
            this.save("ca", &certificate.pem(), &key.serialize_pem())?;
        }
        this.issue("server", hosts, ExtendedKeyUsagePurpose::ServerAuth)?;
        Ok(this)
    }

    /// The server's files.
    pub fn server(&self) -> TlsFiles {
        TlsFiles { cert: self.path("server.pem"), key: self.path("server.key"), client_ca: self.path("ca.pem") }
    }

    /// The files of `gateway`'s Envoy, issued if they are missing.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn client(&self, gateway: &Name) -> anyhow::Result<ClientFiles> {
        let node = crate::node_id(gateway);
        self.issue(&node, std::slice::from_ref(&node), ExtendedKeyUsagePurpose::ClientAuth)?;
        Ok(ClientFiles {
            cert: self.path(&format!("{node}.pem")),
            key: self.path(&format!("{node}.key")),
            ca: self.path("ca.pem"),
        })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    fn issue(&self, name: &str, names: &[String], usage: ExtendedKeyUsagePurpose) -> anyhow::Result<()> {
        if self.path(&format!("{name}.pem")).exists() && self.path(&format!("{name}.key")).exists() {
            return Ok(());
        }
        let read = |file: &str| {
            std::fs::read_to_string(self.path(file)).with_context(|| format!("reading {}", self.path(file).display()))
        };
        let ca_key = KeyPair::from_pem(&read("ca.key")?).context("the authority's key")?;
        let issuer = Issuer::from_ca_cert_pem(&read("ca.pem")?, ca_key).context("the authority's certificate")?;
        let key = KeyPair::generate().context("generating a key")?;
        let mut params = params(name, names)?;
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(&key, &issuer).context("signing a certificate")?;
        self.save(name, &certificate.pem(), &key.serialize_pem())
    }

    /// Writes the key first and moves both into place, so that a certificate never stands without its key.
    fn save(&self, name: &str, certificate: &str, key: &str) -> anyhow::Result<()> {
        write_private(&self.path(&format!("{name}.key")), key)?;
        write_private(&self.path(&format!("{name}.pem")), certificate)
    }
}

impl ClientFiles {
    /// Copies the files to `dir`, which is created for its owner only: an Envoy that
    /// may read them there need not see the authority's key.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn copy_to(&self, dir: &Path) -> anyhow::Result<ClientFiles> {
        private_dir(dir)?;
        let copy = |from: &Path, name: &str| {
            let text = std::fs::read_to_string(from).with_context(|| format!("reading {}", from.display()))?;
            let to = dir.join(name);
            write_private(&to, &text).map(|()| to)
        };
        let (key, ca) = (copy(&self.key, "client.key")?, copy(&self.ca, "ca.pem")?);
        Ok(ClientFiles { cert: copy(&self.cert, "client.pem")?, key, ca })
    }
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let write = || {
        let mut open = std::fs::OpenOptions::new();
        open.write(true).create(true).truncate(true).mode(0o600).open(&partial)?.write_all(text.as_bytes())?;
        std::fs::rename(&partial, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Creates a folder for its owner only; one that exists is left as it is.
///
/// # Errors
/// When it cannot be created.
pub fn private_dir(dir: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("creating {}", dir.display()))
}

fn params(common_name: &str, names: &[String]) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    for name in names {
        let san = match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into().with_context(|| format!("the name {name:?}"))?),
        };
        params.subject_alt_names.push(san);
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_private_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("tls");
        let open = || TlsDir::open(&dir, &["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let files = open().client(&Name::new("shop", "gateway")).unwrap();
        let before = std::fs::read(&files.cert).unwrap();
        assert_eq!(std::fs::read(open().client(&Name::new("shop", "gateway")).unwrap().cert).unwrap(), before);
        for entry in std::fs::read_dir(&dir).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let copies = files.copy_to(&dir.join("for-envoy")).unwrap();
        assert_eq!(std::fs::read(&copies.cert).unwrap(), before);
        assert_eq!(std::fs::metadata(&copies.key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.join("for-envoy")).unwrap().count(), 3, "and no authority's key");
    }
}
