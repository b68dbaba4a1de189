//! Why nobody decides about a request, and what it is answered then.

use crate::step::Denial;

/// Why there is no chain to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoChain {
    /// Not all manifests could be read at the start.
    Withheld,
    /// The route names no AuthConfig.
    Unnamed,
    /// The route names an AuthConfig that does not exist.
    Unknown,
    /// The route names an AuthConfig that was refused.
    Refused,
    /// The question does not bring the headers that the AuthConfig reads.
    ReadsOther,
}

impl NoChain {
    /// The answer to whoever asks.
    pub(crate) const fn denial(self) -> Denial {
        match self {
            NoChain::Withheld => Denial::plain(403, "manifests cannot be read"),
            NoChain::Unnamed => Denial::plain(403, "no config_id"),
            NoChain::Unknown => Denial::plain(403, "unknown config_id"),
            NoChain::Refused => Denial::plain(403, "AuthConfig was refused"),
            NoChain::ReadsOther => Denial::plain(403, "the AuthConfig reads other headers than Envoy sends"),
        }
    }
}
