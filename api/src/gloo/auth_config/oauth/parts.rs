//! What several ways of OAuth 2.0 have in common: addresses, scopes, Secrets, and what claims become.

use std::collections::{BTreeMap, BTreeSet};

use super::ClaimToHeader;
use crate::gloo::ResourceRef;
use crate::gloo::auth_config::Target;
use crate::gloo::auth_config::said::Said;
use crate::header::{self, HeaderUse};

/// More entries of one list are a mistake.
pub(super) const MOST_ENTRIES: usize = 64;
/// A longer text in a token is none.
pub(super) const LONGEST: usize = 1024;

/// What is wrong with a URL that must be there.
pub(super) fn url(at: &str, url: Option<&str>, said: &mut Said<'_>) {
    match url.filter(|url| !url.is_empty()) {
        None => said.wrong(at, "missing: write http:// or https://, a host and a path"),
        Some(url) => {
            if let Err(why) = Target::of_url(url) {
                said.wrong(at, why);
            }
        }
    }
}

/// What is wrong with a list of scopes.
pub(super) fn are_scopes(at: &str, scopes: &[String], said: &mut Said<'_>) {
    // RFC 6749, 3.3.
    let is_scope = |scope: &String| {
        !scope.is_empty()
            && scope.len() <= LONGEST
            && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
    };
    if let Some(wrong) = scopes.iter().find(|scope| !is_scope(scope)) {
        said.wrong(at, format!("{wrong:?} is no scope: write each as an item of its own, without spaces and quotes"));
    }
    if scopes.len() > MOST_ENTRIES {
        said.wrong(at, format!("more than {MOST_ENTRIES} scopes"));
    }
}

/// What is wrong with a reference to a Secret by an AuthConfig of `namespace`, which says what is done with it.
pub(super) fn own_secret(at: &str, reference: &ResourceRef, namespace: &str, said: &mut Said<'_>) {
    if reference.name.is_empty() {
        said.wrong(&format!("{at}.name"), "empty: write the name of a Secret");
    }
    if !reference.namespace.is_empty() && reference.namespace != namespace {
        let why =
            "is another than that of this AuthConfig, which says where the secret is sent; keep both in one namespace";
        said.wrong(&format!("{at}.namespace"), why);
    }
}

/// What is wrong with headers that are made of claims.
pub(super) fn headers(list: &str, claims: &[ClaimToHeader], said: &mut Said<'_>) {
    if claims.len() > MOST_ENTRIES {
        said.wrong(list, format!("more than {MOST_ENTRIES} entries"));
    }
    let mut seen = BTreeSet::new();
    for (index, ClaimToHeader { claim, header, append }) in claims.iter().enumerate() {
        let at = format!("{list}[{index}]");
        if !claim.as_deref().is_some_and(|claim| (1..=LONGEST).contains(&claim.len())) {
            said.wrong(&format!("{at}.claim"), "missing: write the name of a claim");
        }
        let header = header.as_deref().unwrap_or_default();
        if let Err(why) = header::check(header, HeaderUse::Write) {
            said.wrong(&format!("{at}.header"), why);
        } else if !seen.insert(header.to_ascii_lowercase()) && !append {
            said.wrong(
                &format!("{at}.header"),
                format!("{header:?} stands there twice; write append: true to have both"),
            );
        }
    }
}

/// What is wrong with metadata that are made of claims.
pub(super) fn metadata(claims: &BTreeMap<String, String>, said: &mut Said<'_>) {
    let at = ".dynamicMetadataFromClaims";
    if claims.len() > MOST_ENTRIES {
        said.wrong(at, format!("more than {MOST_ENTRIES} entries"));
    }
    for (key, claim) in claims {
        if key.is_empty() || key.len() > LONGEST {
            said.wrong(at, "a key is empty or too long; write the name that metadata is to have");
        }
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if claim.is_empty() || claim.len() > LONGEST || !claim.bytes().all(letter) {
            said.wrong(
                &format!("{at}.{key}"),
                format!("{claim:?} is no claim that can be put there: letters, digits, - and _"),
            );
        }
    }
}
