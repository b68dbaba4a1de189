//! Secrets, and what is kept of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use zeroize::Zeroize as _;

use crate::fingerprint::Fingerprint;
use crate::pairs::Pairs;
use crate::redacted::Redacted;
use crate::resource::Brief;

/// The type of a Secret that holds an API key.
pub const API_KEY_SECRET: &str = "extauth.solo.io/apikey";

/// The entry of such a Secret that holds the key; all others are metadata.
pub const API_KEY: &str = "api-key";

/// The type of a Secret that holds the secret of a client of OAuth 2.0.
pub const OAUTH_SECRET: &str = "extauth.solo.io/oauth";

/// The entry of such a Secret that holds it.
pub const CLIENT_SECRET: &str = "client-secret";

/// The type of a Secret that holds a key with which something is encrypted.
pub const ENCRYPTION_SECRET: &str = "gloo.solo.io.EncryptionKeySecret";

/// The entry of such a Secret that holds it.
pub const ENCRYPTION_KEY: &str = "key";

/// The label of a Secret with an API key that says until when its key is good.
pub const EXPIRES: &str = "waykeeper.dev/expires";

/// A Kubernetes Secret with `stringData` already folded into `data` and base64 undone.
///
/// There may be very many, so it is small: of the metadata it has what something reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Secret {
    /// Name, namespace, labels, creation time. Annotations are not among it: `kubectl apply` repeats all data in one.
    pub metadata: Brief,
    /// `type`, e.g. [`API_KEY_SECRET`]; `Opaque` when the manifest names none.
    pub kind: Cow<'static, str>,
    /// What is kept of the entry `api-key` of a Secret of the type [`API_KEY_SECRET`]; it is not among the entries.
    pub key: Option<ApiKey>,
    /// Entries by key.
    pub data: Pairs<Redacted>,
}

impl Secret {
    /// A Secret of the type `kind` with these entries, without metadata.
    pub fn new(kind: &str, mut data: BTreeMap<String, Redacted>) -> Self {
        let kind = match kind {
            API_KEY_SECRET => Cow::Borrowed(API_KEY_SECRET),
            "Opaque" => Cow::Borrowed("Opaque"),
            other => Cow::Owned(other.to_owned()),
        };
        let is_api_key = kind == API_KEY_SECRET;
        let key = if is_api_key { data.remove(API_KEY).map(|key| ApiKey::of(key.expose())) } else { None };
        Self { metadata: Brief::default(), kind, key, data: data.into_iter().collect() }
    }
}

/// What is kept of an API key: enough to recognise it and to tell its owner why nobody can send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiKey {
    /// Of the key.
    pub fingerprint: Fingerprint,
    /// Why no request can hold it.
    pub flaw: Option<KeyFlaw>,
}

/// The time that a label [`EXPIRES`] says: `2027-01-31`, when that day begins (UTC), or `2027-01-31T18.30.00Z`, as labels have no
/// colons. None if it says none.
pub fn expires(label: &str) -> Option<SystemTime> {
    let timestamp: Timestamp = match label.split_once('T') {
        None => format!("{label}T00:00:00Z").parse().ok()?,
        // Another form would be read as another time by somebody.
        Some((_, time)) if time.contains(':') || time.len() != "18.30.00Z".len() => return None,
        Some((date, time)) => format!("{date}T{}", time.replace('.', ":")).parse().ok()?,
    };
    let written = expires_label(timestamp.into());
    // Nothing but what would be written: no signs, no spaces, no leap second.
    (written == label || written.strip_suffix("T00.00.00Z") == Some(label)).then(|| timestamp.into())
}

/// The label that says `time`, in whole seconds.
pub fn expires_label(time: SystemTime) -> String {
    let timestamp = Timestamp::try_from(time).unwrap_or(Timestamp::MIN);
    timestamp.strftime("%Y-%m-%dT%H.%M.%SZ").to_string()
}

/// Why no header holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFlaw {
    /// It is empty.
    Empty,
    /// It ends with a line break, as files do.
    LineBreak,
    /// It has spaces around it or control characters in it.
    Spaces,
}

impl ApiKey {
    /// What is kept of `key`.
    pub fn of(key: &[u8]) -> Self {
        let flaw = match key {
            [] => Some(KeyFlaw::Empty),
            bytes if bytes.ends_with(b"\n") => Some(KeyFlaw::LineBreak),
            bytes if bytes.trim_ascii() != bytes || bytes.iter().any(u8::is_ascii_control) => Some(KeyFlaw::Spaces),
            _ => None,
        };
        Self { fingerprint: Fingerprint::of(key), flaw }
    }
}

