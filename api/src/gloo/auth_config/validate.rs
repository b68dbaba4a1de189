//! What is wrong with an AuthConfig taken by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::oauth::oauth2;
use super::pass_through::pass_through;
use super::{ApiKeyAuth, AuthConfig, BasicAuth, Config, Expression, PasswordKind};
use crate::gloo::ResourceRef;
use crate::header::{self, HeaderUse};
use crate::pairs::Pairs;
use crate::problem::Problem;
use crate::resource::Meta as _;
use crate::secret::API_KEY;

/// More steps than this in one AuthConfig are refused: all of them may run on every request.
const MOST_STEPS: usize = 64;

/// What is wrong with `object` taken by itself.
pub fn validate(object: &AuthConfig) -> Vec<Problem> {
    let spec = &object.spec;
    let mut problems = Vec::new();
    if spec.configs.is_empty() {
        problems.push(Problem::error("spec.configs", "empty: write at least one config, for example apiKeyAuth"));
    }
    if spec.configs.len() > MOST_STEPS {
        problems.push(Problem::error("spec.configs", format!("more than {MOST_STEPS} configs; split the AuthConfig")));
    }
    let mut seen = BTreeMap::new();
    for (index, config) in spec.configs.iter().enumerate() {
        let field = format!("spec.configs[{index}]");
        let name = spec.step_name(index);
        if let Some(first) = seen.insert(name.clone(), index) {
            problems.push(Problem::error(
                format!("{field}.name"),
                format!("{name:?} is also the name of spec.configs[{first}]; give each config its own name"),
            ));
        }
        step(&field, config, &object.name_of().namespace, &mut problems);
    }
    if let Some(text) = spec.expression() {
        expression(text, &seen.keys().map(String::as_str).collect(), &mut problems);
    }
    problems
}

fn step(field: &str, config: &Config, namespace: &str, problems: &mut Vec<Problem>) {
    match config.types().as_slice() {
        [] => problems.push(Problem::error(field, "no type: write one of apiKeyAuth, basicAuth, oauth2, …")),
        [kind] => match (&config.api_key_auth, &config.basic_auth, &config.pass_through_auth, &config.oauth2) {
            (Some(auth), ..) => api_key(&format!("{field}.apiKeyAuth"), auth, problems),
            (_, Some(auth), ..) => basic(&format!("{field}.basicAuth"), auth, problems),
            (_, _, Some(auth), _) => pass_through(&format!("{field}.passThroughAuth"), auth, problems),
            (.., Some(auth)) => oauth2(&format!("{field}.oauth2"), auth, namespace, problems),
            (None, None, None, None) => problems.push(not_implemented(field, kind)),
        },
        several => problems.push(Problem::error(
            field,
            format!("several types ({}); write each in a config of its own", several.join(", ")),
        )),
    }
}

fn not_implemented(field: &str, kind: &str) -> Problem {
    let hint = match kind {
        "pluginAuth" => "; plugins are Go libraries, which this server cannot load: use passThroughAuth where possible",
        _ => "",
    };
    Problem::error(
        format!("{field}.{kind}"),
        format!("{kind} is not implemented yet; this AuthConfig is refused so that nothing passes unchecked{hint}"),
    )
}

