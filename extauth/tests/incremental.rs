//! Compiling by what changed gives what compiling everything anew gives, whatever was edited in
//! whatever order, and touches what an edit concerns and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Kind, Name, ObjectRef, Snapshot, admit};
use extauth::report::{diff, report};
use extauth::{Authority, Compilation, Index};
use proptest::prelude::*;
use serde_json::{Value, json};
use status::Board;

use crate::support::{ask, bringing, check, compiler, read};

const KEYS: [&str; 4] = ["k0", "k1", "k2", "k3"];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// One edit of what is declared.
#[derive(Debug, Clone)]
enum Edit {
    /// This manifest is saved.
    Save(Value),
    /// The manifest is saved, and cannot be used; nor can an earlier one.
    Break(Value),
    /// The object is deleted.
    Delete(Kind, &'static str),
    /// Not all could be read, or all can be.
    Withhold(bool),
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn labels() -> impl Strategy<Value = BTreeMap<&'static str, &'static str>> {
    let key = prop::sample::select(&["team", "zone"][..]);
    prop::collection::btree_map(key, prop::sample::select(&["x", "y"][..]), 0..3)
}

fn secret() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![4 => Just("extauth.solo.io/apikey"), 1 => Just("Opaque")];
    let key = prop::option::weighted(0.9, prop::sample::select(&[KEYS[0], KEYS[1], KEYS[2], KEYS[3], "", "k0\n"][..]));
    let age = prop::option::of(prop::sample::select(&["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"][..]));
    (name(), kind, key, labels(), any::<bool>(), age).prop_map(|(name, kind, key, labels, org, age)| {
        let mut data = serde_json::Map::new();
        data.extend(key.map(|key| ("api-key".to_owned(), key.into())));
        data.extend(org.then(|| ("org".to_owned(), name.into())));
        let mut metadata = json!({"name": name, "labels": labels});
        metadata["creationTimestamp"] = age.map_or(Value::Null, Value::from);
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": data})
    })
}

fn step() -> impl Strategy<Value = Value> {
    let references = prop::collection::vec(name().prop_map(|name| json!({"name": name})), 0..3);
    let keys =
        (labels(), references, any::<bool>(), any::<bool>()).prop_map(|(labels, references, newer, required)| {
            let source = json!({"labelSelector": labels, "apiKeySecretRefs": &references});
            let mut step = if newer { json!({"k8sSecretApikeyStorage": source}) } else { source };
            step["headersFromMetadataEntry"] = json!({"x-org": {"name": "org", "required": required}});
            // So edits change which headers are read.
            step["headerName"] = if references.len() == 1 { "x-key".into() } else { Value::Null };
            json!({"apiKeyAuth": step})
        });
    let users = Just(json!({"basicAuth": {"apr": {"users": {"u": {"salt": "s", "hashedPassword": "no hash"}}}}}));
    prop_oneof![6 => keys, 1 => users]
}

fn auth_config() -> impl Strategy<Value = Value> {
    let expression =
        prop::option::of(prop::sample::select(&["config_0", "!config_0", "config_0 || config_1", "?"][..]));
    (name(), prop::collection::vec(step(), 1..3), expression).prop_map(|(name, steps, expression)| {
        json!({"apiVersion": "extauth.solo.io/v1", "kind": "AuthConfig", "metadata": {"name": name},
            "spec": {"configs": steps, "booleanExpr": expression}})
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    let broken = |mut manifest: Value| {
        manifest["metadata"]["labels"] = json!([1]);
        Edit::Break(manifest)
    };
    prop_oneof![
        8 => secret().prop_map(Edit::Save),
        5 => auth_config().prop_map(Edit::Save),
        1 => secret().prop_map(broken),
        1 => auth_config().prop_map(broken),
        2 => name().prop_map(|name| Edit::Delete(Kind::Secret, name)),
        2 => name().prop_map(|name| Edit::Delete(Kind::AuthConfig, name)),
        1 => any::<bool>().prop_map(Edit::Withhold),
    ]
}

impl Edit {
    fn make(&self, snapshot: &mut Snapshot) {
        match self {
            Edit::Save(manifest) => snapshot.declare(admit(manifest)),
            Edit::Break(manifest) => {
                let admission = admit(manifest);
                assert!(admission.rejected());
                snapshot.remove(admission.reference.as_ref().unwrap());
                snapshot.declare(admission);
            }
            Edit::Delete(kind, name) => snapshot.remove(&ObjectRef::new(*kind, "default", *name)),
            Edit::Withhold(false) => snapshot.withheld.clear(),
            Edit::Withhold(true) => {
                snapshot.withheld = vec![api::Withheld { place: "a.yaml".into(), why: "a tab".into() }];
            }
        }
    }
}

/// What every AuthConfig says to every key, and to none, at the time `now`.
fn answers(index: &Arc<Index>, now: Instant) -> Vec<String> {
    let authority = Authority::new();
    authority.install(index.clone());
    let mut answers = Vec::new();
    for name in NAMES {
        let id = format!("default.{name}");
        if let Err(why) = index.find(Some(&id), None, now) {
            answers.push(format!("{id}: {why:?}"));
            continue;
        }
        for key in KEYS.into_iter().chain(["", "k9", "k0\n"]) {
            let answer = read(&ask(&authority, &check(Some(&id), &[("api-key", key), ("x-key", key)])));
            answers.push(format!("{id} {key:?}: {answer:?}"));
        }
        for brings in ["api-key,x-org", "x-key,x-org", "api-key,x-key,x-org", "authorization"] {
            let found = index.find(Some(&id), Some(brings), now);
            answers.push(format!("{id} asked with {brings}: {:?}", found.err()));
            for key in found.iter().flat_map(|_| KEYS) {
                let sent = brings.split(',').filter(|name| name.ends_with("-key")).map(|name| (name, key));
                let question = bringing(brings, check(Some(&id), &sent.collect::<Vec<_>>()));
                let answer = read(&ask(&authority, &question));
                // Whichever version it is, the one that is declared lets them in as well.
                let declared = || read(&ask(&authority, &check(Some(&id), &[("api-key", key), ("x-key", key)])));
                assert!(answer.status != 200 || declared().status == 200, "{id} asked with {brings} and {key}");
                answers.push(format!("{id} asked with {brings} and {key}: {answer:?}"));
            }
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn compiling_what_changed_equals_compiling_all(edits in prop::collection::vec((edit(), 0..12_000_u64), 1..24)) {
        let (compiler, mut now) = (compiler(), Instant::now());
        let mut snapshot = Snapshot::default();
        let mut last = Compilation::default();
        let mut board = Board::default();
        for (edit, millis) in edits {
            now += Duration::from_millis(millis);
            edit.make(&mut snapshot);
            snapshot.revision += 1;
            let before = last.index.clone();
            let anew = compiler.compile(Compilation::resuming(before.clone()), &snapshot, now).index;
            last = compiler.compile(last, &snapshot, now);

            prop_assert_eq!((last.index.revision, last.index.withheld), (anew.revision, anew.withheld));
            prop_assert_eq!(report(&last.index), report(&anew), "after {:?}", edit);
            prop_assert_eq!(last.index.next_removal(), anew.next_removal());
            prop_assert_eq!(answers(&last.index, now), answers(&anew, now), "after {:?}", edit);
            // Those that were removed aside, it depends on nothing but what is declared.
            let first = compiler.compile(Compilation::default(), &snapshot, now);
            prop_assert_eq!(report(&last.index), report(&first.index));
            // Whoever hears only what changed knows everything.
            board.apply("extauth", diff(&last));
            let said = board.merged().into_iter().map(|(object, said)| (object, said.into_iter().map(|(_, s)| s).collect()));
            prop_assert_eq!(said.collect::<status::Report>(), report(&last.index));
            // Whatever was not touched is the very same.
            for name in NAMES.map(|name| Name::new("default", name)).iter().filter(|name| !last.touched.contains(name)) {
                let chain = |index: &Index| index.declared(name).map(|compiled| compiled.chain.as_ref().map(Arc::as_ptr));
                prop_assert_eq!(chain(&last.index), chain(&before));
            }
        }
    }
}

fn secret_of(name: &str, labels: Value, key: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "extauth.solo.io/apikey",
        "metadata": {"name": name, "labels": labels}, "stringData": {"api-key": key}})
}

fn reading(name: &str, source: Value) -> Value {
    json!({"apiVersion": "extauth.solo.io/v1", "kind": "AuthConfig", "metadata": {"name": name},
        "spec": {"configs": [{"apiKeyAuth": source}]}})
}

#[test]
fn an_edit_of_a_secret_touches_those_who_select_or_name_it_and_no_others() {
    let compiler = compiler();
    let mut snapshot = Snapshot::of(&[
        reading("by-team", json!({"labelSelector": {"team": "x"}})),
        reading("by-both", json!({"labelSelector": {"team": "x", "zone": "w"}})),
        reading("other-team", json!({"labelSelector": {"team": "y"}})),
        reading("by-name", json!({"apiKeySecretRefs": [{"name": "s"}]})),
        reading("missing", json!({"apiKeySecretRefs": [{"name": "t", "namespace": "elsewhere"}]})),
    ]);
    let mut last = compiler.compile(Compilation::default(), &snapshot, Instant::now());
    assert_eq!(last.touched.len(), 5);
    let mut touched = |edit: &dyn Fn(&mut Snapshot)| -> Vec<String> {
        edit(&mut snapshot);
        snapshot.revision += 1;
        last = compiler.compile(std::mem::take(&mut last), &snapshot, Instant::now());
        last.touched.iter().map(|name| name.name.clone()).collect()
    };
    let save = |manifest: Value| move |snapshot: &mut Snapshot| snapshot.declare(admit(&manifest));
    assert_eq!(touched(&save(secret_of("s", json!({"team": "x"}), "k"))), ["by-name", "by-team"]);
    // Out of one selector and into another: both.
    assert_eq!(touched(&save(secret_of("s", json!({"team": "y"}), "k"))), ["by-name", "by-team", "other-team"]);
    assert_eq!(touched(&save(secret_of("u", json!({"team": "x", "zone": "w"}), "k"))), ["by-both", "by-team"]);
    assert_eq!(touched(&save(secret_of("u", json!({"team": "x", "zone": "v"}), "k"))), ["by-both", "by-team"]);
    assert_eq!(touched(&save(secret_of("u", json!({"team": "x", "zone": "v"}), "l"))), ["by-team"]);
    assert_eq!(touched(&save(secret_of("v", json!({"zone": "w"}), "k"))), [""; 0]);
    let mut elsewhere = secret_of("t", json!([1]), "k");
    elsewhere["metadata"]["namespace"] = "elsewhere".into();
    assert_eq!(touched(&save(elsewhere)), ["missing"], "a broken one is not a missing one");
    assert_eq!(touched(&|snapshot| snapshot.remove(&ObjectRef::new(Kind::Secret, "default", "u"))), ["by-team"]);
    assert_eq!(touched(&|_| {}), [""; 0]);
    assert_eq!(touched(&save(reading("by-team", json!({"labelSelector": {"team": "z"}})))), ["by-team"]);
    assert_eq!(touched(&save(secret_of("w", json!({"team": "x"}), "k"))), [""; 0], "nobody selects these any more");
    assert_eq!(touched(&save(secret_of("w", json!({"team": "z"}), "k"))), ["by-team"]);
}

#[test]
fn many_secrets_and_one_edit() {
    let compiler = compiler();
    let team = |number: usize| json!({"team": format!("t{}", number / 10)});
    let secrets = (0..1_000).map(|number| secret_of(&format!("s{number}"), team(number), &format!("key-{number}")));
    let configs = (0..100).map(|number| reading(&format!("c{number}"), json!({"labelSelector": team(number * 10)})));
    let mut snapshot = Snapshot::of(&secrets.chain(configs).collect::<Vec<_>>());
    let first = compiler.compile(Compilation::default(), &snapshot, Instant::now());
    snapshot.declare(admit(&secret_of("s777", team(777), "new")));
    snapshot.revision += 1;
    let second = compiler.compile(first.clone(), &snapshot, Instant::now());
    assert_eq!(second.touched, BTreeSet::from([Name::new("default", "c77")]));
    let authority = Authority::new();
    let status = |index: &Arc<Index>, key: &str| {
        authority.install(index.clone());
        read(&ask(&authority, &check(Some("default.c77"), &[("api-key", key)]))).status
    };
    assert_eq!((status(&first.index, "key-777"), status(&first.index, "new")), (200, 401));
    assert_eq!((status(&second.index, "key-777"), status(&second.index, "new")), (401, 200));
    assert_eq!(status(&second.index, "key-778"), 200);
}
