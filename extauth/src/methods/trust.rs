//! Whose certificates the servers that are asked may show: the system's authorities, and those of the operator.

use std::fmt;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outbound::http::Authorities;
use outbound::trust::authorities;

/// Certificates in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem(Arc<[u8]>);

impl Pem {
    /// Reads base64 of PEM, as Gloo has it in an environment variable.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Pem, String> {
        let compact: String = text.split_ascii_whitespace().collect();
        let pem = STANDARD.decode(compact).map_err(|_| "is not base64: write PEM in base64".to_owned())?;
        if pem.is_empty() {
            return Err("is empty: write PEM in base64".to_owned());
        }
        authorities(&pem).map_err(|why| format!("{why}: write PEM in base64"))?;
        Ok(Pem(pem.into()))
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({} bytes)", self.0.len())
    }
}

/// The authorities, read when the first step needs them.
#[derive(Debug, Clone)]
pub struct Trust {
    beside: Option<Pem>,
    read: Arc<OnceLock<Arc<Authorities>>>,
}

impl Trust {
    /// The system's authorities and those in `beside`.
    pub fn beside(beside: Option<&Pem>) -> Self {
        Self { beside: beside.cloned(), read: Arc::default() }
    }

    /// All of them.
    pub(crate) fn authorities(&self) -> Arc<Authorities> {
        let more = self.beside.as_ref().map(|pem| &*pem.0).unwrap_or_default();
        // They were read once already; what cannot be read now is trusted by nobody.
        let read = || Arc::new(authorities(more).unwrap_or_else(|_| Authorities::empty()));
        self.read.get_or_init(read).clone()
    }
}