fn api_key(field: &str, auth: &ApiKeyAuth, problems: &mut Vec<Problem>) {
    let refused = |name: &str, why: &str| {
        Problem::error(
            format!("{field}.{name}"),
            format!("{why}; this AuthConfig is refused so that nothing passes unchecked"),
        )
    };
    let ignored = |name: &str, why: &str| Problem::warning(format!("{field}.{name}"), why.to_owned());

    if let Some(name) = auth.header_name.as_deref().filter(|name| !name.is_empty())
        && let Err(why) = header::check(name, HeaderUse::Read)
    {
        problems.push(Problem::error(format!("{field}.headerName"), why));
    }

    if auth.aerospike_apikey_storage.is_some() {
        problems.push(refused(
            "aerospikeApikeyStorage",
            "keys in Aerospike are not implemented; keep them in Secrets and write k8sSecretApikeyStorage",
        ));
    }
    if auth.hmac.is_some() {
        problems.push(refused("hmac", "keys stored as an HMAC are not implemented yet"));
    }
    if auth.digest.is_some() {
        problems.push(refused("digest", "keys stored as a digest are not implemented yet"));
    }
    if auth.r#match.is_some() {
        problems.push(refused("match", "matching further headers is not implemented yet"));
    }
    if auth.skip_metadata_validation {
        problems.push(ignored(
            "skipMetadataValidation",
            "has no effect: metadata is checked once, when its Secret is read, which costs requests nothing",
        ));
    }

    let source = auth.source();
    if source.label_selector.is_empty() && source.secret_refs.is_empty() && auth.aerospike_apikey_storage.is_none() {
        problems.push(Problem::error(
            field,
            "names no Secrets: write k8sSecretApikeyStorage.labelSelector or .apiKeySecretRefs (an empty selector would match every Secret)",
        ));
    }
    if let Some(storage) = &auth.k8s_secret_apikey_storage {
        if !storage.label_selector.is_empty() && !auth.label_selector.is_empty() {
            problems.push(ignored("labelSelector", "ignored: k8sSecretApikeyStorage.labelSelector takes its place"));
        }
        if !storage.api_key_secret_refs.is_empty() && !auth.api_key_secret_refs.is_empty() {
            problems
                .push(ignored("apiKeySecretRefs", "ignored: k8sSecretApikeyStorage.apiKeySecretRefs takes its place"));
        }
    }
    for (index, reference) in source.secret_refs.iter().enumerate() {
        if reference.name.is_empty() {
            problems.push(Problem::error(
                format!("{field}.apiKeySecretRefs[{index}].name"),
                "empty: write the name of a Secret",
            ));
        }
    }
    headers(field, auth, problems);
}

/// More users than this belong in a directory.
const MOST_USERS: usize = 10_000;

fn basic(field: &str, auth: &BasicAuth, problems: &mut Vec<Problem>) {
    let mut wrong = |at: &str, why: &str| problems.push(Problem::error(format!("{field}{at}"), why));
    if auth.realm.as_deref().unwrap_or_default().chars().any(char::is_control) {
        wrong(".realm", "has control characters, which no header can carry; write it without");
    }
    match (&auth.apr, &auth.encryption, &auth.user_list) {
        (Some(_), None, None) => {}
        (Some(_), ..) => wrong(".apr", "stands beside encryption and userList; write one of the two forms"),
        (None, Some(encryption), Some(_)) => match encryption.kinds().as_slice() {
            [_] => {}
            [] => wrong(".encryption", "names no hash: write one of apr, sha1, bcrypt, argon2, as {}"),
            _ => wrong(".encryption", "names several hashes; all users of a list have the same: write one"),
        },
        (None, None, Some(_)) => {
            wrong(".encryption", "missing: write how the passwords of userList are hashed, e.g. {apr: {}}")
        }
        (None, _, None) => return wrong("", "names no users: write apr.users, or encryption and userList.users"),
    }
    let written = auth.users();
    let at = format!(".{}", written.field);
    if written.users.is_empty() {
        wrong(&at, "empty: write at least one user");
    }
    if written.users.len() > MOST_USERS {
        wrong(&at, &format!("more than {MOST_USERS} users; use a directory"));
    }
    if matches!(written.kind, PasswordKind::Bcrypt | PasswordKind::Argon2) {
        for name in written.users.iter().filter(|(_, hash)| hash.salt.is_some()).map(|(name, _)| name) {
            let path = format!("{field}{at}.{name}.salt");
            problems.push(Problem::warning(path, "has no effect: the salt is part of such a hash"));
        }
    }
}

