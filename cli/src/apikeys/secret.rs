//! A key and the Secret that holds it. Pure, but for the randomness of keys.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::bail;
use api::Name;
use api::secret::{API_KEY, API_KEY_SECRET, EXPIRES, KeyFlaw, expires_label};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// On a Secret that was made by rotation: the one in whose place it is.
const REPLACES: &str = "waykeeper.dev/replaces";

/// So many characters of a fingerprint are shown.
const SHOWN: usize = 8;

/// A new key of so many random bytes, of letters, digits, `-` and `_`.
pub fn generate(bytes: usize) -> Zeroizing<String> {
    let mut random = Zeroizing::new(vec![0; bytes]);
    rand::fill(random.as_mut_slice());
    Zeroizing::new(URL_SAFE_NO_PAD.encode(random.as_slice()))
}

/// How a key is told from others without being shown: the beginning of its SHA-256, as `sha256sum` prints it.
pub fn fingerprint(key: &[u8]) -> String {
    let digest = Sha256::digest(key);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex[..SHOWN].to_owned()
}

/// Why no request can hold a key.
pub fn why(flaw: KeyFlaw) -> &'static str {
    match flaw {
        KeyFlaw::Empty => "it is empty",
        KeyFlaw::LineBreak => "it ends with a line break",
        KeyFlaw::Spaces => "it has spaces around it or control characters in it",
    }
}

/// The Secret.
///
/// # Errors
/// When it would not be valid: what is wrong with which field.
pub fn manifest(
    name: &Name,
    labels: &BTreeMap<String, String>,
    entries: &BTreeMap<String, String>,
    key: &str,
) -> anyhow::Result<Value> {
    if entries.contains_key(API_KEY) {
        bail!("the entry {API_KEY} holds the key itself");
    }
    let mut data: Map<String, Value> =
        entries.iter().map(|(entry, value)| (entry.clone(), STANDARD.encode(value).into())).collect();
    data.insert(API_KEY.to_owned(), STANDARD.encode(key).into());
    let mut metadata = json!({"name": name.name, "namespace": name.namespace});
    if !labels.is_empty() {
        metadata["labels"] = json!(labels);
    }
    checked(json!({"apiVersion": "v1", "kind": "Secret", "type": API_KEY_SECRET, "metadata": metadata, "data": data}))
}

/// The Secret `new`, which is as `source` is, with another key, good until `expires` or for ever.
///
/// # Errors
/// When it would not be valid.
pub fn rotated(
    source: &Value,
    old: &Name,
    new: &Name,
    key: &str,
    expires: Option<SystemTime>,
) -> anyhow::Result<Value> {
    let mut data = source["data"].as_object().cloned().unwrap_or_default();
    for (entry, text) in source["stringData"].as_object().into_iter().flatten() {
        data.insert(entry.clone(), STANDARD.encode(text.as_str().unwrap_or_default()).into());
    }
    data.insert(API_KEY.to_owned(), STANDARD.encode(key).into());
    let mut labels = source.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    labels.remove(EXPIRES);
    labels.extend(expires.map(|until| (EXPIRES.to_owned(), expires_label(until).into())));
    let metadata = json!({"name": new.name, "namespace": new.namespace, "labels": labels,
        "annotations": {REPLACES: old.name}});
    checked(json!({"apiVersion": "v1", "kind": "Secret", "type": API_KEY_SECRET, "metadata": metadata, "data": data}))
}

fn checked(manifest: Value) -> anyhow::Result<Value> {
    let admission = api::admit(&manifest);
    if admission.rejected() {
        let wrong: Vec<String> = admission.problems.iter().map(ToString::to_string).collect();
        bail!("{}", wrong.join("; "));
    }
    Ok(manifest)
}

/// The name of the Secret that takes the place of `old`, with a key of this fingerprint.
pub fn successor(old: &str, fingerprint: &str) -> String {
    let is_mark = |mark: &str| mark.len() == SHOWN && mark.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let stem = old.rsplit_once('-').filter(|(_, mark)| is_mark(mark)).map_or(old, |(stem, _)| stem);
    // Names have 253 characters at most.
    let stem = &stem[..stem.len().min(253 - 1 - SHOWN)];
    format!("{}-{fingerprint}", stem.trim_end_matches(['-', '.']))
}

/// The key in the manifest of a Secret.
pub fn key_of(manifest: &Value) -> Option<Zeroizing<Vec<u8>>> {
    if let Some(text) = manifest["stringData"][API_KEY].as_str() {
        return Some(Zeroizing::new(text.as_bytes().to_vec()));
    }
    let text = manifest["data"][API_KEY].as_str()?;
    let compact: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    STANDARD.decode(compact.as_bytes()).ok().map(Zeroizing::new)
}

/// `text` without its document of this number, from 1; none if nothing but comments is left.
pub fn without_document(text: &str, number: usize) -> Option<String> {
    let mut documents = documents(text);
    if (1..=documents.len()).contains(&number) {
        documents.remove(number - 1);
    }
    documents.iter().any(|document| is_something(document)).then(|| documents.concat())
}

