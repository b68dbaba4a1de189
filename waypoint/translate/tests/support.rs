//! Golden cases: reading a folder's manifests, translating, printing.
#![allow(clippy::unwrap_used, missing_docs, dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::Snapshot;
use proto::yaml;
use serde_json::{Value, json};
use waypoint_translate::{Enrolment, GrpcTarget, Settings, Translation};

pub fn testdata() -> PathBuf {
    // The control plane's tests use these cases too.
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folders = [here.join("testdata"), here.join("translate/testdata")];
    folders.into_iter().find(|folder| folder.is_dir()).unwrap()
}

/// Every folder with an `input.yaml`.
pub fn cases() -> Vec<PathBuf> {
    let mut cases = Vec::new();
    for area in std::fs::read_dir(testdata()).unwrap() {
        for case in std::fs::read_dir(area.unwrap().path()).unwrap() {
            cases.push(case.unwrap().path());
        }
    }
    cases.sort();
    cases
}

pub fn settings() -> Settings {
    Settings {
        extauth: Some(GrpcTarget::Unix("/run/waykeeper/extauth.sock".into())),
        ratelimit: Some(GrpcTarget::Tcp { host: "localhost".into(), port: 18081 }),
        ..Settings::default()
    }
}

pub fn documents(case: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(case.join("input.yaml")).unwrap();
    waykeeper_tests::manifests::documents(&text)
}

/// Admits `documents` the way a provider does; the problems come second.
pub fn snapshot(documents: &[Value]) -> (Snapshot, Vec<String>) {
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    let mut problems = Vec::new();
    for document in documents {
        let admission = api::admit(document);
        let name = admission.reference.as_ref().map(ToString::to_string).unwrap_or_default();
        problems.extend(admission.problems.iter().map(|problem| format!("{name}: {problem}")));
        snapshot.declare(admission);
    }
    problems.sort();
    (snapshot, problems)
}

/// A folder that is edited: what stays in it is the same object as before, as providers have it.
#[derive(Default)]
pub struct Edited {
    snapshot: Snapshot,
    known: Vec<Value>,
}

impl Edited {
    /// What is declared once the folder holds `documents`. Only what differs is declared anew.
    pub fn now(&mut self, documents: Vec<Value>) -> &Snapshot {
        for gone in self.known.iter().filter(|document| !documents.contains(document)) {
            self.snapshot.remove(&api::admit(gone).reference.unwrap());
        }
        for new in documents.iter().filter(|document| !self.known.contains(document)) {
            self.snapshot.declare(api::admit(new));
        }
        self.known = documents;
        self.snapshot.revision += 1;
        &self.snapshot
    }
}

/// Resources as readable YAML.
pub fn xds(translation: &Translation) -> String {
    let mut gateways = BTreeMap::new();
    for (name, output) in &translation.gateways {
        let mut types = BTreeMap::new();
        for (kind, resources) in &output.resources {
            let shown: BTreeMap<_, _> = resources.iter().map(|(name, r)| (name, yaml::json(&r.body))).collect();
            types.insert(format!("{kind:?}"), json!(shown));
        }
        gateways.insert(name.to_string(), json!(types));
    }
    yaml::to_yaml(&json!(gateways))
}

/// Statuses, enrolments and what admission said as YAML.
pub fn status(translation: &Translation, problems: &[String]) -> String {
    let report: BTreeMap<String, _> =
        translation.report.iter().map(|(object, statuses)| (object.to_string(), json!(statuses))).collect();
    let services: BTreeMap<String, String> = translation
        .services
        .iter()
        .map(|(name, enrolment)| match enrolment.as_ref() {
            Enrolment::None => (name.to_string(), "none".to_owned()),
            Enrolment::Waypoint(gateway) => (name.to_string(), gateway.to_string()),
            Enrolment::Refused(why) => (name.to_string(), format!("refused: {why}")),
        })
        .collect();
    yaml::to_yaml(&json!({"admission": problems, "enrolment": services, "report": report}))
}