fn headers(field: &str, auth: &ApiKeyAuth, problems: &mut Vec<Problem>) {
    for (list, entries) in [
        ("headersFromMetadata", &auth.headers_from_metadata),
        ("headersFromMetadataEntry", &auth.headers_from_metadata_entry),
    ] {
        let mut seen = BTreeSet::new();
        for (header, entry) in entries {
            let path = format!("{field}.{list}.{header}");
            if let Err(why) = header::check(header, HeaderUse::Write) {
                problems.push(Problem::error(path.clone(), why));
            }
            if !seen.insert(header.to_ascii_lowercase()) {
                problems.push(Problem::error(
                    path.clone(),
                    "the same header twice: names of headers do not differ in upper and lower case",
                ));
            }
            match entry.name.as_str() {
                "" => {
                    problems.push(Problem::error(format!("{path}.name"), "missing: write a key of the Secret's data"))
                }
                API_KEY => problems.push(Problem::error(
                    format!("{path}.name"),
                    "api-key is the key itself, which is not metadata; name another entry of the Secret",
                )),
                _ => {}
            }
        }
    }
}

fn expression(text: &str, names: &BTreeSet<&str>, problems: &mut Vec<Problem>) {
    let field = "spec.booleanExpr";
    let parsed = match Expression::parse(text) {
        Ok(parsed) => parsed,
        Err(why) => return problems.push(Problem::error(field, why)),
    };
    let known = names.iter().copied().collect::<Vec<_>>().join(", ");
    for unknown in parsed.names().difference(names) {
        problems.push(Problem::error(field, format!("{unknown:?} is not the name of a config; the names are {known}")));
    }
    for unused in names.difference(&parsed.names()) {
        problems
            .push(Problem::warning(field, format!("{unused:?} is not part of the expression and is never checked")));
    }
    if mixes(&parsed) {
        problems.push(Problem::warning(field, "mixes && and || without parentheses; && binds tighter"));
    }
    if parsed.holds_when_nothing_passes() {
        problems.push(Problem::warning(field, "holds for a request without any credentials, which is let pass"));
    }
}

/// Whether an `||` has an `&&` directly below it. Parentheses that change nothing are not told apart.
fn mixes(expression: &Expression) -> bool {
    match expression {
        Expression::Step(_) => false,
        Expression::Not(inner) => mixes(inner),
        Expression::All(parts) => parts.iter().any(mixes),
        Expression::Any(parts) => parts.iter().any(|part| matches!(part, Expression::All(_)) || mixes(part)),
    }
}

/// Where the keys of an `apiKeyAuth` are, deprecated places resolved.
#[derive(Debug, Clone, Copy)]
pub struct KeySource<'a> {
    /// Labels that must all be equal; empty selects nothing.
    pub label_selector: &'a Pairs<Box<str>>,
    /// Secrets by name.
    pub secret_refs: &'a [ResourceRef],
}

impl ApiKeyAuth {
    /// Where the keys are: what `k8sSecretApikeyStorage` sets takes the place of the older fields.
    pub fn source(&self) -> KeySource<'_> {
        let storage = self.k8s_secret_apikey_storage.as_ref();
        KeySource {
            label_selector: storage
                .map(|s| &s.label_selector)
                .filter(|labels| !labels.is_empty())
                .unwrap_or(&self.label_selector),
            secret_refs: storage
                .map(|s| &s.api_key_secret_refs)
                .filter(|refs| !refs.is_empty())
                .unwrap_or(&self.api_key_secret_refs),
        }
    }

    /// The header that holds the key, as Envoy spells it.
    pub fn header(&self) -> String {
        match self.header_name.as_deref() {
            None | Some("") => API_KEY.to_owned(),
            Some(name) => name.to_ascii_lowercase(),
        }
    }

    /// Headers to fill from metadata, by lower-case name; the newer list wins.
    pub fn metadata_headers(&self) -> BTreeMap<String, &super::MetadataEntry> {
        let older = self.headers_from_metadata.iter();
        older.chain(&self.headers_from_metadata_entry).map(|(name, entry)| (name.to_ascii_lowercase(), entry)).collect()
    }
}
