//! The ways to prove who sends a request: one file each, one row in [`of`].

mod access_token;
mod api_key;
mod basic_auth;
mod complaints;
mod granting;
pub(crate) mod hashing;
mod oidc;
mod pass_through;
mod proof;
mod trust;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use api::gloo::auth_config::{Config, OAuth2, PasswordKind};
use api::{Name, Problem, Secret};

use crate::headers::Seal;
use crate::select::{Need, Secrets};
use crate::step::{Answer, Ask, Fault, Outcome, Step};
use hashing::Hashing;

pub use access_token::Remotes;
pub use oidc::{Signing, SigningKey};
pub use trust::{Pem, Trust};

/// A type of step, as it is written in an AuthConfig.
pub trait Method {
    /// What it reads besides itself, in an AuthConfig of `namespace`.
    fn needs(&self, namespace: &str) -> Vec<Need<'_>> {
        let _ = namespace;
        Vec::new()
    }

    /// What of that there is. `field` is where it stands, for what is wrong with references;
    /// `namespace` is that of the AuthConfig.
    fn reads(&self, field: &str, namespace: &str, inputs: &Inputs<'_>) -> Read {
        let _ = (field, namespace, inputs);
        Read::default()
    }

    /// By what it lets somebody in, in an AuthConfig of `namespace`: all that its text says of that, and nothing of
    /// the headers in which credentials come or which upstream is sent.
    fn lets_in(&self, namespace: &str) -> BTreeSet<Credentials<'_>>;

    /// Whether it tells others what the steps before it have told.
    fn listens(&self) -> bool {
        false
    }

    /// The step that `whose` says, made of what is written and what was `read`. It may set the headers that
    /// `AuthConfigSpec::grants` lists for its type, and no other.
    fn compile(&self, field: &str, whose: Whose<'_>, read: &Read, context: &Context) -> Compiled;
}

/// The one type that is written in `config` and its name, if it is one that is enforced.
pub fn of(config: &Config) -> Option<(&'static str, &dyn Method)> {
    let Config { api_key_auth, basic_auth, pass_through_auth, oauth2, .. } = config;
    let api_key = api_key_auth.as_ref().map(|auth| ("apiKeyAuth", auth as &dyn Method));
    let basic = basic_auth.as_ref().map(|auth| ("basicAuth", &**auth as &dyn Method));
    let pass_through = pass_through_auth.as_ref().map(|auth| ("passThroughAuth", &**auth as &dyn Method));
    let oauth2 = oauth2.as_ref().and_then(|oauth2| match &**oauth2 {
        OAuth2 { oidc_authorization_code: None, access_token_validation: Some(tokens), oauth2: None } => {
            Some(("oauth2.accessTokenValidation", tokens as &dyn Method))
        }
        OAuth2 { oidc_authorization_code: Some(login), access_token_validation: None, oauth2: None } => {
            Some(("oauth2.oidcAuthorizationCode", login as &dyn Method))
        }
        _ => None,
    });
    // Two in one step are refused, and so is one that is not enforced.
    (config.types().len() == 1).then(|| api_key.or(basic).or(pass_through).or(oauth2)).flatten()
}

/// By what a step lets somebody in. Whoever shows one of them passes. None of it is printed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credentials<'a> {
    /// The keys in Secrets: which Secrets, and which other entries these must have.
    Keys(Need<'a>, BTreeSet<&'a str>),
    /// A password that the AuthConfig itself holds.
    Password {
        /// Whose.
        user: &'a str,
        /// How it is hashed.
        kind: PasswordKind,
        /// The salt.
        salt: Option<&'a str>,
        /// The hash.
        hash: Option<&'a [u8]>,
    },
    /// What another server says when it is asked just so.
    Asked {
        /// All that is written, but for secrets.
        text: String,
        /// Headers that it is asked with.
        secrets: Vec<(&'a str, &'a [u8])>,
    },
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Keys(..) => "Keys",
            Credentials::Password { .. } => "Password",
            Credentials::Asked { .. } => "Asked",
        })
    }
}

/// Everything outside an AuthConfig that it may be made from, for one compilation.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Secrets, found by name and label.
    pub secrets: Secrets<'a>,
    /// The seals so far: AuthConfigs that grant the same headers share one.
    pub(crate) seals: RefCell<BTreeMap<BTreeSet<String>, Arc<Seal>>>,
}

impl Inputs<'_> {
    /// The seal of the headers that are `granted`.
    pub(crate) fn seal(&self, granted: BTreeSet<String>) -> Arc<Seal> {
        let new = |names: &BTreeSet<String>| Arc::new(Seal::new(names.iter().map(|name| Arc::from(name.as_str()))));
        self.seals.borrow_mut().entry(granted).or_insert_with_key(new).clone()
    }
}

/// Which step it is.
#[derive(Debug, Clone, Copy)]
pub struct Whose<'a> {
    /// The AuthConfig.
    pub config: &'a Name,
    /// The name of the step in it.
    pub step: &'a str,
}

/// What one step reads.
#[derive(Debug, Default)]
pub struct Read {
    /// Secrets, in order of name.
    pub secrets: Vec<Arc<Secret>>,
    /// What is wrong with the references to them.
    pub problems: Vec<Problem>,
}

/// What all steps of a process have in common.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where passwords are hashed.
    pub hashing: Arc<Hashing>,
    /// Lower-case name of the header that tells upstream who the user is, unless a question names another.
    pub user_id_header: Arc<str>,
    /// Whose certificates other servers may show.
    pub trust: Trust,
    /// Keys at addresses.
    pub remotes: Remotes,
    /// What sessions are sealed with where their AuthConfig has no key of its own.
    pub signing: Signing,
}

/// A step and what goes with it.
#[derive(Debug)]
pub struct Compiled {
    /// The step.
    pub step: Box<dyn Step>,
    /// Whom it lets in.
    pub accepts: Accepts,
    /// What is worth knowing about what it was made from.
    pub problems: Vec<Problem>,
}

/// How many credentials are accepted, for statuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Different API keys.
    pub keys: usize,
    /// Secrets they were looked for in.
    pub secrets: usize,
    /// Users with a password.
    pub users: usize,
    /// Servers that are asked.
    pub servers: usize,
    /// Issuers of tokens.
    pub issuers: usize,
}

impl AddAssign for Accepts {
    fn add_assign(&mut self, more: Accepts) {
        self.keys += more.keys;
        self.secrets += more.secrets;
        self.users += more.users;
        self.servers += more.servers;
        self.issuers += more.issuers;
    }
}

/// A step that could not be made, and what it says to whoever asks.
#[derive(Debug)]
struct Never(Fault);

impl Never {
    /// What is said of it.
    fn problem(field: &str) -> Problem {
        Problem::warning(field, "cannot be asked by a fault of Waykeeper's: every request is refused")
    }
}

impl Step for Never {
    fn check(&self, _: &Ask<'_>) -> Answer {
        Answer::Now(Outcome::Fault(self.0))
    }
}
