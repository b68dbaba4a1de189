//! What is kept on files is what was written, or nothing.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use proto::google::protobuf::Any;

use super::*;

fn resource(kind: ResourceType, name: &str, body: &str) -> Arc<Resource> {
    let body = Any { type_url: kind.type_url().to_owned(), value: body.as_bytes().to_vec() };
    Arc::new(Resource { name: name.to_owned(), version: format!("{:?}", body.value.len()), body })
}

fn set(all: &[(ResourceType, &str, &str)]) -> Arc<ResourceSet> {
    let mut set = ResourceSet::new();
    for (kind, name, body) in all {
        set.entry(*kind).or_default().insert((*name).to_owned(), resource(*kind, name, body));
    }
    Arc::new(set)
}

fn shown(set: Option<&Arc<ResourceSet>>) -> Vec<(ResourceType, String, Vec<u8>)> {
    let all = set.into_iter().flat_map(|set| set.iter());
    let all = all.flat_map(|(kind, named)| named.values().map(|one| (*kind, one.name.clone(), one.body.value.clone())));
    all.collect()
}

struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn of(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self) -> (Kept, Option<Arc<ResourceSet>>) {
        Kept::open("t~a".to_owned(), &self.of("run"), Some(&self.of("secrets")))
    }

    fn file(&self, dir: &str) -> PathBuf {
        self.of(dir).join(FILE)
    }
}

use ResourceType::{Cluster, Endpoint, Secret};

