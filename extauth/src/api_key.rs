//! The `apiKeyAuth` step: whose key is in the header, and what upstream is told about them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use api::gloo::auth_config::{API_KEY, ApiKeyAuth};
use api::{Meta as _, Name, Problem, Redacted, Secret};

use crate::chain::{Denial, State};
use crate::fingerprint::{Fingerprint, Hasher};
use crate::headers::{MOST_BYTES, Mutation, Value};
use crate::request::Request;

/// A compiled `apiKeyAuth`.
#[derive(Debug)]
pub struct ApiKey {
    header: String,
    hasher: Arc<Hasher>,
    owners: HashMap<Fingerprint, Owner, ahash::RandomState>,
}

/// Whose key it is and what is set on the request. The key itself is not here.
#[derive(Debug)]
struct Owner {
    secret: Name,
    user: Value,
    mutations: Vec<(Arc<str>, Mutation)>,
}

/// What a chain needs to know beside the configuration itself.
#[derive(Debug, Clone)]
pub struct Context {
    /// Makes the fingerprints of this process.
    pub hasher: Arc<Hasher>,
    /// Lower-case name of the header that tells upstream who the user is.
    pub user_id_header: Arc<str>,
}

impl ApiKey {
    /// Reads the keys of `secrets`. `field` is where `auth` stands, for what is wrong with it.
    pub fn compile(field: &str, auth: &ApiKeyAuth, secrets: &[Arc<Secret>], context: &Context) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let headers: Vec<(Arc<str>, &str, bool)> = auth
            .metadata_headers()
            .into_iter()
            .filter(|(name, _)| {
                let is_user = **name == *context.user_id_header;
                if is_user {
                    problems.push(Problem::warning(
                        format!("{field}.headersFromMetadataEntry.{name}"),
                        "ignored: this header tells upstream who the user is, which is the Secret's name",
                    ));
                }
                !is_user
            })
            .map(|(name, entry)| (name.into(), entry.name.as_str(), entry.required))
            .collect();

        let mut oldest_first: Vec<&Arc<Secret>> = secrets.iter().collect();
        oldest_first.sort_by_cached_key(|secret| {
            let created = secret.metadata.creation_timestamp.as_ref().map(|time| time.0);
            // An object of unknown age never takes a key from one that is known to be older.
            (created.is_none(), created, secret.name_of())
        });

        let mut owners: HashMap<Fingerprint, Owner, ahash::RandomState> = HashMap::default();
        for secret in oldest_first {
            let warn = |message: String| Problem::warning(field, format!("Secret {}: {message}", secret.name_of()));
            let Some((key, owner)) = read(secret, &headers, context, warn, &mut problems) else { continue };
            match owners.entry(context.hasher.fingerprint(key.expose())) {
                Entry::Vacant(free) => drop(free.insert(owner)),
                Entry::Occupied(taken) => problems.push(warn(format!(
                    "holds the same key as Secret {}, which is older or comes first by name and wins; give each its own key",
                    taken.get().secret
                ))),
            }
        }
        (Self { header: auth.header(), hasher: context.hasher.clone(), owners }, problems)
    }

    /// How many different keys there are.
    pub fn keys(&self) -> usize {
        self.owners.len()
    }

    /// The names of all headers this step may set, besides the user id.
    pub fn sets(auth: &ApiKeyAuth) -> impl Iterator<Item = Arc<str>> {
        auth.metadata_headers().into_keys().map(Arc::from)
    }

    /// Lets the request pass if its header holds a key, exactly.
    pub fn check(&self, request: Request<'_>, mut state: State) -> Result<State, Denial> {
        let sent = state.mutations.seen(&self.header, request.header(&self.header));
        let found = sent.filter(|key| !key.is_empty()).and_then(|key| self.owners.get(&self.hasher.fingerprint(&key)));
        let Some(owner) = found else { return Err(Denial::MISSING_KEY) };
        for (name, mutation) in &owner.mutations {
            state.mutations.apply(name, mutation.clone());
        }
        state.user = Some(owner.user.clone());
        Ok(state)
    }
}

/// The key of one Secret and what goes with it; None when the Secret gives no usable key.
fn read<'a>(
    secret: &'a Secret,
    headers: &[(Arc<str>, &str, bool)],
    context: &Context,
    warn: impl Fn(String) -> Problem,
    problems: &mut Vec<Problem>,
) -> Option<(&'a Redacted, Owner)> {
    let Some(key) = secret.data.get(API_KEY) else {
        problems.push(warn(format!("has no entry {API_KEY}; write the key there")));
        return None;
    };
    match key.expose() {
        [] => {
            problems.push(warn("its key is empty and never matches; write a key".to_owned()));
            return None;
        }
        bytes if bytes.ends_with(b"\n") => {
            problems.push(warn("its key ends with a line break, so no header matches it; write it without".to_owned()));
        }
        bytes if bytes.trim_ascii() != bytes || bytes.iter().any(u8::is_ascii_control) => {
            problems
                .push(warn("its key has spaces around it or control characters, so no header matches it".to_owned()));
        }
        _ => {}
    }

    let name = secret.name_of();
    let user = Value::new(&name.name)?;
    let mut mutations = Vec::with_capacity(headers.len() + 1);
    for (header, entry, required) in headers {
        let value = match secret.data.get(*entry).map(Redacted::expose) {
            None | Some([]) => None,
            Some(bytes) => {
                let value = std::str::from_utf8(bytes).ok().and_then(Value::new);
                if value.is_none() {
                    problems.push(warn(format!(
                        "its entry {entry} cannot be sent in the header {header} (line breaks and other control characters, not UTF-8, or over {MOST_BYTES} bytes) and is left out"
                    )));
                }
                value
            }
        };
        // The client must not be able to fill in what the Secret does not say.
        let mutation = match value {
            Some(value) => Mutation::Overwrite(value),
            None if *required => {
                problems.push(warn(format!("lacks the required entry {entry}, so its key is not accepted")));
                return None;
            }
            None => Mutation::Remove,
        };
        mutations.push((header.clone(), mutation));
    }
    mutations.push((context.user_id_header.clone(), Mutation::Overwrite(user.clone())));
    Some((key, Owner { secret: name, user, mutations }))
}