/// Overwrites all that the manifest of a Secret says in its entries and annotations; for whoever
/// has decoded it and lets go of it.
pub fn wipe(manifest: &mut Value) {
    fn all(value: &mut Value) {
        match value {
            Value::String(text) => text.zeroize(),
            Value::Array(items) => items.iter_mut().for_each(all),
            Value::Object(fields) => fields.values_mut().for_each(all),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    for pointer in ["/data", "/stringData", "/metadata/annotations"] {
        manifest.pointer_mut(pointer).into_iter().for_each(all);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::{Object, admit};

    fn secret(manifest: &Value) -> Secret {
        match admit(manifest).object {
            Some(Object::Secret(secret)) => Secret::clone(&secret),
            other => panic!("{other:?}"),
        }
    }

    /// The last annotation is what `kubectl apply` writes; the others are in the way of a careless search.
    fn manifest(kind: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": {"name": "a", "labels": {"team": "x"}, "annotations": {
                "a": "b", "kubectl.kubernetes.io/last-applied-configuration": "{\"stringData\":{\"api-key\":\"canary\"}}"}},
            "data": {"api-key": "Y2FuYXJ5"}, "stringData": {"org": "o", "zone": "z"}})
    }

    #[test]
    fn of_an_api_key_a_fingerprint_is_kept_and_of_other_entries_their_values() {
        let secret = secret(&manifest(API_KEY_SECRET));
        assert_eq!(secret.key, Some(ApiKey::of(b"canary")));
        assert_eq!(secret.data.keys().collect::<Vec<_>>(), ["org", "zone"]);
        assert_eq!(secret.data.get("org").map(Redacted::expose), Some(&b"o"[..]));
        assert_eq!((secret.data.get("api-key"), secret.data.get("x")), (None, None));
        assert_eq!(secret.metadata.label("team"), Some("x"));
    }

    #[test]
    fn a_secret_of_another_type_keeps_its_entries() {
        for kind in ["Opaque", "kubernetes.io/tls", "extauth.solo.io/oauth"] {
            let secret = secret(&manifest(kind));
            assert_eq!((secret.kind.as_ref(), secret.key), (kind, None));
            assert_eq!(secret.data.get("api-key").map(Redacted::expose), Some(&b"canary"[..]));
        }
    }

    #[test]
    fn a_label_says_until_when_in_two_forms_and_no_other() {
        let seconds =
            |label: &str| expires(label).map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(seconds("2027-01-31"), Some(1_801_353_600));
        assert_eq!(seconds("2027-01-31T18.30.05Z"), Some(1_801_353_600 + 18 * 3600 + 30 * 60 + 5));
        assert_eq!(seconds("1970-01-01"), Some(0));
        for wrong in [
            "",
            "soon",
            "2027-1-31",
            "2027-02-30",
            "2027-13-01",
            "20270131",
            "2027-01-31T",
            "2027-01-31T18.30Z",
            "2027-01-31T18.30.05",
            "2027-01-31T18:30:05Z",
            "2027-01-31T18.30.60Z",
            "2027-01-31T24.00.00Z",
            "2027-01-31T18.30.05z",
            "2027-01-31t18.30.05Z",
            "+002027-01-31",
            "1801353600",
            "2027-01-31 ",
            "2027-01-31T1830.05.Z",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong:?}");
        }
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_801_353_605);
        assert_eq!(expires(&expires_label(now)), Some(now));
    }

    #[test]
    fn what_no_header_can_hold_is_known_of_a_key() {
        let flaw = |key: &[u8]| ApiKey::of(key).flaw;
        assert_eq!((flaw(b""), flaw(b"a b"), flaw(b"a\n")), (Some(KeyFlaw::Empty), None, Some(KeyFlaw::LineBreak)));
        for key in [&b" a"[..], b"a ", b"a\tb", b"\na"] {
            assert_eq!(flaw(key), Some(KeyFlaw::Spaces), "{key:?}");
        }
        assert_ne!(ApiKey::of(b"a").fingerprint, ApiKey::of(b"a\n").fingerprint);
    }

    #[test]
    fn a_manifest_can_be_overwritten() {
        let mut manifest = manifest("Opaque");
        wipe(&mut manifest);
        assert!(!manifest.to_string().contains("canary") && !manifest.to_string().contains("Y2FuYXJ5"), "{manifest}");
        assert_eq!(manifest["metadata"]["name"], "a");
        wipe(&mut json!([1]));
        let mut misshapen = json!({"data": ["canary", ["canary"], {"a": ["x", "canary"]}], "stringData": "canary"});
        wipe(&mut misshapen);
        assert!(!misshapen.to_string().contains("canary"), "{misshapen}");
    }
}