#[test]
fn what_was_written_is_there_again_and_secrets_are_in_a_file_of_their_own() {
    let folders = Folders::new();
    let (mut kept, none) = folders.open();
    assert!(none.is_none());
    let first = set(&[(Cluster, "a", "one"), (Cluster, "b", "two"), (Secret, "key", "canary")]);
    kept.follow(&Change::Whole(first.clone()), Some(&first));
    let step =
        Change::Step { kind: Cluster, added: vec![resource(Cluster, "c", "three")], removed: vec!["a".to_owned()] };
    kept.follow(&step, None);
    let step = Change::Step { kind: Secret, added: vec![resource(Secret, "key", "canary 2")], removed: vec![] };
    kept.follow(&step, None);
    drop(kept);
    let now = set(&[(Cluster, "b", "two"), (Cluster, "c", "three"), (Secret, "key", "canary 2")]);
    let (mut kept, read) = folders.open();
    assert_eq!(shown(read.as_ref()), shown(Some(&now)));
    let holds = |dir: &str| String::from_utf8_lossy(&fs::read(folders.file(dir)).unwrap()).contains("canary");
    assert_eq!((holds("run"), holds("secrets")), (false, true));
    for dir in ["run", "secrets"] {
        assert_eq!(fs::metadata(folders.file(dir)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // It goes on where it was.
    kept.follow(&Change::Step { kind: Endpoint, added: vec![resource(Endpoint, "b", "e")], removed: vec![] }, None);
    let (mut kept, read) = folders.open();
    assert_eq!(shown(read.as_ref()).len(), 4);
    kept.follow(&Change::Stale, None);
    assert!(folders.open().1.is_none() && !folders.file("run").exists() && !folders.file("secrets").exists());
}

#[test]
fn what_is_of_another_envoy_another_time_or_without_its_secrets_is_not_used() {
    let whole = set(&[(Cluster, "a", "one"), (Secret, "key", "k")]);
    let written = || {
        let folders = Folders::new();
        folders.open().0.follow(&Change::Whole(whole.clone()), None);
        folders
    };
    assert!(written().open().1.is_some());
    let folders = written();
    let other = Kept::open("t~b".to_owned(), &folders.of("run"), Some(&folders.of("secrets")));
    assert!(other.1.is_none());
    assert!(folders.open().1.is_none(), "it was taken away");
    let folders = written();
    fs::remove_file(folders.file("secrets")).unwrap();
    assert!(folders.open().1.is_none());
    // Secrets of another moment.
    let (one, two) = (written(), written());
    fs::copy(two.file("secrets"), one.file("secrets")).unwrap();
    assert!(one.open().1.is_none());
    // The machine was started anew.
    let folders = written();
    for dir in ["run", "secrets"] {
        let (_, head, responses) = Journal::read(&folders.file(dir), MOST).unwrap();
        let boot = head.split('\n').nth(2).unwrap().to_owned();
        Journal::begin(&folders.file(dir), &head.replace(&boot, "before"), responses.into_iter(), MOST).unwrap();
    }
    assert!(folders.open().1.is_none());
    // Nobody said where secrets may be.
    let folders = Folders::new();
    let (mut kept, _) = Kept::open("t~a".to_owned(), &folders.of("run"), None);
    kept.follow(&Change::Whole(whole), None);
    assert!(!folders.file("run").exists());
}

#[test]
fn a_file_that_grows_is_written_anew_and_what_is_too_much_is_not_kept() {
    let folders = Folders::new();
    let (mut kept, _) = folders.open();
    let long = "x".repeat(1 << 20);
    let now = set(&[(Cluster, "a", &long)]);
    kept.follow(&Change::Whole(now.clone()), Some(&now));
    for _ in 0..30 {
        let added = vec![resource(Cluster, "a", &long)];
        kept.follow(&Change::Step { kind: Cluster, added, removed: vec![] }, Some(&now));
    }
    let length = fs::metadata(folders.file("run")).unwrap().len();
    assert!(length < 8 << 20, "{length}");
    assert_eq!(shown(folders.open().1.as_ref()), shown(Some(&now)));
    let secret = "x".repeat(MOST_SECRETS as usize);
    let much = Change::Step { kind: Secret, added: vec![resource(Secret, "s", &secret)], removed: vec![] };
    kept.follow(&much, Some(&now));
    assert!(folders.open().1.is_none());
    // Nor are steps from there, until there is a whole.
    kept.follow(&Change::Step { kind: Cluster, added: vec![], removed: vec!["a".to_owned()] }, None);
    assert!(folders.open().1.is_none());
    kept.follow(&Change::Whole(now.clone()), Some(&now));
    assert!(folders.open().1.is_some());
}

proptest! {
    /// Killed while it writes, or changed by somebody else.
    #[test]
    fn of_a_file_that_is_cut_off_the_beginning_counts_and_of_one_that_is_changed_nothing(
        cut in any::<prop::sample::Index>(),
        changed in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let folders = Folders::new();
        let (mut kept, _) = folders.open();
        let mut states = vec![set(&[(Cluster, "a", "0")])];
        kept.follow(&Change::Whole(states[0].clone()), None);
        let began = fs::metadata(folders.file("run")).unwrap().len() as usize;
        for step in 1..6 {
            let body = step.to_string();
            kept.follow(&Change::Step { kind: Cluster, added: vec![resource(Cluster, "a", &body)], removed: vec![] }, None);
            states.push(set(&[(Cluster, "a", &body)]));
        }
        drop(kept);
        let bytes = fs::read(folders.file("run")).unwrap();
        let cut = began + cut.index(bytes.len() - began + 1);
        fs::write(folders.file("run"), &bytes[..cut]).unwrap();
        let secrets = fs::read(folders.file("secrets")).unwrap();
        let read = folders.open().1;
        let known = states.iter().position(|state| shown(Some(state)) == shown(read.as_ref()));
        prop_assert!(known.is_some());
        prop_assert_eq!(known == Some(5), cut == bytes.len());

        let mut other = bytes.clone();
        let at = changed.index(bytes.len());
        other[at] ^= 1 << bit;
        fs::write(folders.file("run"), &other).unwrap();
        fs::write(folders.file("secrets"), &secrets).unwrap();
        // A length that leads beyond the end reads like a file that was cut off.
        let read = folders.open().1;
        let known = states.iter().any(|state| shown(Some(state)) == shown(read.as_ref()));
        prop_assert!(read.is_none() || known);
    }
}
