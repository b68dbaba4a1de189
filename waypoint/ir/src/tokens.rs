//! Which tokens requests may bring to a port, and what becomes of what is in them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::Destination;

/// The issuers whose tokens are looked at. A request without a token passes; one with a token that nobody here has signed,
/// or that is good no more, does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Each of them, in the order of their names.
    pub issuers: Vec<Issuer>,
}

/// One issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What its tokens say.
    pub name: String,
    /// For whom they are to be, one of these; for anybody without any.
    pub audiences: Vec<String>,
    /// Its keys.
    pub keys: Keys,
    /// The headers that hold tokens, each with what stands before it. Where nothing is named that holds tokens, it is
    /// the header and the parameter of RFC 6750.
    pub headers: Vec<(String, String)>,
    /// The parameters that do.
    pub parameters: Vec<String>,
    /// The cookies that do.
    pub cookies: Vec<String>,
    /// Whether the application gets the token.
    pub passed_on: bool,
    /// The header that gets all that is in it.
    pub payload: Option<String>,
    /// The headers that get claims, each with the claim.
    pub claims: Vec<(String, String)>,
    /// Claims that are words with blanks between them.
    pub of_words: BTreeSet<String>,
}

/// An issuer's public keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// These, as a JSON Web Key Set.
    Written(String),
    /// Those that its server says.
    Asked {
        /// The whole URL.
        url: String,
        /// Whom Envoy asks.
        server: KeyServer,
        /// How long the answer may take.
        timeout: Duration,
    },
}

/// A server that says keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyServer {
    /// A Service of the mesh.
    Service(Destination),
    /// Somebody else.
    Host {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
        /// Whether over TLS, with a certificate for that name.
        tls: bool,
    },
}

/// Where tokens are looked for unless it is said: the header, and what stands before them in it.
pub const HEADER: (&str, &str) = ("authorization", "Bearer ");
/// And the parameter.
pub const PARAMETER: &str = "access_token";

impl Tokens {
    /// Whether nobody looks at tokens.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// The headers that are set on requests, in lower case.
    pub fn grants(&self) -> impl Iterator<Item = String> {
        self.issuers.iter().flat_map(|issuer| {
            let claims = issuer.claims.iter().map(|(header, _)| header.as_str());
            issuer.payload.as_deref().into_iter().chain(claims).map(str::to_ascii_lowercase)
        })
    }

    /// Whom Envoy asks for keys.
    pub fn servers(&self) -> impl Iterator<Item = &KeyServer> {
        self.issuers.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Asked { server, .. } => Some(server),
            Keys::Written(_) => None,
        })
    }

    /// Of these, the Services of the mesh.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.servers().filter_map(|server| match server {
            KeyServer::Service(to) => Some(to),
            KeyServer::Host { .. } => None,
        })
    }
}

impl Issuer {
    /// One with these keys, whose tokens are for anybody and are looked for where RFC 6750 has them; nobody is told of them.
    pub fn new(name: impl Into<String>, keys: Keys) -> Self {
        Self {
            name: name.into(),
            audiences: Vec::new(),
            keys,
            headers: Vec::new(),
            parameters: Vec::new(),
            cookies: Vec::new(),
            passed_on: false,
            payload: None,
            claims: Vec::new(),
            of_words: BTreeSet::new(),
        }
    }

    /// The headers that hold tokens, each with what stands before it.
    pub fn looked_in(&self) -> Vec<(&str, &str)> {
        let named = self.headers.iter().map(|(name, prefix)| (name.as_str(), prefix.as_str())).collect();
        if self.looks_anywhere() { vec![HEADER] } else { named }
    }

    /// The parameters that do.
    pub fn parameters(&self) -> Vec<&str> {
        if self.looks_anywhere() { vec![PARAMETER] } else { self.parameters.iter().map(String::as_str).collect() }
    }

    fn looks_anywhere(&self) -> bool {
        self.headers.is_empty() && self.parameters.is_empty() && self.cookies.is_empty()
    }
}
