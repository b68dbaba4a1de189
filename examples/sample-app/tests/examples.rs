//! Every manifest under `examples/` is admitted without a word.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use api::{Kind, ObjectRef};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every YAML file in `folder`, at any depth.
fn manifests(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn documents(file: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(file).unwrap();
    waykeeper_tests::manifests::documents(&text)
}

#[test]
fn every_example_is_admitted_without_problems() {
    let mut complaints = Vec::new();
    let files = manifests(&examples());
    assert!(files.len() >= 14, "{files:?}");
    for file in files {
        for document in documents(&file) {
            let admission = api::admit(&document);
            if admission.rejected() || !admission.problems.is_empty() {
                complaints.push(format!("{}: {:?}", file.display(), admission.problems));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn no_two_documents_of_a_folder_are_the_same_object() {
    for folder in ["httpbin", "walkthrough-000/header-control", "walkthrough-000/apikeys"]
        .into_iter()
        .chain(["walkthrough-000/ratelimit-httpbin2", "walkthrough-000/ratelimit-httpbin3"])
    {
        let mut seen = BTreeSet::<ObjectRef>::new();
        for document in manifests(&examples().join(folder)).iter().flat_map(|file| documents(file)) {
            let reference = api::admit(&document).reference.unwrap();
            assert!(seen.insert(reference.clone()), "{folder}: {reference} twice");
        }
    }
}

#[test]
fn the_httpbin_example_has_everything_the_walkthrough_starts_from() {
    let present: BTreeSet<_> = manifests(&examples().join("httpbin"))
        .iter()
        .flat_map(|file| documents(file))
        .map(|document| api::admit(&document).reference.unwrap())
        .collect();
    for app in ["httpbin2", "httpbin3", "client"] {
        for kind in [Kind::ServiceAccount, Kind::Service, Kind::Deployment, Kind::EndpointSlice] {
            assert!(present.contains(&ObjectRef::new(kind, "httpbin", app)), "{kind} {app}");
        }
        assert!(present.contains(&ObjectRef::new(Kind::Pod, "httpbin", format!("{app}-0"))), "Pod of {app}");
    }
    assert!(present.contains(&ObjectRef::new(Kind::Gateway, "httpbin", "gloo-waypoint")));
    assert!(present.contains(&ObjectRef::new(Kind::Namespace, "", "httpbin")));
    assert!(present.contains(&ObjectRef::new(Kind::Namespace, "", "gloo-system")));
}