/// `text` with another document of this number, from 1.
pub fn with_document(text: &str, number: usize, document: &str) -> String {
    let mut documents = documents(text);
    if let Some(one) = documents.get_mut(number - 1) {
        let marker = if number > 1 || one.lines().any(is_marker) { "---\n" } else { "" };
        *one = format!("{marker}{document}");
    }
    documents.concat()
}

/// The documents of `text`, each with the marker before it and the comments around it.
fn documents(text: &str) -> Vec<String> {
    let mut documents: Vec<String> = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if is_marker(line) && documents.last().is_some_and(|document| is_something(document)) {
            documents.push(String::new());
        }
        if let Some(document) = documents.last_mut() {
            document.push_str(line);
        }
    }
    documents
}

/// Whether a line begins a document.
fn is_marker(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Whether a document has more than comments.
fn is_something(document: &str) -> bool {
    let text = |line: &str| !line.trim_start().starts_with('#') && !line.trim().is_empty() && !is_marker(line);
    document.lines().any(|line| text(line) || (is_marker(line) && !line["---".len()..].trim().is_empty()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_key_is_random_and_every_header_can_hold_it() {
        let (one, other) = (generate(32), generate(32));
        assert_ne!(one, other);
        assert_eq!(one.len(), 43);
        assert!(one.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
    }

    #[test]
    fn a_fingerprint_is_what_sha256sum_prints() {
        assert_eq!(fingerprint(b"abc"), "ba7816bf");
    }

    #[test]
    fn a_secret_is_as_the_servers_take_it_or_says_what_is_wrong() {
        let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let name = Name::new("default", "k");
        let made = manifest(&name, &map("team", "x"), &map("organization", "solo.io"), "canary").unwrap();
        assert_eq!(key_of(&made).unwrap().as_slice(), b"canary");
        assert_eq!(made["type"], "extauth.solo.io/apikey");
        assert!(!made.to_string().contains("canary"), "not in plain text");
        for (name, entry) in [("K", "a"), ("a/b", "a"), ("k", "api-key"), ("k", "a b"), ("k", "")] {
            let wrong = manifest(&Name::new("default", name), &BTreeMap::new(), &map(entry, "v"), "canary");
            let wrong = wrong.unwrap_err().to_string();
            assert!(!wrong.contains("canary"), "{wrong}");
        }
    }

    #[test]
    fn the_successor_is_the_same_but_for_its_key_and_name() {
        let source = json!({"metadata": {"labels": {"team": "x"}, "annotations": {"a": "b"}},
            "data": {"api-key": "b2xk", "zone": "eg=="}, "stringData": {"org": "o"}});
        let (old, new) = (Name::new("t", "k"), Name::new("t", "k-00000000"));
        let made = rotated(&source, &old, &new, "new", None).unwrap();
        assert_eq!(made["metadata"]["labels"], json!({"team": "x"}));
        let ending = rotated(&made, &old, &new, "new", api::secret::expires("2027-01-31")).unwrap();
        assert_eq!(ending["metadata"]["labels"], json!({"team": "x", EXPIRES: "2027-01-31T00.00.00Z"}));
        assert_eq!(rotated(&ending, &old, &new, "n", None).unwrap()["metadata"]["labels"], json!({"team": "x"}));
        assert_eq!(made["metadata"]["annotations"], json!({"waykeeper.dev/replaces": "k"}));
        assert_eq!(made["data"], json!({"api-key": "bmV3", "zone": "eg==", "org": "bw=="}));
        assert_eq!(successor("k", "00000000"), "k-00000000");
        assert_eq!(successor("k-00000000", "11111111"), "k-11111111");
        assert_eq!(successor("infra-team", "11111111"), "infra-team-11111111");
        assert_eq!(successor(&"a".repeat(253), "11111111").len(), 253);
    }

    #[test]
    fn one_document_goes_and_the_others_stay_as_they_are_written() {
        let text = "# keys\n---\na: 1\n--- # second\nb: |\n  x\n  --- not a marker\n---\n\n# third\nc: 3\n";
        assert_eq!(without_document(text, 2).unwrap(), "# keys\n---\na: 1\n---\n\n# third\nc: 3\n");
        assert_eq!(
            without_document(text, 1).unwrap(),
            "--- # second\nb: |\n  x\n  --- not a marker\n---\n\n# third\nc: 3\n"
        );
        assert_eq!(without_document("---\na: 1\n", 1), None);
        assert_eq!(without_document("# only a comment\na: 1\n---\n# and this\n", 1), None);
        assert_eq!(without_document("a: 1\n", 7).unwrap(), "a: 1\n");
        assert_eq!(with_document(text, 2, "new: 2\n"), "# keys\n---\na: 1\n---\nnew: 2\n---\n\n# third\nc: 3\n");
        assert_eq!(with_document("a: 1\n---\nb: 2\n", 1, "new: 1\n"), "new: 1\n---\nb: 2\n");
        assert_eq!(with_document("---\na: 1\n", 1, "new: 1\n"), "---\nnew: 1\n");
        assert_eq!(without_document("--- {a: 1}\n--- {b: 1}\n", 1).unwrap(), "--- {b: 1}\n");
    }
}
