//! Takes out of requests what only authorization may say to the application, and what the application may take for
//! another part of the request than the rules looked at.
//!
//! Many applications cannot tell `X_User_Id` from `X-User-Id`: CGI and its heirs
//! write both `HTTP_X_USER_ID`. So a header is taken out however its words are
//! joined. It happens last, when everything that sets headers has set them, and
//! before the route's own header modifiers.

use ir::{Disowned, Policy, Settings};
use serde_json::{Value, json};

use super::{HttpFilter, InChain};
use crate::packed;

/// Removal of headers that clients may not set.
#[derive(Debug)]
pub struct DisownedHeaders;

impl HttpFilter for DisownedHeaders {
    fn name(&self) -> &'static str {
        "envoy.filters.http.header_mutation.disowned"
    }

    fn chain(&self, _settings: &Settings) -> Option<InChain> {
        InChain::on("envoy.extensions.filters.http.header_mutation.v3.HeaderMutation", json!({"mutations": {}}))
    }

    fn route(&self, policy: &Policy) -> Option<Value> {
        let remove = |regex| json!({"remove_on_match": {"key_matcher": {"safe_regex": {"regex": regex}}}});
        let mutations: Vec<Value> = policy.disowned.iter().flat_map(spellings).map(remove).collect();
        (!mutations.is_empty()).then(|| {
            packed(
                "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
                json!({"mutations": {"request_mutations": mutations}}),
            )
        })
    }
}

/// Expressions for every way to spell the header, in lower case as Envoy has it, but for the one that stays. One for each
/// joint of its words, so that each is small enough for Envoy to compile, whatever the name.
fn spellings(disowned: &Disowned) -> Vec<String> {
    let words: Vec<String> = disowned.name.split(|c: char| !c.is_ascii_alphanumeric()).map(regex::escape).collect();
    let joints: Vec<char> = disowned.name.chars().filter(|c| !c.is_ascii_alphanumeric()).collect();
    if !disowned.spelling_stays {
        return vec![words.join("[^a-z0-9]")];
    }
    // The first joint that differs is this one: those before it are as written, those after it any.
    let differing_at = |at: usize| {
        let mut spelt = words[0].clone();
        for (index, (joint, word)) in joints.iter().zip(&words[1..]).enumerate() {
            match index.cmp(&at) {
                std::cmp::Ordering::Less => spelt += &regex::escape(&joint.to_string()),
                std::cmp::Ordering::Equal => {
                    spelt += &format!("[^a-z0-9{}]", regex::escape(&joint.to_string()));
                }
                std::cmp::Ordering::Greater => spelt += "[^a-z0-9]",
            }
            spelt += word;
        }
        spelt
    };
    (0..joints.len()).map(differing_at).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn takes(name: &str, spelling_stays: bool, header: &str) -> bool {
        let regexes = spellings(&Disowned { name: name.to_owned(), spelling_stays });
        regexes.iter().any(|regex| regex::Regex::new(&format!("^(?:{regex})$")).unwrap().is_match(header))
    }

    #[test]
    fn every_spelling_goes_and_no_other_header() {
        for header in ["x-user-id", "x_user_id", "x_user-id", "x-user_id", "x.user~id"] {
            assert!(takes("x-user-id", false, header), "{header}");
            assert_eq!(takes("x-user-id", true, header), header != "x-user-id", "{header}");
        }
        for header in ["xuserid", "x-user-id2", "a-x-user-id", "x-user", "x--user-id"] {
            assert!(!takes("x-user-id", false, header) && !takes("x-user-id", true, header), "{header}");
        }
        assert!(takes("user", false, "user") && !takes("user", true, "user"));
        assert!(takes("a_b", true, "a-b") && !takes("a_b", true, "a_b"));
    }
}
