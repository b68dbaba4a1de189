//! Each folder of `testdata` is a story: what was applied, what was asked, what was answered, and what was said of each AuthConfig
//! (`said.txt`, which `UPDATE_GOLDEN=1` writes anew).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use extauth::Authority;
use extauth::report::report;
use serde::Deserialize;

use crate::support::{ask, authority, bringing, check, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Story {
    checks: Vec<Asked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    config_id: Option<String>,
    /// What the route says the user's header is.
    user_header: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    answer: i32,
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    removed: Vec<String>,
    /// `www-authenticate`; that of a missing key where a denial says nothing else.
    challenge: Option<String>,
}

/// The headers that the AuthConfig of this `config_id` reads, if it is served and does not read all.
fn reads(authority: &Authority, id: &str) -> Option<String> {
    let index = authority.index();
    let (namespace, name) = id.split_once('.')?;
    index.declared(&api::Name::new(namespace, name))?.reads().map(str::to_owned)
}

/// What is said of an object: its conditions, and each problem on a line of its own.
fn told(object: &api::ObjectRef, statuses: &[status::ObjectStatus]) -> String {
    let mut text = format!("{object}\n");
    for condition in statuses.iter().flat_map(|status| &status.conditions) {
        let status = condition.status.map_or("Unknown".to_owned(), |holds| holds.to_string());
        writeln!(text, "  {} {status} {}: {}", condition.kind, condition.reason, condition.message).unwrap();
        condition.problems.iter().for_each(|problem| writeln!(text, "    {:?} {problem}", problem.severity).unwrap());
    }
    text
}

#[test]
fn every_story_ends_as_told() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let (mut stories, mut few) = (0, 0);
    for folder in std::fs::read_dir(root).unwrap() {
        let folder = folder.unwrap().path();
        let text = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        let authority = authority(&text("input.yaml"));
        let story: Story = serde_norway::from_str(&text("checks.yaml")).unwrap();
        for asked in &story.checks {
            let headers: Vec<_> = asked.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let mut asks = check(asked.config_id.as_deref(), &headers);
            let said = &mut asks.attributes.as_mut().unwrap().context_extensions;
            said.extend(asked.user_header.iter().map(|name| ("user_header".to_owned(), name.clone())));
            let answer = read(&ask(&authority, &asks));
            let place = format!("{}: {}", folder.display(), asked.name);
            // Whoever brings only what the AuthConfig reads is answered the same.
            if let Some(brings) = asked.config_id.as_deref().and_then(|id| reads(&authority, id)) {
                few += 1;
                let answer_to_few = read(&ask(&authority, &bringing(&brings, asks)));
                assert_eq!(answer_to_few, answer, "{place}, asked with {brings} only");
            }
            assert_eq!(answer.status, asked.answer, "{place}");
            let challenge = asked.challenge.as_deref().unwrap_or("API key is missing or invalid");
            assert_eq!(answer.challenge.as_deref(), (asked.answer == 401).then_some(challenge), "{place}");
            assert_eq!((answer.set, answer.removed), (asked.set.clone(), asked.removed.clone()), "{place}");
        }
        let said: String = report(&authority.index()).iter().map(|(object, statuses)| told(object, statuses)).collect();
        let golden = folder.join("said.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(said, expected, "{}: UPDATE_GOLDEN=1 writes it anew", golden.display());
        stories += 1;
    }
    assert!(stories >= 10 && few >= 10, "{stories} stories, {few} questions with few headers");
}
