//! The `basicAuth` step: a user name and a password in the Authorization header (RFC 7617).
//!
//! A password that was right once is recognised by its fingerprint from then on, at once; any other
//! is hashed where passwords are hashed, those of users who do not exist too.

mod apr1;
mod password;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use api::gloo::auth_config::BasicAuth;
use api::{Fingerprint, Problem, Redacted};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use self::password::Password;
use super::hashing::Hashing;
use super::{Accepts, Compiled, Context, Credentials, Method, Read, Whose};
use crate::headers::{MOST_BYTES, Value};
use crate::step::{Answer, Ask, Denial, Grant, Outcome, Step};

/// A longer password is wrong without being hashed.
const LONGEST_PASSWORD: usize = 1024;
/// Longer credentials are wrong without being decoded.
const LONGEST_CREDENTIALS: usize = 16 * 1024;

/// A compiled `basicAuth`.
#[derive(Debug)]
struct Basic {
    /// Where credentials are looked for; the first header that is there counts.
    headers: &'static [&'static str],
    users: HashMap<String, Arc<User>, ahash::RandomState>,
    /// Is asked in place of users who do not exist, so that answers do not tell who does.
    nobody: Arc<User>,
    denial: Denial,
    hashing: Arc<Hashing>,
}

/// One who may come in. Neither name nor password is printed.
struct User {
    password: Password,
    /// Of the password that was right. There is no second one.
    known: OnceLock<Fingerprint>,
    /// None for nobody.
    grant: Option<Arc<Grant>>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("User")
    }
}

impl Step for Basic {
    fn check(&self, ask: &Ask<'_>) -> Answer {
        let denied = Outcome::Deny(self.denial.clone());
        let sent = self.headers.iter().find_map(|name| ask.header(name));
        let Some((name, password)) = sent.and_then(|sent| read(&sent)) else { return Answer::Now(denied) };
        let user = self.users.get(name.as_str()).unwrap_or(&self.nobody).clone();
        let fingerprint = Fingerprint::of(&password);
        if let (Some(grant), Some(known)) = (&user.grant, user.known.get())
            && *known == fingerprint
        {
            return Answer::Now(Outcome::Pass(grant.clone()));
        }
        let check = move || match (user.password.is(&password), &user.grant) {
            (true, Some(grant)) => {
                let _ = user.known.set(fingerprint);
                Outcome::Pass(grant.clone())
            }
            _ => denied,
        };
        match self.nobody.password.is_quick() {
            true => Answer::Now(check()),
            false => self.hashing.run(check),
        }
    }
}

/// The name and the password of `Basic <credentials>`.
fn read(header: &[u8]) -> Option<(Zeroizing<String>, Zeroizing<Vec<u8>>)> {
    let text = std::str::from_utf8(header).ok().filter(|text| text.len() <= LONGEST_CREDENTIALS)?;
    let (scheme, credentials) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(credentials.trim_matches(' ')).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = Zeroizing::new(std::str::from_utf8(&decoded[..colon]).ok()?.to_owned());
    let password = Zeroizing::new(decoded[colon + 1..].to_vec());
    (password.len() <= LONGEST_PASSWORD).then_some((name, password))
}

impl Method for BasicAuth {
    fn lets_in(&self, _: &str) -> BTreeSet<Credentials<'_>> {
        let written = self.users();
        let users = written.users.iter().map(|(user, hash)| Credentials::Password {
            user,
            kind: written.kind,
            salt: hash.salt.as_deref(),
            hash: hash.hashed_password.as_ref().map(Redacted::expose),
        });
        users.collect()
    }

    fn compile(&self, field: &str, _: Whose<'_>, _: &Read, context: &Context) -> Compiled {
        let mut problems = Vec::new();
        let mut users: HashMap<String, Arc<User>, ahash::RandomState> = HashMap::default();
        let written = self.users();
        for (name, hash) in written.users {
            let path = format!("{field}.{}.{name}", written.field);
            let read = Password::read(written.kind, hash.salt.as_deref(), hash.hashed_password.as_ref());
            let user = read.and_then(|password| match Value::new(name) {
                Some(value) if !name.contains(':') => Ok((password, value)),
                _ => Err(format!(
                    "no user has such a name: write 1 to {MOST_BYTES} characters, no colon and no control characters"
                )),
            });
            match user {
                Ok((password, value)) => {
                    let grant = Some(Arc::new(Grant { user: Some(value), ..Grant::default() }));
                    users.insert(name.clone(), Arc::new(User { password, known: OnceLock::new(), grant }));
                }
                // Whoever it is cannot come in; the others can.
                Err(why) => problems.push(Problem::warning(path, format!("{why}; this user is not let in"))),
            }
        }
        if users.is_empty() {
            problems.push(Problem::warning(field, "no users: every request is answered 401"));
        }
        // As slow as the slowest user there is.
        let slowest = users.values().map(|user| &user.password).max_by_key(|password| password.cost()).cloned();
        let nobody = slowest.unwrap_or_else(|| Password::unknown(written.kind));
        let accepts = Accepts { users: users.len(), ..Accepts::default() };
        let step = Basic {
            headers: self.headers(),
            users,
            nobody: Arc::new(User { password: nobody, known: OnceLock::new(), grant: None }),
            denial: denial(self.realm.as_deref().unwrap_or_default()),
            hashing: context.hashing.clone(),
        };
        Compiled { step: Box::new(step), accepts, problems }
    }
}

/// No credentials, and wrong ones of whatever sort: the answer is the same.
fn denial(realm: &str) -> Denial {
    let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
    let challenge = format!("Basic realm=\"{quoted}\"");
    Denial {
        status: 401,
        headers: Cow::Owned(vec![(Cow::Borrowed("www-authenticate"), Cow::Owned(challenge))]),
        body: Cow::Borrowed(""),
        reason: "user or password missing or wrong",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn pair(header: &str) -> Option<(String, String)> {
        let (name, password) = read(header.as_bytes())?;
        Some((name.to_string(), String::from_utf8(password.to_vec()).unwrap()))
    }

    #[test]
    fn credentials_are_read_as_browsers_write_them() {
        let written = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let both = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(pair(&written("user:pass:word")), both("user", "pass:word"));
        assert_eq!(pair(&written("üser:")), both("üser", ""));
        assert_eq!(pair(&written("user:password").replace("Basic ", "bAsIc   ")), both("user", "password"));
        assert_eq!(pair(&written(&format!("u:{}", "p".repeat(LONGEST_PASSWORD + 1)))), None);
        for wrong in [
            "",
            "Basic",
            "Basic ",
            "Basic !",
            "Bearer dXNlcjpwYXNzd29yZA==",
            "dXNlcjpwYXNzd29yZA==",
            "Basic dXNlcg==",
            "Basic dXNlcjpwYXNzd29yZA==,Basic dXNlcjpwYXNzd29yZA==",
            "Basicdxnlcjpwyxnzd29yza==",
        ] {
            assert_eq!(pair(wrong), None, "{wrong}");
        }
        assert!(read(b"Basic \xff").is_none());
    }

    #[test]
    fn a_realm_is_quoted() {
        assert_eq!(denial("").headers[0].1, "Basic realm=\"\"");
        assert_eq!(denial("a\"b\\").headers[0].1, "Basic realm=\"a\\\"b\\\\\"");
    }
}
