//! The `apiKeyAuth` step: whose key is in the header, and what upstream is told about them.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use api::gloo::auth_config::ApiKeyAuth;
use api::secret::{API_KEY, EXPIRES, KeyFlaw, expires};
use api::{Fingerprint, Meta as _, Problem, Redacted, Secret};

use super::{Accepts, Compiled, Context, Credentials, Inputs, Method, Read, Whose};
use crate::headers::{MOST_BYTES, Mutation, Mutations, Value};
use crate::select::Need;
use crate::state::State;
use crate::step::{Answer, Ask, Denial, Grant, Outcome, Step};

/// A compiled `apiKeyAuth`. The keys themselves are not here, nor anywhere else.
#[derive(Debug)]
struct ApiKey {
    header: String,
    /// What a request with a key gets, by the key's fingerprint.
    grants: HashMap<Fingerprint, Arc<Grant>, ahash::RandomState>,
    /// Of which keys it is said until when they are good; of most of very many steps there is none.
    expire: Option<Box<Expire>>,
}

/// Until when keys are good.
#[derive(Debug, Default)]
struct Expire(HashMap<Fingerprint, SystemTime, ahash::RandomState>);

impl Step for ApiKey {
    /// Lets the request pass if its header holds a key, exactly.
    fn check(&self, ask: &Ask<'_>) -> Answer {
        let sent = ask.header(&self.header).filter(|key| !key.is_empty());
        let known = sent.map(|key| Fingerprint::of(&key)).and_then(|key| Some((key, self.grants.get(&key)?)));
        Answer::Now(match known {
            Some((key, _)) if self.is_over(&key, ask.now) => Outcome::Deny(EXPIRED),
            Some((_, grant)) => Outcome::Pass(grant.clone()),
            None => Outcome::Deny(NO_KEY),
        })
    }

    /// The key as it was sent, and what its Secret says, by the header that it is said in.
    fn tells(&self, ask: &Ask<'_>, grant: &Grant) -> State {
        let mut state = State::default();
        if let Some(key) = ask.header(&self.header).and_then(|key| String::from_utf8(key.into_owned()).ok()) {
            state.set("api_key_value", key.into());
        }
        for (name, mutation) in grant.headers.iter() {
            if let Mutation::Overwrite(value) = mutation {
                state.set(&**name, value.expose().into());
            }
        }
        state
    }
}

impl ApiKey {
    /// Whether the key is not good any more at the time `now`.
    fn is_over(&self, key: &Fingerprint, now: SystemTime) -> bool {
        self.expire.as_ref().and_then(|expire| expire.0.get(key)).is_some_and(|until| now >= *until)
    }
}

/// No key, or none that is known: the answer is the same, so that it tells nothing.
const NO_KEY: Denial = Denial {
    status: 401,
    headers: Cow::Borrowed(&[(Cow::Borrowed("www-authenticate"), Cow::Borrowed("API key is missing or invalid"))]),
    body: Cow::Borrowed(""),
    reason: "api key missing or unknown",
};

/// To the client it is no other key than one that nobody has.
const EXPIRED: Denial = Denial { reason: "api key expired", ..NO_KEY };

impl Method for ApiKeyAuth {
    fn needs(&self, namespace: &str) -> Vec<Need<'_>> {
        Need::of(self.source(), namespace)
    }

    fn reads(&self, field: &str, namespace: &str, inputs: &Inputs<'_>) -> Read {
        let (secrets, problems) = inputs.secrets.select(self.source(), namespace, field);
        Read { secrets, problems }
    }

    fn lets_in(&self, namespace: &str) -> BTreeSet<Credentials<'_>> {
        let entries = self.metadata_headers().into_values().filter(|entry| entry.required);
        let required: BTreeSet<&str> = entries.map(|entry| entry.name.as_str()).collect();
        self.needs(namespace).into_iter().map(|need| Credentials::Keys(need, required.clone())).collect()
    }

    fn compile(&self, field: &str, _: Whose<'_>, read: &Read, context: &Context) -> Compiled {
        let mut problems = Vec::new();
        let headers: Vec<(Arc<str>, &str, bool)> = self
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

        let mut oldest_first: Vec<&Arc<Secret>> = read.secrets.iter().collect();
        // They come in order of name, and of the same age stay so.
        oldest_first.sort_by_key(|secret| {
            let created = secret.metadata.created.as_ref().map(|time| time.0);
            // An object of unknown age never takes a key from one that is known to be older.
            (created.is_none(), created)
        });

        let mut expire = Expire::default();
        let mut owners: HashMap<Fingerprint, (&Secret, Arc<Grant>), ahash::RandomState> = HashMap::default();
        for secret in oldest_first {
            let warn = |message: String| Problem::warning(field, format!("Secret {}: {message}", secret.name_of()));
            let until = match secret.metadata.label(EXPIRES).map(|label| (label, expires(label))) {
                None => None,
                Some((_, Some(until))) => Some(until),
                Some((label, None)) => {
                    problems.push(warn(format!(
                        "its label {EXPIRES} is {label:?}, which is no time, so its key is not accepted; write 2027-01-31 (when that day begins, UTC) or 2027-01-31T18.30.00Z"
                    )));
                    continue;
                }
            };
            let Some((key, grant)) = owner(secret, &headers, warn, &mut problems) else { continue };
            match owners.entry(key) {
                Entry::Vacant(free) => {
                    free.insert((secret, grant));
                    expire.0.extend(until.map(|until| (key, until)));
                }
                Entry::Occupied(taken) => problems.push(warn(format!(
                    "holds the same key as Secret {}, which is older or comes first by name and wins; give each its own key",
                    taken.get().0.name_of()
                ))),
            }
        }
        let accepts = Accepts { keys: owners.len(), secrets: read.secrets.len(), ..Accepts::default() };
        if owners.is_empty() {
            problems.push(Problem::warning(field, "no valid keys: every request is answered 401"));
        }
        let expire = (!expire.0.is_empty()).then(|| Box::new(expire));
        let grants = owners.into_iter().map(|(key, (_, grant))| (key, grant)).collect();
        Compiled { step: Box::new(ApiKey { header: self.header(), grants, expire }), accepts, problems }
    }
}

/// The fingerprint of one Secret's key and what goes with it; None when the Secret gives no usable key.
fn owner(
    secret: &Secret,
    headers: &[(Arc<str>, &str, bool)],
    warn: impl Fn(String) -> Problem,
    problems: &mut Vec<Problem>,
) -> Option<(Fingerprint, Arc<Grant>)> {
    let Some(key) = &secret.key else {
        problems.push(warn(format!("has no entry {API_KEY}; write the key there")));
        return None;
    };
    match key.flaw {
        Some(KeyFlaw::Empty) => {
            problems.push(warn("its key is empty and never matches; write a key".to_owned()));
            return None;
        }
        Some(KeyFlaw::LineBreak) => {
            problems.push(warn("its key ends with a line break, so no header matches it; write it without".to_owned()));
        }
        Some(KeyFlaw::Spaces) => {
            problems
                .push(warn("its key has spaces around it or control characters, so no header matches it".to_owned()));
        }
        None => {}
    }

    let user = Value::new(&secret.metadata.name)?;
    let mut mutations = Mutations::default();
    for (header, entry, required) in headers {
        let value = match secret.data.get(entry).map(Redacted::expose) {
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
        mutations.apply(header, mutation);
    }
    Some((key.fingerprint, Arc::new(Grant { headers: mutations, user: Some(user), more: None })))
}
