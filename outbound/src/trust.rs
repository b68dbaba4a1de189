//! Whose word on names is believed.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The authorities that the system trusts, and those in the PEM text `more`.
///
/// # Errors
/// What is wrong with `more`.
pub fn authorities(more: &[u8]) -> Result<RootCertStore, &'static str> {
    let mut roots = RootCertStore::empty();
    // What the system has that cannot be read is trusted by nobody, which refuses and opens nothing.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if !more.is_empty() {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(more).collect();
        let read = read.map_err(|_| "is not PEM")?;
        if read.is_empty() {
            return Err("has no certificate in it");
        }
        for certificate in read {
            roots.add(certificate).map_err(|_| "has a certificate that cannot be read")?;
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_no_certificate_is_an_error_and_what_is_one_is_trusted_too() {
        let system = authorities(b"").unwrap().len();
        assert_eq!(authorities(b"nothing").unwrap_err(), "has no certificate in it");
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(authorities(broken).unwrap_err(), "has a certificate that cannot be read");
        assert_eq!(authorities(b"-----BEGIN CERTIFICATE-----\n?").unwrap_err(), "is not PEM");
        let own = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        assert_eq!(authorities(own.cert.pem().as_bytes()).unwrap().len(), system + 1);
    }
}
